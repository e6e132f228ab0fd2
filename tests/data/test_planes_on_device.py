"""Planes of brightness and colours on their way to a device: without gaps, and not as RGB, which would take twice the bytes."""

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import Images, yuv
from gpuaug.data.engine.batch import DecodedBatch
from gpuaug.data.engine.pipeline import transfer_and_augment
from gpuaug.data.engine.view_maker import ViewMaker

SHAPES = np.array([(5, 7), (4, 4), (1, 9)], np.int32)
SIZES = [5 * 7 + 2 * 3 * 4, 16 + 2 * 4, 9 + 2 * 5]
STARTS = np.array([60, 3, 30], np.int64)
MEMORY = torch.arange(130, dtype=torch.uint8, device="cpu")
APART = Images(MEMORY, SHAPES, STARTS, "yuv420")
DENSE = torch.cat([MEMORY[a : a + n] for a, n in zip(STARTS, SIZES, strict=True)])


@pytest.mark.parametrize("copy", [lambda images: images.gathered(), lambda images: images.to("meta")])
def test_copies_keep_the_planes_and_leave_out_what_lies_between(copy):
    made = copy(APART)
    assert (made.layout, made.starts, made.buffer.numel()) == ("yuv420", None, sum(SIZES))
    assert made.device.type == "meta" or torch.equal(made.buffer, DENSE)


def test_rows_of_a_table_stay_planes():
    """As a packed array gives them: images of one size, of which a batch takes some."""
    rows = np.random.default_rng(0).integers(0, 256, (6, 6 * 9 + 2 * 3 * 5), dtype=np.uint8)
    index = np.array([4, 1, 1], np.int64)
    images = Images(torch.from_numpy(rows.reshape(-1)), np.full((3, 2), (6, 9), np.int32), index * rows.shape[1], "yuv420")
    assert images.gathered().layout == "yuv420"
    assert np.array_equal(images.gathered().buffer.numpy(), rows[index].reshape(-1))
    assert torch.equal(torch.stack(list(images.gathered())), yuv.to_rgb(torch.from_numpy(rows[index]), 6, 9))


def test_a_batch_is_sent_as_planes_and_its_bytes_are_counted():
    """To the device without data, which takes the path of every device but the pinned copy of CUDA."""
    given = []

    class Augment:
        policy = gpuaug.policy("mae", size=16)

        def __call__(self, images, draws, out=None):
            given.append(images)
            return [torch.zeros(len(images), 3, 16, 16, device=images.device)]

    batch = DecodedBatch(np.arange(3), Images(DENSE, SHAPES, layout="yuv420"), None, 3)
    made = transfer_and_augment(batch, ViewMaker(Augment(), 0, 0), torch.device("meta"))
    assert [(images.layout, images.device.type, images.buffer.numel()) for images in given] == [("yuv420", "meta", sum(SIZES))]
    assert made.copied == sum(SIZES)
    assert made.views[0].device.type == "meta"
