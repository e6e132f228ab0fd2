"""Keeps a caller's torch settings (autocast, default device, torch.compile) from changing views, and forks from hanging."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.utils.data

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def isolated(device: torch.device) -> Iterator[None]:
    """Switch autocast off for `device`, and make the CPU the default device.

    The default device matters because torchvision's functions create some small tensors without naming a device. Setting it
    slows every call of torch by a microsecond, so it is set only if it is not the CPU already.
    """
    if torch.is_autocast_enabled(device.type):
        with torch.autocast(device.type, enabled=False), default_on_cpu():
            yield
    elif torch.get_default_device().type == "cpu":
        yield
    else:
        with torch.device("cpu"):
            yield


@contextmanager
def default_on_cpu() -> Iterator[None]:
    """Make the CPU the default device, for code of other libraries that creates tensors without naming a device."""
    if torch.get_default_device().type == "cpu":
        yield
    else:
        with torch.device("cpu"):
            yield


def default_collate(batch: list[Any]) -> Any:
    """torch's default_collate, with tensors of plain numbers on the CPU instead of the default device."""
    with default_on_cpu():
        return torch.utils.data.default_collate(batch)


def eager(function: Callable[P, T]) -> Callable[P, T]:
    """Keep torch.compile from tracing a function: its caller gets a graph break, since NumPy code has no graph.

    Applying torch.compiler.disable right away would import the compiler together with gpuaug, which takes seconds. So the first
    call after something else has imported the compiler applies it.
    """
    disabled: list[Callable[P, T]] = []

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if not torch.compiler.is_compiling() and "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not disabled:
            disabled.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return disabled[0](*args, **kwargs)

    # torch.compile caches a few versions per code object. Without a code object of its own, each function wrapped here would
    # share that cache with all others.
    own: Any = call
    own.__code__ = own.__code__.replace(co_name=function.__name__)
    return call


def after_fork(function: Callable[[], None]) -> None:
    """Call a function in every forked child of this process; systems without fork, such as Windows, have none."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
