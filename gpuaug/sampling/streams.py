"""Which uniform numbers a view is drawn from: its own, those of keys that it shares, and those of a crop around its own.

Numbers come in blocks of four. A view has as many blocks of its own as if nothing were shared, so that sharing an op changes no
other. The numbers of a key have the view word SHARED and the key's hash above the number of the block; those of a crop around a
nested one are that view's own first numbers, or those of that crop's key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..ops import Nested, Op, Shared
from ..ops.base import Array, needed
from ..ops.shared import outer_of, shared_in
from ..policy import Policy
from .counter import uniform_blocks

SHARED = 2**16 - 2
"""Stands for the view in the counters of keys; no policy has so many views. `gpuaug.mixing` has the one above."""

OWN = -1
"""Stands for the view itself."""


class Layout(NamedTuple):
    """The blocks of four numbers that a view reads, its own first; column 4 n + k is number k of block n.

    Attributes:
        views: (N,) int64, the view word of each block: that of a view, SHARED or OWN.
        blocks: (N,) int64, the block word of each.
        keys: Column of the first number of each key.
        outer: Column of the first number of the crop around a nested one, where there is one.
    """

    views: npt.NDArray[np.int64]
    blocks: npt.NDArray[np.int64]
    keys: Mapping[str, int]
    outer: int

    @property
    def shares(self) -> bool:
        """Whether any block is not the view's own."""
        return bool((self.views != OWN).any())

    def views_for(self, view: int | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`views` (N,), for view number `view` of a policy; (B, N) for numbers (B,)."""
        return np.where(self.views == OWN, np.asarray(view)[..., None], self.views)


def layout(ops: Sequence[Op], outer: Op | None = None) -> Layout:
    """The blocks of a view with these ops. outer: the crop, which may be shared, in whose box it begins."""
    shared = [op for op, _ in shared_in(ops)]
    if isinstance(outer, Shared):
        shared.append(outer)
    counts: dict[str, int] = {}
    first = {op.key: op.hashed << 8 for op in shared}
    for op in shared:
        counts[op.key] = max(counts.get(op.key, 0), needed([op]))
    runs = [(OWN, 0, needed(ops)), *((SHARED, first[key], count) for key, count in counts.items())]
    if outer is not None and not isinstance(outer, Shared):
        assert isinstance(ops[0], Nested)
        runs.append((ops[0].within, 0, needed([outer])))
    lengths = [-(-count // 4) for _, _, count in runs]
    starts = [4 * n for n in np.cumsum([0, *lengths]).tolist()]
    keys = dict(zip(counts, starts[1:], strict=False))
    return Layout(
        np.repeat(np.array([view for view, _, _ in runs], dtype=np.int64), lengths),
        np.concatenate([block + np.arange(n) for (_, block, _), n in zip(runs, lengths, strict=True)]),
        keys,
        keys[outer.key] if isinstance(outer, Shared) else starts[-2],
    )


def view_uniforms(
    policy: Policy,
    view: int,
    seed: int,
    epoch: int,
    index: npt.NDArray[np.int64],
    drawn_as: int | npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], Array]:
    """The numbers (B, needed) that the ops of a view are drawn from, in order, and those of the crop around a nested one.

    drawn_as: what stands for the view in the counter, see `ViewDraws`.
    """
    ops, outer = policy.views[view].ops, outer_of([v.ops for v in policy.views], view)
    found = layout(ops, outer)
    u = uniform_blocks(seed, epoch, index, found.views_for(drawn_as), found.blocks)
    for op, column in shared_in(ops):
        width, start = needed([op]), found.keys[op.key]
        u[:, column : column + width] = u[:, start : start + width]
    count = 0 if outer is None else needed([outer])
    return u[:, : needed(ops)], u[:, found.outer : found.outer + count]
