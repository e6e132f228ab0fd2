"""Policy and View: what may happen to an image, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from .ops import CenterCrop, Nested, Normalize, Op, RandomCrop, Size, ToDtype, leaves
from .ops.base import is_integer, plain, positional_or_named
from .ops.crop import Sized
from .ops.shared import check_views


def as_pair(size: int | Sequence[int]) -> Size:
    """A view's size as (height, width). Raises ValueError if it is neither a positive integer nor a pair of them."""
    pair: Any = (size, size) if is_integer(size) else size
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(is_integer(n) and n >= 1 for n in pair)):
        raise ValueError(f"View: size must be a positive integer or a pair (height, width) of them, got {size!r}")
    return int(pair[0]), int(pair[1])


@dataclass(frozen=True, init=False)
class View:
    """One output of a policy: ops applied in order, which bring every image to one size.

    Args:
        size: (height, width) in pixels, or one number for both. A crop or resize without a size of its own takes this one.
        *given: The ops (see `gpuaug.ops`). They must bring every image to `size`.
        ops: The ops as one sequence, instead of positional arguments.
        repeat: How many views of this kind the policy makes from each image.

    Raises:
        TypeError: Something other than a gpuaug op was given.
        ValueError: The ops do not end at `size`, an op with a probability `p` changes the size, there are several ToDtype, a
            Nested crop is not the first op, or size or repeat is out of range.
    """

    size: Size
    ops: tuple[Op, ...]
    repeat: int = 1

    def __init__(self, size: int | Sequence[int], *given: Op, ops: Sequence[Op] = (), repeat: int = 1) -> None:
        height, width = as_pair(size)
        ops = positional_or_named("View", "ops", given, ops)
        if not all(isinstance(op, Op) for op in ops):
            wrong = next(op for op in ops if not isinstance(op, Op))
            raise TypeError(f"View: ops must be gpuaug ops, got {wrong!r}; convert torchvision's with from_torchvision")
        if not (is_integer(repeat) and repeat >= 1):
            raise ValueError(f"View: repeat must be an integer >= 1, got {repeat!r}")
        object.__setattr__(self, "size", (height, width))
        object.__setattr__(self, "ops", tuple(op.bind((height, width)) for op in ops))
        object.__setattr__(self, "repeat", int(repeat))
        reached: Size | None = None
        for op in self.ops:
            before, reached = reached, op.output_size(reached)
            if hasattr(plain(op), "p") and reached != before:
                raise ValueError(
                    f"View: {type(plain(op)).__name__} has a probability p and changes the size of images, so images would differ in "
                    "size; leave p out of such an op"
                )
        if reached != (height, width):
            found = "sizes of their own" if reached is None else f"{reached[0]}x{reached[1]}"
            raise ValueError(
                f"View: ops must end at {height}x{width}, but they leave images at {found}; "
                "end with a crop, or with Resize((height, width))"
            )
        if sum(isinstance(op, ToDtype) for op in self.steps) > 1:
            raise ValueError("View: at most one ToDtype, since it states the dtype of the view that comes out")
        if any(isinstance(op, Nested) for op in self.ops[1:]):
            raise ValueError("View: Nested must be the first op, since its box lies in the image that comes in")

    @property
    def steps(self) -> tuple[Op, ...]:
        """The ops that change pixels, in order, with every branch of a `OneOf` in its place, and the plain op of a `Shared` or
        `Nested` one. Draws have one table per step."""
        return tuple(leaves(self.ops))

    @property
    def normalize(self) -> Normalize | None:
        """The view's last Normalize, which must be undone to show the view as a picture; None without one."""
        return next((op for op in reversed(self.steps) if isinstance(op, Normalize)), None)

    @property
    def first_sized(self) -> int:
        """Number of the first op that crops or resizes; the ops before it see the image itself."""
        return next(k for k, op in enumerate(self.ops) if isinstance(plain(op), Sized) or op.output_size(None) is not None)

    def at_size(self, size: int | Sequence[int]) -> View:
        """The view at another size: equal draws give what this view gives, shrunk or enlarged, as far as ops can.

        A crop keeps its box in the image. What ops have in pixels, from the first crop or resize on, is scaled by the ratio of
        the sizes: `GaussianBlur` its sigma, at least 0.001, and its kernel, odd and at least 3; `Cutout` its length; affine
        warps and rotations their centre; `TrivialAugmentWide` its largest shift; `ElasticTransform` sigma and alpha, so that
        displacements are as large a share of the view, but not the same ones; `Resize` and crops behind it their sizes, rounded
        to pixels. A length without a direction is scaled by the root of the ratio of areas. All other ops stay as they are; of
        these, `GaussianNoise`, `JPEG` and `RandomAdjustSharpness` change the pixels of any view alike, so they change a small
        one more. An op of your own may define `resized`, see `gpuaug.Op`.

        Args:
            size: (height, width) in pixels, or one number for both.

        Raises:
            ValueError: The first crop or resize is a `CenterCrop` or `RandomCrop`, which takes pixels of the image one to one;
                or an op does not fit the size.
        """
        after = as_pair(size)
        if after == self.size:
            return self
        first = self.first_sized
        if isinstance(plain(self.ops[first]), (CenterCrop, RandomCrop)):
            raise ValueError(
                f"View: at_size cannot shrink a view that begins with {type(plain(self.ops[first])).__name__}, whose box has as "
                "many pixels as the view; begin with RandomResizedCrop or Resize"
            )
        return View(after, *self.ops[:first], *(op.resized(self.size, after) for op in self.ops[first:]), repeat=self.repeat)

    def __str__(self) -> str:
        return "\n".join([f"{self.size[0]}x{self.size[1]}", *(f"  {op}" for op in self.ops)])


