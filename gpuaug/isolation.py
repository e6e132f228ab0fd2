"""What a caller has set in torch, and views must not follow: autocast, the default device, torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

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


def eager(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function as it is where torch.compile traces its caller: a graph break, since NumPy's integers have no graph.

    torch.compiler.disable by itself would import the compiler with gpuaug, which takes seconds.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_compiling():
            plain: Callable[P, T] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
            return plain(*args, **kwargs)
        return function(*args, **kwargs)

    return call
