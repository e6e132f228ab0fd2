"""Where a loader stands among its epochs: what the next pass begins with, and how far the last one came."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from .order import EpochOrder, LoaderEpoch, epoch_of


class EpochCursor:
    """Epochs and positions of a loader; its samplers follow.

    samplers: those of the loader on which user code may call `set_epoch`.
    upcoming: (epoch, position) that the next pass begins with. reached: (epoch, position) after the batch delivered last.
    """

    def __init__(self, samplers: list[Any]) -> None:
        self.samplers = samplers
        self.move(0)
        self.reached = self.upcoming

    def of(self, samplers: list[Any]) -> EpochCursor:
        """A cursor at the same place, of other samplers."""
        other = copy(self)
        other.samplers = samplers
        return other

    def move(self, epoch: int, position: int = 0) -> None:
        """Let the next pass begin here."""
        self.upcoming = (epoch, position)
        for sampler in self.samplers:
            if isinstance(sampler, EpochOrder):
                sampler.set_epoch(epoch)
        self.epochs = [epoch_of(sampler) for sampler in self.samplers]

    def jump(self, epoch: int, position: int = 0) -> None:
        """Let the next pass begin here, and forget how far the last one came."""
        self.move(epoch, position)
        self.reached = self.upcoming

    def jump_to_epoch(self, epoch: int) -> None:
        """As `jump`; the epoch that is the next one anyway keeps its position."""
        self.jump(epoch, self.upcoming[1] if epoch == self.upcoming[0] else 0)

    def follow_samplers(self) -> None:
        """Jump to the epoch that user code has set on a sampler since the loader last moved, if it has set one."""
        for sampler, before in zip(self.samplers, self.epochs, strict=True):
            epoch, kind = epoch_of(sampler)
            if (epoch, kind) != before and kind is not LoaderEpoch:
                self.jump_to_epoch(int(epoch))
                return


def check_state(state: Any, mine: Mapping[str, Any]) -> None:
    """Raise ValueError for a saved state that is none, or that belongs to another order than mine."""
    if not isinstance(state, Mapping) or not state.keys() >= mine.keys():
        raise ValueError(f"DataLoader: a state has {', '.join(mine)}, as state_dict() gives it; this one is {state!r}")
    for name in ("seed", "samples", "shuffle"):
        if state[name] != mine[name]:
            raise ValueError(f"DataLoader: the state was saved with {name}={state[name]}, this loader has {name}={mine[name]}")
