"""Where a loader stands among its epochs: where the next pass begins, and how far the last one got."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from .order import LoaderEpoch, OwnOrder, epoch_of


class EpochCursor:
    """The epochs and positions of a loader.

    samplers: the loader's samplers on which user code may call `set_epoch`.
    upcoming: (epoch, position) at which the next pass begins. reached: (epoch, position) after the batch delivered last.
    """

    def __init__(self, samplers: list[Any]) -> None:
        self.samplers = samplers
        self.move(0)
        self.reached = self.upcoming

    def for_samplers(self, samplers: list[Any]) -> EpochCursor:
        """A cursor at the same place that belongs to other samplers."""
        other = copy(self)
        other.samplers = samplers
        return other

    def move(self, epoch: int, position: int = 0) -> None:
        """Begin the next pass here."""
        self.upcoming = (epoch, position)
        for sampler in self.samplers:
            if isinstance(sampler, OwnOrder):
                sampler.set_epoch(epoch)
        self.epochs = [epoch_of(sampler) for sampler in self.samplers]

    def jump(self, epoch: int, position: int = 0) -> None:
        """Begin the next pass here, and forget how far the last one got."""
        self.move(epoch, position)
        self.reached = self.upcoming

    def jump_to_epoch(self, epoch: int) -> None:
        """As `jump`, but if this epoch is the next one anyway, keep its position."""
        self.jump(epoch, self.upcoming[1] if epoch == self.upcoming[0] else 0)

    def follow_samplers(self) -> None:
        """Jump to the epoch that user code has set on a sampler since the loader last moved, if any."""
        for sampler, before in zip(self.samplers, self.epochs, strict=True):
            epoch, kind = epoch_of(sampler)
            if (epoch, kind) != before and kind is not LoaderEpoch:
                self.jump_to_epoch(int(epoch))
                return


def check_state(state: Any, mine: Mapping[str, Any]) -> None:
    """Raise ValueError if `state` is not a saved state, or belongs to another order than `mine`."""
    if not isinstance(state, Mapping) or not state.keys() >= mine.keys() - {"mixture"}:
        raise ValueError(f"DataLoader: a state has the keys {', '.join(mine)}, as state_dict() returns them; got {state!r}")
    for name in ("seed", "samples", "shuffle", "mixture"):  # the last one is that of a Mixture alone
        if state.get(name) != mine.get(name):
            raise ValueError(
                f"DataLoader: the state was saved with {name}={state.get(name)}, but this loader has {name}={mine.get(name)}"
            )
