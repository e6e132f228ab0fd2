"""Making the views of an epoch's samples: draw, then augment, in the thread that has the pixels; then mix whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ...augmenter import Augmenter
from ...images import Images
from ...mixing import Mix, MixDraws
from ...sampling import Draws, sample
from ..decoders.regions import Boxes, DrawnRegions, crops_in_regions, starts_with_crop
from ..sources import Index


@dataclass(frozen=True)
class ViewMaker:
    """Everything that the views of a sample depend on, beside its pixels and index, and its partner's.

    mix: Mixes the samples of a batch with each other, if that was asked for.
    """

    augment: Augmenter
    seed: int
    epoch: int
    mix: Mix | None = None

    def draws(self, index: Sequence[int] | Index) -> Draws:
        return sample(self.augment.policy, index, self.seed, self.epoch)

    def regional(self, index: Sequence[int]) -> DrawnRegions | None:
        """Tells which region of each of these samples' pictures the views read; None if they may read all of it."""
        if not starts_with_crop(self.augment.policy):
            return None
        draws = self.draws(index)
        return DrawnRegions(lambda: draws)

    def views(
        self, images: Images, draws: Draws, frames: Boxes | None = None, out: Sequence[torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """The views, written to `out` if it is given. frames: (B, 5), as `to_images` returns them."""
        return self.augment(images, draws if frames is None else crops_in_regions(draws, frames), out)

    def mixed(self, views: list[torch.Tensor], target: Any, index: Index) -> tuple[list[torch.Tensor], Any]:
        """The views and the target of a whole batch, mixed if that was asked for."""
        return (views, target) if self.mix is None else self.mix(views, target, self.mix.sample(index, self.seed, self.epoch))


@dataclass(frozen=True)
class LazyDraws:
    """The draws of one batch, computed at the first access."""

    maker: ViewMaker
    index: Index
    shapes: Boxes | None

    @cached_property
    def draws(self) -> Draws:
        draws = self.maker.draws(self.index)
        return draws if self.shapes is None else draws.with_shapes(self.shapes)

    @cached_property
    def mix(self) -> MixDraws | None:
        mix = self.maker.mix
        return None if mix is None else mix.sample(self.index, self.maker.seed, self.maker.epoch)
