"""Ops, views and policies with schedules: what they are in each epoch, and that their checks hold in all of them."""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.cases import examples
from test_round_trips import ANY, NAMES

import gpuaug
from gpuaug import (
    ColorJitter,
    GaussianBlur,
    Nested,
    OneOf,
    Policy,
    RandomGrayscale,
    RandomResizedCrop,
    Shared,
    SomeOf,
    View,
    cosine,
    linear,
    ops,
    steps,
)

EXAMPLES = {**examples(), OneOf: OneOf(GaussianBlur(5), RandomGrayscale(), p=0.5), SomeOf: SomeOf(1, GaussianBlur(5), p=0.5)}
SHARED = {Shared: Shared(ColorJitter(0.4), "jitter"), Nested: Nested(RandomResizedCrop(), 0)}
FIELDS = [(op, f.name) for op in [*EXAMPLES.values(), *SHARED.values()] for f in fields(op)]


@pytest.mark.parametrize(("op", "name"), FIELDS, ids=lambda value: value if isinstance(value, str) else type(value).__name__)
def test_any_argument_of_any_op_may_be_a_schedule(op: ops.Op, name: str) -> None:
    value = getattr(op, name)
    scheduled = replace(op, **{name: steps({0: value, 3: value})})
    assert scheduled.scheduled
    assert not op.scheduled
    assert scheduled != op
    for epoch in (0, 2, 3, 100):
        assert scheduled.at(epoch) == op
    assert eval(repr(scheduled), NAMES) == scheduled == pickle.loads(pickle.dumps(scheduled))
    assert hash(eval(repr(scheduled), NAMES)) == hash(scheduled)
    assert "steps({0: " in str(scheduled)
    try:
        replace(op, **{name: object()})
    except (TypeError, ValueError):  # what an op refuses, it also refuses as the value of some epoch
        with pytest.raises((TypeError, ValueError), match=r"object.*\(what a schedule gives at epoch 7\)$"):
            replace(op, **{name: steps({0: value, 7: object()})})


@settings(deadline=None, max_examples=60)
@given(ANY, ANY, st.integers(1, 20), st.integers(0, 30))
def test_an_op_of_an_epoch_is_the_one_with_the_values_of_that_epoch(one: ops.Op, other: ops.Op, last: int, epoch: int) -> None:
    """Schedules at any depth: the same op with each argument from one or the other."""
    kind = type(one)
    if type(other) is not kind or isinstance(one, (SomeOf, Shared, Nested, OneOf)):
        other = one
    first, second = ({f.name: getattr(op, f.name) for f in fields(op)} for op in (one, other))
    scheduled = kind(**{name: steps({0: first[name], last: second[name]}) for name in first})
    assert scheduled.at(epoch) == (one if epoch < last else other)


def test_numbers_follow_the_epoch() -> None:
    jitter = ColorJitter(linear((0.75, 1), (0.25, 2), 10), hue=(linear(0, -0.5, 10), 0.5), p=cosine(0, 1, 2))
    assert jitter.at(5) == ColorJitter((0.5, 1.5), hue=(-0.25, 0.5), p=1.0)
    assert jitter.at(0).at(99) == jitter.at(0)
    listed: Any = [linear(0, -0.5, 10), 0.5]
    assert hash(ColorJitter(hue=listed)) == hash(ColorJitter(hue=tuple(listed)))
    plain = ColorJitter(0.4)
    assert plain.at(5) is plain
    assert str(jitter).startswith("ColorJitter(brightness=linear((0.75, 1), (0.25, 2), 10), contrast=0")
    with pytest.raises(ValueError, match="epoch must be an integer >= 0, got -1"):
        jitter.at(-1)


