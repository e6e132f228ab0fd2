"""Backends: each is a module whose `BACKEND` says which ops it has and how to apply a run of them to a batch.

A backend is imported when it is first asked for, so that no backend's library is required. Backends import ops, images, draws
and this module, never the Augmenter. They do not import each other, with one exception: `kornia` uses the helpers of `batched`.
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
"""Images (uint8, of any sizes), float32 (B, C, H, W), or a list of float32 (C, H, W) while sizes still differ. C is 3 where a
backend has no `any_channels`. Floats are in [0, 1] until Normalize. A backend never changes a batch in place."""

BatchForm = Literal["images", "floats", "ragged", "host", "planes", "bytes"]
"""What a stage starts from: `Images`, one float tensor, or a list of float tensors. "host" is a float tensor on the CPU, and
"planes" one of another number of channels than three. "bytes" is a uint8 tensor (B, C, H, W), C not 3, on the CPU."""


def passes_between(ops: Sequence[Op]) -> float:
    """Extra passes of a backend that applies its ops one by one: one between any two ops."""
    return len(ops) - 1


@dataclass(frozen=True)
class Backend:
    """What the Augmenter needs to know about a backend.

    Attributes:
        ops: The types of op that the backend has.
        count_supported: count_supported(steps, form) counts the leading steps that one stage of this backend can do.
        apply: apply(batch, ops, draws) returns the batch after such a run of steps. `draws` holds, for each step, one dict of
            NumPy arrays with one row per image (see `gpuaug.Draws`).
        writes_output: Whether `apply` also accepts the view's dtype, its memory format, and a tensor to write the view into (or
            None). The Augmenter passes them to the last stage of a view. Otherwise it converts or copies the view afterwards.
        reads_in_place: Whether `apply` accepts `Images` of any layout, or with gaps in their buffer, and uint8 tensors.
            Otherwise the Augmenter packs the former, and makes floats of the latter, first.
        extra_passes: extra_passes(ops) says how often, averaged over draws, a stage of these ops writes the whole view to
            memory in float32 and reads it again before it writes the result.
        warm_up: warm_up(kind) does, for a type of device, whatever would make the first `apply` slow, such as compiling.
        any_channels: Types of device where it takes images of any number of channels, or "any". Elsewhere it takes three.
        differentiable: Whether autograd follows a float batch through `apply`.
        approximate: A variant of the backend that also accepts ops which its library computes differently from torchvision.
        composing: A variant of the backend that makes one warp of warps that follow one another.
        fallback: The backend that does the steps which this one does not support. Without it, such a step raises an error.
    """

    ops: Collection[type[Op]]
    count_supported: Callable[[Sequence[Op], BatchForm], int]
    apply: Callable[..., Batch]
    writes_output: bool = False
    reads_in_place: bool = False
    extra_passes: Callable[[Sequence[Op]], float] = passes_between
    warm_up: Callable[[str], None] | None = None
    any_channels: Collection[str] = ()
    differentiable: bool = False
    approximate: Backend | None = None
    composing: Backend | None = None
    fallback: str | None = None


Function = Callable[[torch.Tensor, Any, OpDraws], torch.Tensor]
"""(x, op, draws) -> x: applies an op to every image of a float32 batch (B, C, H, W)."""

AnyFunction = TypeVar("AnyFunction", bound=Function)

REGISTERED: dict[type[Op], Function] = {}
"""A user's op -> the function that "batched" runs for it; see `register`."""


