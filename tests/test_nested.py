"""A nested crop lies in the box of the crop around it, is distributed in it as a crop is in an image, and backends agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision import tv_tensors

import gpuaug
from gpuaug import Augmenter, Images, Nested, Policy, RandomHorizontalFlip, RandomResizedCrop, Shared, View
from gpuaug.gallery import caption

SHARE = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)).map(lambda pair: (min(pair), max(pair)))
RATIO = st.tuples(st.floats(0.01, 100.0), st.floats(0.01, 100.0)).map(lambda pair: (min(pair), max(pair)))
CROP = st.builds(RandomResizedCrop, st.none(), SHARE, RATIO)
SIDES = st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=20)


def boxes_of(policy: Policy, shapes: np.ndarray[Any, Any], seed: int) -> list[np.ndarray[Any, Any]]:
    """The boxes (B, 4) of the first crop of every view."""
    draws = gpuaug.sample(policy, range(len(shapes)), seed=seed)
    crops: list[Any] = [view.steps[0] for view in policy.views]
    return [crop.boxes(table[0], *shapes.T) for crop, table in zip(crops, draws.tables, strict=True)]


@settings(deadline=None, max_examples=300)
@given(CROP, CROP, st.booleans(), SIDES, st.integers(0, 2**64 - 1))
def test_a_nested_box_is_inside_the_other(
    outer: RandomResizedCrop, inner: RandomResizedCrop, shared: bool, sides: list[tuple[int, int]], seed: int
) -> None:
    policy = Policy(
        View(8, Nested(Shared(inner, "a") if shared else inner, 1)), View(8, Shared(outer, "b") if shared else outer)
    )
    found, around = boxes_of(policy, np.array(sides), seed)
    assert found.dtype == np.int32
    assert (found[:, :2] >= around[:, :2]).all()
    assert (found[:, :2] + found[:, 2:] <= around[:, :2] + around[:, 2:]).all()
    assert (found[:, 2:] >= 1).all()


@settings(deadline=None, max_examples=200)
@given(
    st.floats(0.05, 0.5),
    st.floats(0.5, 2.0),
    st.lists(st.tuples(st.integers(40, 5000), st.integers(40, 5000)), min_size=1, max_size=20),
)
def test_the_area_is_a_share_of_the_other_box_up_to_rounding(share: float, ratio: float, sides: list[tuple[int, int]]) -> None:
    """Each side is rounded to whole pixels, so the area is off by at most half of either side and a quarter. A box that is too
    wide or too high for the other one is the largest of its aspect that fits."""
    outer, inner = RandomResizedCrop(scale=(0.3, 1.0)), RandomResizedCrop(scale=(share, share), ratio=(ratio, ratio))
    around, (_, _, h, w) = (b.T for b in boxes_of(Policy(View(8, outer), View(8, Nested(inner))), np.array(sides), 3))
    area = share * around[2] * around[3]
    exact_w, exact_h = np.sqrt(area * ratio), np.sqrt(area / ratio)
    fits = (np.rint(exact_w) <= around[3]) & (np.rint(exact_h) <= around[2])
    assert (np.abs(h * w - area) <= 0.51 * (exact_w + exact_h) + 0.3)[fits].all()
    assert (h * w <= area + 0.51 * (exact_w + exact_h) + 0.3).all()


def test_a_nested_crop_is_drawn_as_in_an_image_of_the_size_of_the_other_box() -> None:
    policy = Policy(View(8, RandomResizedCrop()), View(8, Nested(RandomResizedCrop(scale=(0.1, 0.5)))))
    alone = Policy(View(8, RandomResizedCrop()), View(8, RandomResizedCrop(scale=(0.1, 0.5))))
    shapes = np.tile([3000, 4000], (20_000, 1))
    around, found = boxes_of(policy, shapes, 5)
    assert np.array_equal(boxes_of(alone, around[:, 2:], 5)[1], found - np.pad(around[:, :2], ((0, 0), (0, 2))))
    share = found[:, 2] * found[:, 3] / (around[:, 2] * around[:, 3])
    assert stats.kstest(share, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-4


CROP_INSIDE = RandomResizedCrop(scale=(0.2, 0.6), interpolation="bicubic")
POLICY = Policy(
    View(24, Nested(CROP_INSIDE, 2), RandomHorizontalFlip(1.0)),
    View((20, 30), Nested(Shared(CROP_INSIDE, "inner"), 2)),
    View(32, RandomResizedCrop(scale=(0.3, 0.8))),
)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((60, 80), (31, 200), (9, 7), (1, 1))]


@pytest.mark.parametrize("backend", ["fused", "batched", "kornia", "dali", "torchvision"])
def test_a_view_is_that_of_its_box(backend: str, pictures: list[np.ndarray[Any, Any]]) -> None:
    """The same view comes from the box cut out beforehand and resized whole."""
    draws = gpuaug.sample(POLICY, range(len(pictures)), seed=2)
    images = Images.from_list(pictures)
    made = Augmenter(POLICY, backend)(images, draws)
    boxes = boxes_of(POLICY, images.shapes, 2)
    for view, box, found in zip(POLICY.views, boxes, made, strict=True):
        whole = Policy(View(view.size, gpuaug.Resize(view.size, view.steps[0].interpolation), *view.ops[1:]))  # type: ignore[attr-defined]
        cut = [p[t : t + h, x : x + w] for p, (t, x, h, w) in zip(pictures, box.tolist(), strict=True)]
        (expected,) = Augmenter(whole, "torchvision")(cut, gpuaug.sample(whole, range(len(cut))))
        assert (found - expected).abs().max() <= 5e-3


def test_targets_and_captions_follow_the_nested_box(pictures: list[np.ndarray[Any, Any]]) -> None:
    """A mask that counts pixels shows the corner of the box; the caption names it."""
    draws = gpuaug.sample(POLICY, range(len(pictures)), seed=2)
    shapes = np.array([p.shape[:2] for p in pictures])
    boxes = boxes_of(POLICY, shapes, 2)
    targets = [tv_tensors.Mask(torch.arange(h * w).reshape(h, w).to(torch.int32)) for h, w in shapes.tolist()]
    moved = gpuaug.transform_targets(targets, draws)
    for v, view in enumerate(POLICY.views):
        for k, (top, left, height, width) in enumerate(boxes[v].tolist()):
            seen = moved[v][k].flip(-1) if v == 0 else moved[v][k]
            rows, columns = seen // shapes[k, 1], seen % shapes[k, 1]
            assert rows.min() >= top
            assert rows.max() < top + height
            assert columns.min() >= left
            assert columns.max() < left + width
            size = (int(shapes[k, 0]), int(shapes[k, 1]))
            assert caption(draws, v, k, size)[0] == f"crop {height}x{width} at {top},{left}"
        assert view.size == moved[v][0].shape[-2:]


def test_changed_draws_of_a_nested_crop_must_stay_inside(pictures: list[np.ndarray[Any, Any]]) -> None:
    draws = gpuaug.sample(POLICY, range(len(pictures)), seed=2)
    draws.tables[0][0]["outer_top"][:] = -1
    with pytest.raises(ValueError, match="top and left must be in"):
        Augmenter(POLICY, "fused")(pictures, draws)
