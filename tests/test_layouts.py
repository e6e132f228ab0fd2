"""The memory layout of pixels changes no view: strides, offsets, gaps, repeats, read-only memory, order of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gpuaug
from gpuaug import Augmenter, CenterCrop, ColorJitter, Images, Policy, Resize, View, sample
from gpuaug.backends import REQUIRES
from gpuaug.images import channels_last

RNG = np.random.default_rng(0)


@st.composite
def laid_out(draw: st.DrawFn, shape: tuple[int, ...]) -> torch.Tensor:
    """A uint8 tensor of this shape: a slice of a permuted tensor, or one whose rows share memory."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.integers(1, 3)) for _ in shape]
    heads = [draw(st.integers(0, 2)) for _ in shape]
    whole = [heads[k] + steps[k] * shape[k] for k in range(len(shape))]
    seed = draw(st.integers(0, 2**32 - 1))
    base = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, [whole[k] for k in order], dtype=np.uint8))
    table = base.permute([order.index(k) for k in range(len(shape))])
    part = table[tuple(slice(head, head + step * n, step) for head, step, n in zip(heads, steps, shape, strict=True))]
    axis = draw(st.sampled_from([None, *range(len(shape))]))
    return part if axis is None else part.narrow(axis, 0, 1).expand(shape)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_tensor_in_any_layout_is_its_values(data: st.DataObject) -> None:
    shape = (data.draw(st.integers(1, 3)), 3, data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6)))
    tensor = data.draw(laid_out(shape))
    batches = [Images.from_tensor(tensor), Images.from_list(list(tensor)), Images.from_list([x.numpy() for x in moved(tensor)])]
    for images in batches:
        assert images.buffer.is_contiguous()
        for pixels, expected in zip(images, moved(tensor), strict=True):
            assert torch.equal(pixels, expected)


def moved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(0, 2, 3, 1)


LAYOUTS = {
    "three of six channels": lambda x: torch.stack([x, 255 - x], dim=2).flatten(1, 2)[:, ::2],
    "three of six channels, last in memory": lambda x: last(torch.stack([x, 255 - x], dim=2).flatten(1, 2))[:, ::2],
    "every other row": lambda x: x.repeat_interleave(2, dim=2)[:, :, ::2],
    "every other column, last in memory": lambda x: last(x.repeat_interleave(2, dim=3))[..., ::2],
    "a part of a larger picture": lambda x: torch.nn.functional.pad(x, (3, 2, 1, 4))[:, :, 1:-4, 3:-2],
    "every other image": lambda x: last(x.repeat_interleave(2, dim=0))[1::2],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
}


def last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def views(x: Any, backend: str, count: int) -> list[torch.Tensor]:
    policy = Policy(View((20, 30), Resize((24, 30)), CenterCrop((20, 30)), ColorJitter(0.4, 0.4, 0.4, 0.1)))
    return Augmenter(policy, backend)(x, sample(policy, range(count), seed=3))


@pytest.mark.parametrize("backend", REQUIRES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_of_a_tensor_in_any_layout_are_those_of_its_copy(backend: str, layout: str) -> None:
    plain = torch.from_numpy(RNG.integers(0, 256, (2, 3, 40, 30), dtype=np.uint8))
    strided = LAYOUTS[layout](plain)
    assert torch.equal(strided, plain)
    assert torch.equal(views(strided, backend, 2)[0], views(plain, backend, 2)[0])


@pytest.mark.parametrize("backend", REQUIRES)
def test_views_of_a_buffer_with_gaps_are_those_of_its_copy(backend: str) -> None:
    shapes = np.array([[40, 30], [31, 22]], np.int32)
    count = int(shapes.prod(axis=1).sum()) * 3
    buffer = torch.from_numpy(RNG.integers(0, 256, 2 * count + 5, dtype=np.uint8))[5:]
    assert torch.equal(
        views(Images(buffer[::2], shapes), backend, 2)[0], views(Images(buffer[::2].clone(), shapes), backend, 2)[0]
    )
    same = Images(buffer[:1].expand(count), shapes)
    assert torch.equal(views(same, backend, 2)[0], views(Images(buffer[:1].repeat(count), shapes), backend, 2)[0])


@pytest.mark.parametrize("backend", REQUIRES)
def test_views_follow_tables_of_shapes_and_starts_of_any_kind(backend: str) -> None:
    shapes = np.array([[10, 30], [20, 22]], np.int32)
    table = torch.from_numpy(RNG.integers(0, 256, 4000, dtype=np.uint8))
    starts = np.array([100, 1100], np.int64)
    expected = views(Images(table, shapes, starts), backend, 2)[0]
    frozen = starts.copy()
    frozen.flags.writeable = False
    for rows, places in (
        (shapes[::-1].copy()[::-1], starts[::-1].copy()[::-1]),
        (np.asfortranarray(shapes.astype(np.int64)), starts.repeat(2)[::2]),
        (shapes.astype(np.uint8), frozen),
    ):
        assert torch.equal(views(Images(table, rows, places), backend, 2)[0], expected)


def test_a_buffer_without_gaps_is_shared() -> None:
    buffer = torch.zeros(100, dtype=torch.uint8)
    assert Images(buffer[7:19], np.array([[2, 2]], np.int32)).buffer.data_ptr() == buffer.data_ptr() + 7


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
@settings(deadline=None)
@given(shape=st.tuples(*[st.sampled_from([1, 2, 3, 5])] * 3), seed=st.integers(0, 2**32 - 1))
def test_an_array_is_rows_first_and_a_tensor_channels_first_where_both_fit(make: Any, shape: Any, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    first, final = pixels.shape[0] in (1, 3), pixels.shape[2] in (1, 3)
    if not (first or final):
        with pytest.raises(ValueError, match=r"must have shape \(H, W\)"):
            Images.from_list([make(pixels)])
        return
    rows_first = final if make is np.asarray else not first
    assert channels_last(shape, tensor=make is torch.from_numpy) == rows_first
    expected = pixels if rows_first else pixels.transpose(1, 2, 0)
    (image,) = Images.from_list([make(pixels)])
    assert np.array_equal(image.numpy(), np.broadcast_to(expected, (*expected.shape[:2], 3)))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_narrow_tensor_and_its_batch_are_one_picture(width: int) -> None:
    tensor = torch.from_numpy(RNG.integers(0, 256, (3, 20, width), dtype=np.uint8))
    assert Images.from_list([tensor]).shapes.tolist() == [[20, width]]
    assert torch.equal(Images.from_list([tensor])[0], Images.from_tensor(tensor[None])[0])


def test_views_may_be_written_into_rows_of_a_larger_tensor() -> None:
    policy = gpuaug.policy("simclr", size=32)
    images = Images.from_list(list(RNG.integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)))
    draws = sample(policy, range(3), seed=1)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        augment = Augmenter(policy, memory_format=memory_format)
        out = [room[1:4] for room in augment.empty(5)]
        for made, expected in zip(augment(images, draws, out), augment(images, draws), strict=True):
            assert torch.equal(made, expected)
        gaps = [torch.empty(6, 3, 32, 32)[::2].contiguous(memory_format=memory_format).repeat(2, 1, 1, 1)[::2] for _ in out]
        with pytest.raises(ValueError, match=r"out\[0\] must be contiguous"):
            augment(images, draws, gaps)
