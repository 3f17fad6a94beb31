"""``mmgrec plugins``: every installed plugin."""

from __future__ import annotations

from mmgrec_cli import options as given
from mmgrec_cli import render

__all__ = ["plugins"]


def plugins(json: given.Json = False) -> None:
    """List every installed plugin, the broken ones too."""
    from mmgrec.registry import Registry

    found = Registry.discover().plugins
    if json:
        render.as_json([plugin.row() for plugin in found])
    else:
        render.plugins(found)
