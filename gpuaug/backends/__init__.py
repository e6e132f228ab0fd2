"""Backends: each a module with a `BACKEND`, which says which ops it has, how many steps it takes at a time, and applies them.

A backend is imported when it is first asked for, so none of their libraries is required. Backends import ops, images, draws and
this module, never the Augmenter. None imports another, but that `kornia` applies its functions to a batch as `batched` does.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, TypeVar, overload

import torch

from .. import ops
from ..images import Images
from ..ops import Op, OpDraws

Batch = Images | torch.Tensor | list[torch.Tensor]
"""Images (uint8, of any sizes), float32 (B, 3, H, W), or a list of float32 (3, H, W) while sizes still differ. Values are in
[0, 1] until Normalize. A backend never changes a batch in place."""

Given = Literal["images", "floats", "ragged"]
"""Which of these three a stage starts from."""


def passes_between(ops: Sequence[Op]) -> float:
    """One after each op but the last: of a backend that applies its ops one by one."""
    return len(ops) - 1


@dataclass(frozen=True)
class Backend:
    """What the Augmenter needs to know of a backend.

    ops: the types of op that it has.
    take(steps, given): how many of the steps, from the first on, one stage of this backend can do.
    apply(batch, ops, draws): the batch after a run of steps of one view that `take` has allowed. draws: for each step one
        dict of NumPy arrays with one row an image (see `gpuaug.Draws`).
    writes_output: `apply` also takes the dtype and the memory format of the view, and a tensor to write it into or None, and
        the last stage of a view is asked for them. Otherwise views are converted, or copied, afterwards.
    reads_in_place: `apply` takes `Images` that are planar or lie apart in their buffer. Otherwise they are packed before.
    passes(ops): how often, on average, a stage of these ops writes the whole view in float32 and reads it again.
    prepare(kind): does beforehand, for a type of device, what the first `apply` would take long with.
    approximate: the same backend, taking also what its library does in another way than torchvision.
    """

    ops: Collection[type[Op]]
    take: Callable[[Sequence[Op], Given], int]
    apply: Callable[..., Batch]
    writes_output: bool = False
    reads_in_place: bool = False
    passes: Callable[[Sequence[Op]], float] = passes_between
    prepare: Callable[[str], None] | None = None
    approximate: Backend | None = None


Function = Callable[[torch.Tensor, Any, OpDraws], torch.Tensor]
"""(x, op, draws) -> x: an op on float32 images (B, 3, H, W) of one size, all of which it changes."""

AnyFunction = TypeVar("AnyFunction", bound=Function)

REGISTERED: dict[type[Op], Function] = {}
"""Users' own ops -> the functions that "batched" runs for them; see `register`."""


