"""Draws as tensors: `vector`, `relative` and its inverse, `overlap` and `strength`, for random policies and images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from parity.cases import CROPS, MAPS

import gpuaug
from gpuaug.ops import Op
from gpuaug.ops.automatic.ops import Automatic
from gpuaug.sampling.tensors.columns import FLOOR
from gpuaug.sampling.tensors.relative import union

COUNT = 6
OPS: st.SearchStrategy[Op] = st.sampled_from([op for name, op in MAPS.items() if name != "ToDtype"])
BRANCHES: st.SearchStrategy[list[list[Op]]] = st.lists(st.lists(OPS, max_size=2), min_size=1, max_size=3)
CHOICES = BRANCHES.map(lambda b: gpuaug.OneOf(*b, p=0.8)) | BRANCHES.map(lambda b: gpuaug.SomeOf((0, len(b)), *b))
FLIP_BOTH: list[Op] = [gpuaug.RandomVerticalFlip(), gpuaug.RandomHorizontalFlip()]
FLIPS: st.SearchStrategy[list[Op]] = st.sampled_from([[], FLIP_BOTH[1:], FLIP_BOTH])
"""Before the crops."""


@st.composite
def views(draw: st.DrawFn) -> gpuaug.View:
    """A view of 64 x 64 pixels out of one or two crops and up to four ops or choices."""
    crops = [op for name in draw(st.lists(st.sampled_from(list(CROPS)), min_size=1, max_size=2)) for op in CROPS[name]]
    return gpuaug.View(64, *draw(FLIPS), *crops, *draw(st.lists(OPS | CHOICES, max_size=4)))


@st.composite
def some_draws(draw: st.DrawFn) -> gpuaug.Draws:
    """Draws of two views, which may have different ops."""
    first = draw(views())
    policy = gpuaug.Policy(first, draw(st.just(first) | views()))
    edges = st.integers(1, 300)
    shapes = draw(st.lists(st.tuples(edges, edges), min_size=COUNT, max_size=COUNT))
    return gpuaug.sample(policy, range(COUNT), seed=draw(st.integers(0, 2**32))).with_shapes(np.array(shapes))


def shaped(policy: gpuaug.Policy, count: int = 64, seed: int = 0, epoch: int = 0) -> gpuaug.Draws:
    shapes = np.random.default_rng(seed).integers(30, 300, (count, 2))
    return gpuaug.sample(policy, range(count), seed=seed, epoch=epoch).with_shapes(shapes)


def named(draws: gpuaug.Draws, view: int = 0, normalize: bool = False) -> dict[str, torch.Tensor]:
    return dict(zip(draws.vector_names(view), draws.vector(view, normalize).T, strict=True))


def single(*ops: Any, size: int = 32) -> gpuaug.Policy:
    return gpuaug.Policy(gpuaug.View(size, gpuaug.RandomResizedCrop(), *ops))


def check_algebra(draws: gpuaug.Draws, i: int, j: int) -> None:
    """Every law that `relative` promises."""
    r, back = draws.relative(i, j), draws.relative(j, i)
    names, columns = draws.relative_names(i, j), union(draws, i, j)
    assert r.dtype == torch.float32
    assert r.shape == (len(draws), len(names))
    assert torch.isfinite(r).all()
    assert (draws.relative(i, i) == 0).all()
    order = [draws.relative_names(j, i).index(name) for name in names]
    for k, (name, column) in enumerate(columns.items()):
        forth, other = r[:, k], back[:, order[k]]
        if column.rule == "exclusive or":
            assert torch.equal(other, forth), name
        elif column.rule == "offset":
            torch.testing.assert_close(other, -forth / r[:, k + 2].exp(), rtol=1e-4, atol=1e-4)
        else:
            torch.testing.assert_close(other, -forth, rtol=0, atol=0)
    expected = draws.vector(j, normalize=False)
    for k, name in enumerate(draws.vector_names(j)):
        if columns[name].rule == "log-ratio":
            expected[:, k] = expected[:, k].clamp(min=FLOOR)
    torch.testing.assert_close(draws.compose(i, r, j), expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None)
@given(some_draws())
def test_relative_is_an_algebra(draws: gpuaug.Draws) -> None:
    check_algebra(draws, 0, 1)
    check_algebra(draws, 1, 0)


@settings(deadline=None)
@given(some_draws())
def test_vectors_and_strengths_are_in_their_ranges(draws: gpuaug.Draws) -> None:
    for view in (0, 1):
        names, x = draws.vector_names(view), draws.vector(view)
        assert x.dtype == torch.float32
        assert x.shape == (COUNT, len(names)) == (COUNT, len(set(names)))
        assert torch.isfinite(draws.vector(view, normalize=False)).all()
        assert (x[:, 5:].abs() <= 1 + 1e-5).all()
        found = draws.strength(view)
        assert all(s.dtype == torch.float32 and s.shape == (COUNT,) and ((s >= 0) & (s <= 1)).all() for s in found.values())
        applied = named(draws, view)
        for label, s in found.items():
            assert label == "crop" or (s[applied[f"{label}.apply"] == 0] == 0).all()
        assert torch.equal(draws.overlap(view, view), torch.ones(COUNT))
    both = draws.overlap(0, 1)
    assert torch.equal(both, draws.overlap(1, 0))
    assert ((both >= 0) & (both <= 1)).all()


@settings(deadline=None)
@given(some_draws(), st.lists(st.integers(-COUNT, COUNT - 1), max_size=8))
def test_a_row_depends_on_its_sample_alone(draws: gpuaug.Draws, rows: list[int]) -> None:
    part = draws.take(rows)
    assert torch.equal(part.vector(0), draws.vector(0)[rows])
    assert torch.equal(part.relative(0, 1), draws.relative(0, 1)[rows])
    assert torch.equal(part.overlap(0, 1), draws.overlap(0, 1)[rows])
    assert all(torch.equal(s, draws.strength(1)[label][rows]) for label, s in part.strength(1).items())


def ramps(shapes: Any) -> list[np.ndarray[Any, Any]]:
    """Images whose red says how far down a pixel is, and whose green how far right, from 0 to 255."""
    images = []
    for height, width in shapes:
        y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
        image = np.stack([np.broadcast_to(y[:, None], (height, width)), np.broadcast_to(x, (height, width))], axis=-1)
        images.append(np.concatenate([image, image[..., :1]], axis=-1) * 255)
    return [np.rint(image).astype(np.uint8) for image in images]


def hidden_by_black(op: Op) -> Op:
    """The padding of a second crop may lie where the picture would be, had the first crop not cut it off."""
    return replace(op, padding_mode="constant", fill=0) if isinstance(op, gpuaug.RandomCrop) else op


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(list(CROPS)), min_size=1, max_size=2),
    FLIPS,
    st.lists(st.tuples(st.integers(40, 200), st.integers(40, 200)), min_size=4, max_size=4),
    st.integers(0, 1000),
)
@example(["RandomCrop, padding wider than the view", "RandomCrop constant"], FLIP_BOTH, [(40, 40)] * 4, 0)
def test_the_box_is_where_the_pixels_of_the_view_come_from(
    names: list[str], flips: list[Op], shapes: list[tuple[int, int]], seed: int
) -> None:
    first, *second = ([*CROPS[name], *flips] for name in names)
    steps = first + [hidden_by_black(step) for part in second for step in part]
    policy = gpuaug.Policy(gpuaug.View(64, *flips, *steps))
    draws = gpuaug.sample(policy, range(4), seed=seed).with_shapes(np.array(shapes))
    (pixels,) = gpuaug.Augmenter(policy, backend="batched")(gpuaug.Images.from_list(ramps(shapes)), draws)
    numbers = named(draws)
    for row in range(4):
        inside, errors = np.ones((64, 64), dtype=bool), []
        for axis, (first, extent, kind) in enumerate(
            (("top", "height", gpuaug.RandomVerticalFlip), ("left", "width", gpuaug.RandomHorizontalFlip))
        ):
            place = (np.arange(64) + 0.5) / 64
            drawn = zip(policy.views[0].steps, draws.tables[0], strict=True)
            if sum(bool(table["apply"][row]) for step, table in drawn if type(step) is kind) % 2:
                place = place[::-1]
            where = numbers[f"crop.{first}"][row].item() + place * numbers[f"crop.{extent}"][row].item()
            predicted = np.broadcast_to(where[:, None] if axis == 0 else where, (64, 64))
            inside &= (predicted > 0.05) & (predicted < 0.95)
            errors.append(np.abs(pixels[row, axis].numpy() - predicted))
        black = pixels[row, :2].sum(dim=0).numpy() == 0  # padding
        for error in errors:
            assert not (inside & ~black).any() or np.median(error[inside & ~black]) < 0.03


@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 1000))
def test_overlap_counts_pixels(height: int, width: int, seed: int) -> None:
    policy = gpuaug.Policy(
        gpuaug.View(16, gpuaug.RandomResizedCrop()), gpuaug.View(24, gpuaug.RandomCrop(padding=12, pad_if_needed=True))
    )
    draws = gpuaug.sample(policy, range(4), seed=seed).with_shapes([(height, width)] * 4)
    masks = np.zeros((2, 4, height, width), dtype=bool)
    for view in (0, 1):
        op: Any = policy.views[view].steps[0]
        boxes = op.boxes(draws.tables[view][0], np.full(4, height), np.full(4, width))
        for row, (top, left, h, w) in enumerate(boxes.tolist()):
            masks[view, row, max(top, 0) : max(top + h, 0), max(left, 0) : max(left + w, 0)] = True
    one, other = masks
    both, either = (one & other).sum(axis=(1, 2)), (one | other).sum(axis=(1, 2))
    assert draws.overlap(0, 1).numpy() == pytest.approx(both / np.maximum(either, 1), abs=1e-6)
    assert draws.strength(1)["crop"].numpy() == pytest.approx(1 - other.mean(axis=(1, 2)), abs=1e-6)


def test_a_nested_crop_lies_in_its_outer_one() -> None:
    crop = gpuaug.RandomResizedCrop(scale=(0.3, 0.6))
    policy = gpuaug.Policy(gpuaug.View(32, crop), gpuaug.View(16, gpuaug.Nested(crop, within=0)))
    draws = shaped(policy)
    top, left, height, width, _ = draws.relative(0, 1).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height.exp() <= 1 + 1e-5).all()
    assert (left + width.exp() <= 1 + 1e-5).all()
    assert torch.allclose(draws.overlap(0, 1), (height + width).exp(), atol=1e-6)


def test_chosen_and_joined_draws_keep_their_vectors() -> None:
    view = gpuaug.View(32, gpuaug.RandomResizedCrop(), gpuaug.OneOf(gpuaug.JPEG((5, 95)), gpuaug.GaussianBlur(3)), repeat=3)
    draws = shaped(gpuaug.Policy(view), 9)
    choice = np.arange(9) % 3
    chosen = draws.take(0, choice)
    expected = torch.stack([draws.vector(v) for v in range(3)])[choice, np.arange(9)]
    assert torch.equal(chosen.vector(0), expected)
    assert torch.equal(gpuaug.concat([draws[:4], draws[4:]], axis="rows").relative(0, 2), draws.relative(0, 2))


@pytest.mark.parametrize("name", gpuaug.policies)
def test_every_named_policy_has_vectors_for_every_pair_of_views(name: str) -> None:
    draws = shaped(gpuaug.policy(name, size=64), 20)
    for i in range(len(draws.policy)):
        for j in range(len(draws.policy)):
            check_algebra(draws, i, j)


@pytest.mark.parametrize("kind", [gpuaug.ColorJitter, gpuaug.RandomAffine, gpuaug.RandomPerspective, gpuaug.RandomSolarize])
def test_names_do_not_depend_on_arguments(kind: Any) -> None:
    given: dict[Any, Any] = {
        gpuaug.ColorJitter: ({}, {"brightness": 0.4, "hue": 0.1, "p": 0.5}),
        gpuaug.RandomAffine: ({"degrees": 0}, {"degrees": 9, "translate": (0.1, 0.1), "scale": (1, 2), "shear": (1, 2, 3, 4)}),
        gpuaug.RandomPerspective: ({"distortion_scale": 0}, {"p": 1.0}),
        gpuaug.RandomSolarize: ({"threshold": 1.0}, {}),
    }
    weak, strong = (shaped(single(kind(**arguments)), seed=k, epoch=k) for k, arguments in enumerate(given[kind]))
    assert weak.vector_names(0) == strong.vector_names(0)
    of_op = [name for name in weak.vector_names(0) if name.startswith(kind.__name__) and not name.endswith(".apply")]
    drawn = named(weak, normalize=True)
    assert all((drawn[name] == 0).all() for name in of_op if ".place." not in name)  # as there is no range to scale by
    assert (weak.strength(0)[kind.__name__] == 0).all()
    assert (strong.strength(0)[kind.__name__] > 0).any()


def test_normalized_columns_are_shares_of_the_largest_change() -> None:
    jitter = gpuaug.ColorJitter(0.4, (0.5, 3.0), 2.0, (-0.1, 0.3), p=0.7)
    draws = shaped(
        single(gpuaug.RandomHorizontalFlip(), jitter, gpuaug.GaussianBlur(9, (0.1, 2.0)), gpuaug.GaussianBlur(5, (0.5, 0.5)))
    )
    raw, scaled = named(draws), named(draws, normalize=True)
    columns = draws.columns(0)
    applied = columns["ColorJitter.apply"]
    for part, neutral, far in (("brightness", 1, 0.4), ("contrast", 1, 2), ("saturation", 1, 2), ("hue", 0, 0.3)):
        value = np.where(applied, columns[f"ColorJitter.{part}"], neutral)
        assert raw[f"ColorJitter.{part}"].numpy() == pytest.approx(value, abs=1e-6)
        assert scaled[f"ColorJitter.{part}"].numpy() == pytest.approx((value - neutral) / far, abs=1e-6)
    assert torch.equal(raw["ColorJitter.apply"], torch.from_numpy(applied).float())
    blurred = columns["GaussianBlur.apply"] * columns["GaussianBlur.sigma"]
    assert scaled["GaussianBlur.sigma"].numpy() == pytest.approx(blurred / 2, abs=1e-6)
    assert torch.equal(scaled["GaussianBlur#2.sigma"], torch.from_numpy(columns["GaussianBlur#2.apply"]).float())
    assert torch.equal(scaled["crop.top"], raw["crop.top"])
    parts = [scaled[f"ColorJitter.{part}"].abs() for part in ("brightness", "contrast", "saturation", "hue")]
    assert torch.allclose(draws.strength(0)["ColorJitter"], torch.stack(parts).mean(dim=0), atol=1e-6)


def test_places_are_those_of_the_order() -> None:
    draws = shaped(single(gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1)))
    places = torch.stack(
        [named(draws)[f"ColorJitter.place.{part}"] for part in ("brightness", "contrast", "saturation", "hue")]
    )
    for row, order in enumerate(draws.columns(0)["ColorJitter.order"]):
        assert places[:, row].argsort().tolist() == gpuaug.ops.color.ORDERS[order].tolist()


def test_a_branch_has_a_flag() -> None:
    some = gpuaug.SomeOf((0, 2), gpuaug.RandomInvert(), [], gpuaug.JPEG(9), p=0.9)
    draws = shaped(single(gpuaug.OneOf(gpuaug.RandomGrayscale(), [some, gpuaug.RandomInvert(1.0)])))
    numbers, (one, several) = named(draws), draws.choices(0)
    for branch in (0, 1):
        assert np.array_equal(numbers[f"OneOf.{branch}"], one["branch"] == branch)
    for branch in (0, 1, 2):
        assert np.array_equal(numbers[f"SomeOf.{branch}"], (several["branches"] == branch).any(axis=1))
    assert torch.equal(numbers["RandomInvert#2.apply"], numbers["OneOf.1"])


AUTOMATIC = {name: op for name, op in MAPS.items() if isinstance(op, Automatic) and name != "AugMix of few ops"}


@pytest.mark.parametrize("name", AUTOMATIC)
def test_a_slot_says_its_function_and_how_much_of_it(name: str) -> None:
    op: Any = AUTOMATIC[name]
    label = type(op).__name__
    draws = shaped(single(op), 3000)
    raw, scaled, columns = named(draws), named(draws, normalize=True), draws.columns(0)
    largest = np.zeros(len(gpuaug.ops.KINDS))
    for slot in range(op.slots):
        flags = torch.stack([raw[f"{label}.{slot}.{kind}"] for kind in gpuaug.ops.KINDS], dim=1)
        code = columns[f"{label}.op"][:, slot]
        assert torch.equal(flags, torch.nn.functional.one_hot(torch.from_numpy(code).long(), flags.shape[1]).float())
        assert torch.equal(raw[f"{label}.{slot}.magnitude"], torch.from_numpy(columns[f"{label}.magnitude"][:, slot]))
        np.maximum.at(largest, code, scaled[f"{label}.{slot}.magnitude"].abs().numpy())
    measured = [k for k in np.unique(columns[f"{label}.op"]) if largest[k] > 0]
    assert measured
    assert largest.max() <= 1 + 1e-5
    # The levels that timm draws from a normal distribution are clipped far away from most of them.
    assert largest[measured] == pytest.approx(1, abs=0.35 if "Timm" in name else 0.02)


def test_changed_tables_count() -> None:
    draws = shaped(gpuaug.policy("simclr", size=32), 8)
    before = draws.vector(0)
    crop, jitter = draws.tables[0][0], draws.tables[0][2]
    jitter["apply"][:], jitter["brightness"][:] = True, 1.8
    crop["area"][:], crop["log_ratio"][:] = 0.25, 0.0
    numbers = named(draws)
    assert torch.equal(numbers["ColorJitter.brightness"], torch.full((8,), 1.8))
    assert not torch.equal(draws.vector(0), before)
    same = replace(draws, tables=tuple([dict(step) for step in view] for view in draws.tables))
    assert torch.equal(same.vector(0), draws.vector(0))
    assert torch.equal(same.relative(0, 1), draws.relative(0, 1))


def test_strength_is_one_at_the_strongest_that_arguments_allow() -> None:
    ops = [gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1), gpuaug.GaussianBlur(5), gpuaug.JPEG((20, 90)), gpuaug.RandomErasing(1.0)]
    policy = single(*ops, gpuaug.RandomChannelPermutation(), gpuaug.RandomAffine(30, scale=(0.5, 1.2)), gpuaug.Cutout(8))
    draws = shaped(policy, 4)
    _, jitter, blur, jpeg, erasing, channels, affine, cutout = draws.tables[0]
    for part in ("brightness", "contrast", "saturation"):
        jitter[part][:] = 0.6
    jitter["hue"][:], blur["sigma"][:], jpeg["quality"][:] = -0.1, 2.0, 20
    erasing["apply"][:], erasing["area"][:], erasing["log_ratio"][:] = True, 0.33, 0.0
    channels["channels"][:], affine["angle"][:], affine["scale"][:] = (1, 2, 0), 30, 0.5
    cutout["row"][:], cutout["column"][:] = 0.5, 0.5
    blur["apply"][:] = True
    found = draws.strength(0)
    del found["crop"]
    assert found.pop("RandomErasing").numpy() == pytest.approx(1, abs=0.06)  # whole pixels
    assert len(found) == 6
    assert all(torch.allclose(s, torch.ones(4), atol=1e-5) for s in found.values())


@dataclass(frozen=True)
class Dropped(Op):
    """An op of a user."""

    p: float = 0.5
    uniforms: ClassVar[int] = 4

    def draw(self, u: Any) -> dict[str, Any]:
        return {
            "share": u[:, 0],
            "pair": u[:, 1:3],
            "key": (u * 2**32).astype(np.uint32),
            "field": np.zeros((len(u), 2, 2)),
            "word": np.full(len(u), "x"),
        }


def test_an_op_of_a_user_has_its_numbers() -> None:
    draws = shaped(single(Dropped()))
    assert draws.vector_names(0)[5:] == ("Dropped.apply", "Dropped.share", "Dropped.pair.0", "Dropped.pair.1")
    columns, applied = draws.columns(0), draws.columns(0)["Dropped.apply"]
    assert named(draws)["Dropped.pair.1"].numpy() == pytest.approx(np.where(applied, columns["Dropped.pair"][:, 1], 0))
    assert torch.equal(draws.strength(0)["Dropped"], torch.from_numpy(applied).float())


@dataclass(frozen=True)
class Half(Op):
    """A user's op that keeps the upper left quarter of an image of one size."""

    def output_size(self, size: Any) -> Any:
        return None if size is None else (size[0] // 2, size[1] // 2)


class HalfWithBoxes(Half):
    def boxes(self, draws: Any, height: Any, width: Any) -> Any:
        return np.stack([0 * height, 0 * width, height // 2, width // 2], axis=1)


def test_the_box_of_a_users_crop() -> None:
    with pytest.raises(ValueError, match=r"which part of an image Half shows is not known; .* boxes"):
        shaped(gpuaug.Policy(gpuaug.View(16, gpuaug.Resize((32, 32)), Half()))).vector(0)
    draws = shaped(gpuaug.Policy(gpuaug.View(16, gpuaug.Resize((32, 32)), HalfWithBoxes())))
    assert draws.vector(0)[0, :4].tolist() == [0, 0, 0.5, 0.5]


def test_what_is_refused() -> None:
    policy = gpuaug.Policy(gpuaug.View(8, gpuaug.RandomResizedCrop()), gpuaug.View(8, gpuaug.CenterCrop(), gpuaug.JPEG(9)))
    plain = gpuaug.sample(policy, range(3))
    for call in (lambda: plain.vector(0), lambda: plain.relative(0, 1), lambda: plain.overlap(0, 1), lambda: plain.strength(1)):
        with pytest.raises(ValueError, match=r"use draws.with_shapes\(images\)"):
            call()
    draws = plain.with_shapes([(9, 9)] * 3)
    with pytest.raises(IndexError, match=r"view must be an integer in 0..1, got 2"):
        draws.relative(0, 2)
    with pytest.raises(ValueError, match=r"relative must be \(3, 5\), .* got \(3, 7\)"):
        draws.compose(0, draws.relative(0, 1))
    assert torch.equal(draws.vector(-1), draws.vector(1))


@pytest.mark.parametrize("name", [name for name in MAPS if name != "ToDtype"])
def test_an_empty_batch_has_tensors(name: str) -> None:
    empty = gpuaug.sample(single(gpuaug.SomeOf(1, MAPS[name]), MAPS[name], size=64), []).with_shapes(np.empty((0, 2), int))
    columns = len(empty.vector_names(0))
    assert empty.vector(0).shape == empty.relative(0, 0).shape == (0, columns)
    assert empty.overlap(0, 0).shape == empty.strength(0)["crop"].shape == (0,)
