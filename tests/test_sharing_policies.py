"""DINOv3's policies and those of arXiv 2406.09294 do what their sources say, measured on draws, as in test_catalog.

DINOv3: `augmentations.py` and `transforms.py`, `dinov3_vit7b16_pretrain.yaml` and `dinov3_vit7b16_gram_anchor.yaml`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_catalog import COUNT, IMAGENET, Step, assert_does, blur, crop, gray, jitter, solarize

import gpuaug
from gpuaug import Augmenter, Nested, Normalize, RandomCrop, RandomResizedCrop, Shared, policy, sample

COLORS = [jitter(0.4, 0.4, 0.2, 0.1, p=0.8), gray()]
WHOLE, PART = crop(0.32, 1.0, "bicubic"), crop(0.05, 0.32, "bicubic")
ALL_OFF: dict[str, Any] = {"gram_size": None, "share_color_jitter": False, "nested": False}


@pytest.mark.parametrize(
    ("name", "blurs"),
    [("dinov3", (blur(1.0, 9), blur(0.1, 9), blur(0.5, 9))), ("dinov3_as_trained", (None, blur(0.9, 9), blur(0.5, 9)))],
)
def test_dinov3(name: str, blurs: tuple[Step | None, Step, Step]) -> None:
    """Two global views and eight local ones, without flips; as trained, the first is never blurred (its issue 286)."""
    first, second, small = blurs
    assert_does(
        policy(name),
        [
            (1, 256, [WHOLE, *COLORS, *([first] if first else []), IMAGENET]),
            (1, 256, [WHOLE, *COLORS, second, solarize(0.2), IMAGENET]),
            (8, 112, [PART, *COLORS, small, IMAGENET]),
        ],
    )
    assert policy(name, **ALL_OFF) == policy(name)


def columns(made: gpuaug.Policy, view: int) -> dict[str, np.ndarray[Any, Any]]:
    return sample(made, range(COUNT), seed=1).columns(view)


def boxes(made: gpuaug.Policy) -> list[np.ndarray[Any, Any]]:
    draws = sample(made, range(500), seed=1)
    sides = np.full(500, 500), np.full(500, 375)
    return [view.steps[0].boxes(table[0], *sides) for view, table in zip(made.views, draws.tables, strict=True)]  # type: ignore[attr-defined]


def test_the_gram_teacher_sees_the_global_crops_without_distortions() -> None:
    made = policy("dinov3", gram_size=512)
    assert [view.size[0] for view in made.views] == [256] * 2 + [112] * 8 + [512] * 2
    found = boxes(made)
    for number in (0, 1):
        gram = made.views[10 + number]
        assert [type(op) for op in gram.steps] == [RandomResizedCrop, Normalize]
        assert np.array_equal(found[number], found[10 + number])
    assert not np.array_equal(found[0], found[1])


def test_a_shared_jitter_is_that_of_all_views_and_blur_is_not() -> None:
    made = policy("dinov3", share_color_jitter=True)
    tables = [columns(made, view) for view in range(10)]
    shared = [name for name in tables[0] if "Jitter" in name or "Gray" in name]
    assert len(shared) == 7
    assert all(np.array_equal(tables[0][name], table[name]) for name in shared for table in tables)
    sigmas = [table["GaussianBlur.sigma"] for table in tables]
    assert np.abs(np.corrcoef(sigmas) - np.eye(10)).max() < 0.05
    assert [
        np.array_equal(tables[0][name], columns(policy("dinov3"), 0)[name]) for name in ("GaussianBlur.sigma", shared[1])
    ] == [
        True,
        False,
    ]


def test_nested_local_crops_lie_in_the_first_and_the_second_global_crop() -> None:
    """The source cuts 112 of 256 pixels: the same share of the area."""
    made = policy("dinov3", nested=True)
    found = boxes(made)
    for number in range(2, 10):
        outer, (top, left, height, width) = found[0 if number < 6 else 1].T, found[number].T
        assert (top >= outer[0]).all()
        assert (left >= outer[1]).all()
        assert (top + height <= outer[0] + outer[2]).all()
        assert (left + width <= outer[1] + outer[3]).all()
        assert np.allclose(height * width / (outer[2] * outer[3]), (112 / 256) ** 2, atol=0.01)
    assert [op.within for view in made.views for op in view.ops if isinstance(op, Nested)] == [0] * 4 + [1] * 4
    wide = policy("dinov3", size=(128, 256), local_size=(64, 96), nested=True)
    assert wide.views[2].steps[0].scale == pytest.approx((64 * 96 / (128 * 256),) * 2)  # type: ignore[attr-defined]


def test_original_is_dinov2() -> None:
    assert policy("original") == policy("dinov2")


def test_shared_draws_everything_but_the_crop_once() -> None:
    made, original = policy("shared"), policy("original")
    assert [view.steps for view in made.views] == [view.steps for view in original.views]
    tables = [columns(made, view) for view in range(10)]
    once = {name for name in tables[0] if name.partition(".")[0] not in ("RandomResizedCrop", "GaussianBlur")}
    assert once >= {"RandomHorizontalFlip.apply", "ColorJitter.hue", "RandomGrayscale.apply"}
    assert all(np.array_equal(tables[0][name], table[name]) for name in once for table in tables)
    assert all(np.array_equal(tables[0]["GaussianBlur.sigma"], table["GaussianBlur.sigma"]) for table in tables)
    blurred = [table["GaussianBlur.apply"] for table in tables]
    assert (blurred[0] >= blurred[2]).all()  # with probability 1, 0.1 and 0.5: one number decides
    assert (blurred[2] >= blurred[1]).all()
    assert np.array_equal(blurred[2], blurred[9])
    assert [type(view.ops[0]) for view in made.views] == [RandomResizedCrop] * 10
    assert {type(op) for view in made.views for op in view.ops[1:-1]} == {Shared}


def test_crop_only() -> None:
    assert_does(policy("crop_only"), [(2, 224, [WHOLE, IMAGENET]), (8, 98, [PART, IMAGENET])])
    cut = policy("crop_only", size=32, local_size=16, resize=False)
    assert [[type(op) for op in view.ops] for view in cut.views] == [[RandomCrop, Normalize]] * 10
    image = np.arange(40 * 50 * 3, dtype=np.uint32).reshape(40, 50, 3).astype(np.uint8)
    views = Augmenter(cut, "torchvision")([image, image[:8, :8]], sample(cut, range(2)))
    assert [tuple(view.shape[2:]) for view in views] == [(32, 32)] * 2 + [(16, 16)] * 8
