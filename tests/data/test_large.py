"""Large pictures are in memory one at a time, and have the same pixels and views as without this limit."""

import io
import multiprocessing
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gpuaug
from gpuaug import images
from gpuaug.data import decode
from gpuaug.data.decoders import large
from gpuaug.data.decoders.pillow import memory_for
from gpuaug.images import rgb

LIMIT = 120.0
"""Seconds after which a program counts as hanging."""


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


PROGRAM = """
    import gpuaug, sys
    from pathlib import Path

    def memory(field):
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) * 1024

    def epoch(folder):
        return len(list(gpuaug.DataLoader(folder, gpuaug.policy("simclr_cifar", size=32), batch_size=4, num_workers=2)))

    small, large = sys.argv[1:]
    assert epoch(small) == 1
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    assert epoch(large) == 1
    print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell a peak of memory")
def test_large_pictures_take_eight_bytes_a_pixel_of_one_of_them(tmp_path):
    """While one is decoded, PIL holds 4 bytes per pixel and we hold 3. Without the limit four in two threads took 31."""
    width, height = 6000, 4000
    for folder, size in (("small", (60, 40)), ("large", (width, height))):
        (tmp_path / folder / "x").mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", size, (k, 2, 3)).save(tmp_path / folder / "x" / f"{k}.png", compress_level=1)
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), tmp_path / "small", tmp_path / "large"]
    root = Path(gpuaug.__file__).parent.parent
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10 * width * height


MODULES = [images, large, sys.modules["gpuaug.data.decoders.pillow"]]


@pytest.fixture
def _small_is_large(monkeypatch):
    for module in MODULES:
        monkeypatch.setattr(module, "LARGE", 400)


@pytest.mark.usefixtures("_small_is_large")
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16", "F"])
def test_strips_have_the_pixels_of_the_whole(mode, monkeypatch):
    rng = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 2**16, (71, 53), dtype=np.uint16))
    elif mode == "F":
        image = Image.fromarray(rng.random((71, 53), dtype=np.float32))
    else:
        image = Image.fromarray(rng.integers(0, 256, (71, 53, 3), dtype=np.uint8)).convert(mode)
        if mode == "P":
            image.info["transparency"] = bytes(range(256))
    strips = rgb(image)
    monkeypatch.setattr(images, "LARGE", 10**6)
    assert strips.shape == (71, 53, 3)
    assert np.array_equal(strips, rgb(image))


@pytest.mark.usefixtures("_small_is_large")
@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("decoder", ["dali", "pillow"])
def test_views_are_the_same_with_large_pictures_among_others(folder, policy, workers, decoder, monkeypatch):
    options = {"batch_size": 20, "seed": 3, "shuffle": True, "on_error": "replace", "max_bad": 1.0, "decoder": decoder}
    loader = gpuaug.DataLoader(folder, policy, num_workers=workers, **options)
    found = [(*views, target, torch.from_numpy(loader.index)) for views, target in loader]
    for module in MODULES:
        monkeypatch.setattr(module, "LARGE", 10**9)
    loader = gpuaug.DataLoader(folder, policy, **options)
    expected = [(*views, target, torch.from_numpy(loader.index)) for views, target in loader]
    assert all(torch.equal(a, b) for one, other in zip(found, expected, strict=True) for a, b in zip(one, other, strict=True))


@pytest.mark.usefixtures("_small_is_large")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_sampler_may_name_a_large_picture_twice(tmp_path, policy, workers):
    for k, size in enumerate([(9, 9), (60, 40), (9, 8)]):
        Image.new("RGB", size, (k, 0, 0)).save(tmp_path / f"{k}.png")
    asked = [1, 1, 0, 1, 2, 0]
    loader = gpuaug.DataLoader(str(tmp_path), policy, batch_size=6, sampler=asked, num_workers=workers, decoder="pillow")
    ((views, index),) = loader
    assert index.tolist() == asked
    for view in views:
        assert torch.equal(view[0], view[1])
        assert torch.equal(view[2], view[5])


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "webp", "tiff", "ppm"])
def test_a_header_promises_the_pixels_of_the_picture(kind):
    data = encoded(Image.new("RGB", (31, 17)), kind)
    assert large.header_pixels(data) == 31 * 17
    assert large.header_pixels(data[:9]) == 0


def test_a_large_picture_is_alone_in_its_group():
    big, small = encoded(Image.new("L", (5000, 4000)), "png"), encoded(Image.new("L", (50, 40)), "png")
    files = {4: small, 1: big, 2: OSError("gone"), 0: small, 5: big, 6: big, 3: b"no image"}
    found = list(large.group_by_memory([4, 1, 2, 0, 5, 6, 3], files))
    assert found == [([4], 0), ([1], 20_000_000), ([2, 0], 0), ([5], 20_000_000), ([6], 20_000_000), ([3], 0)]


@pytest.mark.usefixtures("_small_is_large")
def test_after_a_fork_nobody_waits_for_a_thread_of_the_parent():
    data = encoded(Image.new("RGB", (40, 30)), "png")
    with memory_for(401), multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(decode, (data, "x")).get(LIMIT).shape == (30, 40, 3)
