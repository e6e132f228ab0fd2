"""What may be given as a source: arrays, any Dataset, a source itself."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_datasets import ITEMS, PIXELS, Listed, everything, planes
from torch.utils.data import Subset, TensorDataset

import gpuaug
from gpuaug.data import ArraySource, DatasetSource, FolderSource

ARRAYS = {
    "array NHWC": (PIXELS, PIXELS),
    "array NCHW": (PIXELS.transpose(0, 3, 1, 2), PIXELS),
    "tensor NCHW": (planes(PIXELS), PIXELS),
    "tensor NHWC": (torch.from_numpy(PIXELS), PIXELS),
    "gray": (PIXELS[..., 0], np.repeat(PIXELS[..., :1], 3, axis=3)),
    "upside down": (PIXELS[:, ::-1], PIXELS[:, ::-1].copy()),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays(kind, workers, plain):
    images, expected = ARRAYS[kind]
    views, targets = everything((images, range(10)), plain, num_workers=workers)
    assert torch.equal(views, planes(expected))
    assert targets.tolist() == list(range(10))
    assert targets.dtype == torch.int64


def test_ambiguous_arrays_are_rows_first_and_tensors_planes_first():
    pixels = np.random.default_rng(2).integers(0, 256, (2, 3, 5, 3), dtype=np.uint8)
    assert ArraySource(pixels, [0, 1]).images.shape == (2, 3, 5, 3)
    assert ArraySource(torch.from_numpy(pixels), [0, 1]).images.shape == (2, 5, 3, 3)


@pytest.mark.parametrize("planar", [False, True])
def test_memory_map(tmp_path, plain, planar):
    np.save(tmp_path / "x.npy", planes(PIXELS).numpy() if planar else PIXELS)
    views, _ = everything((np.load(tmp_path / "x.npy", mmap_mode="r"), np.zeros(10, int)), plain)
    assert torch.equal(views, planes(PIXELS))


@pytest.mark.parametrize("pixels", [PIXELS.copy(), planes(PIXELS).contiguous(), planes(PIXELS).numpy().copy("C")])
def test_arrays_of_either_order_are_read_where_they_lie(pixels):
    """A batch refers to the array, channels last or first; nothing is copied or transposed."""
    images, _ = ArraySource(pixels, range(10)).load(np.array([7, 2, 2]))
    assert images.layout == ("planar" if pixels.shape[1] == 3 else "interleaved")
    pixels[2] = 9
    assert [bool((image == 9).all()) for image in images] == [False, True, True]


def test_arrays_are_indexed_as_a_dataset_is(plain):
    dataset = gpuaug.DataLoader((planes(PIXELS), range(10, 20)), plain).dataset
    for i in (0, 7, -1, np.int64(3)):
        image, target = dataset[i]
        assert np.array_equal(image, PIXELS[i])
        assert target == range(10, 20)[i]
    assert [target for _, target in dataset] == list(range(10, 20))
    with pytest.raises(IndexError, match=r"index must be in -10\.\.9, got 10"):
        dataset[10]
    assert np.array_equal(gpuaug.DataLoader(PIXELS, plain).dataset[4], PIXELS[4])
    views, targets = everything(Subset(dataset, [8, 2]), plain)
    assert targets.tolist() == [18, 12]
    assert torch.equal(views, planes(PIXELS)[[8, 2]])


def test_targets_keep_their_kind(plain):
    for targets, dtype in ((np.arange(10, dtype=np.int32), torch.int64), (np.ones((10, 2), np.float32), torch.float32)):
        _, batch = next(iter(gpuaug.DataLoader((PIXELS, targets), plain, batch_size=3)))
        assert batch.dtype == dtype
        assert batch.shape == (3, *targets.shape[1:])


@pytest.mark.parametrize(
    ("images", "targets", "error", "message"),
    [
        (PIXELS.astype(np.float32), range(10), TypeError, "uint8 array or tensor, got float32"),
        (torch.zeros(2, 3, 8, 8), range(2), TypeError, "got torch.float32|got float32"),
        (PIXELS[0, 0], range(8), ValueError, r"shape \(N, H, W, 3\), \(N, 3, H, W\), or gray .*, got \(8, 3\)"),
        (PIXELS[..., :2], range(10), ValueError, r"got \(10, 8, 8, 2\)"),
        (PIXELS, range(9), ValueError, "10 images but 9 targets"),
        (PIXELS, ["a"] * 10, TypeError, "targets must be numbers"),
    ],
)
def test_arrays_that_do_not_fit(images, targets, error, message, plain):
    with pytest.raises(error, match=message):
        gpuaug.DataLoader((images, targets), plain)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ITEMS)
def test_datasets(kind, workers, plain):
    views, targets = everything(Listed(ITEMS[kind]), plain, num_workers=workers)
    assert torch.equal(views, planes(PIXELS if kind != "PIL gray" else np.repeat(PIXELS[..., :1], 3, axis=3)))
    assert targets.tolist() == list(range(10))


def test_a_16_bit_picture_from_a_dataset_is_scaled(plain):
    deep = Image.fromarray(np.full((8, 8), 32896, np.uint16))
    views, _ = everything(Listed([deep]), plain)
    assert views.unique().tolist() == [128]


def test_tensor_dataset(plain):
    views, targets = everything(TensorDataset(planes(PIXELS), torch.arange(10)), plain)
    assert torch.equal(views, planes(PIXELS))
    assert targets.tolist() == list(range(10))


@pytest.mark.parametrize("workers", [0, 1])
def test_targets_of_any_structure_are_collated(plain, workers):
    items = [(PIXELS[i], {"label": i, "box": torch.ones(4) * i, "path": f"{i}.png", "pair": (i, 2.0)}) for i in range(3)]
    _, target = next(iter(gpuaug.DataLoader(Listed(items), plain, batch_size=3, num_workers=workers)))
    assert target["label"].tolist() == [0, 1, 2]
    assert target["box"].shape == (3, 4)
    assert target["path"] == ["0.png", "1.png", "2.png"]
    assert [t.dtype for t in target["pair"]] == [torch.int64, torch.float64]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((torch.zeros(3, 8, 8), 1), "sample 0 of Listed: the image must be uint8, got float32"),
        (("a.png", 1), "sample 0 of Listed: the image must be a PIL image"),
        ((np.zeros((8, 8, 5), np.uint8), 1), r"sample 0 of Listed: the image must have shape"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_items_that_are_no_pictures(item, message, workers, plain):
    with pytest.raises((TypeError, ValueError), match=message):
        next(iter(gpuaug.DataLoader(Listed([item]), plain, num_workers=workers)))


def test_items_that_are_no_pairs(plain):
    for item, kind in (((PIXELS[0], 0, 1), "tuple of 3"), ({"image": PIXELS[0], "label": 0}, "dict of 2")):
        with pytest.raises(TypeError, match=rf"sample 0 of list must be an image or a pair \(image, target\), got {kind}"):
            next(iter(gpuaug.DataLoader([item], plain)))


@pytest.mark.parametrize("source", [7, {"a": 1}, None, iter([])])
def test_things_that_are_no_source(source, plain):
    with pytest.raises(TypeError, match=r"DataLoader: .*(map-style Dataset)"):
        gpuaug.DataLoader(source, plain)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (PIXELS[..., :1], PIXELS[..., :1]),
        (PIXELS[..., :1].transpose(0, 3, 1, 2), PIXELS[..., :1]),
        (torch.from_numpy(PIXELS[..., :1]), PIXELS[..., :1]),
        (torch.from_numpy(PIXELS[..., :1]).permute(0, 3, 1, 2), PIXELS[..., :1]),
        (PIXELS[:, :, :1], PIXELS[:, :, :1]),
        (torch.from_numpy(PIXELS[:, :, :1]).permute(0, 3, 1, 2), PIXELS[:, :, :1]),
    ],
    ids=["NHW1", "N1HW", "tensor NHW1", "tensor N1HW", "one wide", "tensor one wide"],
)
def test_arrays_of_one_channel_and_of_one_column(pixels, expected):
    assert np.array_equal(ArraySource(pixels).images, np.broadcast_to(expected, (*expected.shape[:3], 3)))


def test_pictures_that_are_not_stacked_are_no_gray_ones():
    with pytest.raises(ValueError, match=r"images of shape \(8, 8, 3\) look like one picture .*give it as \(1, H, W, 3\)"):
        gpuaug.DataLoader(PIXELS[0], "byol")
    with pytest.raises(ValueError, match="a list of two arrays is images and targets, but these two look like pictures"):
        gpuaug.DataLoader(list(PIXELS[:2]), "byol")
    assert len(ArraySource(PIXELS[:, :, :3, :1])) == 10


def test_sources_say_what_they_are(folder, plain):
    assert repr(FolderSource(folder)) == "FolderSource(70 files, 3 classes)"
    assert repr(ArraySource(PIXELS, range(10))) == "ArraySource(10 images of 8x8)"
    assert repr(ArraySource(PIXELS)) == "ArraySource(10 images of 8x8, no labels)"
    assert repr(gpuaug.DataLoader(Listed(ITEMS["PIL"]), plain).source) == "DatasetSource(Listed, 10 samples)"
    assert ArraySource(PIXELS, range(10)).name(3) == "image 3 of the array"


def test_sources_may_be_given_themselves(folder, plain):
    for source in (FolderSource(folder), ArraySource(PIXELS, range(10)), DatasetSource(Listed(ITEMS["PIL"]))):
        loader = gpuaug.DataLoader(source, plain, batch_size=5)
        assert loader.source is source
        assert len(next(iter(loader))[0]) == 5


class Exhausted(Listed):
    def __getitem__(self, i):
        return next(iter(())) if i == 2 else super().__getitem__(i)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stop_iteration_does_not_end_the_epoch(plain, workers):
    with pytest.raises(RuntimeError, match="sample 2 of Exhausted: the Dataset raised StopIteration"):
        everything(Exhausted(ITEMS["PIL"]), plain, num_workers=workers)


def test_a_list_of_folders_is_refused(folder, plain):
    with pytest.raises(ValueError, match=r"is a folder, not a tar shard; .* several as a ConcatDataset of ImageFolders"):
        gpuaug.DataLoader([folder, folder], plain)