def test_choices_have_schedules_in_weights_branches_and_below() -> None:
    inner = GaussianBlur(5, p=linear(0, 1, 4))
    one = OneOf(inner, (RandomGrayscale(), ColorJitter(linear(0, 0.4, 4))), weights=steps({0: (1, 0), 2: (1, 3)}))
    assert one.at(2) == OneOf(GaussianBlur(5, p=0.5), (RandomGrayscale(), ColorJitter(0.2)), weights=(1, 3))
    some = SomeOf(steps({0: 0, 2: (1, 2)}), inner, RandomGrayscale(), p=linear(1, 0, 4))
    assert some.at(2) == SomeOf((1, 2), GaussianBlur(5, p=0.5), RandomGrayscale(), p=0.5)
    grown = OneOf(branches=steps({0: (RandomGrayscale(),), 1: (RandomGrayscale(), (inner, inner))}))
    assert grown.at(0) == OneOf(RandomGrayscale())
    assert grown.at(4) == OneOf(RandomGrayscale(), (GaussianBlur(5, p=1.0),) * 2)
    swapped = OneOf(RandomGrayscale(), steps({0: ColorJitter(0.1), 3: (ColorJitter(0.2), inner)}))
    assert swapped.at(3) == OneOf(RandomGrayscale(), (ColorJitter(0.2), GaussianBlur(5, p=0.75)))
    for op in (one, some, grown, swapped):
        assert eval(repr(op), NAMES) == op
        assert hash(op) == hash(eval(repr(op), NAMES))
        assert str(op)
    with pytest.raises(ValueError, match=r"SomeOf: n must be an integer in 0\.\.1.*got 2 \(what a schedule gives at epoch 4\)"):
        SomeOf(steps({0: 1, 4: 2}), inner)
    with pytest.raises(ValueError, match=r"OneOf: branches must be ops that keep the size.*at epoch 4\)"):
        OneOf(steps({0: inner, 4: gpuaug.CenterCrop(8)}))


@dataclass(frozen=True)
class Settings:
    """An argument of a user's op that is data itself."""

    depth: int


@dataclass(frozen=True)
class Mine(gpuaug.Op):
    """A user's op with a check of its own, which a subclass extends."""

    amount: float
    settings: Settings = Settings(1)

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 1:
            raise ValueError(f"Mine: amount must be in [0, 1], got {self.amount}")


@dataclass(frozen=True)
class MineToo(Mine):
    more: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "more", str(self.more))


def test_ops_of_users_take_schedules_with_no_line_of_code() -> None:
    op = MineToo(linear(0, 1, 4), Settings(steps({0: 1, 2: 5})), more=7)
    assert op.at(2) == MineToo(0.5, Settings(5), more=7)
    with pytest.raises(ValueError, match=r"Mine: amount must be in \[0, 1\], got 1.5 \(what a schedule gives at epoch 3\)"):
        MineToo(linear(0, 2, 4))


def test_a_view_with_a_schedule_of_sizes_is_checked_in_every_epoch() -> None:
    view = View(steps({0: 16, 5: (24, 20)}), RandomResizedCrop(scale=linear((0.5, 1), (0.25, 1), 8)), GaussianBlur(5))
    assert view.at(4) == View(16, RandomResizedCrop(scale=(0.375, 1)), GaussianBlur(5))
    assert view.at(10) == View((24, 20), RandomResizedCrop(scale=(0.25, 1)), GaussianBlur(5))
    assert eval(repr(view), NAMES) == view
    assert str(view).splitlines()[0] == "steps({0: 16, 5: (24, 20)})"
    assert [type(step) for step in view.steps] == [RandomResizedCrop, GaussianBlur]
    with pytest.raises(ValueError, match=r"View: ops must end at 24x24, but they leave images at 16x16.*at epoch 5\)"):
        View(steps({0: 16, 5: 24}), RandomResizedCrop(16))
    with pytest.raises(
        ValueError, match=r"View: size must be a positive integer.*got 128.0 \(what a schedule gives at epoch 0"
    ):
        View(linear(128, 224, 60), RandomResizedCrop())
    own = View(8, RandomResizedCrop(size=steps({0: 16, 5: 24})), gpuaug.CenterCrop())
    assert own.at(5) == View(8, RandomResizedCrop(24), gpuaug.CenterCrop())
    with pytest.raises(TypeError, match="View: ops must be gpuaug ops, got steps"):
        View(8, steps({0: RandomResizedCrop()}))


@pytest.fixture
def policy() -> Policy:
    jitter = Shared(ColorJitter(linear(0.1, 0.9, 8), hue=0.1, p=linear(0.5, 1, 4)), "jitter")
    crop = RandomResizedCrop(scale=cosine((0.5, 1), (0.1, 1), 8))
    small = View(8, Nested(RandomResizedCrop(scale=linear((0.4, 0.5), (0.1, 0.5), 8))), jitter)
    return Policy(View(linear(16, 24, 8, step=4), crop, jitter, repeat=2), small, name="mine", source="here")


