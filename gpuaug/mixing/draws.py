"""What did happen to a batch that was mixed: partner, lambda and box of every sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..ops import Size

if TYPE_CHECKING:
    from .mix import Mix

Rows = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MixDraws:
    """How each sample of a batch is mixed with its partner. `mix.sample` makes them; `dataclasses.replace` changes them.

    Attributes:
        mix: The `MixUp`, `CutMix` or `RandomChoice` that they were drawn from.
        seed: The seed of the draws.
        epoch: The epoch of the draws.
        index: (B,) int64 sample indices.
        partner: (B,) int64: the row of the batch that each row is mixed with. `index[partner]` are the partners' samples.
        lam: (B,) float64 in [0, 1]: lambda as drawn from Beta(alpha, alpha), the share of the sample itself; 1 where the
            sample is not mixed because of `p`. Where CutMix's box is cut off by the border, `weights` says how much is left.
        chosen: (B,) int64: which of the transforms of a `RandomChoice` each sample got; 0 without a choice.
        center: (B, 2) float64 in [0, 1): centre of CutMix's box, x and y as shares of width and height.
    """

    mix: Mix
    seed: int
    epoch: int
    index: Rows
    partner: Rows
    lam: Numbers
    chosen: Rows
    center: Numbers

    def __len__(self) -> int:
        return len(self.index)

    @property
    def cut(self) -> npt.NDArray[np.bool_]:
        """(B,) bool: which rows get a box of their partner, rather than a blend with it."""
        return np.array([one.cuts for one in self.mix.members])[self.chosen]

    def boxes(self, size: Size) -> Rows:
        """CutMix's boxes in views of one size, by torchvision's formula.

        Args:
            size: (height, width) of the views in pixels.

        Returns:
            (B, 4) int64: x1, y1, x2, y2 in pixels, the ends excluded. Empty boxes (0, 0, 0, 0) where MixUp was chosen.
        """
        height, width = size
        edges = np.array([width, height])
        middle = np.floor(self.center * edges).astype(np.int64)
        half = np.floor(0.5 * np.sqrt(1.0 - self.lam)[:, None] * edges).astype(np.int64)
        found = np.concatenate([np.maximum(middle - half, 0), np.minimum(middle + half, edges)], axis=1)
        return np.where(self.cut[:, None], found, 0)

    def weights(self, size: Size) -> Numbers:
        """The share of each view that is the sample's own, by which its target counts.

        Args:
            size: (height, width) of the views in pixels.

        Returns:
            (B,) float64 in [0, 1]: `lam` for MixUp, one minus the share of the box's area for CutMix.
        """
        x1, y1, x2, y2 = self.boxes(size).T
        return np.where(self.cut, 1.0 - (x2 - x1) * (y2 - y1) / (size[0] * size[1]), self.lam)


def pairs(count: int) -> Rows:
    """The partner of each row of a batch: rows 2k and 2k + 1 are each other's; see `Mix`."""
    partner = np.arange(count, dtype=np.int64) ^ 1
    if count % 2:
        partner[-1] = max(count - 2, 0)
    return partner