@dataclass(frozen=True, init=False)
class Policy:
    """A list of views of the same image, each drawn on its own, except for what is `Shared` or `Nested`.

    Args:
        *given: The views. One with repeat=2 stands for two equal views.
        views: The views as one sequence, instead of positional arguments. As an attribute, it has one entry per view that comes
            out, so a view with repeat=2 is there twice.
        name: What the policy is called.
        source: Where it was published. Neither name nor source matters when policies are compared.

    Raises:
        TypeError: There is no view, or something other than a View was given.
        ValueError: Ops of different types share a key, two keys have the same hash, or a crop is Nested within a view that does
            not exist, is nested itself or does not begin with a RandomResizedCrop.
    """

    views: tuple[View, ...]
    name: str = field(default="", compare=False)
    source: str = field(default="", compare=False)

    def __init__(self, *given: View, views: Sequence[View] = (), name: str = "", source: str = "") -> None:
        views = positional_or_named("Policy", "views", given, views)
        if not views or not all(isinstance(view, View) for view in views):
            raise TypeError(f"Policy: give one or more View, got {views!r}")
        ones = [view if view.repeat == 1 else View(view.size, *view.ops) for view in views]
        single = tuple(one for view, one in zip(views, ones, strict=True) for _ in range(view.repeat))
        check_views([view.ops for view in single])
        object.__setattr__(self, "views", single)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "source", source)

    def __len__(self) -> int:
        return len(self.views)

    def at_size(self, size: int | Sequence[int]) -> Policy:
        """The policy with every view at this size; see `View.at_size`, and `Draws.at_size` for draws."""
        views = [one for view, same in groupby(self.views) for one in [view.at_size(size)] * len(list(same))]
        return Policy(views=views, name=self.name, source=self.source)

    def __str__(self) -> str:
        lines = [self.name or "policy"] + ([f"  {self.source}"] if self.source else [])
        for view, same in groupby(self.views):
            lines.append(f"  {len(list(same))} x " + str(view).replace("\n", "\n    "))
        return "\n".join(lines)
