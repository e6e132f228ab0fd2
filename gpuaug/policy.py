"""Policy and View: what may happen to an image, as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import groupby
from typing import Any

from .ops import CenterCrop, Nested, Normalize, Op, RandomCrop, Size, ToDtype, leaves
from .ops.base import is_integer, plain, positional_or_named, short
from .ops.crop import Sized
from .ops.shared import check_views
from .schedules import Schedule, Scheduled, changes, check_epoch, check_every_epoch, errors_name_epoch, in_tuples, resolve


def as_pair(size: int | Sequence[int]) -> Size:
    """A view's size as (height, width). Raises ValueError if it is neither a positive integer nor a pair of them."""
    pair: Any = (size, size) if is_integer(size) else size
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(is_integer(n) and n >= 1 for n in pair)):
        raise ValueError(f"View: size must be a positive integer or a pair (height, width) of them, got {size!r}")
    return int(pair[0]), int(pair[1])


@dataclass(frozen=True, init=False)
class View(Scheduled):
    """One output of a policy: ops applied in order, which bring every image to one size.

    Args:
        size: (height, width) in pixels, or one number for both. A crop or resize without a size of its own takes this one. It
            may be a schedule over epochs, such as `gpuaug.steps({0: 128, 30: 224})`, and so may any argument of an op.
        *given: The ops (see `gpuaug.ops`). They must bring every image to `size`.
        ops: The ops as one sequence, instead of positional arguments.
        repeat: How many views of this kind the policy makes from each image.

    Raises:
        TypeError: Something other than a gpuaug op was given.
        ValueError: The ops do not end at `size`, an op with a probability `p` changes the size, there are several ToDtype, a
            Nested crop is not the first op, or size or repeat is out of range. With schedules, this holds for every epoch.
    """

    size: Size
    ops: tuple[Op, ...]
    repeat: int = 1

    def __init__(self, size: int | Sequence[int], *given: Op, ops: Sequence[Op] = (), repeat: int = 1) -> None:
        ops = positional_or_named("View", "ops", given, ops)
        if not all(isinstance(op, Op) for op in ops):
            wrong = next(op for op in ops if not isinstance(op, Op))
            raise TypeError(f"View: ops must be gpuaug ops, got {wrong!r}; convert torchvision's with from_torchvision")
        if not (is_integer(repeat) and repeat >= 1):
            raise ValueError(f"View: repeat must be an integer >= 1, got {repeat!r}")
        object.__setattr__(self, "size", tuple(size) if isinstance(size, list) else size)
        object.__setattr__(self, "ops", ops)
        object.__setattr__(self, "repeat", int(repeat))
        if self.scheduled:
            check_every_epoch(self)
        else:
            self.bind_ops()

    def bind_ops(self) -> None:
        """Give the ops their view's size, and check that they bring every image to it."""
        height, width = as_pair(self.size)
        object.__setattr__(self, "size", (height, width))
        object.__setattr__(self, "ops", tuple(op.bind((height, width)) for op in self.ops))
        reached: Size | None = None
        for op in self.ops:
            before, reached = reached, op.output_size(reached)
            if hasattr(plain(op), "p") and reached != before:
                raise ValueError(
                    f"View: {type(plain(op)).__name__} has a probability p and changes the size of images, so images would "
                    "differ in size; leave p out of such an op"
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

    @cached_property
    def scheduled(self) -> bool:
        """Whether the size, or an argument of an op, is a schedule over epochs."""
        return super().scheduled

    @property
    def steps(self) -> tuple[Op, ...]:
        """The ops that change pixels, in order, with every branch of a `OneOf` in its place, and the plain op of a `Shared` or
        `Nested` one. Draws have one table per step. With schedules, they are those of epoch 0.
        """
        return tuple(leaves(self.at(0).ops if self.scheduled else self.ops))

    def single(self) -> View:
        """The view with repeat=1."""
        if self.repeat == 1:
            return self
        one = copy(self)  # without the checks, which hold
        object.__setattr__(one, "repeat", 1)
        return one

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
                or an op does not fit the size; or the view has schedules.
        """
        after = as_pair(size)
        if self.scheduled:
            raise ValueError("View: at_size needs the view of an epoch, view.at(epoch); Policy.at_size takes schedules, too")
        if after == self.size:
            return self
        first = self.first_sized
        crop = plain(self.ops[first])
        if isinstance(crop, (CenterCrop, RandomCrop)):
            raise ValueError(
                f"View: at_size cannot shrink a view that begins with {type(crop).__name__}, whose box has as many pixels as "
                "the view; begin with RandomResizedCrop or Resize"
            )
        return View(after, *self.ops[:first], *(op.resized(self.size, after) for op in self.ops[first:]), repeat=self.repeat)

    def __str__(self) -> str:
        size = f"{self.size[0]}x{self.size[1]}" if isinstance(self.size, tuple) else short(self.size)
        return "\n".join([size, *(f"  {op}" for op in self.ops)])


@dataclass(frozen=True, init=False)
class Policy(Scheduled):
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
        object.__setattr__(self, "views", tuple(one for view in views for one in [view.single()] * view.repeat))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "source", source)
        if self.scheduled:
            check_every_epoch(self)
        else:
            check_views([view.ops for view in self.views])

    @cached_property
    def scheduled(self) -> bool:
        """Whether any view has a schedule over epochs."""
        return any(view.scheduled for view in self.views)

    @cached_property
    def changes(self) -> tuple[int, ...]:
        """The epochs in which the policy is another than in the one before, and 0; of more than 1,000 some, evenly spaced."""
        return changes(self)

    def at(self, epoch: int) -> Policy:
        """The policy of one epoch, without schedules; itself if it has none.

        Args:
            epoch: An integer from 0 on.

        Raises:
            ValueError: `epoch` is no such integer.
        """
        if not self.scheduled:
            check_epoch(epoch)
            return self
        epoch = min(check_epoch(epoch), self.changes[-1])
        last: tuple[int, Policy] | None = vars(self).get("latest")
        if last is None or last[0] != epoch:
            last = epoch, self.make_at(epoch)
            vars(self)["latest"] = last  # one assignment, since several threads may draw
        return last[1]

    def make_at(self, epoch: int) -> Policy:
        return super().at(epoch)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __len__(self) -> int:
        return len(self.views)

    def at_size(self, size: int | Sequence[int]) -> Policy:
        """The policy with every view at this size, with schedules in every epoch; see `View.at_size` and `Draws.at_size`."""
        if self.scheduled:
            return ScheduledPolicy(Policy.at_size, self=self, size=as_pair(size))
        views = [one for view, same in groupby(self.views) for one in [view.at_size(size)] * len(list(same))]
        return Policy(views=views, name=self.name, source=self.source)

    def __str__(self) -> str:
        lines = [self.name or "policy"] + ([f"  {self.source}"] if self.source else [])
        for view, same in groupby(self.views):
            lines.append(f"  {len(list(same))} x " + str(view).replace("\n", "\n    "))
        return "\n".join(lines)


@dataclass(frozen=True, init=False, repr=False)
class ScheduledPolicy(Policy):
    """A policy that is another one in each epoch: a function with schedules among its arguments, or a schedule of policies.

    `gpuaug.policy` makes one if an argument is a schedule. Its `views` are those of epoch 0.

    Args:
        make: A function that returns a Policy; or a schedule of policies, such as `gpuaug.steps({0: policy, 30: other})`.
        **arguments: The function's arguments, some of which are schedules.

    Raises:
        TypeError: The function returns no Policy, or a value of the schedule is none.
        ValueError: The number of views changes, or the function refuses the arguments of an epoch.
    """

    make: Callable[..., Policy] | Schedule = field(kw_only=True)
    arguments: tuple[tuple[str, Any], ...] = field(kw_only=True)

    def __init__(self, make: Callable[..., Policy] | Any = None, /, **arguments: Any) -> None:
        if make is None and "make" in arguments:
            raise TypeError("ScheduledPolicy: dataclasses.replace cannot change one; make another, or change policy.at(epoch)")
        if not (callable(make) or isinstance(make, Schedule)):
            raise TypeError(f"ScheduledPolicy: give a function that returns a Policy, or a schedule of policies, got {make!r}")
        if isinstance(make, Schedule) and arguments:
            raise TypeError(f"ScheduledPolicy: a schedule of policies takes no arguments, got {', '.join(arguments)}")
        object.__setattr__(self, "make", make)
        object.__setattr__(self, "arguments", tuple((name, in_tuples(arguments[name])) for name in sorted(arguments)))
        epochs: set[int] = set()
        inner = (epoch for value in arguments.values() if isinstance(value, Policy) for epoch in value.changes)
        for epoch in sorted({*changes((make, self.arguments)), *inner}):
            with errors_name_epoch(epoch):
                found = self.made(epoch)
            if not epoch:
                for name in ("views", "name", "source"):
                    object.__setattr__(self, name, getattr(found.at(0), name))
            epochs |= {epoch, *found.changes}
        vars(self)["changes"] = tuple(sorted(epochs))

    @property
    def scheduled(self) -> bool:
        """True, even if all epochs have the same policy."""
        return True

    def made(self, epoch: int) -> Policy:
        """What the function, or the schedule of policies, gives for an epoch. It may have schedules itself."""
        if isinstance(self.make, Schedule):
            found = self.make.at(epoch)
        else:
            found = self.make(**{name: resolve(value, epoch) for name, value in self.arguments})
        if not isinstance(found, Policy):
            raise TypeError(f"ScheduledPolicy: there must be a Policy in every epoch, got {found!r}")
        count = len(vars(self).get("views", found))
        if len(found) != count:
            raise ValueError(f"ScheduledPolicy: every epoch must have {count} views, as epoch 0 has, got {len(found)}")
        return found

    def make_at(self, epoch: int) -> Policy:
        return self.made(epoch).at(epoch)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "changes": self.changes}

    def __repr__(self) -> str:
        first = repr(self.make) if isinstance(self.make, Schedule) else getattr(self.make, "__qualname__", repr(self.make))
        return f"ScheduledPolicy({', '.join([first, *(f'{name}={value!r}' for name, value in self.arguments)])})"

    def __str__(self) -> str:
        name = self.name or "policy"
        if isinstance(self.make, Schedule):
            lines = [name, *(shown_under(f"from epoch {epoch} on", str(self.made(epoch))) for epoch in self.make.changes())]
            return "\n".join(lines)
        head = name + f"\n  {self.source}" * bool(self.source)
        ends = {0: "epoch 0", self.changes[-1]: f"from epoch {self.changes[-1]} on"}
        return "\n".join(
            [head, f"  {self!r}", *(shown_under(words, str(self.made(e)).removeprefix(head)) for e, words in ends.items())]
        )


def shown_under(words: str, text: str) -> str:
    return f"  {words}:\n    " + text.strip("\n").replace("\n", "\n    ")
