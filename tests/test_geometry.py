"""Output sizes, boxes and matrices that ops compute from draws agree with torchvision and with their formulas."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F  # noqa: N812

from gpuaug import Augmenter, Policy, View, sample
from gpuaug.ops import (
    CenterCrop,
    GaussianBlur,
    OneOf,
    Op,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomInvert,
    RandomPerspective,
    RandomPosterize,
    RandomResizedCrop,
    RandomRotation,
    Resize,
)

IMAGE_SIDE = st.integers(1, 60)


@settings(deadline=None, max_examples=60)
@given(IMAGE_SIDE, IMAGE_SIDE, st.integers(1, 60))
def test_resize_keeps_the_aspect_as_torchvision_does(height: int, width: int, edge: int) -> None:
    assume(edge * max(height, width) < 500 * min(height, width))  # keeps torchvision's image small
    expected = F.resize(torch.zeros(1, height, width), [edge], antialias=True).shape[-2:]
    assert Resize(edge).target(height, width) == tuple(expected)


def test_output_sizes() -> None:
    assert Resize((8, 6)).target(20, 10) == (8, 6)
    assert Resize(8).output_size(None) is None
    assert Resize(8).output_size((20, 10)) == (16, 8)
    assert Resize(8).output_size((10, 20)) == (8, 16)
    assert Resize((8, 6)).output_size(None) == (8, 6)
    assert RandomCrop(8).output_size((99, 99)) == (8, 8)
    assert RandomInvert().output_size((5, 6)) == (5, 6)
    assert RandomInvert().output_size(None) is None


@pytest.mark.parametrize("op", [RandomResizedCrop(), Resize(), CenterCrop(), RandomCrop()], ids=lambda op: type(op).__name__)
def test_an_op_without_a_size_takes_its_views(op: Op) -> None:
    assert op.bind((8, 6)).size == (8, 6)  # type: ignore[attr-defined]
    assert type(op)(3).bind((8, 6)) == type(op)(3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=f"{type(op).__name__}: size is not set"):
        op.output_size(None)


def test_a_blur_wider_than_twice_the_view_is_refused() -> None:
    assert GaussianBlur(23).output_size((12, 12)) == (12, 12)
    with pytest.raises(ValueError, match=r"GaussianBlur: kernel_size 23 .* 11x12"):
        GaussianBlur(23).output_size((11, 12))
    with pytest.raises(ValueError, match=re.escape("kernel_size (5, 9)")):
        GaussianBlur((5, 9)).output_size((4, 8))
    assert GaussianBlur((9, 5)).output_size((4, 8)) == (4, 8)
    with pytest.raises(ValueError, match="kernel_size"):
        OneOf(RandomInvert(), GaussianBlur(23)).output_size((11, 11))


@settings(deadline=None)
@given(IMAGE_SIDE, IMAGE_SIDE, IMAGE_SIDE, IMAGE_SIDE)
def test_center_crop_boxes_are_where_torchvision_cuts(height: int, width: int, out_h: int, out_w: int) -> None:
    image = torch.arange(1, height * width + 1).reshape(1, height, width)
    expected = F.center_crop(image, [out_h, out_w])
    top, left, h, w = CenterCrop((out_h, out_w)).boxes({}, np.array([height]), np.array([width]))[0]
    padded = F.pad(image, [60, 60, 60, 60])
    assert torch.equal(padded[:, 60 + top : 60 + top + h, 60 + left : 60 + left + w], expected)


def test_random_crop_reaches_both_ends_and_not_beyond() -> None:
    op = RandomCrop(8, padding=(1, 2, 3, 4))
    draws = {"top": np.array([0, 1], dtype=np.float32), "left": np.array([0, 1], dtype=np.float32)}
    found = op.boxes(draws, np.array([10, 10]), np.array([20, 20]))
    assert found.tolist() == [[-2, -1, 8, 8], [10 + 4 - 8, 20 + 3 - 8, 8, 8]]


def test_random_crop_pads_small_images_if_asked() -> None:
    op = RandomCrop(8, padding=1, pad_if_needed=True)
    assert op.pads(np.array([5, 8]), np.array([8, 2])).tolist() == [[1, 2, 1, 2], [5, 1, 5, 1]]
    draws = {"top": np.zeros(2), "left": np.zeros(2)}
    assert op.boxes(draws, np.array([5, 8]), np.array([8, 2])).tolist() == [[-2, -1, 8, 8], [-1, -5, 8, 8]]


def test_random_crop_names_the_image_that_is_too_small() -> None:
    draws = {"top": np.zeros(2), "left": np.zeros(2)}
    with pytest.raises(
        ValueError, match="RandomCrop: image 1 of the batch is 7x9, smaller than the crop 8x8; set pad_if_needed"
    ):
        RandomCrop(8).boxes(draws, np.array([9, 7]), np.array([9, 9]))


def matrix(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows.reshape(-1, 2, 3), np.broadcast_to([[[0.0, 0, 1]]], (len(rows), 1, 3))], axis=1)


DEGREES = st.floats(-80, 80)


@given(DEGREES, DEGREES, DEGREES, st.floats(0.2, 3), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.booleans())
def test_affine_matrices_invert_the_documented_product(
    angle: float, shear_x: float, shear_y: float, scale: float, dx: float, dy: float, centred: bool
) -> None:
    """The matrix maps output to input coordinates: the inverse of M = T C R S SHy SHx C^-1, about the image's centre."""
    height, width = 40, 30
    op = RandomAffine(0, center=None if centred else (3, 9))
    values = {"angle": angle, "shear_x": shear_x, "shear_y": shear_y, "scale": scale, "translate_x": dx, "translate_y": dy}
    ours = matrix(op.matrices({name: np.array([value]) for name, value in values.items()}, height, width))[0]
    a, sx, sy = np.deg2rad([angle, shear_x, shear_y])
    cx, cy = (0, 0) if centred else (3 - width / 2, 9 - height / 2)
    move = np.array([[1, 0, np.rint(dx * width)], [0, 1, np.rint(dy * height)], [0, 0, 1]])
    center = np.array([[1, 0, cx], [0, 1, cy], [0, 0, 1]])
    rotate = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    shear = np.array([[1, 0, 0], [-np.tan(sy), 1, 0], [0, 0, 1]]) @ np.array([[1, -np.tan(sx), 0], [0, 1, 0], [0, 0, 1]])
    forward = move @ center @ rotate @ np.diag([scale, scale, 1]) @ shear @ np.linalg.inv(center)
    assert np.allclose(ours @ forward, np.eye(3), atol=1e-8)


