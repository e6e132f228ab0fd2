"""Every backend clips the overshoot of a bicubic filter, as 8 bits do."""

import numpy as np
import pytest
import torch
from PIL import Image

import gpuaug
from gpuaug import Images, Policy, View, backends

from .cases import TOLERANCE, TRUTH, made_by, pairs, photographs, photos, policy_cases, tables

ROUNDING = 1.3e-4
"""Two steps of the 16-bit fixed point that a blur may use. In float32, a filter's weights sum to 1 within 1e-6."""

EVERY = [TRUTH, *TOLERANCE]


def range_of(made):
    return float(made.min()), float(made.max())


@pytest.mark.parametrize(("backend", "name"), [*((TRUTH, name) for name in gpuaug.policies), *pairs(gpuaug.policies)])
def test_views_lie_between_black_and_white(backend, name):
    """Every named policy without Normalize; the images include a checkerboard and stripes."""
    for ops, draws in policy_cases(name):
        kept = [k for k, o in enumerate(ops) if not isinstance(o, gpuaug.Normalize)]
        low, high = range_of(made_by(backend, photos(), [ops[k] for k in kept], [draws[k] for k in kept]))
        assert low >= -ROUNDING
        assert high <= 1 + ROUNDING


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("kind", [gpuaug.RandomResizedCrop, gpuaug.Resize])
def test_a_bicubic_crop_reaches_black_and_white_and_no_further(backend, kind):
    """Stripes are the worst case: with and without ops after the crop, and with both kinds of CPU kernels."""
    for more in ((), (gpuaug.RandomGrayscale(1.0),), (gpuaug.RandomInvert(1.0),)):
        ops, draws = tables([kind(interpolation="bicubic"), *more], len(photos()), 64)
        assert range_of(made_by(backend, photos(), ops, draws)) == pytest.approx((0, 1), abs=2e-4)
        low, high = range_of(made_by(backend, photos(), ops, draws))
        assert low >= 0
        assert high <= 1


@pytest.mark.parametrize("backend", EVERY)
def test_a_bicubic_crop_is_near_pillows_on_8_bits(backend):
    """Pillow rounds and clips after the rows and again after the columns. Without clipping, the distance is twice as large."""
    image = photographs()[0]
    op = gpuaug.RandomResizedCrop(scale=(0.1, 0.3), interpolation="bicubic")
    ops, draws = tables([op], 24, 96)
    made = made_by(backend, Images.from_list([image] * 24), ops, draws)
    height, width = image.shape[:2]
    boxes = op.boxes(draws[0], np.full(24, height), np.full(24, width))
    for view, (top, left, h, w) in zip(made, boxes.tolist(), strict=True):
        cut = Image.fromarray(image[top : top + h, left : left + w])
        pillow = np.asarray(cut.resize((96, 96), Image.Resampling.BICUBIC))
        assert np.abs(view.permute(1, 2, 0).numpy() - pillow / np.float32(255)).max() < 0.065


@pytest.mark.parametrize("backend", EVERY)
def test_pixels_of_a_wider_range_keep_it(backend):
    """A bicubic resize after Normalize is clipped to the range of its input, not to [0, 1]."""
    policy = Policy(View(64, gpuaug.Normalize(), gpuaug.Resize((64, 64), "bicubic")))
    steps, draws = policy.views[0].steps, gpuaug.sample(policy, range(len(photos()))).tables[0]
    made, truth = (made_by(name, photos(), steps, draws) for name in (backend, TRUTH))
    assert (made - truth).abs().max() <= 5 * TOLERANCE.get(backend, 0)
    given = backends.load(TRUTH).apply(photos(), steps[:1], draws[:1])
    for before, after in zip(given, made, strict=True):
        assert after.min() >= min(0, before.min()) - 1e-5
        assert after.max() <= max(1, before.max()) + 1e-5
    assert made.min() < -1.5
    assert made.max() > 2


def test_of_8_bit_pixels_the_range_is_black_to_white():
    """The range is that of 8 bits, not of the picture: a picture of two grays may overshoot them."""
    steps = [gpuaug.Resize((64, 64), "bicubic")]
    stripes = np.broadcast_to((np.arange(40) // 4 % 2 * 55 + 100)[None, :, None], (40, 40, 3)).astype(np.uint8)
    made = made_by(TRUTH, Images.from_list([stripes]), steps, [{}])
    assert made.min() < 100 / 255 - 0.01
    assert made.max() > 155 / 255 + 0.01
    assert torch.isfinite(made).all()
