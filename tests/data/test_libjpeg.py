"""The decoder that calls Pillow's libjpeg directly: Pillow's pixels in any box, and Pillow itself where anything is odd."""

import copy
import io
import multiprocessing
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy._core import _multiarray_umath
from PIL import Image

import gpuaug
from gpuaug.data import DecodeError, decode
from gpuaug.data.decoders import auto_on_cpu, cpu_decoder
from gpuaug.data.decoders.jpeg_header import plain
from gpuaug.data.decoders.libjpeg import LibjpegDecoder, library, routine
from gpuaug.data.decoders.regions import Region
from gpuaug.memory import POOL

HEIGHT, WIDTH = 77, 131
SMOOTH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (13, 22, 3), dtype=np.uint8))
PHOTO = np.asarray(SMOOTH.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def jpeg(pixels=PHOTO, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", **options)
    return file.getvalue()


def sampled(factors):
    """A JPEG whose colour is stored at fewer pixels; OpenCV writes kinds that Pillow does not."""
    return cv2.imencode(".jpg", PHOTO, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors])[1].tobytes()


def mixed(factors, seed=0):
    """A JPEG of noise, one value a block of 8 x 8, whose components are stored at any fractions of the pixels.

    factors: (across, down) of each component: how many of its blocks lie in a unit of the picture.
    """
    rng = np.random.default_rng(seed)
    across, down = np.max(factors, axis=0)
    units = -(-WIDTH // (8 * across)) * -(-HEIGHT // (8 * down))
    last, bits = np.zeros(3, int), []
    for _ in range(units):
        for k, (h, v) in enumerate(factors):
            for value in rng.integers(-700, 700, h * v):
                change, last[k] = int(value - last[k]), value
                size = abs(change).bit_length()
                code = f"{change if change > 0 else change + (1 << size) - 1:0{size}b}" if size else ""
                bits.append(f"{size:04b}{code}0")  # the size in 4 bits, the change, and in 1 bit that nothing follows
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    components = b"".join(bytes([k + 1, h << 4 | v, 0]) for k, (h, v) in enumerate(factors))
    segments = {
        0xE0: b"JFIF\0\1\1\0\0\1\0\1\0\0",
        0xDB: bytes([0]) + bytes([1] * 64),
        0xC0: bytes([8]) + HEIGHT.to_bytes(2, "big") + WIDTH.to_bytes(2, "big") + bytes([3]) + components,
        0xC4: bytes([0, 0, 0, 0, 12, *[0] * 12, *range(12)]) + bytes([0x10, 1, *[0] * 15, 0]),
        0xDA: bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0]),
    }
    head = b"".join(bytes([255, kind]) + (len(data) + 2).to_bytes(2, "big") + data for kind, data in segments.items())
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


KINDS = {
    "4:4:4": (jpeg(subsampling=0), 8),
    "4:2:2": (jpeg(subsampling=1), 16),
    "4:2:0": (jpeg(subsampling=2), 16),
    "4:1:1": (sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411), 32),
    "a half and a quarter": (mixed([(1, 2), (4, 1), (2, 1)]), 32),
    "4:4:0": (sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440), 8),
    "gray": (jpeg(PHOTO[..., 0]), 8),
    "restarts": (jpeg(restart_marker_blocks=3), 16),
    "red, green and blue as they are": (jpeg(keep_rgb=True), 8),
    "EXIF": (jpeg(exif=b"Exif\0\0garbage"), 16),
    "progressive": (jpeg(progressive=True), 16),
    "progressive gray": (jpeg(PHOTO[..., 0], progressive=True), 8),
}
"""Plain files, and the pixels from one column at which their decoding may begin to the next."""


@pytest.fixture(scope="module")
def decoder():
    return LibjpegDecoder()


@pytest.fixture
def lost(monkeypatch):
    """A machine whose Pillow has no libjpeg of its own."""
    monkeypatch.setattr(library, "PLACES", ())
    library.library.cache_clear()
    yield
    library.library.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_whole_pictures_are_pillows_and_never_go_to_it(decoder, kind, monkeypatch):
    data, block = KINDS[kind]
    truth = decode(data, "x")
    monkeypatch.setattr("gpuaug.data.decoders.libjpeg.decoder.try_decode", None)
    (found,) = decoder([data], ["x"])
    assert found.dtype == np.uint8
    assert np.array_equal(found, truth)
    assert plain(data) == ((HEIGHT, WIDTH), block, kind.startswith("progressive"))