def test_draws_of_a_scheduled_policy_are_those_of_the_policy_of_the_epoch(policy: Policy) -> None:
    assert policy.scheduled
    assert len(policy) == 3
    for epoch in (0, 1, 3, 8, 50):
        plain = policy.at(epoch)
        assert not plain.scheduled
        assert plain.at(7) is plain
        assert (plain.name, plain.source) == ("mine", "here")
        drawn, alone = gpuaug.sample(policy, range(20), 3, epoch), gpuaug.sample(plain, range(20), 3, epoch)
        assert drawn.policy == plain
        for view in range(3):
            for name, values in alone.columns(view).items():
                np.testing.assert_array_equal(drawn.columns(view)[name], values)
    assert policy.at(8) == policy.at(50) != policy.at(7)
    assert eval(repr(policy), NAMES) == policy == pickle.loads(pickle.dumps(policy))
    assert hash(policy) == hash(eval(repr(policy), NAMES))
    assert "2 x linear(16, 24, 8, step=4)" in str(policy)
    assert "p=linear(0.5, 1, 4)" in str(policy)


def test_what_views_share_is_checked_in_every_epoch() -> None:
    key = steps({0: "a", 6: "b"})
    other = Shared(RandomGrayscale(), "b")
    with pytest.raises(ValueError, match=r"Policy: ops that share a key must be of one type, but 'b' has.*at epoch 6\)"):
        Policy(View(8, RandomResizedCrop(), Shared(ColorJitter(0.4), key)), View(8, RandomResizedCrop(), other))


def test_arguments_of_named_policies_may_be_schedules() -> None:
    policy = gpuaug.policy("simclr", size=steps({0: 32, 3: 64}), strength=linear(0.5, 1, 4))
    assert isinstance(policy, gpuaug.ScheduledPolicy)
    assert policy.at(2) == gpuaug.policy("simclr", size=32, strength=0.75)
    assert policy.at(9) == gpuaug.policy("simclr", size=64, strength=1.0)
    assert policy.views == policy.at(0).views
    assert policy.changes == (0, 1, 2, 3, 4)
    assert (policy.name, len(policy)) == ("simclr", 2)
    assert eval(repr(policy), NAMES) == policy == pickle.loads(pickle.dumps(policy))
    assert eval(repr(policy.at_size(48)), NAMES) == policy.at_size(48)
    assert hash(policy) == hash(pickle.loads(pickle.dumps(policy)))
    assert policy != policy.at(0)
    shown = str(policy)
    assert "ScheduledPolicy(policy, name='simclr', size=steps({0: 32, 3: 64}), strength=linear(0.5, 1, 4))" in shown
    assert shown.index("epoch 0:") < shown.index("2 x 32x32") < shown.index("from epoch 4 on:") < shown.index("2 x 64x64")
    with pytest.raises(ValueError, match=r"got 32.0 \(what a schedule gives at epoch 0\)"):
        gpuaug.policy("simclr", size=linear(32, 64, 5))


def test_a_scheduled_policy_is_made_anew_and_not_replaced() -> None:
    policy = gpuaug.policy("simclr", size=gpuaug.steps({0: 32, 2: 64}))
    with pytest.raises(TypeError, match=r"dataclasses\.replace cannot change one"):
        dataclasses.replace(policy, name="mine")
    assert dataclasses.replace(policy.at(2), name="mine") == policy.at(2)


def test_a_policy_per_epoch() -> None:
    grown = gpuaug.policy("byol", size=steps({0: 32, 3: 64}))
    view = View(16, RandomResizedCrop(), ColorJitter(linear(0, 1, 10)), repeat=2)
    both = gpuaug.ScheduledPolicy(steps({0: grown, 5: Policy(view)}))
    assert both.at(2) == gpuaug.policy("byol", size=32)
    assert both.at(4) == gpuaug.policy("byol", size=64)
    assert both.at(5) == Policy(view).at(5)
    assert both.at(99) == Policy(view).at(10)
    assert both == pickle.loads(pickle.dumps(both)) != gpuaug.ScheduledPolicy(steps({0: grown}))
    assert "from epoch 5 on:" in str(both)
    with pytest.raises(ValueError, match=r"every epoch must have 2 views, as epoch 0 has, got 10 .*at epoch 5\)"):
        gpuaug.ScheduledPolicy(steps({0: grown, 5: gpuaug.policy("dino")}))
    with pytest.raises(TypeError, match=r"must be a Policy in every epoch, got 3 .*at epoch 5\)"):
        gpuaug.ScheduledPolicy(steps({0: grown, 5: 3}))
    with pytest.raises(TypeError, match="give a function that returns a Policy, or a schedule of policies, got 3"):
        gpuaug.ScheduledPolicy(3)
    with pytest.raises(TypeError, match="a schedule of policies takes no arguments, got size"):
        gpuaug.ScheduledPolicy(steps({0: grown}), size=3)