@overload
def register(op: type[Op]) -> Callable[[AnyFunction], AnyFunction]: ...
@overload
def register(op: type[Op], function: AnyFunction) -> AnyFunction: ...
def register(op: type[Op], function: Any = None) -> Any:
    """Give an op of one's own the function that does it, as `register(MyOp, my_function)` or as a decorator.

    From then on the backends "auto", "fused", "batched" and "kornia" run policies with this op; "torchvision" and "dali" have
    only gpuaug's own. Register before the Augmenter or DataLoader is made, in the module that defines the op: a worker process
    imports that module when it unpickles a policy, and thereby registers. So the module must be importable there, which
    `__main__` is only in processes that fork. Registering an op again replaces its function.

    Args:
        op: a frozen dataclass derived from `gpuaug.Op`. Its `draw` gives its parameters, and a field `p` the probability that
            it is applied to an image. An op that changes the images' size says so in `output_size`, and has no `p`.
        function: called as function(x, op, draws) with x float32 (B, 3, H, W), in [0, 1] until Normalize, on the Augmenter's
            device, the op, and the op's draws of these images: NumPy arrays on the host, B rows each. It must be a pure
            function of these: it returns float32 (B, 3, H, W) and leaves x as it is. B is any part of a batch, without the
            images that the op is not applied to, and several threads may call it at once. To keep gpuaug's promise that a
            view does not depend on its batch, each image must be computed by itself.

    Returns:
        The function; without one, a decorator that takes it.

    Raises:
        TypeError: op is no frozen dataclass derived from `gpuaug.Op`, or function cannot be called.
        ValueError: op is one of gpuaug's own.
    """
    if function is None:
        return lambda function: register(op, function)
    if not (isinstance(op, type) and issubclass(op, Op) and is_dataclass(op) and op.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        raise TypeError(f"register: op must be a frozen dataclass derived from gpuaug.Op, got {op!r}")
    if getattr(ops, op.__name__, None) is op:
        raise ValueError(f"register: {op.__name__} is gpuaug's own; derive an op of another name from gpuaug.Op")
    if not callable(function):
        raise TypeError(f"register: function must be callable as function(x, op, draws), got {function!r}")
    REGISTERED[op] = function
    return function


REQUIRES: dict[str, dict[str, str]] = {
    "fused": {"cpu": "numba", "cuda": "triton"},
    "batched": {"any": "torch"},
    "kornia": {"any": "kornia"},
    "torchvision": {"cpu": "torchvision"},
    "dali": {"cpu": "nvidia.dali"},
}
"""Backend -> type of device it runs on -> module it needs there."""

AUTOMATIC = ("fused", "batched")
"""The backends of "auto", best first. The others run on request alone: "kornia" and "torchvision" have no op that "batched"
lacks and are no faster, and what "auto" computes must not depend on whether they are installed; DALI refuses too much."""

DISTRIBUTIONS = {"nvidia.dali": "nvidia-dali-cuda130"}
"""Module -> what pip calls it, where that is another name."""


def requirement(name: str, kind: str = "cpu") -> str | None:
    """The module that a backend needs on this type of device, None where it does not run there."""
    return REQUIRES[name].get(kind) or REQUIRES[name].get("any")


def installed(name: str, kind: str = "cpu") -> bool:
    """Whether a backend runs on this type of device and its module can be found; it is not imported."""
    module = requirement(name, kind)
    return module is not None and findable(module)


def findable(module: str) -> bool:
    parent = module.rpartition(".")[0]
    try:
        return (not parent or findable(parent)) and importlib.util.find_spec(module) is not None
    except ImportError:  # of a finder that hides it
        return False


def lacking(kind: str = "cpu") -> dict[str, str]:
    """Backends that "auto" would take on this type of device, were their package installed -> what to say of it."""
    out = {}
    for name in AUTOMATIC:
        module = requirement(name, kind)
        if module is not None and not findable(module):
            package = DISTRIBUTIONS.get(module, module)
            out[name] = (
                f"{package} is not installed, so backend {name!r} is left out on {kind} and slower ones do its work, at a "
                f"fifth of the speed or less; install it with: pip install {package}"
            )
    return out


def load(name: str, kind: str = "cpu") -> Backend:
    """A backend, imported.

    Raises ValueError for an unknown name or a device that it does not run on, ImportError with the remedy where its package
    is missing.
    """
    if name not in REQUIRES:
        raise ValueError(f'backend must be "auto" or one of {", ".join(map(repr, REQUIRES))}, got {name!r}')
    module = requirement(name, kind)
    if module is None:
        others = " or ".join(repr(other) for other in REQUIRES if requirement(other, kind))
        raise ValueError(f"backend {name!r} runs on {', '.join(REQUIRES[name])}, not on {kind}; use {others}")
    if not installed(name, kind):
        package = DISTRIBUTIONS.get(module, module)
        raise ImportError(f"backend {name!r} needs {package}; install it with: pip install {package}")
    backend: Backend = importlib.import_module(f"{__name__}.{name}").BACKEND
    return backend


def leading(steps: Sequence[Op], known: Container[type[Op]]) -> int:
    """How many steps, from the first on, are of known types: `take` of a backend that does any of its ops in any order."""
    return next((n for n, op in enumerate(steps) if type(op) not in known), len(steps))
