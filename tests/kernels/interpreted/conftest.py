"""Memory that a kernel should have written is NaN until it does; functions are prepared once a launch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from triton.runtime import interpreter


@pytest.fixture(autouse=True)
def _nan_in_fresh_memory() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # fills torch.empty with NaN, too
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(autouse=True, scope="session")
def _prepared_once_a_launch() -> Iterator[None]:
    """What a call of a function replaces in triton's language stays replaced until the launch ends.

    The interpreter looks through the language in every call, which takes it as long as the kernels themselves.
    """
    launch, call = interpreter.GridExecutor.__call__, interpreter.InterpretedFunction.__call__
    prepared: set[Any] = set()  # functions that this launch has called

    def launching(self: Any, *arguments: Any, **more: Any) -> Any:
        prepared.clear()
        return launch(self, *arguments, **more)

    def calling(self: Any, *arguments: Any, **more: Any) -> Any:
        if self.fn in prepared:
            return self.rewrite()(*arguments, **more)
        prepared.add(self.fn)
        return call(self, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.GridExecutor, "__call__", launching)
        patch.setattr(interpreter.InterpretedFunction, "__call__", calling)
        yield
