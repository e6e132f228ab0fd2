"""Planes of brightness and colours at half resolution: libjpeg's numbers, and what `Images` makes of them."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpuaug import Images
from gpuaug.yuv import from_rgb, halves, to_rgb

SIZES = [(1, 1), (1, 2), (2, 1), (3, 3), (3, 4), (4, 5), (5, 6), (16, 16), (17, 33), (31, 100), (64, 65), (65, 256)]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def flat_blocks(height, width, size, seed):
    """A plane of random squares of one value."""
    small = noise(-(-height // size), -(-width // size), seed=seed)
    return small.repeat(size, 0).repeat(size, 1)[:height, :width]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_rgb_of_planes_is_libjpegs_to_the_bit(height, width):
    """A JPEG of flat blocks at quality 100 loses nothing, so the planes that libjpeg decodes are those that went in."""
    y, blue, red = (flat_blocks(height, width, size, seed) for seed, size in enumerate((8, 16, 16)))
    file = io.BytesIO()
    Image.merge("YCbCr", [Image.fromarray(p) for p in (y, blue, red)]).save(file, "JPEG", quality=100, subsampling=2)
    truth = np.asarray(Image.open(file).convert("RGB"))
    planes = np.concatenate([y.ravel(), blue[::2, ::2].ravel(), red[::2, ::2].ravel()])
    np.testing.assert_array_equal(to_rgb(torch.from_numpy(planes)[None], height, width)[0].numpy(), truth)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_planes_of_rgb_are_jfifs(height, width):
    """By the formulas of JFIF in floating point, but for the rounding."""
    rgb = noise(height, width, 3)
    r, g, b = rgb.astype(np.float64).transpose(2, 0, 1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    found = from_rgb(torch.from_numpy(rgb)[None])[0].numpy().astype(np.float64)
    assert np.abs(found[: height * width] - y.ravel()).max() <= 0.51
    down, across = halves(height, width)
    for colour, full in zip(found[height * width :].reshape(2, -1), ((b - y) / 1.772, (r - y) / 1.402), strict=True):
        whole = np.pad(full, ((0, height % 2), (0, width % 2)), mode="edge")
        mean = whole.reshape(down, 2, across, 2).mean(axis=(1, 3)) + 128
        assert np.abs(colour - mean.ravel()).max() <= 1.01  # rounded twice


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 30, 90), (0, 0, 255)])
def test_flat_colours_come_back(colour):
    rgb = torch.tensor(colour, dtype=torch.uint8, device="cpu").expand(1, 7, 9, 3)
    assert (to_rgb(from_rgb(rgb), 7, 9).int() - rgb.int()).abs().max() <= 1


def yuv_batch(shapes, gap=0):
    """Images of these shapes as planes, `gap` bytes apart, and as RGB."""
    parts, starts, whole = [noise(gap, seed=99)], [], []
    at = gap
    for k, (height, width) in enumerate(shapes):
        planes = from_rgb(torch.from_numpy(noise(1, height, width, 3, seed=k)))
        whole.append(to_rgb(planes, height, width)[0])
        starts.append(at)
        parts += [planes[0].numpy(), noise(gap, seed=100 + k)]
        at += planes.numel() + gap
    buffer = torch.from_numpy(np.concatenate(parts))
    where = np.array(starts, np.int64) if gap else None
    return Images(buffer, np.array(shapes, np.int32), where, "yuv420"), whole


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4), st.sampled_from([0, 3]), st.booleans()
)
def test_images_of_planes(shapes, gap, uniform):
    images, whole = yuv_batch(shapes[:1] * 3 if uniform else shapes, gap)
    for image, truth in zip(images, whole, strict=True):
        assert torch.equal(image, truth)
    for same in (images.gathered(), images.packed(), images.to("cpu")):
        assert all(torch.equal(a, b) for a, b in zip(same, whole, strict=True))
    assert images.gathered().layout == "yuv420"
    assert images.packed().layout == "interleaved"
    assert (images.sizes == [h * w + 2 * -(-h // 2) * -(-w // 2) for h, w in images.shapes]).all()


def test_layouts_are_named_in_the_error():
    with pytest.raises(ValueError, match="layout must be one of 'interleaved', 'planar', 'yuv420', got 'nv12'"):
        Images(torch.zeros(3, dtype=torch.uint8, device="cpu"), np.array([[1, 1]], np.int32), layout="nv12")
    with pytest.raises(ValueError, match="shapes need 6 bytes, the buffer has 12"):
        Images(torch.zeros(12, dtype=torch.uint8, device="cpu"), np.array([[2, 2]], np.int32), layout="yuv420")