@overload
def register(op: type[Op]) -> Callable[[AnyFunction], AnyFunction]: ...
@overload
def register(op: type[Op], function: AnyFunction) -> AnyFunction: ...
def register(op: type[Op], function: Any = None) -> Any:
    """Register the function that applies a user's own op, as `register(MyOp, my_function)` or as a decorator.

    The backends "auto", "fused", "batched" and "kornia" then run policies with this op; "torchvision" and "dali" have only
    gpuaug's own ops. Call `register` before the Augmenter or DataLoader is made, in the module that defines the op: a worker
    process that unpickles a policy imports this module and thereby registers the op. The module must therefore be importable
    in the worker; `__main__` is so only in processes that fork. A second call for the same op replaces its function.

    Args:
        op: A frozen dataclass derived from `gpuaug.Op`. Its `draw` returns its parameters. A field `p`, if it has one, is the
            probability that it is applied to an image. An op that changes the size of images overrides `output_size` and has no
            `p`.
        function: Called as function(x, op, draws). `x` is float32 (B, C, H, W) on the Augmenter's device, in [0, 1] until
            Normalize; C is 3 unless the Augmenter is given images of other channels. `draws` are the parameters of these
            images: NumPy arrays on the host with B rows. It must return float32 (B, C, H, W) and must not change `x`. The
            images may be any part of a batch, always without those that the op is not applied to, and several threads may call
            the function at once, so it must be a pure function of its arguments. It must compute each image independently of
            the others, or a view would depend on its batch.

    Returns:
        The function, or a decorator where no function was given.

    Raises:
        TypeError: `op` is not a frozen dataclass derived from `gpuaug.Op`, or `function` is not callable.
        ValueError: `op` is one of gpuaug's own.
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
    "dali": {"cpu": "nvidia.dali", "cuda": "nvidia.dali"},
}
"""Backend -> type of device that it runs on -> module that it needs there."""

AUTOMATIC = ("fused", "batched")
"""The backends of "auto", best first. The others run only on request: "kornia" and "torchvision" have no op that "batched"
lacks and are no faster, and the result of "auto" must not depend on whether they are installed; DALI lacks too many ops."""

DISTRIBUTIONS = {"nvidia.dali": "nvidia-dali-cuda130"}
"""Module -> name of its package, where the two differ."""


def requirement(name: str, kind: str = "cpu") -> str | None:
    """The module that a backend needs on this type of device; None if it does not run there."""
    return REQUIRES[name].get(kind) or REQUIRES[name].get("any")


def installed(name: str, kind: str = "cpu") -> bool:
    """Whether a backend runs on this type of device and its module can be found; it is not imported."""
    module = requirement(name, kind)
    return module is not None and findable(module)


def findable(module: str) -> bool:
    parent = module.rpartition(".")[0]
    try:
        return (not parent or findable(parent)) and importlib.util.find_spec(module) is not None
    except ImportError:  # an import hook may block the package
        return False


def how_to_install(module: str) -> str:
    return f"install it with: pip install {DISTRIBUTIONS.get(module, module)}"


def lacking(kind: str = "cpu") -> dict[str, str]:
    """Backends that "auto" cannot use on this type of device because their package is missing -> the warning for the user."""
    out = {}
    for name in AUTOMATIC:
        module = requirement(name, kind)
        if module is not None and not findable(module):
            package = DISTRIBUTIONS.get(module, module)
            out[name] = (
                f"{package} is not installed, so backend {name!r} is left out on {kind}; slower ones do its work at a fifth of "
                f"its speed or less; {how_to_install(module)}"
            )
    return out


def load(name: str, kind: str = "cpu") -> Backend:
    """Import a backend.

    Raises:
        ValueError: The name is unknown, or the backend does not run on this type of device.
        ImportError: Its package is missing; the message says how to install it.
    """
    if name not in REQUIRES:
        raise ValueError(f'backend must be "auto" or one of {", ".join(map(repr, REQUIRES))}, got {name!r}')
    module = requirement(name, kind)
    if module is None:
        others = " or ".join(repr(other) for other in REQUIRES if requirement(other, kind))
        raise ValueError(f"backend {name!r} runs on {', '.join(REQUIRES[name])}, not on {kind}; use {others}")
    if not installed(name, kind):
        raise ImportError(f"backend {name!r} needs {DISTRIBUTIONS.get(module, module)}; {how_to_install(module)}")
    backend: Backend = importlib.import_module(f"{__name__}.{name}").BACKEND
    return backend


def leading(steps: Sequence[Op], known: Container[type[Op]]) -> int:
    """Count the leading steps of known types: `count_supported` of a backend that does any of its ops in any order."""
    return leading_where(steps, lambda op: type(op) in known)


def leading_where(steps: Sequence[Op], has: Callable[[Op], bool]) -> int:
    """Count the leading steps that a backend has: `count_supported` where more than the type of an op decides."""
    return next((n for n, op in enumerate(steps) if not has(op)), len(steps))
