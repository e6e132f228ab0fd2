"""JPEG's loss is libjpeg's to the bit, on the same pixels; behind a filter, rounding to 8 bits decides."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

import gpuaug
from gpuaug import Images
from gpuaug.backends import load
from gpuaug.ops import jpeg

from .cases import EXEMPT, HEIGHT, TOLERANCE, TRUTH, WIDTH, compare, made_by, map_tables, photographs, tables, uniform

OURS = ["fused", "batched"]


def made(backend, x, *qualities):
    """The views of x with these qualities, in place of drawn ones."""
    ops, _ = map_tables(gpuaug.JPEG((1, 100)), len(x))
    return made_by(backend, x, ops, [{"quality": np.array(qualities, np.uint8)}])


@pytest.mark.parametrize("backend", OURS)
def test_every_quality_is_the_truths_to_the_bit(backend):
    x = uniform()[:8].repeat(13, 1, 1, 1)[:100]
    assert torch.equal(made(backend, x, *range(1, 101)), made(TRUTH, x, *range(1, 101)))


SIZES = [*((n, n) for n in range(1, 20)), (1, 40), (40, 1), (2, 31), (31, 2), (3, 33), (33, 3), (4, 16), (16, 5), (47, 65)]


@pytest.mark.parametrize("backend", OURS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_is_the_truths_to_the_bit(backend, size):
    """Blocks that reach beyond the image, odd numbers of pixels, and the narrow images that libjpeg enlarges in another way."""
    x = torch.rand((4, 3, *size), generator=torch.Generator().manual_seed(9)) * 1.2 - 0.1
    assert torch.equal(made(backend, x, 10, 50, 90, 100), made(TRUTH, x, 10, 50, 90, 100))


@pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
def test_the_truth_is_torchvisions_jpeg_of_a_tensor_too():
    """The backend takes the function for Pillow's images, since that for tensors is deprecated."""
    x = uniform()[:8]
    levels = functional.to_dtype(x, torch.uint8, scale=True)
    expected = torch.stack([functional.jpeg(image, 30) for image in levels]).float() / 255
    assert (made(TRUTH, x, *[30] * 8) - expected).abs().max() < 1e-6


def test_the_transform_is_a_cosine_transform():
    """Up to the rounding of its constants; rows are longer than those of an orthonormal transform by sqrt(8)."""
    k, n = np.mgrid[:8, :8]
    cosines = np.cos((2 * n + 1) * k * np.pi / 16) * np.where(k == 0, 1, np.sqrt(2))
    assert np.abs(jpeg.TRANSFORM - 2**13 * cosines).max() < 2


@pytest.mark.parametrize("quality", [1, 25, 50, 75, 100])
def test_steps_are_those_in_pillows_files(quality):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    written = Image.open(file).quantization
    for number, steps in enumerate((jpeg.LUMA, jpeg.CHROMA)):
        ours = jpeg.quantisation(steps, np.array([quality]))[0]
        assert sorted(ours.ravel().tolist()) == sorted(written[number])
        assert ours[0, 0] == written[number][0]


@pytest.mark.parametrize("backend", OURS)
@pytest.mark.parametrize("filter_", ["bilinear", "bicubic"])
def test_behind_a_filter_the_views_differ_as_much_as_a_level_does(backend, filter_):
    """A pixel that lies on the border of two levels is rounded to either, and the coefficients of its block follow."""
    images = Images.from_list([np.ascontiguousarray(image) for image in photographs()])
    ops, draws = tables([gpuaug.RandomResizedCrop(scale=(0.5, 1.0), interpolation=filter_), gpuaug.JPEG((10, 90))], 4, 96)
    ours, truth = (made_by(name, images, ops, draws) for name in (backend, TRUTH))
    loss = (truth - made_by(TRUTH, images, ops[:1], draws[:1])).abs().mean()
    assert load(backend).count_supported(ops, "images") == 2
    assert (ours - truth).abs().mean() < 0.01 * loss
    assert ((ours - truth).abs() > TOLERANCE[backend]).float().mean() < EXEMPT


BARRIERS = {
    "blur": gpuaug.GaussianBlur(9, p=0.7),
    "contrast": gpuaug.ColorJitter(contrast=0.5, p=0.7),
    "elastic": gpuaug.ElasticTransform(20, 3, p=0.7),
    "rotation": gpuaug.RandomRotation(90, "bilinear", p=0.7),
    "sharpness": gpuaug.RandomAdjustSharpness(2, p=0.7),
}


@pytest.mark.parametrize("after", BARRIERS)
@pytest.mark.parametrize("between", BARRIERS)
def test_passes_that_begin_with_it_and_follow_it_equal_the_truth(between, after):
    """The kernels pass the view from buffer to buffer; JPEG changes one of them and uses the other for scratch."""
    images = Images.from_list([(image.permute(1, 2, 0) * 255).round().byte().numpy() for image in uniform()])
    size = (HEIGHT, WIDTH)
    steps = [gpuaug.Resize(size), gpuaug.JPEG((20, 90), p=0.8), BARRIERS[between], BARRIERS[after]]
    ops, draws = tables(steps, len(images), size)
    assert load("fused").count_supported(ops, "images") == 4
    assert compare("fused", images, ops, draws, 2e-3).largest <= 2e-3


@pytest.mark.parametrize("before", BARRIERS)
def test_passes_that_end_with_it_are_close_to_the_truth(before):
    images = Images.from_list([(image.permute(1, 2, 0) * 255).round().byte().numpy() for image in uniform()])
    size = (HEIGHT, WIDTH)
    ops, draws = tables([gpuaug.Resize(size), BARRIERS[before], gpuaug.JPEG((20, 90)), BARRIERS["blur"]], len(images), size)
    made, truth = (made_by(name, images, ops, draws) for name in ("fused", TRUTH))
    assert (made - truth).abs().mean() < 1e-3
