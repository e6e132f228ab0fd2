"""Images stores a batch of decoded pictures of any sizes without changing a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from gpuaug import Images

GENERATOR = np.random.default_rng(0)
RGB = GENERATOR.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RGB[:, :, 0]


@pytest.mark.parametrize(
    "image",
    [
        RGB,
        RGB.transpose(2, 0, 1),
        RGB[::-1][::-1],
        np.asfortranarray(RGB),
        torch.from_numpy(RGB),
        torch.from_numpy(RGB).permute(2, 0, 1),
        Image.fromarray(RGB),
        Image.fromarray(RGB).convert("RGBA"),
    ],
    ids=["HWC", "CHW", "strided", "fortran", "tensor HWC", "tensor CHW", "PIL", "PIL with alpha"],
)
def test_colour_images_keep_their_pixels_in_any_layout(image: Any) -> None:
    images = Images.from_list([image])
    assert images.shapes.tolist() == [[5, 7]]
    assert np.array_equal(images[0].numpy(), RGB)


@pytest.mark.parametrize(
    "image",
    [GRAY, GRAY[:, :, None], GRAY[None], torch.from_numpy(GRAY.copy()), Image.fromarray(GRAY), GRAY.T.copy().T],
    ids=["HW", "HW1", "1HW", "tensor", "PIL", "transposed"],
)
def test_gray_images_get_three_equal_channels(image: Any) -> None:
    (pixels,) = Images.from_list([image])
    assert np.array_equal(pixels.numpy(), np.repeat(GRAY[:, :, None], 3, axis=2))


def test_pil_modes_are_converted_to_rgb() -> None:
    palette = Image.fromarray(RGB).quantize(16)
    (pixels,) = Images.from_list([palette])
    assert np.array_equal(pixels.numpy(), np.asarray(palette.convert("RGB")))


def test_16_bit_gray_is_scaled_not_clipped() -> None:
    (pixels,) = Images.from_list([Image.fromarray(np.array([[0, 32896, 65535]], np.uint16))])
    assert pixels[0, :, 0].tolist() == [0, 128, 255]


def test_a_transparent_palette_keeps_its_colours() -> None:
    palette = Image.fromarray(RGB).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    palette.info["transparency"] = bytes(16)
    (pixels,) = Images.from_list([palette])
    assert np.array_equal(pixels.numpy(), expected)


SHAPES = st.tuples(st.integers(1, 9), st.integers(4, 9), st.just(3))


@settings(deadline=None)
@given(st.lists(SHAPES.flatmap(lambda s: hnp.arrays(np.uint8, s)), max_size=6))
def test_ragged_batches_round_trip(arrays: list[np.ndarray]) -> None:
    images = Images.from_list(arrays)
    assert len(images) == len(arrays)
    assert all(np.array_equal(pixels.numpy(), a) for pixels, a in zip(images, arrays, strict=True))
    assert images.buffer.numel() == sum(a.size for a in arrays)
    assert images.offsets.tolist() == [sum(b.size for b in arrays[:k]) for k in range(len(arrays))]
    assert images.sizes.tolist() == [a.size for a in arrays]
    assert images.uniform == (len({a.shape for a in arrays}) <= 1)


def test_the_buffer_is_pixel_after_pixel_image_after_image() -> None:
    images = Images.from_list([RGB, GRAY])
    assert images.buffer.tolist() == [*RGB.ravel().tolist(), *np.repeat(GRAY.ravel(), 3).tolist()]


def test_a_list_is_copied() -> None:
    source = RGB.copy()
    images = Images.from_list([source])
    source[:] = 0
    assert np.array_equal(images[0].numpy(), RGB)


def test_an_image_shares_memory_with_its_batch() -> None:
    images = Images.from_list([RGB, RGB])
    images[1].fill_(7)
    assert images.buffer[-1] == 7
    assert np.array_equal(images[0].numpy(), RGB)


BATCH = torch.from_numpy(GENERATOR.integers(0, 256, (7, 3, 8, 9), dtype=np.uint8))
LAST = BATCH.contiguous(memory_format=torch.channels_last)
SIX = torch.from_numpy(GENERATOR.integers(0, 256, (2, 8, 9, 6), dtype=np.uint8)).permute(0, 3, 1, 2)
SHARED = {
    "planes": BATCH,
    "channels last": LAST,
    "some of the batch": BATCH[1:6],
    "every other image": BATCH[::2],
    "every other image, channels last": LAST[1::2],
    "one image many times": BATCH[:1].expand(4, 3, 8, 9),
    "one image": BATCH[2:3],
    "one column": torch.arange(48, dtype=torch.uint8).view(2, 3, 8, 1),
    "planes of four": BATCH.view(-1)[: 2 * 4 * 6 * 7].view(2, 4, 6, 7)[:, 1:],
}
COPIED = {
    "a part": BATCH[:, :, 2:7, 1:8],
    "a part, channels last": LAST[:, :, 2:7, 1:8],
    "every other row": BATCH[:, :, ::2],
    "every other column": BATCH[..., ::2],
    "every other channel": SIX[:, ::2],
    "three channels of six": SIX[:, :3],
    "turned": BATCH.transpose(2, 3),
    "mirrored": BATCH.flip(1),
}


@pytest.mark.parametrize("name", [*SHARED, *COPIED])
def test_a_tensor_of_any_layout_keeps_its_pixels(name: str) -> None:
    tensor = {**SHARED, **COPIED}[name]
    images = Images.from_tensor(tensor)
    expected = tensor.permute(0, 2, 3, 1)
    for made in (images, images.gathered(), images.packed(), images.to("meta").to("meta")):
        assert made.uniform
        assert len(made) == len(tensor)
        assert made.shapes.tolist() == [list(tensor.shape[2:])] * len(tensor)
        assert made.device.type == "meta" or torch.equal(torch.stack(list(made)), expected)
    assert torch.equal(images.packed().buffer, expected.reshape(-1))
    shared = images.buffer.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    assert shared == (name in SHARED or name == "mirrored")  # `flip` has copied already


def test_planes_of_different_sizes() -> None:
    planes = torch.cat([torch.from_numpy(image).permute(2, 0, 1).reshape(-1) for image in (RGB, RGB[:2])])
    images = Images(planes, np.array([[5, 7], [2, 7]], np.int32), layout="planar")
    for made in (images, images.packed()):
        assert np.array_equal(made[0].numpy(), RGB)
        assert np.array_equal(made[1].numpy(), RGB[:2])
    assert images.packed().layout == "interleaved"
    images[1].fill_(7)
    assert images.buffer[-1] == 7


@pytest.mark.parametrize(
    "make", [lambda: Images.from_list([]), lambda: Images.from_tensor(torch.empty(0, 3, 4, 4, dtype=torch.uint8))]
)
def test_an_empty_batch(make: Any) -> None:
    images = make()
    assert len(images) == 0
    assert list(images) == []
    assert images.offsets.tolist() == []
    assert images.uniform
    assert repr(images) == "Images(0, cpu)"


def test_indexing_counts_from_either_end_and_stops_at_both() -> None:
    images = Images.from_list([RGB, GRAY])
    assert torch.equal(images[-1], images[1])
    assert torch.equal(images[-2], images[0])
    for k in (2, -3):
        with pytest.raises(IndexError, match=f"Images: {k} is outside a batch of 2"):
            images[k]


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ("photo.jpg", TypeError, "image 1 must be a PIL image, a uint8 array or tensor, got str"),
        (None, TypeError, "image 1 must be a PIL image, .* got NoneType"),
        (RGB.astype(np.float32), TypeError, "image 1 must be uint8, got float32; convert"),
        (torch.rand(3, 4, 4), TypeError, "image 1 must be uint8, got float32"),
        (RGB.astype(np.uint16), TypeError, "image 1 must be uint8, got uint16"),
        (RGB[:, :, :2], ValueError, r"image 1 must have shape .*, got \(5, 7, 2\)"),
        (RGB.repeat(2, 2)[:, :, :4], ValueError, r"got \(5, 7, 4\)"),
        (RGB[None], ValueError, r"got \(1, 5, 7, 3\)"),
        (RGB[0, 0], ValueError, r"got \(3,\)"),
        (RGB[:0], ValueError, r"none of them 0, got \(0, 7, 3\)"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_what_is_not_an_image_is_refused_by_position(image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Images.from_list([RGB, image])


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        (torch.rand(2, 3, 4, 4), TypeError, "must be uint8, got torch.float32"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), ValueError, r"shape \(B, 3, H, W\), got \(3, 4, 4\)"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), ValueError, r"got \(2, 4, 4, 3\)"),
    ],
)
def test_a_tensor_of_another_kind_is_refused(tensor: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Images.from_tensor(tensor)


@pytest.mark.parametrize(
    ("buffer", "shapes", "message"),
    [
        (torch.zeros(12), [[2, 2]], "flat uint8 tensor, got torch.float32 of 1 dims"),
        (torch.zeros(2, 6, dtype=torch.uint8), [[2, 2]], "flat uint8 tensor, got torch.uint8 of 2 dims"),
        (torch.zeros(12, dtype=torch.uint8), [2, 2], "shapes must be"),
        (torch.zeros(12, dtype=torch.uint8), [[2, 2, 3]], "shapes must be"),
        (torch.zeros(0, dtype=torch.uint8), [[0, 2]], "each at least 1"),
        (torch.zeros(11, dtype=torch.uint8), [[2, 2]], "shapes need 12 bytes, the buffer has 11"),
    ],
)
def test_buffer_and_shapes_must_agree(buffer: torch.Tensor, shapes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Images(buffer, np.array(shapes, dtype=np.int32))


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        (np.array([0, 1, 2]), r"starts must be \(2,\) int64, got \(3,\)"),
        (np.array([0, 1], np.int32), r"starts must be \(2,\) int64, got \(2,\) int32"),
        (np.array([-1, 0]), "point outside the buffer, which has 30 bytes"),
        (np.array([0, 19]), "point outside the buffer, which has 30 bytes"),
    ],
)
def test_starts_must_lie_in_the_buffer(starts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Images(torch.zeros(30, dtype=torch.uint8), np.array([[2, 2], [2, 2]], np.int32), starts)


@settings(deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=6),
    uniform=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_images_may_lie_anywhere_in_a_buffer(shapes: list[tuple[int, int]], uniform: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = torch.from_numpy(rng.integers(0, 256, 1000, dtype=np.uint8))
    sides = np.array(shapes[:1] * len(shapes) if uniform else shapes, np.int32).reshape(-1, 2)
    sizes = 3 * sides.astype(np.int64).prod(axis=1)
    starts = np.array([rng.integers(0, 1000 // n) * n if uniform else rng.integers(0, 1001 - n) for n in sizes], np.int64)
    images = Images(table, sides, starts)
    packed = images.packed()
    assert packed.starts is None
    assert len(packed) == len(images) == len(shapes)
    for k, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        assert torch.equal(images[k].reshape(-1), table[start : start + size])
        assert torch.equal(packed[k], images[k])
    assert images.to("meta").buffer.numel() == sizes.sum()
    assert packed.packed() is packed


def test_to_another_device_keeps_the_shapes() -> None:
    images = Images.from_list([RGB, GRAY])
    moved = images.to("meta")
    assert moved.device == torch.device("meta")
    assert np.array_equal(moved.shapes, images.shapes)
    assert images.to("cpu").buffer.data_ptr() == images.buffer.data_ptr()


def test_pin_memory_keeps_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())  # needs a GPU
    images = Images.from_list([RGB])
    pinned = images.pin_memory()
    assert torch.equal(pinned.buffer, images.buffer)
    assert pinned.buffer.data_ptr() != images.buffer.data_ptr()


def test_repr_says_how_many_and_how_large() -> None:
    assert repr(Images.from_list([RGB, RGB])) == "Images(2 of 5x7, cpu)"
    assert repr(Images.from_list([RGB, np.zeros((3, 9, 3), np.uint8)])) == "Images(2 of 3x7 to 5x9, cpu)"


@pytest.mark.parametrize("k", [slice(0, 1), [0], 0.0, None, "0"])
def test_one_image_is_asked_for_by_one_number(k: Any) -> None:
    images = Images.from_list([RGB, GRAY])
    with pytest.raises(TypeError, match=r"Images: \[\] takes one image's number"):
        images[k]
    assert torch.equal(images[np.int64(1)], images[1])
    assert torch.equal(images[torch.tensor(1)], images[1])  # type: ignore[index]


@pytest.mark.parametrize(
    ("buffer", "shapes", "error", "message"),
    [
        (np.zeros(12, np.uint8), np.array([[2, 2]]), TypeError, "buffer must be a torch.Tensor, got ndarray"),
        (torch.zeros(12, dtype=torch.uint8), [[2, 2]], TypeError, "shapes must be a numpy.ndarray, got list"),
        (torch.zeros(12, dtype=torch.uint8), np.array([[2.0, 2.0]]), ValueError, "heights and widths, integers"),
    ],
)
def test_a_batch_of_other_types_is_refused(buffer: Any, shapes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"Images: .*{message}"):
        Images(buffer, shapes)
