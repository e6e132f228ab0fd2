"""A policy as one NVIDIA DALI graph, fed with our draws: torchvision's formulas in DALI's operators.

The operators run where the pixels are, on the CPU or on CUDA, from one table. The graphs for CUDA have been defined and
serialised, but not yet run on a GPU.

`count_supported` refuses an op that DALI lacks, or computes by another formula; `count_approximate` accepts the latter.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import ops as op
from ...ops import Op
from .. import Backend, BatchForm, leading_where
from .crop import CUTS
from .graph import apply
from .same_size import MAPS

__all__ = ["BACKEND", "OPS", "apply", "count_supported"]

OPS: frozenset[type[Op]] = frozenset({*CUTS, *MAPS})
"""Ops that DALI can do; `exact` and `near` say for which arguments."""


def exact(o: Op) -> bool:
    """Whether DALI can do an op exactly as torchvision does."""
    if isinstance(o, op.RandomResizedCrop | op.Resize):
        return o.interpolation != "nearest"  # DALI reads the pixel at the centre, torch the one before it
    return near(o)


def near(o: Op) -> bool:
    """Whether DALI can do an op, possibly with other nearest neighbours than torchvision."""
    if isinstance(o, op.RandomCrop):
        return o.padding_mode == "constant"
    return type(o) in OPS and not (isinstance(o, op.RandomErasing) and isinstance(o.value, str))


def count_supported(steps: Sequence[Op], form: BatchForm) -> int:
    return leading_where(steps, exact)


def count_approximate(steps: Sequence[Op], form: BatchForm) -> int:
    return leading_where(steps, near)


BACKEND = Backend(OPS, count_supported, apply, approximate=Backend(OPS, count_approximate, apply))
"""The approximate variant also resizes with "nearest", where DALI selects other pixels than torch."""
