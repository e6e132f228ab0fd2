"""The loader's sampler of a stream, which has an order of its own, and places in a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import Sampler

from ...sources import known_length
from ...sources.streams import Stream, StreamPass
from ..order import EpochPlan, OwnOrder, Share


class Place(int):
    """A position in a stream. resume: what takes a pass of that rank there directly, if there is such a thing."""

    resume: Any
    rank: int | None

    def __new__(cls, position: int, resume: Any = None, rank: int | None = None) -> Place:
        place = super().__new__(cls, position)
        place.resume, place.rank = resume, rank
        return place

    def __getnewargs__(self) -> tuple[int, Any, int | None]:  # type: ignore[override]
        return int(self), self.resume, self.rank


class StreamOrder(OwnOrder, Sampler[int]):
    """The sampler of a stream, which has an order of its own: it knows the epoch and the share, but no samples.

    needed: what must be the same to go on with a pass beside the number of ranks: the stream, and how workers load it if a
    user's code runs in them.
    """

    def __init__(self, stream: Stream, fixed: Share | None, batch_size: int, drop_last: bool, workers: int) -> None:
        self.stream = stream
        self.fixed = fixed
        loading = {"num_workers": workers, "batch_size": batch_size, "drop_last": drop_last}
        self.needed = {**stream.identity, **({} if stream.encoded else loading)}

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[int]:
        raise TypeError(f"DataLoader: {self.stream!r} is a stream, whose order nobody knows; iterate over the loader")

    def plan(self, epoch: int, start: int, batch_size: int, drop_last: bool, samples: int) -> EpochPlan:
        """As `plan_epoch`; `start` may be a `Place`."""
        share, place = self.share, start if isinstance(start, Place) else Place(start)
        mine = place.rank in (None, share.rank)
        what = StreamPass(
            epoch,
            share.rank,
            share.world_size,
            start // share.world_size,
            place.resume if mine else None,
            mine,
            batch_size,
            drop_last,
        )
        return EpochPlan(epoch, start, share, False, lambda: iter(()), known_length(self.stream), what)

    def state(self, position: int) -> dict[str, Any]:
        share, place = self.share, position if isinstance(position, Place) else Place(position)
        rank = share.rank if place.rank is None else place.rank  # of a state that was loaded and not used yet
        return {"stream": {"rank": rank, "world_size": share.world_size, **self.needed, "resume": place.resume}}

    def restored(self, position: int, state: Any) -> Place:
        """The place of a saved state. Raises ValueError if it is not of this kind of stream, or of other ranks or workers."""
        mine = self.state(0)["stream"]
        if not isinstance(state, Mapping) or state.keys() != mine.keys():
            raise ValueError(f"DataLoader: the state is not of a {type(self.stream).__name__}, which this loader reads")
        for name in ("world_size", *self.needed):
            if position and state[name] != mine[name]:
                raise ValueError(
                    f"DataLoader: the state was saved in the middle of an epoch with {name}={state[name]}, but this loader has "
                    f"{name}={mine[name]}, with which the rest of the stream would be other samples; make them the same, or go "
                    "on with the next epoch by set_epoch"
                )
        return Place(position, state["resume"], int(state["rank"]))
