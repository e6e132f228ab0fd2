"""The policy's ops in one NVIDIA DALI graph, on the CPU, fed with our draws: torchvision's functions, composed of DALI's.

`take` refuses what DALI has not, and what it has only as another function; `take_near` takes the latter too.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import ops as op
from ...ops import Op
from .. import Backend, Given
from .crop import CUTS
from .graph import apply
from .same_size import MAPS

__all__ = ["BACKEND", "OPS", "apply", "take"]

OPS: frozenset[type[Op]] = frozenset({*CUTS, *MAPS})
"""Ops that DALI can do; `exact` and `near` say with which arguments."""


def exact(o: Op) -> bool:
    """Whether DALI can do an op as torchvision does."""
    if isinstance(o, op.RandomResizedCrop | op.Resize):
        return o.interpolation != "nearest"  # DALI takes the pixel at the centre, torch the one before it
    return near(o)


def near(o: Op) -> bool:
    """Whether DALI can do an op, if need be with neighbours of its own choice."""
    if isinstance(o, op.RandomCrop):
        return o.padding_mode == "constant"
    return type(o) in OPS and not (isinstance(o, op.RandomErasing) and isinstance(o.value, str))


def take(steps: Sequence[Op], given: Given) -> int:
    return next((k for k, o in enumerate(steps) if not exact(o)), len(steps))


def take_near(steps: Sequence[Op], given: Given) -> int:
    return next((k for k, o in enumerate(steps) if not near(o)), len(steps))


BACKEND = Backend(OPS, take, apply, approximate=Backend(OPS, take_near, apply))
"""The approximate one also resizes to the nearest pixel, which DALI chooses in its own way."""
