"""Subsets and concatenations, of each other and of any kind of Dataset."""

import numpy as np
import pytest
import torch
from small_datasets import CROP, ITEMS, PIXELS, Listed, everything, in_memory, planes
from torch.utils.data import ConcatDataset, Subset, default_collate, random_split
from torchvision import datasets
from torchvision.transforms import v2

import gpuaug
from gpuaug.data import ArraySource, DatasetSource, DecodeError
from gpuaug.data.sources.composed import ConcatSource


def test_concatenated_datasets(plain):
    views, _ = everything(ConcatDataset([Listed(ITEMS["PIL"][:4]), Listed(ITEMS["array"][4:])]), plain)
    assert torch.equal(views, planes(PIXELS))


@pytest.mark.parametrize(
    "whole",
    [
        in_memory(datasets.CIFAR10, PIXELS, targets=list(range(10)), transform=CROP),
        Listed(ITEMS["PIL"], transform=CROP),
        datasets.FakeData(10, (3, 8, 8), transform=CROP),
    ],
    ids=["array", "dataset", "torchvision"],
)
def test_subsets_of_subsets(whole):
    every, targets = everything(whole)
    part = Subset(Subset(whole, [9, 3, 5, 1]), [2, 0])
    loader = gpuaug.DataLoader(part, batch_size=2)
    views, target = next(iter(loader))
    assert torch.equal((views * 255).round().byte(), every[[5, 9]])
    assert target.tolist() == targets[[5, 9]].tolist()
    assert loader.index.tolist() == [0, 1]


def test_subset_of_a_folder_decodes_in_threads(folder, plain):
    half, _ = random_split(datasets.ImageFolder(folder), [35, 35], generator=torch.Generator().manual_seed(0))
    loader = gpuaug.DataLoader(half, plain, batch_size=35, num_workers=2)
    _, target = next(iter(loader))
    assert loader.source.workers == "threads"
    assert loader.source.name(0).endswith(f"{half.indices[0]:03}.png")
    assert target.tolist() == [half[i][1] for i in range(35)]


def test_subset_outside_its_dataset(plain):
    with pytest.raises(ValueError, match=r"indices outside 0\.\.9"):
        gpuaug.DataLoader(Subset(Listed(ITEMS["PIL"]), [3, 10]), plain)


@pytest.mark.parametrize("workers", [0, 2])
def test_parts_of_a_concatenation(folder, policy, workers):
    """Folders, a subset of one, and a user's Dataset give together what each gives alone."""
    parts = {
        "threads": [datasets.ImageFolder(folder, CROP), datasets.ImageFolder(folder, CROP)],
        "processes": [
            datasets.ImageFolder(folder, CROP),
            Listed(ITEMS["PIL"], CROP),
            Subset(datasets.ImageFolder(folder, CROP), [3, 1]),
        ],
    }
    for kind, these in parts.items():
        alone = [everything(part, num_workers=0) for part in these]
        loader = gpuaug.DataLoader(ConcatDataset(these), batch_size=4, num_workers=workers)
        assert loader.source.workers == kind
        views, targets = everything(ConcatDataset(these), num_workers=workers)
        assert torch.equal(views, torch.cat([v for v, _ in alone]))
        assert torch.equal(targets, torch.cat([t for _, t in alone]))
        assert loader.source.name(len(these[0]) + 1) == gpuaug.DataLoader(these[1]).source.name(1)
        assert all(part.transform is CROP for part in these if hasattr(part, "transform"))


def test_parts_in_memory():
    gray = [torch.full((3, 8, 8), level, dtype=torch.uint8) for level in (1, 11)]
    fakes = [in_memory(datasets.MNIST, x, targets=torch.arange(3) + k, transform=CROP) for k, x in enumerate(gray)]
    views, targets = everything(ConcatDataset(fakes))
    assert targets.tolist() == [0, 10, 20, 10, 20, 30]
    assert views[:, 0, 0, 0].tolist() == [1, 1, 1, 11, 11, 11]


def test_parts_with_transforms(folder, plain):
    again = v2.Compose([v2.CenterCrop(8), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    same = ConcatDataset([datasets.ImageFolder(folder, CROP), datasets.ImageFolder(folder, again)])
    assert gpuaug.DataLoader(same).policy == gpuaug.from_torchvision(CROP)
    for other in (v2.CenterCrop(9), None):
        different = ConcatDataset([datasets.ImageFolder(folder, CROP), datasets.ImageFolder(folder, other)])
        with pytest.raises(ValueError, match="parts 0 and 1 of the ConcatDataset have different transforms"):
            gpuaug.DataLoader(different)
        assert gpuaug.DataLoader(different, plain).policy == plain


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_among_parts_that_differ_is_not_too_large_either(folder, plain, workers):
    mixed = Subset(ConcatDataset([Listed(ITEMS["PIL"]), datasets.ImageFolder(folder)]), range(len(ITEMS["PIL"]) + 3))
    with pytest.raises(DecodeError, match=r"000\.png: .* pixels are more than max_pixels=20"):
        everything(mixed, plain, num_workers=workers, max_pixels=20)


@pytest.mark.parametrize("target", [3, 0.5, "cat", (1, 2.0), {"a": 1, "b": "x"}])
def test_a_target_of_a_part_is_collated_as_alone(target, folder, plain):
    class Given(datasets.ImageFolder):
        """A class whose items the loader must ask for."""

        def __getitem__(self, i):
            return super().__getitem__(i)

    options = {"target_transform": lambda _: target}
    for whole in (
        ConcatDataset([datasets.ImageFolder(folder, **options)]),
        ConcatDataset([datasets.ImageFolder(folder, **options), Given(folder, **options)]),
    ):
        _, found = next(iter(gpuaug.DataLoader(whole, plain, 2)))
        assert str(found) == str(default_collate([target, target]))


def test_targets_in_memory_keep_their_kind_in_parts(plain):
    for targets in (np.arange(10), np.ones((10, 2), np.float32), np.ones(10, np.float32), np.ones(10, bool)):
        part = ArraySource(PIXELS, targets)
        _, alone = next(iter(gpuaug.DataLoader(part, plain, 3)))
        _, found = next(iter(gpuaug.DataLoader(ConcatSource([part, DatasetSource(Listed(ITEMS["PIL"]))]), plain, 3)))
        assert found.dtype == alone.dtype
        assert torch.equal(found, alone)
