"""DALI's decoder returns what Pillow's does: the same pixels, the same errors, in the same order."""

import io
import multiprocessing
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data as photographs

import gpuaug
from gpuaug.data import DaliDecoder, DecodeError, decode
from gpuaug.data.decoders.jpeg_header import header_size, pillow_size, plain_size
from gpuaug.data.decoders.pillow import decode_batch

LIMIT = 60.0
"""Seconds after which a program counts as hanging."""

RNG = np.random.default_rng(1)
PHOTO = np.ascontiguousarray(photographs.astronaut()[:301, :219])
GRAY = PHOTO[:, :, 1]
DEEP = RNG.integers(0, 65536, (9, 7), dtype=np.uint16)


def encoded(image: Image.Image, kind: str = "jpeg", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def lying(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(PHOTO), exif=exif)


def with_alpha() -> Image.Image:
    image = Image.fromarray(PHOTO)
    image.putalpha(Image.fromarray(GRAY))
    return image


JPEG = encoded(Image.fromarray(PHOTO))

PLAIN = {
    "colour": JPEG,
    "colour at full resolution": encoded(Image.fromarray(PHOTO), quality=95, subsampling=0),
    "colour at half resolution": encoded(Image.fromarray(PHOTO), subsampling=1),
    "gray": encoded(Image.fromarray(GRAY)),
    "progressive": encoded(Image.fromarray(PHOTO), progressive=True),
    "progressive gray": encoded(Image.fromarray(GRAY), progressive=True),
    "restart markers": encoded(Image.fromarray(PHOTO), restart_marker_blocks=5),
    "red, green and blue as they are": encoded(Image.fromarray(PHOTO), keep_rgb=True),
    "EXIF 1": lying(1),
    "damaged EXIF": encoded(Image.fromarray(PHOTO), exif=b"Exif\0\0garbage"),
    "one pixel": encoded(Image.fromarray(PHOTO[:1, :1])),
    "a line": encoded(Image.fromarray(PHOTO[:1])),
    "a column": encoded(Image.fromarray(PHOTO[:, :1])),
}
"""Files that go to DALI."""

ODD = {
    **{f"EXIF {k}": lying(k) for k in range(2, 9)},
    "CMYK": encoded(Image.fromarray(PHOTO).convert("CMYK")),
    "JPEG with something behind its end": JPEG + b"\0",
    "png": encoded(Image.fromarray(PHOTO), "png"),
    "webp": encoded(Image.fromarray(PHOTO), "webp"),
    "palette": encoded(Image.fromarray(PHOTO).quantize(16), "png"),
    "16-bit": encoded(Image.fromarray(DEEP), "png"),
    "alpha": encoded(with_alpha(), "png"),
    "gray with alpha": encoded(with_alpha().convert("LA"), "png"),
}
"""Files that go to Pillow."""

BAD = {
    "empty": b"",
    "text": b"hello, this is text",
    "JPEG without its end": JPEG[:-2],
    "half a JPEG": JPEG[: len(JPEG) // 2],
    "a JPEG's head": JPEG[:300],
    "half a JPEG with an end": JPEG[:200] + JPEG[-2:],
    "JPEG with a hole in its tables": JPEG[:180] + JPEG[400:],
    "half a png": ODD["png"][:200],
}
"""Files that nobody can decode."""

GOOD = PLAIN | ODD


@pytest.fixture(scope="module")
def decoder():
    made = DaliDecoder()
    yield made
    made.close()


def assert_equal(found, datas, names):
    """As from Pillow: the same pixels, or the same message."""
    for mine, theirs in zip(found, decode_batch(datas, names), strict=True):
        if isinstance(theirs, DecodeError):
            assert isinstance(mine, DecodeError)
            assert str(mine) == str(theirs)
        else:
            assert mine.dtype == np.uint8
            assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_file_has_pillows_pixels(decoder, kind):
    assert_equal(decoder.decode_batch([GOOD[kind]], ["x"]), [GOOD[kind]], ["x"])


def test_plain_files_alone_go_to_dali():
    assert all(map(plain_size, PLAIN.values()))
    assert not any(map(plain_size, ODD.values()))


def test_most_headers_need_no_pillow():
    assert header_size(JPEG) == pillow_size(JPEG) == plain_size(JPEG)
    for kind, data in (GOOD | BAD).items():
        assert header_size(data) in (None, pillow_size(data)), kind


@settings(max_examples=300, deadline=None)
@given(at=st.integers(2, JPEG.index(b"\xff\xda") + 12), value=st.integers(0, 255))
@example(at=JPEG.index(b"\xff\xda") + 2, value=40)  # the segment would end behind the file
def test_a_size_is_pillows_whatever_a_header_says(at, value):
    changed = JPEG[:at] + bytes([value]) + JPEG[at + 1 :]
    assert header_size(changed) in (None, pillow_size(changed))


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named_with_pillows_reason(decoder, kind):
    (error,) = decoder.decode_batch([BAD[kind]], ["pets/rex.jpg"])
    assert isinstance(error, DecodeError)
    assert str(error).startswith("pets/rex.jpg: ")
    assert_equal([error], [BAD[kind]], ["pets/rex.jpg"])


@settings(max_examples=60, deadline=None)
@given(kinds=st.lists(st.sampled_from(sorted(GOOD | BAD)), max_size=12))
def test_the_order_is_kept_with_bad_files_anywhere(decoder, kinds):
    datas, names = [(GOOD | BAD)[kind] for kind in kinds], [f"{k}: {kind}" for k, kind in enumerate(kinds)]
    assert_equal(decoder.decode_batch(datas, names), datas, names)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("place", range(4))
def test_a_bad_file_costs_no_other(decoder, kind, place):
    kinds = ["colour", "gray", "EXIF 6"]
    kinds.insert(place, kind)
    found = decoder.decode_batch([(GOOD | BAD)[name] for name in kinds], kinds)
    assert [isinstance(one, DecodeError) for one in found] == [k == place for k in range(4)]
    again = decoder.decode_batch([JPEG], ["x"])
    assert np.array_equal(again[0], decode(JPEG, "x"))


def test_plain_files_lie_in_one_buffer_without_a_copy(decoder):
    datas = [JPEG, PLAIN["gray"], PLAIN["progressive"]]
    images = decoder.images(datas, ["a", "b", "c"])
    assert isinstance(images, gpuaug.Images)
    for pixels, data in zip(images, datas, strict=True):
        assert np.array_equal(pixels.numpy(), decode(data, "x"))


def test_images_of_odd_files_among_plain_ones(decoder):
    datas = [JPEG, ODD["EXIF 6"], PLAIN["gray"], ODD["16-bit"]]
    for pixels, data in zip(decoder.images(datas, ["a", "b", "c", "d"]), datas, strict=True):
        assert np.array_equal(pixels.numpy(), decode(data, "x"))


def test_pictures_of_one_or_three_rows_stay_as_they_lie_among_odd_files(decoder):
    """A tensor of shape (3, W, 3) would be read as channels first."""
    datas = [encoded(Image.fromarray(PHOTO[:rows])) for rows in (1, 3)] + [ODD["EXIF 6"]]
    for pixels, data in zip(decoder.images(datas, "abc"), datas, strict=True):
        assert np.array_equal(pixels.numpy(), decode(data, "x"))


def test_images_raise_the_first_error(decoder):
    with pytest.raises(DecodeError, match=r"^second: the file is empty"):
        decoder.images([JPEG, b"", b"text"], ["first", "second", "third"])
    assert len(decoder.images([], [])) == 0


def test_earlier_batches_keep_their_pixels(decoder):
    """DALI's older executor would overwrite them with the next batch."""
    shots = [encoded(Image.fromarray(np.roll(PHOTO, 10 * k, axis=0))) for k in range(12)]
    held = [decoder.images([shot] * 3, "abc") for shot in shots]
    for images, shot in zip(held, shots, strict=True):
        assert all(np.array_equal(pixels.numpy(), decode(shot, "x")) for pixels in images)


def test_a_batch_may_be_larger_than_the_first(decoder):
    for count in (1, 200, 3):
        found = decoder.decode_batch([JPEG] * count, ["x"] * count)
        assert len(found) == count
        assert all(np.array_equal(one, found[0]) for one in found)


def resident() -> int:
    """Megabytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024


def test_memory_stays_flat(decoder):
    batch = [JPEG, PLAIN["gray"], ODD["png"], BAD["text"]] * 4

    def work(rounds):
        for _ in range(rounds):
            decoder.decode_batch(batch, ["x"] * len(batch))

    work(20)
    before = resident()
    work(200)
    assert resident() - before < 30  # one batch is 3 MB


def test_threads_may_share_a_decoder(decoder):
    expected = [decode(data, "x") for data in PLAIN.values()]

    def work(shift):
        kinds = list(PLAIN)[shift:] + list(PLAIN)[:shift]
        found = decoder.decode_batch([PLAIN[kind] for kind in kinds], kinds)
        return found[len(kinds) - shift :] + found[: len(kinds) - shift]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(work, [k % len(PLAIN) for k in range(24)]):
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_closed_decoder_ends_its_threads_and_may_go_on():
    made = DaliDecoder(threads=3)
    before = len(list(Path("/proc/self/task").iterdir()))
    made.decode_batch([JPEG], ["x"])
    assert len(list(Path("/proc/self/task").iterdir())) > before
    made.close()
    made.close()
    assert len(list(Path("/proc/self/task").iterdir())) <= before
    assert np.array_equal(made.decode_batch([JPEG], ["x"])[0], decode(JPEG, "x"))
    made.close()


FORK = """
    import io, os, numpy as np
    from PIL import Image
    from gpuaug.data import DaliDecoder

    file = io.BytesIO()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(file, "jpeg")
    used, fresh = DaliDecoder(), DaliDecoder()
    used.decode_batch([file.getvalue()], ["x"])
    child = os.fork()
    if not child:
        try:
            used.decode_batch([file.getvalue()], ["x"])
        except RuntimeError as error:
            print(error, flush=True)
        used.close()
        print(fresh.decode_batch([file.getvalue()], ["x"])[0].shape, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(used.decode_batch([file.getvalue()], ["x"])[0].shape)
"""


def test_after_a_fork_a_used_decoder_says_so_and_a_fresh_one_works():
    """The program also ends at once, with decoders alive."""
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(FORK)]
    root = Path(gpuaug.__file__).parent.parent
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    error, fresh, used = done.stdout.splitlines()
    assert "make a decoder in each process" in error
    assert fresh == used == "(40, 50, 3)"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_script_with_a_loader_ends_without_a_word(tmp_path, workers):
    """At the interpreter's exit the names of modules go before a loader that is a global name of the script."""
    for k in range(4):
        (tmp_path / f"{k}.jpg").write_bytes(JPEG)
    program = f"""
        import gpuaug
        loader = gpuaug.DataLoader(".", gpuaug.policy("simclr", size=32), 4, num_workers={workers})
        for batch in loader:
            pass
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)]
    path = {**os.environ, "PYTHONPATH": str(Path(gpuaug.__file__).parent.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def shapes(datas):
    return [one.shape for one in DaliDecoder().decode_batch(datas, ["x"] * len(datas))]


def test_a_spawned_process_has_its_own():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(shapes, ([JPEG],)) == [(301, 219, 3)]


def test_the_pillow_of_the_same_signature_names_bad_files():
    good, bad = decode_batch([JPEG, b""], ["a", "b"])
    assert np.array_equal(good, decode(JPEG, "x"))
    assert str(bad) == "b: the file is empty"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"device": "gpu"}, 'device must be "cpu" or "mixed", got \'gpu\''),
        ({"hw_decoder_load": 2.0}, r"hw_decoder_load must be in \[0, 1\], got 2.0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DaliDecoder(**options)


def test_dali_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr("gpuaug.data.decoders.dali.findable", lambda module: False)
    with pytest.raises(ImportError, match="pip install nvidia-dali-cuda130"):
        DaliDecoder()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="nvJPEG needs a GPU")
def test_nvjpeg_is_near():
    images = DaliDecoder(device="mixed").images([JPEG, ODD["png"]], ["a", "b"])
    assert images.device.type == "cuda"
    for pixels, data in zip(images.to("cpu"), [JPEG, ODD["png"]], strict=True):
        assert np.abs(pixels.numpy().astype(int) - decode(data, "x")).mean() < 2
