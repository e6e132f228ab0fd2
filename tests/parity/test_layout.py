"""The same pixels in any memory layout give views with the same bits, on every backend."""

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import Augmenter, Images, Policy
from gpuaug.backends.fused.cpu.kernels import views as kernels

from .cases import TOLERANCE, TRUTH, at_half_resolution, made_by, map_tables, photos, ragged, uniform

BACKENDS = [TRUTH, *TOLERANCE]
STRONG = gpuaug.policy("simclr", size=32)
CHEAP = gpuaug.policy("supervised", size=48)
WIDE = Policy(gpuaug.View((20, 300), gpuaug.RandomResizedCrop(scale=(0.01, 1.0)), gpuaug.Normalize()))


def pixels(count, height, width):
    return torch.from_numpy(np.random.default_rng(count).integers(0, 256, (count, 3, height, width), dtype=np.uint8))


def rows(tensor):
    return Images(tensor.permute(0, 2, 3, 1).reshape(-1).clone(), np.tile(np.int32([tensor.shape[2:]]), (len(tensor), 1)))


def views(images, policy, backend):
    return Augmenter(policy, backend)(images, gpuaug.sample(policy, range(len(images)), seed=3))


def scattered(images, planar):
    """The same images in a larger buffer in reverse order, each as rows or as planes."""
    gap, parts, starts, at = 50, [], [], 0
    for image in reversed(list(images)):
        parts += [torch.arange(gap, dtype=torch.uint8), (image.permute(2, 0, 1) if planar else image).reshape(-1)]
        starts.append(at + gap)
        at = starts[-1] + image.numel()
    return Images(torch.cat(parts), images.shapes, np.array(starts[::-1], np.int64), "planar" if planar else "interleaved")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("planar", [False, True])
def test_images_that_lie_apart(backend, planar):
    for policy in (STRONG, CHEAP):
        for view, expected in zip(
            views(scattered(photos(), planar), policy, backend), views(photos(), policy, backend), strict=True
        ):
            assert torch.equal(view, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gap", [0, 50])
def test_planes_at_half_resolution(backend, gap):
    """Are read as the RGB that libjpeg makes of them."""
    images = at_half_resolution(photos(), gap)
    whole = Images.from_list([image.numpy() for image in images])
    for policy in (STRONG, CHEAP):
        for view, expected in zip(views(images, policy, backend), views(whole, policy, backend), strict=True):
            assert torch.equal(view, expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_planes_at_half_resolution_in_any_form(dtype, memory_format):
    images = at_half_resolution(ragged(), 3)
    for policy in (STRONG, CHEAP):
        augment = Augmenter(policy, "fused", dtype=dtype, memory_format=memory_format)
        draws = gpuaug.sample(policy, range(len(images)), seed=4)
        for view, expected in zip(augment(images, draws), augment(images.packed(), draws), strict=True):
            assert view.dtype == dtype
            assert view.stride() == expected.stride()
            assert torch.equal(view, expected)


BATCH = pixels(6, 40, 50)
LAYOUTS = {
    "planes": BATCH,
    "channels last": BATCH.contiguous(memory_format=torch.channels_last),
    "every other image": pixels(12, 40, 50)[::2],
    "a part": pixels(6, 60, 60)[:, :, 5:45, 7:57],
    "a part, channels last": pixels(6, 60, 60).contiguous(memory_format=torch.channels_last)[:, :, 5:45, 7:57],
    "every other channel": pixels(12, 50, 40).view(6, 40, 50, 6).permute(0, 3, 1, 2)[:, ::2],
    "every other column": pixels(6, 40, 100)[..., ::2],
    "turned": pixels(6, 50, 40).transpose(2, 3),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_of_any_layout(backend, layout):
    tensor = LAYOUTS[layout]
    for policy in (STRONG, CHEAP):
        for view, expected in zip(views(tensor, policy, backend), views(rows(tensor), policy, backend), strict=True):
            assert torch.equal(view, expected)


def test_the_kernels_are_compiled_once_for_all_of_them():
    """A layout that reaches the kernels with another type would compile them again, for a minute."""
    halved = at_half_resolution(photos()), at_half_resolution(photos(), 5)
    for images in (BATCH, scattered(photos(), True), scattered(photos(), False), photos(), *halved):
        views(images, CHEAP, "fused")
    ops, draws = map_tables(gpuaug.RandomInvert(), len(uniform()))
    made_by("fused", uniform(), ops, draws)
    assert len(kernels.make_views.signatures) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (3, 400), (300, 2), (257, 131)])
def test_planes_of_odd_sizes(size):
    """The filter reads beyond its pixels, into the next plane or past the end."""
    tensor = pixels(3, *size)
    for policy in (WIDE, CHEAP):
        assert torch.equal(views(tensor, policy, "fused")[0], views(rows(tensor), policy, "fused")[0])


@pytest.mark.parametrize("width", [90, 191, 192, 400, 1300])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_views_much_smaller_than_their_crops(width, interpolation):
    """Rows of interleaved pixels are split into channels for these, also where a row is the last of the buffer."""
    images, crop = (
        pixels(3, 37, width),
        gpuaug.RandomResizedCrop(scale=(0.3, 1.0), ratio=(1.0, 4.0), interpolation=interpolation),
    )
    for size in ((5, 7), (9, 16), (12, 40)):
        policy = Policy(gpuaug.View(size, crop, gpuaug.RandomHorizontalFlip()))
        planes, split = views(images, policy, "fused")[0], views(rows(images), policy, "fused")[0]
        assert torch.equal(planes, split)
        truth = views(rows(images), policy, TRUTH)[0]
        assert (split - truth).abs().max() < 2e-4
