"""The truth equals torchvision's transform classes when these get the same parameters."""

from itertools import product

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F  # noqa: N812

import gpuaug
from gpuaug import backends

from .cases import TRUTH, map_tables, tables, uniform


def truth(x, ops, draws):
    return backends.load(TRUTH).apply(x, ops, draws)


def picture(height, width):
    return torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(height * 100 + width))


@pytest.mark.parametrize("out", [(1, 1), (2, 5), (7, 4), (12, 12)])
def test_center_crop_equals_torchvisions_for_every_size(out):
    """Odd and even differences of size, and padding in one direction with cropping in the other."""
    op = gpuaug.CenterCrop(out)
    for height, width in product(range(1, 14), repeat=2):
        x = picture(height, width)
        expected = v2.CenterCrop(out)(x)
        for name in (TRUTH, "batched"):
            assert torch.equal(backends.load(name).apply(x, [op], [{}]), expected), (name, height, width)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize(
    ("padding", "needed"), [(None, False), (3, False), ((2, 5), False), ((1, 2, 3, 4), False), (None, True)]
)
def test_random_crop_equals_torchvisions(mode, padding, needed):
    """Padding by one, two and four numbers and by as much as needed; every drawn position is a position of torchvision's."""
    x = picture(14, 25) if needed else picture(22, 25)
    (op,), (draws,) = tables([gpuaug.RandomCrop(20, padding, needed, 0.3, mode)], 20, 20)
    reference = v2.RandomCrop(20, padding, needed, [0.3] * 3 if mode == "constant" else 0, mode)
    for row in range(20):
        mine = {name: a[row : row + 1] for name, a in draws.items()}
        top, left, _, _ = op.boxes(mine, np.array([x.shape[2]]), np.array([x.shape[3]]))[0]
        parameters = reference.make_params([x])
        pad_left, pad_top, _, _ = parameters["padding"]
        parameters |= {"top": int(top) + pad_top, "left": int(left) + pad_left, "needs_crop": True}
        assert torch.equal(truth(x, [op], [mine]), reference.transform(x, parameters))


