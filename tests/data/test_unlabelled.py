"""Images without labels: a batch holds the sample indices where the target would be."""

import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from small_datasets import ITEMS, PIXELS, Alone, Listed, in_memory, planes
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from torchvision import datasets

import gpuaug
from gpuaug.data import FolderSource
from gpuaug.data.packing.pack import Packing, pack
from gpuaug.data.packing.verify import verify


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The ten pictures as files in one folder."""
    root = tmp_path_factory.mktemp("flat")
    for k, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(root / f"{k}.png")
    return root


SOURCES = {
    "a flat folder": lambda files: files,
    "a list of files": lambda files: sorted(map(str, files.iterdir())),
    "a list of paths": lambda files: sorted(files.iterdir()),
    "an array": lambda files: PIXELS,
    "a tensor": lambda files: planes(PIXELS),
    "an array without targets": lambda files: (PIXELS, None),
    "a Dataset of images": lambda files: Alone(ITEMS["PIL"]),
    "a Dataset of pairs with None": lambda files: Alone([(image, None) for image in ITEMS["PIL"]]),
    "a Dataset of lone items": lambda files: TensorDataset(planes(PIXELS)),
    "a list of images": lambda files: ITEMS["PIL"],
    "a part": lambda files: Subset(Alone(ITEMS["PIL"]), range(10)),
    "parts in memory": lambda files: ConcatDataset([Alone(ITEMS["PIL"][:3]), Alone(ITEMS["array"][3:])]),
}


def epoch(source, policy, **options):
    """All views as uint8, and the second item of each batch."""
    batches = list(gpuaug.DataLoader(source, policy, **options))
    return torch.cat([(views * 255).round().byte() for views, _ in batches]), [other for _, other in batches]


@pytest.mark.parametrize("kind", SOURCES)
def test_a_batch_is_views_and_index(kind, files, plain):
    source = SOURCES[kind](files)
    for options in ({"batch_size": 4}, {"batch_size": 3, "num_workers": 2}, {"batch_size": 4, "labels": False}):
        views, indices = epoch(source, plain, **options)
        assert torch.equal(views, planes(PIXELS)), options
        assert torch.cat(indices).tolist() == list(range(10))
        assert {index.dtype for index in indices} == {torch.int64}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_loader_says_that_it_has_none(kind, files, plain):
    assert gpuaug.DataLoader(SOURCES[kind](files), plain).labelled is False
    assert gpuaug.DataLoader(SOURCES[kind](files), plain, labels=False).labelled is False


def test_the_index_follows_the_order(files, plain):
    loader = gpuaug.DataLoader(files, plain, 4, shuffle=True, seed=3)
    for views, index in loader:
        assert index.tolist() == loader.index.tolist()
        assert torch.equal((views * 255).round().byte(), planes(PIXELS)[index])
        index += 100  # the loop may change it
        assert loader.index.max() < 10


LABELLED = {
    "a folder of classes": lambda folder: folder,
    "a pair of arrays": lambda folder: (PIXELS, range(10)),
    "a Dataset of pairs": lambda folder: Listed(ITEMS["PIL"]),
    "targets that cannot be batched": lambda folder: Listed([(image, torch.zeros(k)) for k, image in enumerate(ITEMS["PIL"])]),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", LABELLED)
def test_labels_may_be_left_out(kind, workers, folder, policy):
    source = LABELLED[kind](folder)
    loader = gpuaug.DataLoader(source, policy, 4, num_workers=workers, labels=False)
    assert not loader.labelled
    for _, index in loader:
        assert index.tolist() == loader.index.tolist()


def test_views_do_not_depend_on_labels(folder, policy):
    (a, _), (b, index) = (next(iter(gpuaug.DataLoader(folder, policy, 70, labels=labels))) for labels in (None, False))
    assert index.tolist() == list(range(70))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_labels_that_are_asked_for_and_missing(files, plain):
    for source, missing in (
        (PIXELS, r"ArraySource\(10 images of 8x8, no labels\) has none: there are no targets; give a pair \(images, targets\)"),
        (sorted(files.iterdir()), r"FolderSource\(10 files, no labels\) has none: there are no class folders"),
    ):
        with pytest.raises(ValueError, match=f"labels=True, but {missing}"):
            gpuaug.DataLoader(source, plain, labels=True)
    with pytest.raises(FileNotFoundError, match="10 images but no class folders, and labels=True; move them"):
        gpuaug.DataLoader(files, plain, labels=True)
    with pytest.raises(ValueError, match="labels must be True, False, or None"):
        gpuaug.DataLoader(files, plain, labels="no")


class Counting(Alone):
    def __init__(self, items):
        super().__init__(items)
        self.read = []

    def __getitem__(self, i):
        self.read.append(i)
        return super().__getitem__(i)


@pytest.mark.parametrize("items", [ITEMS["PIL"], [(image, 1) for image in ITEMS["PIL"]]], ids=["without", "with"])
def test_no_sample_is_read_to_find_out(items, plain):
    dataset = Counting(items)
    loader = gpuaug.DataLoader(dataset, plain, 5)
    assert dataset.read == []
    list(loader)
    assert dataset.read == list(range(10))
    assert loader.labelled is isinstance(items[0], tuple)
    assert dataset.read == list(range(10))  # and no sample again to find out


def test_who_asks_before_the_first_batch_reads_one_sample(plain):
    dataset = Counting([(image, 1) for image in ITEMS["PIL"]])
    loader = gpuaug.DataLoader(dataset, plain, 5)
    assert loader.labelled
    assert loader.labelled
    assert dataset.read == [0]


class Torn(Alone):
    def __getitem__(self, i):
        if i < 2:
            raise OSError("torn")
        return super().__getitem__(i)


def test_the_first_sample_that_can_be_read_tells(plain):
    assert not gpuaug.DataLoader(Torn(ITEMS["PIL"]), plain, on_error="skip").labelled
    with pytest.raises(OSError, match="torn"):
        gpuaug.DataLoader(Torn(ITEMS["PIL"][:2]), plain).labelled  # noqa: B018


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
@pytest.mark.parametrize("shuffle", [False, True])
def test_some_with_and_some_without_are_an_error_in_any_batch(workers, batch_size, shuffle, plain):
    half = Alone([(image, None if k == 5 else k) for k, image in enumerate(ITEMS["PIL"])])
    with pytest.raises(TypeError, match=r"sample \d of Alone (has no target, while|has a target, while).*labels=False"):
        list(gpuaug.DataLoader(half, plain, batch_size, shuffle=shuffle, num_workers=workers))
    assert len(epoch(half, plain, batch_size=batch_size, num_workers=workers, labels=False)[0]) == 10


def test_a_dataset_without_targets_where_they_are_asked_for(plain):
    with pytest.raises(TypeError, match=r"sample 0 of Alone has no target, while .*labels=True asks for one"):
        next(iter(gpuaug.DataLoader(Alone(ITEMS["PIL"]), plain, labels=True)))


def test_parts_with_and_without_labels(plain):
    """Known labels of parts are compared at once; those of a Dataset's samples when they are read."""
    cifar = [in_memory(datasets.CIFAR10, PIXELS, targets=targets) for targets in (list(range(10)), None)]
    with pytest.raises(
        ValueError, match=r"ArraySource\(10 images of 8x8\) has labels and .*, no labels\) has none; .*labels=False"
    ):
        gpuaug.DataLoader(ConcatDataset(cifar), plain)
    with pytest.raises(ValueError, match=r"labels=True, but ArraySource\(10 images of 8x8, no labels\) has none"):
        gpuaug.DataLoader(ConcatDataset(cifar[1:]), plain, labels=True)
    mixed = ConcatDataset([cifar[0], Alone(ITEMS["PIL"])])
    with pytest.raises(TypeError, match=r"sample 0 of Alone has no target, while image 8 of the array has one; .*labels=False"):
        list(gpuaug.DataLoader(mixed, plain, 4))
    for whole in (ConcatDataset(cifar), mixed):
        assert len(epoch(whole, plain, batch_size=10, labels=False)[0]) == 20


