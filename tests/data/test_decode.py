"""Every file comes out as 8-bit RGB, or as an error that names it."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gpuaug.data import DecodeError, decode
from gpuaug.images import rgb

RNG = np.random.default_rng(1)
COLOUR = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (9, 7), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (9, 7), dtype=np.uint16)


def encoded(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def threefold(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[:, :, None], 3, axis=2)


def with_alpha(image: Image.Image) -> Image.Image:
    image.putalpha(Image.fromarray(GRAY))
    return image


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "ppm"])
def test_colour_is_exact(kind):
    assert np.array_equal(decode(encoded(Image.fromarray(COLOUR), kind), "x"), COLOUR)


def test_jpeg_and_webp_decode_as_pillow_does():
    for kind in ("jpeg", "webp"):
        data = encoded(Image.fromarray(COLOUR), kind)
        assert np.array_equal(decode(data, "x"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_gray_is_repeated():
    assert np.array_equal(decode(encoded(Image.fromarray(GRAY)), "x"), threefold(GRAY))


def test_alpha_is_dropped_and_the_colour_under_it_stays():
    assert np.array_equal(decode(encoded(with_alpha(Image.fromarray(COLOUR))), "x"), COLOUR)
    assert np.array_equal(decode(encoded(with_alpha(Image.fromarray(GRAY))), "x"), threefold(GRAY))


def test_palette():
    image = Image.fromarray(COLOUR).quantize(16)
    assert np.array_equal(decode(encoded(image), "x"), np.asarray(image.convert("RGB")))


def test_palette_with_transparency_keeps_its_colours():
    image = Image.fromarray(COLOUR).quantize(16)
    data = encoded(image, transparency=bytes(range(0, 256, 16)))
    assert np.array_equal(decode(data, "x"), np.asarray(image.convert("RGB")))


def test_black_and_white():
    assert np.array_equal(decode(encoded(Image.fromarray(GRAY > 127)), "x"), threefold(np.uint8(255) * (GRAY > 127)))


@pytest.mark.parametrize("kind", ["png", "tiff", "ppm"])
def test_16_bit_gray_is_scaled_not_clipped(kind):
    expected = np.rint(DEEP / 257).astype(np.uint8)
    assert np.array_equal(decode(encoded(Image.fromarray(DEEP), kind), "x"), threefold(expected))


def test_16_bit_colour_keeps_the_upper_bytes():
    """Pillow writes no such file, so the test does: a PNG of one row, three big-endian words a pixel."""
    pixels = np.array([[[0x12FF, 0x3400, 0xFFFF], [0x0080, 0x7F80, 0x8001]]], dtype=">u2")

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" + pixels.tobytes())) + chunk(b"IEND", b"")
    assert np.array_equal(decode(data, "x"), pixels >> 8)


def test_the_first_of_several_pictures_counts():
    pages = {"save_all": True, "append_images": [Image.fromarray(COLOUR[::-1])]}
    assert np.array_equal(decode(encoded(Image.fromarray(COLOUR), "tiff", **pages), "x"), COLOUR)


def test_16_bit_white_is_white():
    assert decode(encoded(Image.fromarray(np.full((2, 2), 65535, np.uint16))), "x").min() == 255


def test_32_bit_gray_in_memory_is_taken_as_16_bit():
    image = Image.fromarray(np.array([[-5, 0, 257, 65535, 70000]], dtype=np.int32))
    assert rgb(image)[0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_cmyk():
    data = encoded(Image.fromarray(COLOUR).convert("CMYK"), "jpeg", quality=100)
    assert np.array_equal(decode(data, "x"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(COLOUR), kind, exif=exif)
    assert np.array_equal(decode(data, "x"), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


def test_orientation_6_is_turned_clockwise():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(decode(encoded(Image.fromarray(COLOUR), exif=exif), "x"), np.rot90(COLOUR, -1))


def test_damaged_exif_counts_as_upright():
    data = encoded(Image.fromarray(COLOUR), "png", exif=b"Exif\0\0garbage")
    assert np.array_equal(decode(data, "x"), COLOUR)


def test_single_pixel():
    assert decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3))), "x").tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is text", "not an image"),
        (encoded(Image.fromarray(COLOUR), "jpeg")[:-200], "truncated|cannot be decoded|not an image"),
        (encoded(Image.fromarray(COLOUR).resize((90, 70)), "jpeg")[:1200], "truncated"),
        (encoded(Image.fromarray(COLOUR))[:120], "truncated|cannot be decoded"),
    ],
    ids=["empty", "text", "jpeg without its end", "half a jpeg", "half a png"],
)
def test_bad_files_are_named_with_the_reason(data, reason):
    with pytest.raises(DecodeError, match=f"^pets/rex.jpg: .*({reason})"):
        decode(data, "pets/rex.jpg")


def test_decompression_bomb_is_named(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(DecodeError, match=r"^big.png: cannot be decoded: .*decompression bomb"):
        decode(encoded(Image.fromarray(COLOUR)), "big.png")


JPEG = encoded(Image.fromarray(COLOUR), "jpeg")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(JPEG) - 1), value=st.integers(0, 255), end=st.integers(0, len(JPEG)))
def test_damage_gives_pixels_or_a_decode_error(at, value, end):
    damaged = (JPEG[:at] + bytes([value]) + JPEG[at + 1 :])[:end]
    try:
        pixels = decode(damaged, "x")
    except DecodeError as error:
        assert str(error).startswith("x: ")  # noqa: PT017 - either outcome is right
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
