"""Shared and Nested: wrappers that say which numbers an op of a view is drawn from, and in which box a crop is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast
from zlib import crc32

from .base import Op, Size, Wrapper, is_integer, needed, plain, probability, walk
from .checks import fail, set_field
from .crop import RandomResizedCrop

__all__ = ["Nested", "Shared"]

MOST_NUMBERS = 4 * 256
"""Uniform numbers that a key has per image: 8 bits of the counter count its blocks of four."""


@dataclass(frozen=True)
class Shared(Wrapper):
    """Draw an op once for all views of an image that share its key.

    The numbers behind the draws follow from (seed, epoch, sample index, key) alone. So equal ops with one key get equal draws,
    in any views of any policy; and ops that differ in arguments, such as a strength or `p`, get the same numbers, scaled by
    their own arguments. Ops that are not shared are drawn as if no op of the policy were.

    In a policy, all ops that share a key must be of one type, and of a choice such as `OneOf` those of its branches too.

    Args:
        op: The op, or a choice of ops.
        key: Name of what is shared, such as "jitter".
    """

    op: Op
    key: str

    def __post_init__(self) -> None:
        if not isinstance(self.op, Op) or isinstance(self.op, Wrapper) or any(shared_in([self.op])):
            raise fail(self, "op", "a gpuaug op in which nothing is Shared or Nested", self.op)
        if not isinstance(self.key, str) or not self.key:
            raise fail(self, "key", "a string that is not empty", self.key)
        if needed([self.op]) > MOST_NUMBERS:
            raise fail(self, "op", f"one that draws at most {MOST_NUMBERS} numbers an image", self.op)

    @property
    def inner(self) -> Op:
        return self.op

    @property
    def hashed(self) -> int:
        """24 bits of the key, by which the random numbers know it."""
        return crc32(self.key.encode()) & 0xFFFFFF

    def bind(self, size: Size) -> Op:
        return replace(self, op=self.op.bind(size))

    def resized(self, before: Size, after: Size) -> Op:
        return replace(self, op=self.op.resized(before, after))


@dataclass(frozen=True)
class Nested(Wrapper):
    """A crop whose box is drawn inside the box of another view's crop, as if that box were the whole image.

    It must be the first op of its view. The other view must begin with a `RandomResizedCrop`, which may be `Shared` but not
    `Nested`. The draws contain the other crop's numbers too, with names such as `outer_area`; a change of the other view's own
    draws does not move this box.

    Args:
        crop: The crop, whose `scale` is a share of the area of the other box; it may be `Shared`.
        within: Which view of the policy, from 0 on, counted as in `policy.views`, where a view with repeat=2 is there twice.
    """

    crop: RandomResizedCrop | Shared
    within: int = 0

    def __post_init__(self) -> None:
        if type(self.crop) not in (RandomResizedCrop, Shared) or type(plain(self.crop)) is not RandomResizedCrop:
            raise fail(self, "crop", "a RandomResizedCrop, or one that is Shared", self.crop)
        if not is_integer(self.within) or self.within < 0:
            raise fail(self, "within", "an integer >= 0, the number of a view", self.within)
        set_field(self, "within", int(self.within))

    @property
    def inner(self) -> Op:
        return self.crop

    def bind(self, size: Size) -> Op:
        return replace(self, crop=cast("RandomResizedCrop | Shared", self.crop.bind(size)))

    def resized(self, before: Size, after: Size) -> Op:
        return replace(self, crop=cast("RandomResizedCrop | Shared", self.crop.resized(before, after)))


def shared_in(ops: Sequence[Op], column: int = 0) -> Iterator[tuple[Shared, int]]:
    """Every shared op of a list of ops, also in choices, and the column of its first number if that of the list is `column`."""
    for op in ops:
        inside = op.crop if isinstance(op, Nested) else op
        if isinstance(inside, Shared):
            yield inside, column
        at = column + op.uniforms + (probability(op) is not None)
        for branch in getattr(op, "branches", ()):
            yield from shared_in(branch, at)
            at += needed(branch)
        column += needed([op])


def outer_of(views: Sequence[Sequence[Op]], view: int) -> Op | None:
    """The crop, which may be shared, in whose box a view of a policy begins; None if it begins in the image."""
    first = views[view][0]
    return views[first.within][0] if isinstance(first, Nested) else None


def check_views(views: Sequence[Sequence[Op]]) -> None:
    """Raise ValueError if the ops of a policy's views cannot be drawn together."""
    check_keys([shared for ops in views for shared, _ in shared_in(ops)])
    for number, ops in enumerate(views):
        if isinstance(ops[0], Nested):
            check_nested(views, number, ops[0].within)


def check_keys(ops: Sequence[Shared]) -> None:
    """Raise ValueError if one key is of ops of different types, or if two keys have the same numbers."""
    kinds: dict[str, tuple[type[Op], ...]] = {}
    keys: dict[int, str] = {}
    for shared in ops:
        kind = tuple(type(op) for op in walk([shared]))
        known = kinds.setdefault(shared.key, kind)
        if kind != known:
            found = " and ".join(", ".join(k.__name__ for k in one) for one in (known, kind))
            raise ValueError(f"Policy: ops that share a key must be of one type, but {shared.key!r} has {found}")
        other = keys.setdefault(shared.hashed, shared.key)
        if other != shared.key:
            raise ValueError(
                f"Policy: the keys {other!r} and {shared.key!r} have the same hash and would share draws; rename one"
            )


def check_nested(views: Sequence[Sequence[Op]], number: int, within: int) -> None:
    """Raise ValueError if a view whose crop is Nested within another view does not find a box there."""
    this = f"view {number} is Nested within view {within}"
    if within >= len(views) or within == number:
        raise ValueError(f"Policy: within must be the number of another view, in 0..{len(views) - 1}, but {this}")
    first = views[within][0]
    if isinstance(first, Nested):
        raise ValueError(f"Policy: {this}, which is Nested itself; nest both in one view")
    if type(plain(first)) is not RandomResizedCrop:
        raise ValueError(
            f"Policy: {this}, which must begin with a RandomResizedCrop, but begins with {type(plain(first)).__name__}"
        )