def test_a_subset_of_the_labelled_part_of_a_mixed_concatenation_has_labels(folder, files, plain):
    labelled, without = datasets.ImageFolder(folder), FolderSource(files)
    mixed = ConcatDataset([labelled, without])
    with pytest.raises(ValueError, match=r"has labels and .*, no labels\) has none"):
        gpuaug.DataLoader(Subset(mixed, [0, len(labelled)]), plain)
    loader = gpuaug.DataLoader(Subset(Subset(mixed, range(60, 75)), [9, 0]), plain, 2, labels=True)
    assert loader.labelled
    assert [target.tolist() for _, target in loader] == [[labelled.targets[69], labelled.targets[60]]]
    loader = gpuaug.DataLoader(Subset(mixed, range(len(labelled), len(labelled) + 10)), plain, 10)
    assert not loader.labelled
    assert [index.tolist() for _, index in loader] == [list(range(10))]


@pytest.mark.parametrize(
    "dataset",
    [
        in_memory(datasets.CIFAR10, PIXELS, targets=None),
        in_memory(datasets.STL10, PIXELS.transpose(0, 3, 1, 2), labels=np.full(10, -1)),
    ],
    ids=["CIFAR10", "STL10"],
)
def test_a_torchvision_dataset_without_targets(dataset, plain):
    loader = gpuaug.DataLoader(dataset, plain, 10)
    views, index = next(iter(loader))
    assert not loader.labelled
    assert index.tolist() == list(range(10))
    assert torch.equal((views * 255).round().byte(), planes(PIXELS))


