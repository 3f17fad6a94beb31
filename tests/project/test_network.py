"""The tests of this project reach no other machine: the root conftest sees to it, and this sees to that."""

from __future__ import annotations

import socket
import urllib.request

import pytest


def test_other_machines_are_out_of_reach() -> None:
    with socket.socket() as one, pytest.raises(PermissionError, match=r"192\.0\.2\.1"):
        one.connect(("192.0.2.1", 80))
    with socket.socket(type=socket.SOCK_DGRAM) as one, pytest.raises(PermissionError):
        one.sendto(b"x", ("192.0.2.1", 53))
    with socket.socket(socket.AF_INET6) as one, pytest.raises(PermissionError):
        one.connect(("2001:db8::1", 80))


def test_other_machines_are_not_even_looked_up() -> None:
    with pytest.raises(PermissionError, match="example"):
        socket.getaddrinfo("example.org", 80)
    with pytest.raises(OSError, match="example"):
        urllib.request.urlopen("http://example.org", timeout=1)


def test_this_machine_is_within_reach() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