@pytest.mark.parametrize(("left", "width"), [(0, 1), (0, 2), (1, 1), (WIDTH - 1, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_boxes_at_the_edges_have_the_pixels_of_the_whole(decoder, kind, left, width):
    file, _ = KINDS[kind]
    (found,) = decoder([file], ["x"], lambda where, shapes: np.array([[3, left, 30, width]], np.int32))
    y, x = found.frame[:2]
    assert np.array_equal(found.pixels[3 - y :, left - x :][:30, :width], decode(file, "x")[3:33, left : left + width])


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_any_box_has_the_pixels_of_the_whole(decoder, data, kind):
    top, left = data.draw(st.integers(0, HEIGHT - 1)), data.draw(st.integers(0, WIDTH - 1))
    height, width = data.draw(st.integers(1, HEIGHT - top)), data.draw(st.integers(1, WIDTH - left))
    box = np.array([[top, left, height, width]], np.int32)
    file, _ = KINDS[kind]
    (found,) = decoder([file], ["x"], lambda where, shapes: box)
    assert isinstance(found, Region)
    y, x, *size = found.frame
    h, w, _ = found.pixels.shape
    assert size == [HEIGHT, WIDTH]
    whole = kind.startswith("progressive") or kind in ("4:1:1", "a half and a quarter")
    assert (y, x, h, w) == ((0, 0, HEIGHT, WIDTH) if whole else (top, left, height, width))
    assert np.array_equal(found.pixels, decode(file, "x")[y : y + h, x : x + w])


def test_a_complaint_of_libjpeg_leaves_the_file_to_pillow(decoder, capfd):
    """A scan that ends early: every caller gets a warning, which libjpeg would print, and grey blocks."""
    data = KINDS["4:2:0"][0]
    short = data[: len(data) * 2 // 3].rstrip(b"\xff") + b"\xff\xd9"
    assert plain(short)
    whole = np.array([[HEIGHT, WIDTH, 0, 0, HEIGHT, WIDTH, 0, WIDTH]] * 2)
    out = np.empty((2, HEIGHT, WIDTH, 3), np.uint8)
    good, other = decoder.library.decode([data, short], whole, np.array([one.ctypes.data for one in out]))
    assert good == routine.GOOD != other
    found = decoder([data, short, data], ["a", "b", "c"])
    assert all(np.array_equal(one, decode(file, "x")) for one, file in zip(found, (data, short, data), strict=True))
    assert capfd.readouterr().err == ""


def test_a_picture_that_is_too_large_for_pillow_is_so_for_every_decoder(decoder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH // 2 - 1)
    data = KINDS["4:2:0"][0]
    with pytest.raises(DecodeError) as error:
        decode(data, "x", HEIGHT * WIDTH)
    (found,) = LibjpegDecoder(HEIGHT * WIDTH)([data], ["x"])
    assert str(found) == str(error.value)


def test_the_threads_signals_are_as_before(decoder):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        decoder.library.check("libjpeg")  # with an error of libjpeg in it
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_file_that_nobody_can_read_has_pillows_error(decoder):
    good = KINDS["4:2:0"][0]
    scan = good.index(b"\xff\xc4")
    bad = good[: scan + 5] + b"\xff" * 16 + good[scan + 21 :]  # a Huffman table that cannot be
    found = decoder([good, bad, b""], ["a", "b", "c"])
    assert np.array_equal(found[0], decode(good, "a"))
    assert isinstance(found[1], DecodeError)
    assert str(found[2]) == "c: the file is empty"
    with pytest.raises(DecodeError) as told:
        decode(bad, "b")
    assert str(found[1]) == str(told.value)


@pytest.mark.parametrize(
    "box",
    [
        (HEIGHT + 1, WIDTH, 0, 0, 4, 4, 0, 4),
        (HEIGHT, WIDTH - 1, 0, 0, 4, 4, 0, 4),
        (HEIGHT, WIDTH, 0, 5, 4, 20, 1, 18),
        (HEIGHT, WIDTH, HEIGHT, 0, 4, 20, 1, 18),
        (HEIGHT, WIDTH, 0, 0, 4, 100, 43, 50),
    ],
)
def test_the_routine_writes_nothing_for_a_box_that_does_not_suit_the_file(box):
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    (found,) = library.usable().decode([KINDS["4:2:0"][0]], np.array([box]), np.array([out.ctypes.data]))
    assert found != routine.GOOD
    assert not out.any()


def test_a_file_leaves_those_beside_it_alone(decoder):
    """Files of one part lie side by side in memory, and rows are longer than what is kept of them."""
    good, damaged = KINDS["4:2:0"][0], bytearray(KINDS["4:2:0"][0])
    damaged[len(good) // 2 : len(good) // 2 + 40] = bytes(40)
    files = [good, bytes(damaged), good, bytes(damaged), good]
    boxes = np.array([[9, 33, 60, 17], [3, 40, 70, 50], [0, 66, 77, 65], [50, 18, 20, 9], [1, 100, 5, 31]], np.int32)
    for found, file, box in zip(decoder(files, list("abcde"), lambda where, shapes: boxes[where]), files, boxes, strict=True):
        top, left, height, width = box
        pixels = found.pixels if isinstance(found, Region) else found[top : top + height, left : left + width]
        assert np.array_equal(pixels, decode(file, "x")[top : top + height, left : left + width])


def test_threads_decode_at_the_same_time(decoder):
    files = [file for file, _ in KINDS.values()] * 3
    truth = [decode(file, "x") for file in files]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: decoder(files, ["x"] * len(files)), range(12)):
            assert all(np.array_equal(one, two) for one, two in zip(found, truth, strict=True))


def decode_in_child(decoder, pipe):
    pipe.send(decoder([KINDS["4:2:2"][0]], ["x"]))


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_copies_and_other_processes_decode_too(decoder, way):
    file = KINDS["4:2:2"][0]
    for other in (copy.deepcopy(decoder), pickle.loads(pickle.dumps(decoder))):
        assert np.array_equal(other([file], ["x"])[0], decode(file, "x"))
        assert other.max_pixels == decoder.max_pixels
    context = multiprocessing.get_context(way)
    ours, theirs = context.Pipe()
    child = context.Process(target=decode_in_child, args=(decoder, theirs))
    child.start()
    assert ours.poll(120)
    assert np.array_equal(ours.recv()[0], decode(file, "x"))
    child.join(60)
    assert child.exitcode == 0


def test_without_pillows_libjpeg_auto_takes_another_decoder(lost, tmp_path):
    chosen, why = auto_on_cpu()
    assert chosen == cpu_decoder("auto") in ("dali", "pillow")
    assert "this Pillow has no libjpeg of its own" in why
    (tmp_path / "0.jpg").write_bytes(KINDS["4:2:0"][0])
    with pytest.raises(ImportError, match=r"decoder \"libjpeg\" calls Pillow's libjpeg directly.*pip install"):
        gpuaug.DataLoader(tmp_path, "simclr_cifar", decoder="libjpeg")
    assert len(list(gpuaug.DataLoader(tmp_path, "simclr_cifar"))) == 1


@pytest.mark.parametrize("kind", ["none", "of something else"])
def test_a_library_that_is_another_one_is_not_used(monkeypatch, tmp_path, kind):
    path = tmp_path / "pillow.libs" / "libjpeg.so.62"
    path.parent.mkdir()
    if kind == "none":
        path.write_bytes(b"no library")
    else:
        path.symlink_to(_multiarray_umath.__file__)
    monkeypatch.setattr(library.PIL, "__file__", str(tmp_path / "PIL" / "__init__.py"))
    library.library.cache_clear()
    try:
        assert "libjpeg.so.62" in library.missing()
    finally:
        library.library.cache_clear()


def test_a_library_of_another_abi_is_not_used(monkeypatch):
    monkeypatch.setattr(routine, "SOURCE", routine.SOURCE.replace("i32 62, i64 632", "i32 80, i64 664"))
    library.library.cache_clear()
    try:
        assert "its ABI or its pixels" in library.missing()
    finally:
        monkeypatch.undo()
        library.library.cache_clear()
        assert not library.missing()


def test_the_default_decoder_is_libjpeg_and_gives_pillows_views(tmp_path):
    for k, (file, _) in enumerate(KINDS.values()):
        (tmp_path / f"{k:02}.jpg").write_bytes(file)
    policy = gpuaug.policy("simclr", size=32)

    def views(decoder):
        loader = gpuaug.DataLoader(tmp_path, policy, batch_size=4, num_workers=2, decoder=decoder)
        found = [[view.clone() for view in two] for two, _ in loader]
        return found, loader.stats().decoder

    (ours, name), (theirs, _) = views("auto"), views("pillow")
    assert name == "libjpeg (Pillow's libjpeg, called directly)"
    assert all((a == b).all() for one, two in zip(ours, theirs, strict=True) for a, b in zip(one, two, strict=True))


def test_memory_of_parts_is_used_again_and_that_of_large_ones_is_not_kept():
    from gpuaug.data.decoders.libjpeg.decoder import KEPT, allocated

    POOL.release()
    first = allocated(9 << 20).ctypes.data
    assert allocated(15 << 20).ctypes.data == first  # the same block, for any size up to the next power of two
    before = POOL.nbytes
    assert len(allocated(KEPT + 1)) == KEPT + 1
    assert POOL.nbytes == before


def test_decoders_that_threads_make_at_the_same_time():
    """In a process of its own: machine code that is freed while it runs would kill it."""
    program = (
        "import io, threading, numpy as np\n"
        "from PIL import Image\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from gpuaug.data.decoders.libjpeg import LibjpegDecoder\n"
        "file = io.BytesIO()\n"
        "Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint32).reshape(64, 48, 3).astype(np.uint8)).save(file, 'JPEG')\n"
        "ready = threading.Barrier(4)\n"
        "def work(k):\n"
        "    ready.wait(60)\n"
        "    decoder = LibjpegDecoder()\n"
        "    return [decoder([file.getvalue()], ['x'])[0].sum() for _ in range(50)]\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    found = list(pool.map(work, range(4)))\n"
        "assert len(set(sum(found, []))) == 1\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