@pytest.mark.parametrize("backend", ["auto", "batched", "torchvision"])
def test_an_augmenter_makes_the_views_of_the_draws_epoch(policy: Policy, backend: str) -> None:
    images = torch.randint(0, 256, (5, 3, 30, 34), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augment = gpuaug.Augmenter(policy, backend)
    augment.prepare()
    for epoch in (0, 3, 4, 8, 20, 0):
        draws = gpuaug.sample(policy, range(5), 1, epoch)
        alone = gpuaug.Augmenter(policy.at(epoch), backend)(images, draws)
        out = augment.empty(5, epoch=epoch)
        for view, other, again in zip(augment(images, draws), alone, augment(images, draws, out), strict=True):
            assert torch.equal(view, other)
            assert torch.equal(view, again)
        assert all(a is b for a, b in zip(augment(images, draws, out), out, strict=True))
    assert augment.at(20) is augment.at(8) is augment.at(100)
    assert augment.at(3).policy == policy.at(3)
    assert pickle.loads(pickle.dumps(augment)).at(3).policy == policy.at(3)
    plain = gpuaug.Augmenter(policy.at(3), backend)
    assert plain.at(5) is plain
    with pytest.raises(ValueError, match="the draws were made from another policy"):
        augment(images, replace(gpuaug.sample(policy, range(5), 1, 3), epoch=4))
    with pytest.raises(ValueError, match="the draws were made from another policy"):
        plain(images, gpuaug.sample(policy, range(5), 1, 4))


def test_an_augmenter_shows_the_first_and_the_last_plan_and_keeps_few(policy: Policy) -> None:
    augment = gpuaug.Augmenter(policy, "torchvision")
    shown = str(augment)
    assert shown.index("epoch 0:") < shown.index("2 x 16x16") < shown.index("epoch 8:") < shown.index("2 x 24x24")
    for epoch in range(9):
        augment.at(epoch)
    assert len(augment.latest) <= 4


def test_a_plan_that_an_epoch_lacks_is_missed_at_once() -> None:
    crop = View(16, RandomResizedCrop())
    later = Policy(View(16, RandomResizedCrop(), Mine(0.5)))
    with pytest.raises(ValueError, match=r"no backend of .* has Mine.*\(what a schedule gives at epoch 12\)"):
        gpuaug.Augmenter(gpuaug.ScheduledPolicy(steps({0: Policy(crop), 12: later})))


def test_boxes_move_with_the_views_of_their_epoch(policy: Policy) -> None:
    torchvision = pytest.importorskip("torchvision")
    boxes = torchvision.tv_tensors.BoundingBoxes(torch.tensor([[3, 4, 20, 22]]), format="XYXY", canvas_size=(30, 34))
    draws = gpuaug.sample(policy, [4], 1, 6)
    images = torch.zeros(1, 3, 30, 34, dtype=torch.uint8)
    _, moved = gpuaug.Augmenter(policy)(images, draws, targets=[{"boxes": boxes}])
    _, alone = gpuaug.Augmenter(policy.at(6))(images, draws, targets=[{"boxes": boxes}])
    assert [target[0]["boxes"].tolist() for target in moved] == [target[0]["boxes"].tolist() for target in alone]
    assert moved[0][0]["boxes"].canvas_size == (24, 24)


def test_a_contact_sheet_has_the_views_of_each_epoch(policy: Policy, tmp_path: Any) -> None:
    from gpuaug.gallery import contact_sheet

    images = [np.full((30, 34, 3), 99, np.uint8)]
    contact_sheet(policy, images, tmp_path / "scheduled.png", draws=3)
    contact_sheet(policy.at(0), images, tmp_path / "first.png", draws=3)
    assert (tmp_path / "scheduled.png").read_bytes() != (tmp_path / "first.png").read_bytes()


def test_a_graph_of_dali_has_no_epochs(policy: Policy) -> None:
    with pytest.raises(ValueError, match=r"dali_pipeline: .*has schedules; give that of an epoch, policy.at\(epoch\)"):
        gpuaug.dali_pipeline(policy, "folder", 4)