def test_rotation_is_counter_clockwise_about_its_centre() -> None:
    draws = {"angle": np.array([90.0], dtype=np.float32)}
    back = matrix(RandomRotation(90).matrices(draws, 20, 20))[0]
    assert np.allclose(back @ [5, 0, 1], [0, 5, 1])  # what is now on the right was below
    about = matrix(RandomRotation(90, center=(4, 7)).matrices(draws, 20, 20))[0]
    assert np.allclose(about @ [4 - 10, 7 - 10, 1], [4 - 10, 7 - 10, 1])


def send(coefficients: np.ndarray, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f, g, h = coefficients
    return (a * x + b * y + c) / (g * x + h * y + 1), (d * x + e * y + f) / (g * x + h * y + 1)


@given(st.lists(st.floats(0, 1, width=32), min_size=8, max_size=8), st.floats(0, 0.9), st.integers(8, 50), st.integers(8, 50))
def test_perspective_takes_moved_corners_back(moves: list[float], scale: float, height: int, width: int) -> None:
    op = RandomPerspective(scale)
    coefficients = op.coefficients({"corners": np.array([moves], dtype=np.float32)}, height, width)[0]
    bounds = (int(scale * (width // 2)), int(scale * (height // 2)))
    right, bottom = width - 1, height - 1
    steps = [min(int(np.float32(m) * np.float64(bounds[k % 2] + 1)), bounds[k % 2]) for k, m in enumerate(moves)]
    inward = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    for k, (x, y) in enumerate([(0, 0), (right, 0), (right, bottom), (0, bottom)]):
        moved = x + inward[k][0] * steps[2 * k], y + inward[k][1] * steps[2 * k + 1]
        assert send(coefficients, *moved) == pytest.approx((x, y), abs=1e-6)


def test_a_perspective_corner_moves_no_further_than_its_bound() -> None:
    """Uniform numbers just below 1 become 1 in float32, but torchvision's randint never reaches the bound plus one."""
    draws = RandomPerspective(0.5).draw(np.full((1, 8), 1 - 2.0**-32))
    coefficients = RandomPerspective(0.5).coefficients(draws, 40, 40)[0]
    assert send(coefficients, 10, 10) == pytest.approx((0, 0), abs=1e-6)


def test_erasing_takes_the_first_box_that_fits_and_nothing_where_none_does() -> None:
    op = RandomErasing(1.0, (0.1, 1.0))
    draws = {
        "area": np.tile(np.array([1.0] * 9 + [0.25], dtype=np.float32), (2, 1)),
        "log_ratio": np.zeros((2, 10), dtype=np.float32),
        "top": np.array([0, 1], dtype=np.float32),
        "left": np.array([1, 0], dtype=np.float32),
    }
    assert op.boxes(draws, np.array([20, 20]), np.array([20, 20])).tolist() == [[0, 10, 10, 10], [10, 0, 10, 10]]
    none = {**draws, "area": np.ones((2, 10), dtype=np.float32)}
    assert op.boxes(none, np.array([20, 20]), np.array([20, 20]))[:, 2:].tolist() == [[0, 0], [0, 0]]


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    padding=st.tuples(*[st.integers(0, 20)] * 4),
    mode=st.sampled_from(["constant", "edge", "reflect", "symmetric"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_padding_of_any_width_is_numpys(height: int, width: int, padding: Any, mode: Any, seed: int) -> None:
    left, top, right, bottom = padding
    whole = (top + height + bottom, left + width + right)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode=mode).transpose(2, 0, 1).astype(np.float32) / 255
    policy = Policy(View(whole, RandomCrop(padding=padding, padding_mode=mode)))
    for backend in ("torchvision", "batched", "kornia", "fused"):
        (view,) = Augmenter(policy, backend)([pixels], sample(policy, [0]))
        assert np.abs(view[0].numpy() - expected).max() < 1e-6, backend


@pytest.mark.parametrize("backend", ["torchvision", "batched", "kornia", "fused", "dali"])
def test_all_eight_bits_are_kept_as_they_are(backend: str) -> None:
    """This includes values between two levels, from a resize, and images beside others with fewer bits."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 21, 30, 3), dtype=np.uint8)
    plain, kept, fewer = (
        Policy(View(16, RandomResizedCrop(), *ops)) for ops in ([], [RandomPosterize(8, 0.5)], [RandomPosterize(7, 1.0)])
    )
    draws = [sample(policy, range(4), seed=2) for policy in (plain, kept, fewer)]
    assert draws[1].tables[0][1]["apply"].any()
    views = [Augmenter(drawn.policy, backend)(list(pixels), drawn)[0] for drawn in draws]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


@pytest.mark.parametrize("backend", ["torchvision", "batched", "fused"])
@pytest.mark.parametrize(("name", "value"), [("left", np.nan), ("top", -3.0), ("top", -np.inf)])
def test_draws_that_a_caller_has_put_outside_the_image_are_refused(backend: str, name: str, value: float) -> None:
    policy = Policy(View(16, RandomResizedCrop(scale=(0.2, 0.5))))
    draws = sample(policy, range(3))
    draws.tables[0][0][name][1] = value
    with pytest.raises(ValueError, match="outside its image; they were changed: top"):
        Augmenter(policy, backend)(torch.zeros(3, 3, 40, 50, dtype=torch.uint8), draws)


@pytest.mark.parametrize("backend", ["torchvision", "batched", "fused"])
@pytest.mark.parametrize(("name", "value"), [("left", 1.5), ("area", np.nan), ("area", 9.0), ("log_ratio", np.inf)])
def test_draws_that_a_caller_has_made_too_large_give_a_box_inside_the_image(backend: str, name: str, value: float) -> None:
    policy = Policy(View(16, RandomResizedCrop(scale=(0.2, 0.5))))
    draws = sample(policy, range(3))
    draws.tables[0][0][name][1] = value
    (view,) = Augmenter(policy, backend)(torch.full((3, 3, 40, 50), 255, dtype=torch.uint8), draws)
    assert (view - 1).abs().max() < 1e-3
