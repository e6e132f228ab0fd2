"""Data that may hold schedules in its fields, also inside tuples, lists and dataclasses: which, and what it is in one epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, Self

from .numbers import is_integer
from .values import Schedule, in_tuples


class Scheduled:
    """A frozen dataclass whose fields may be schedules, or hold them: an op, a view, a policy."""

    @property
    def scheduled(self) -> bool:
        """Whether anything in it is a schedule over epochs."""
        return holds_schedule(self)

    def at(self, epoch: int) -> Self:
        """What it is in one epoch, without schedules; itself if it has none.

        Args:
            epoch: An integer from 0 on.

        Raises:
            ValueError: `epoch` is no such integer.
        """
        found: Self = resolve_fields(self, check_epoch(epoch))
        return found


def check_epoch(epoch: Any) -> int:
    if not is_integer(epoch) or epoch < 0:
        raise ValueError(f"at: epoch must be an integer >= 0, got {epoch!r}")
    return int(epoch)


ATOMS = frozenset((bool, float, int, str, type(None)))
"""Types of most arguments: a look at them saves most of the time, and every op that is made is searched for schedules."""


@cache
def field_names(kind: Any) -> tuple[str, ...]:
    """Names of a dataclass's fields; none of another type."""
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) else ()


def parts(value: Any) -> Sequence[Any]:
    """What a tuple, a list or a dataclass is made of."""
    if isinstance(value, (tuple, list)):
        return value
    kind: Any = type(value)
    return [getattr(value, name, None) for name in field_names(kind)]


def holds_schedule(value: Any) -> bool:
    """Whether there is a schedule in a value."""
    if type(value) in ATOMS:
        return False
    return isinstance(value, Schedule) or any(map(holds_schedule, parts(value)))


def schedules_in(value: Any) -> Iterator[Schedule]:
    """Every schedule in a value, those in the values of others included."""
    if isinstance(value, Schedule):
        yield value
    for part in parts(value):
        yield from schedules_in(part)


def changes(value: Any) -> tuple[int, ...]:
    """The epochs in which one of a value's schedules changes, and 0; see `Schedule.changes`."""
    return tuple(sorted({0, *(epoch for schedule in schedules_in(value) for epoch in schedule.changes())}))


def resolve(value: Any, epoch: int) -> Any:
    """The value in one epoch; the same object if there is no schedule in it."""
    if type(value) in ATOMS:
        return value
    if isinstance(value, Schedule):
        return resolve(value.at(epoch), epoch)
    return value.at(epoch) if isinstance(value, Scheduled) else resolve_fields(value, epoch)


def resolve_fields(value: Any, epoch: int) -> Any:
    """As `resolve`, for the parts of a tuple, a list or a dataclass."""
    if isinstance(value, (tuple, list)):
        found = [resolve(part, epoch) for part in value]
        return value if all(new is old for new, old in zip(found, value, strict=True)) else tuple(found)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    given = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    now = {name: resolve(old, epoch) for name, old in given.items()}
    changed = {name: new for name, new in now.items() if new is not given[name]}
    return replace(value, **changed) if changed else value


def frozen(value: Any) -> None:
    """Put tuples in place of the lists among a dataclass's fields, which nothing else brings into one form."""
    for f in fields(value):
        object.__setattr__(value, f.name, in_tuples(getattr(value, f.name)))


def check_every_epoch(value: Scheduled) -> None:
    """Make what the value is in each epoch, which checks its arguments there."""
    for epoch in changes(value):
        with errors_name_epoch(epoch):
            value.at(epoch)


@contextmanager
def errors_name_epoch(epoch: int) -> Iterator[None]:
    """Say in the errors of an argument at which epoch a schedule gives it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{error} (what a schedule gives at epoch {epoch})") from None