@pytest.mark.parametrize("kind", ["jpeg", "raw", "yuv"])
def test_packed_images_without_labels_stay_so(kind, files, plain, tmp_path):
    pack(str(files), tmp_path / kind, Packing(kind, 8), say=lambda _: None)
    assert not verify(tmp_path / kind)
    loader = gpuaug.DataLoader(tmp_path / kind, plain, 4)
    assert not loader.labelled
    assert torch.cat([index for _, index in loader]).tolist() == list(range(10))
    reason = r"no sample has a \.cls" if kind == "jpeg" else r"targets\.npy holds -1 for every image"
    with pytest.raises(ValueError, match=f"labels=True, but .* has none: {reason}"):
        gpuaug.DataLoader(tmp_path / kind, plain, labels=True)


@pytest.mark.parametrize("kind", ["jpeg", "raw", "yuv"])
def test_a_labelled_folder_may_be_packed_without_labels(kind, folder, plain, tmp_path):
    pack(str(folder), tmp_path / kind, Packing(kind, 8), say=lambda _: None, labels=False)
    assert not verify(tmp_path / kind)
    loader = gpuaug.DataLoader(tmp_path / kind, plain, 70)
    assert not loader.labelled
    assert loader.dataset.classes == []
    assert torch.cat([index for _, index in loader]).tolist() == list(range(70))
    with pytest.raises(FileExistsError, match="holds a packing of other samples"):
        pack(str(folder), tmp_path / kind, Packing(kind, 8), say=lambda _: None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["b.gif"], r"b\.gif: a list must hold tar shards, or image files, which end in \.jpg .*\.webp"),
        (["a.png", "b.gif"], r"b\.gif: a list must hold"),
        ("{files}/*.png", r"sorted\(glob\.glob\('.*/\*\.png'\)\)"),
        ("{files}/0.png", r"0\.png: is one image.* \[path\]"),
        (np.array(["a.png", "b.png"]), r"give list\(paths\)"),
        (iter(["a.png"]), r"give list\(source\)"),
        ([("a.png", 0)], r"one folder per class .* a Dataset that opens the files"),
        ((["a.png"], [0]), r"one folder per class .* a Dataset that opens the files"),
        ((PIXELS, ["cat"] * 10), r"encode them as integers.*labels=False, or None"),
        ((PIXELS, [[1], *[[1, 2]] * 9]), r"target_collate_fn=.*labels=False"),
    ],
)
def test_what_is_no_source_is_told_with_what_to_give(files, given, message):
    given = given.format(files=files) if isinstance(given, str) else given
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        gpuaug.DataLoader(given, "simclr")


@pytest.mark.parametrize("targets", [["cat"] * 10, [[1], *[[1, 2]] * 9]])
def test_targets_of_arrays_that_cannot_be_batched_are_no_matter_without_labels(plain, targets):
    _, index = epoch((PIXELS, targets), plain, batch_size=10, labels=False)
    assert index[0].tolist() == list(range(10))


def test_a_tar_of_another_name_is_a_shard(files, tmp_path, plain):
    with tarfile.open(tmp_path / "a.shard", "w") as file:
        file.add(files / "0.png", "0.png")
    assert len(gpuaug.DataLoader([tmp_path / "a.shard"], plain)) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_target_transform_that_gives_none_is_named(files, tmp_path, plain, workers):
    (tmp_path / "a").mkdir()
    shutil.copy(files / "0.png", tmp_path / "a")
    found = datasets.ImageFolder(tmp_path, target_transform=lambda y: None)
    with pytest.raises(ValueError, match=r"0\.png: the target_transform returned None; .*labels=False"):
        list(gpuaug.DataLoader(found, plain, num_workers=workers))
    _, index = next(iter(gpuaug.DataLoader(found, plain, num_workers=workers, labels=False)))
    assert index.tolist() == [0]
