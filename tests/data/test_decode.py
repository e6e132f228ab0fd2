"""Every file becomes 8-bit RGB, or an error that names it."""

import contextlib
import io
import platform
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

import gpuaug
from gpuaug.data import DecodeError, decode
from gpuaug.data.decoders import tiff_tags as tiffs
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
    """Pillow writes no such file, so the test does: a PNG of one row, three big-endian words per pixel."""
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


def tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


@pytest.mark.parametrize("byteorder", "<>")
def test_floats_of_zero_to_one_are_scaled(byteorder):
    values = np.concatenate([np.linspace(0, 1, 255, dtype=np.float32), np.float32([0.5])]).reshape(16, 16)
    expected = threefold(np.rint(values * np.float32(255)).astype(np.uint8))
    assert np.array_equal(decode(tiff(values, byteorder=byteorder), "x"), expected)
    assert np.array_equal(rgb(Image.fromarray(values)), expected)


@pytest.mark.parametrize("values", [[0, 255], [-0.1, 1], [0, 1.01], [0, float("nan")], [0, float("inf")]])
def test_other_floats_are_refused(values):
    values = np.array([values], np.float32)
    with pytest.raises(DecodeError, match=r"^x.tif: .*floats \(mode F\) from .* must lie in 0..1; divide"):
        decode(tiff(values), "x.tif")
    with pytest.raises(ValueError, match=r"image 1 has floats \(mode F\)"):
        gpuaug.Images.from_list([COLOUR, Image.fromarray(values)])


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint32"])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}])
def test_integers_whose_range_nobody_knows_are_refused(kind, options):
    with pytest.raises(DecodeError, match=rf"^x.tif: a TIFF of 1 band of {kind[-2:].strip('t')}-bit .*their range is unknown"):
        decode(tiff(GRAY.astype(kind), **options), "x.tif")


def test_32_bit_integers_in_memory_are_refused():
    with pytest.raises(ValueError, match=r"image 0 has 32-bit integers \(mode I\), whose range is not known; convert"):
        gpuaug.Images.from_list([Image.fromarray(np.full((4, 4), 128, np.int32))])


def test_12_bits_are_not_taken_for_16():
    data = tiff(DEEP // 16)
    bits = struct.pack("<HHIH", tiffs.BITS, 3, 1, 16)
    assert data.count(bits) == 1
    with pytest.raises(
        DecodeError, match=r"^x.tif: a TIFF of 1 band of 12-bit unsigned integers: Pillow would read them as 16-bit"
    ):
        decode(data.replace(bits, struct.pack("<HHIH", tiffs.BITS, 3, 1, 12)), "x.tif")


@pytest.mark.parametrize("bands", [2, 5])
def test_bands_that_say_nothing_of_colour_are_dropped(bands):
    values = RNG.integers(0, 256, (9, 7, bands), dtype=np.uint8)
    options = {"extrasamples": [0] * (bands - 3)} if bands > 3 else {}
    data = tiff(values, photometric="rgb" if bands > 3 else "minisblack", planarconfig="contig", **options)
    assert np.array_equal(decode(data, "x"), values[:, :, :3] if bands > 3 else threefold(values[:, :, 0]))


def test_a_tiff_that_pillow_does_not_read_is_named_as_one(caplog):
    seven = RNG.integers(0, 256, (9, 7, 7), dtype=np.uint8)
    with pytest.raises(DecodeError, match=r"^x.tif: a TIFF of 7 bands of 8-bit unsigned integers: Pillow reads at most 6"):
        decode(tiff(seven, photometric="minisblack", planarconfig="contig"), "x.tif")
    with pytest.raises(DecodeError, match=r"^x.tif: a TIFF of 3 bands of 32-bit floats, which Pillow does not read"):
        decode(tiff(COLOUR.astype(np.float32), photometric="rgb"), "x.tif")
    assert not caplog.records  # Pillow logs a line that names no file
    assert tiffs.BANDS == TiffImagePlugin.MAX_SAMPLESPERPIXEL


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 300), value=st.integers(0, 255), end=st.integers(0, 400))
def test_damaged_tags_give_a_kind_or_none(at, value, end):
    data = tiff(GRAY)
    found = tiffs.kind((data[:at] + bytes([value]) + data[at + 1 :])[:end])
    assert found is None or found.bands >= 0


@pytest.mark.skipif(platform.system() != "Linux", reason="libtiff is found among the libraries that Linux lists")
def test_what_libtiff_says_is_told_with_the_name_of_the_file_and_not_printed(capfd, caplog):
    data = encoded(Image.fromarray(COLOUR), "tiff", compression="tiff_adobe_deflate")
    broken = data[:14] + bytes([data[14] ^ 255]) + data[15:]
    with pytest.raises(DecodeError, match=r"^x.tif: cannot be decoded: decoder error -2 \(Decoding error at .*\)$"):
        decode(broken, "x.tif")
    fax = encoded(Image.fromarray(np.arange(4096).reshape(64, 64) % 7 > 3), "tiff", compression="group4")
    (start,) = Image.open(io.BytesIO(fax)).tag_v2[273]
    decode(fax[: start + 100] + b"\xff" * 7 + fax[start + 107 :], "fax.tif")
    (record,) = caplog.records
    assert record.getMessage().startswith("fax.tif: libtiff went on after an error")
    assert capfd.readouterr().err == ""
    with contextlib.suppress(OSError):  # outside of `decode` libtiff still prints
        Image.open(io.BytesIO(broken)).load()
    assert "ZIPDecode" in capfd.readouterr().err


TOGETHER = """
    import threading, time
    from gpuaug.data.decoders import libtiff_messages as libtiff

    def slow():
        asked.append(threading.get_ident())
        time.sleep(0.2)
        return "Linux"

    def decode():
        with libtiff.captured():
            pass

    asked, libtiff.platform.system = [], slow
    threads = [threading.Thread(target=decode) for _ in range(4)]
    for step in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            step(thread)
    print(len(asked))
"""


def test_of_threads_that_begin_together_one_sets_the_handler():
    """A second handler would replace the first, and one of them would be freed while libtiff may still call it."""
    program = [sys.executable, "-c", textwrap.dedent(TOGETHER)]
    done = subprocess.run(program, cwd=Path(gpuaug.__file__).parent.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


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