def test_perspective_equals_torchvisions_for_the_same_corners():
    op = gpuaug.RandomPerspective(0.6, p=1.0, fill=0.2)
    ops, (draws,) = map_tables(op, 16)
    height, width = uniform().shape[-2:]
    made = truth(uniform(), ops, [draws])
    bounds = np.array([int(0.6 * (width // 2)) + 1, int(0.6 * (height // 2)) + 1])
    corners = [(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)]
    for row in range(16):
        moves = np.floor(draws["corners"][row].reshape(4, 2).astype(np.float64) * bounds).astype(int)
        moved = [
            (x + dx if x == 0 else x - dx, y + dy if y == 0 else y - dy)
            for (x, y), (dx, dy) in zip(corners, moves, strict=True)
        ]
        expected = F.perspective(uniform()[row], [list(c) for c in corners], [list(c) for c in moved], fill=[0.2] * 3)
        assert (made[row] - expected).abs().max() < 1e-3  # torchvision solves for the coefficients in float32


@pytest.mark.parametrize(
    ("op", "reference"),
    [
        (gpuaug.RandomHorizontalFlip(1.0), v2.RandomHorizontalFlip(1.0)),
        (gpuaug.RandomVerticalFlip(1.0), v2.RandomVerticalFlip(1.0)),
        (gpuaug.RandomGrayscale(1.0), v2.RandomGrayscale(1.0)),
        (gpuaug.RandomSolarize(0.4, 1.0), v2.RandomSolarize(0.4, 1.0)),
        (gpuaug.RandomPosterize(3, 1.0), v2.RandomPosterize(3, 1.0)),
        (gpuaug.RandomEqualize(1.0), v2.RandomEqualize(1.0)),
        (gpuaug.RandomAutocontrast(1.0), v2.RandomAutocontrast(1.0)),
        (gpuaug.RandomInvert(1.0), v2.RandomInvert(1.0)),
        (gpuaug.GaussianBlur((5, 9), 1.5, p=1.0), v2.GaussianBlur((5, 9), 1.5)),
        (gpuaug.RandomAdjustSharpness(2.0, 1.0), v2.RandomAdjustSharpness(2.0, 1.0)),
        (gpuaug.Normalize(), v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        (
            gpuaug.RandomRotation((30, 30), "bilinear", (5, 9), 0.5),
            v2.RandomRotation((30, 30), v2.InterpolationMode.BILINEAR, center=(5, 9), fill=0.5),
        ),
        (
            gpuaug.RandomAffine((20, 20), scale=(1.3, 1.3), shear=(5, 5)),
            v2.RandomAffine((20, 20), scale=(1.3, 1.3), shear=(5, 5)),
        ),
        (gpuaug.ColorJitter((1.4, 1.4)), v2.ColorJitter((1.4, 1.4))),
        (gpuaug.ColorJitter(contrast=(1.4, 1.4)), v2.ColorJitter(contrast=(1.4, 1.4))),
        (gpuaug.ColorJitter(saturation=(1.4, 1.4)), v2.ColorJitter(saturation=(1.4, 1.4))),
        (gpuaug.ColorJitter(hue=(0.2, 0.2)), v2.ColorJitter(hue=(0.2, 0.2))),
    ],
    ids=lambda value: str(value) if isinstance(value, gpuaug.ops.Op) else "",
)
def test_a_transform_without_chance_equals_torchvisions(op, reference):
    """With arguments that leave nothing to draw, the op equals torchvision's class of the same name and arguments."""
    ops, draws = map_tables(op, 16)
    expected = torch.stack([reference(image) for image in uniform()])
    assert (truth(uniform(), ops, draws) - expected).abs().max() < 1e-6


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_resized_crop_equals_torchvisions_for_the_same_box(mode):
    (op,), (draws,) = tables([gpuaug.RandomResizedCrop(interpolation=mode)], 16, 32)
    height, width = uniform().shape[-2:]
    boxes = op.boxes(draws, np.full(16, height), np.full(16, width))
    reference = v2.RandomResizedCrop(32, interpolation=v2.InterpolationMode(mode))
    made = truth(uniform(), [op], [draws])
    for row, box in enumerate(boxes.tolist()):
        parameters = dict(zip(("top", "left", "height", "width"), box, strict=True))
        expected = reference.transform(uniform()[row], parameters)
        assert torch.equal(made[row], expected.clamp(0, 1) if mode == "bicubic" else expected)


def test_every_op_has_its_truth():
    kinds = {getattr(gpuaug.ops, name) for name in gpuaug.ops.__all__}
    kinds = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, gpuaug.ops.Op)}
    assert set(backends.load(TRUTH).ops) == kinds - {gpuaug.ops.Op, gpuaug.OneOf, gpuaug.SomeOf, gpuaug.Shared, gpuaug.Nested}


# The arithmetic of ops that other libraries are known to get wrong.


def dim(height, width):
    """Bytes in 60..159, so that no factor below 1.6 saturates."""
    return torch.randint(60, 160, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def apply_one(op, image):
    """The view and the draws that it was made from."""
    policy = gpuaug.Policy(gpuaug.View((image.shape[1], image.shape[2]), gpuaug.CenterCrop(), op))
    draws = gpuaug.sample(policy, [0], seed=2)
    (view,) = gpuaug.Augmenter(policy, "torchvision")(image[None], draws)
    return view[0], {name: a[0] for name, a in draws.tables[0][1].items()}


@pytest.mark.parametrize("part", ["brightness", "contrast", "saturation"])
def test_brightness_multiplies_contrast_keeps_the_gray_mean_saturation_the_gray(part):
    """Unlike BYOL's additive brightness and per-channel means, and contrast relative to one half (triton-augment)."""
    image = dim(8, 8)
    x = image.float() / 255
    gray = (x * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    anchor = {"brightness": torch.zeros(()), "contrast": gray.mean(), "saturation": gray}[part]
    found, draws = apply_one(gpuaug.ColorJitter(**{part: (0.5, 0.9)}), image)
    factor = float(draws[part])
    assert torch.allclose(found, factor * x + (1 - factor) * anchor, atol=1e-6)


def test_random_erasing_paints_its_box_and_nothing_else():
    image = dim(20, 24)
    op = gpuaug.RandomErasing(1.0, (0.1, 0.2), value=(0.0, 0.5, 1.0))
    found, draws = apply_one(op, image)
    rows = {name: np.asarray(a)[None] for name, a in draws.items()}
    top, left, h, w = op.boxes(rows, np.array([20]), np.array([24]))[0]
    expected = image.float() / 255
    expected[:, top : top + h, left : left + w] = torch.tensor([0.0, 0.5, 1.0])[:, None, None]
    assert h * w > 30
    assert torch.equal(found, expected)
    noisy, _ = apply_one(gpuaug.RandomErasing(1.0, (0.1, 0.2), value="random"), image)
    changed = (noisy != image.float() / 255).all(0)
    assert int(changed.sum()) == h * w
    assert noisy[:, changed].std() == pytest.approx(1, abs=0.2)
