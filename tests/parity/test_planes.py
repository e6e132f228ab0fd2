"""The fused CPU kernels make of planes at half resolution the views that they make of libjpeg's RGB, to the bit."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gpuaug
from gpuaug import Augmenter, Images, Policy, View
from gpuaug.backends.fused import plan
from gpuaug.backends.fused.cpu import launch

from .cases import at_half_resolution, examples, photos, ragged, tables


def noise(shapes, seed=0, gap=0):
    """Planes of noise, with many pure blacks and whites, so that sums are clamped."""
    rng = np.random.default_rng(seed)
    sizes = [height * width + 2 * (-(-height // 2) * -(-width // 2)) for height, width in shapes]
    starts = np.cumsum([gap, *(size + gap for size in sizes)], dtype=np.int64)
    values = rng.integers(-100, 356, starts[-1]).clip(0, 255).astype(np.uint8)
    return Images(torch.from_numpy(values), np.array(shapes, np.int32), starts[:-1], "yuv420")


def made(images, table, dtype=torch.float32, memory_format=torch.contiguous_format):
    return launch.make_view(images, table, dtype, memory_format)


def boxed(images, size, boxes, flips=(), cubic=False):
    """Views of a size of these boxes: (top, left, height, width), or eight numbers as in `Tables`."""
    resize = gpuaug.Resize(size, "bicubic" if cubic else "bilinear")
    table = plan.tables(images, *tables([resize], len(images), size))
    boxes = np.array([(*box, *size, 0, 0)[:8] if len(box) == 4 else box for box in boxes], np.int32)
    return replace(table, boxes=boxes, flips=np.array(flips or [(False, False)] * len(boxes)))


def test_every_colour():
    """With two columns of colours, pixels are repeated: an image that holds all pairs, once for each end of the clamping."""
    pairs = np.arange(1 << 16)
    height, width = len(pairs), 4
    columns = np.stack([pairs >> 8, pairs & 255]).astype(np.uint8).reshape(2, height // 2, 2)
    images = [np.concatenate([np.full(height * width, y, np.uint8), columns.ravel()]) for y in (0, 128, 255)]
    batch = Images(torch.from_numpy(np.concatenate(images)), np.array([(height, width)] * 3, np.int32), layout="yuv420")
    table = boxed(batch, (height, width), [(0, 0, height, width)] * 3)
    view = made(batch, table)
    assert torch.equal(view, made(batch.packed(), table))
    levels = (view * 255).round().to(torch.uint8)
    assert torch.equal(levels.permute(0, 2, 3, 1).reshape(-1), batch.packed().buffer)


@pytest.mark.parametrize("name", gpuaug.policies)
def test_policies(name):
    policy = gpuaug.policy(name, size=48)
    images = at_half_resolution(photos(), 1)
    augment, draws = Augmenter(policy, "fused"), gpuaug.sample(policy, range(len(images)), seed=5)
    for view, expected in zip(augment(images, draws), augment(images.packed(), draws), strict=True):
        assert torch.equal(view, expected)


@pytest.mark.parametrize("op", examples().values(), ids=lambda op: type(op).__name__)
def test_ops(op):
    """After a crop, or at the beginning of the view if the op can be there."""
    images = at_half_resolution(ragged(), 2)
    crop = gpuaug.RandomResizedCrop(scale=(0.1, 1.0), interpolation="bilinear")
    policy = Policy(View(40, op) if hasattr(op, "size") else View(40, crop, op))
    augment, draws = Augmenter(policy, "fused"), gpuaug.sample(policy, range(len(images)), seed=6)
    for view, expected in zip(augment(images, draws), augment(images.packed(), draws), strict=True):
        assert torch.equal(view, expected)


SIDES = st.one_of(st.integers(1, 9), st.integers(10, 140))


@st.composite
def cropped(draw):
    """Images of any sizes and a box of each, often at its borders."""
    shapes = draw(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4))
    boxes = []
    for shape in shapes:
        parts = []
        for side in shape:
            length = draw(st.one_of(st.just(side), st.integers(1, side)))
            parts.append((draw(st.one_of(st.sampled_from([0, side - length]), st.integers(0, side - length))), length))
        boxes.append((parts[0][0], parts[1][0], parts[0][1], parts[1][1]))
    return shapes, boxes


@settings(deadline=None, max_examples=300)
@given(
    cropped(),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    *(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 70), st.integers(0, 1 << 20)),
)
def test_any_box(crops, size, cubic, across, down, gap, seed):
    """Of images of any sizes, in any place of a buffer that ends with the last of them, or `gap` bytes behind it."""
    shapes, boxes = crops
    images = noise(shapes, seed, gap)
    table = boxed(images, size, boxes, [(across, down)] * len(boxes), cubic)
    assert torch.equal(made(images, table), made(images.packed(), table))


@settings(deadline=None, max_examples=100)
@given(st.tuples(SIDES, SIDES), st.tuples(st.integers(1, 90), st.integers(1, 90)), st.booleans(), st.data())
def test_a_part_of_a_resized_image(shape, full, flip, data):
    """Only the columns that the view needs are made; the view may begin and end outside the resized image."""
    size = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    skips = [data.draw(st.integers(-view, whole)) for view, whole in zip(size, full, strict=True)]
    images = noise([shape])
    table = boxed(images, size, [(0, 0, *shape, *full, *skips)], [(flip, False)])
    assert torch.equal(made(images, table), made(images.packed(), table))


def test_filters_that_planes_share_are_those_of_either_resolution():
    """A thread keeps the filters of small boxes from batch to batch, of whatever layout."""
    shapes = [(32, 32)] * 3
    images = noise(shapes)
    planar = Images.from_tensor(torch.stack(list(images.packed())).permute(0, 3, 1, 2).contiguous())
    assert planar.layout == "planar"
    table = boxed(images, (24, 24), [(4, 5, 20, 21), (0, 0, 32, 32), (4, 5, 20, 21)])
    batches = [images, images.packed(), planar] * 2
    views = [made(batch, table) for batch in batches]
    assert all(torch.equal(view, views[0]) for view in views[1:])


GUARDED = """
import torch
from gpuaug import Images
from parity.guarded import guarded_copy
from parity.test_planes import SHAPES_AT_THE_END, boxed, made, noise

for place in ("begin", "end"):
    for shape in SHAPES_AT_THE_END:
        loose = noise([shape])
        images = Images(guarded_copy(loose.buffer, place), loose.shapes, layout="yuv420")
        height, width = shape
        part = max(1, height // 2), max(1, width // 3)
        boxes = [(0, 0, height, width), (0, 0, *part), (height - part[0], width - part[1], *part)]
        for size in ((5, 7), (40, 90)):
            for box in boxes:
                table = boxed(images, size, [box])
                assert torch.equal(made(images, table), made(loose.packed(), table)), (place, shape, size, box)
print("all")
"""

SHAPES_AT_THE_END = [(1, 1), (1, 2), (2, 1), (2, 5), (3, 3), (7, 64), (33, 47), (64, 128), (9, 129), (2, 300), (200, 3)]


def test_nothing_outside_the_buffer_is_read():
    """The buffer begins or ends at a page of memory that kills the process that reads it."""
    place = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", GUARDED], cwd=place, capture_output=True, text=True, timeout=560, check=False)
    assert done.stdout == "all\n", (done.returncode, done.stderr)
