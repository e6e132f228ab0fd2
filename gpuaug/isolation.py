"""What a caller has set in torch, and views must not follow: autocast, the default device, torch.compile."""

from __future__ import annotations

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
    """Compute on `device` in the dtypes that are written, and make tensors on the CPU where no device is written.

    torchvision's functions make some of their small tensors without a device. To set the default costs a microsecond for each
    call of torch, so it is set only where it differs.
    """
    if torch.is_autocast_enabled(device.type):
        with torch.autocast(device.type, enabled=False), default_on_cpu():
            yield
    else:
        with default_on_cpu():
            yield


@contextmanager
def default_on_cpu() -> Iterator[None]:
    """Make tensors on the CPU where no device is written, for code that is not ours."""
    if torch.get_default_device().type == "cpu":
        yield
    else:
        with torch.device("cpu"):
            yield


def default_collate(batch: list[Any]) -> Any:
    """torch's own, which makes tensors of numbers without a device: here on the CPU."""
    with default_on_cpu():
        return torch.utils.data.default_collate(batch)


def eager(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function as it is where torch.compile traces its caller: a graph break, since NumPy's integers have no graph.

    To wrap it by torch.compiler.disable here would import the compiler with gpuaug, which takes seconds; so it is wrapped by
    the first call after somebody else has imported that.
    """
    disabled: list[Callable[P, T]] = []

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if not torch.compiler.is_compiling() and "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not disabled:
            disabled.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return disabled[0](*args, **kwargs)

    # torch.compile keeps a few versions of each code object, which all functions that are wrapped here would share.
    own: Any = call
    own.__code__ = own.__code__.replace(co_name=function.__name__)
    return call
