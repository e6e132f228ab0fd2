"""Datasets of torchvision with a transform inside."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from small_datasets import CROP, ITEMS, PIXELS, Listed, everything, in_memory, planes, times_ten
from torch.utils.data import ConcatDataset, Subset
from torchvision import datasets
from torchvision import transforms as v1
from torchvision.transforms import v2

import gpuaug
from gpuaug.data import ArraySource, FolderSource


def test_image_folder_is_a_drop_in(folder):
    transform = v2.Compose([v2.RandomResizedCrop(16), v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32, True)])
    dataset = datasets.ImageFolder(folder, transform=transform, target_transform=times_ten)
    before = dict(vars(dataset)), dict(vars(dataset.transforms))
    loader = gpuaug.DataLoader(dataset, batch_size=32, shuffle=True, num_workers=2)
    views, target = next(iter(loader))
    assert views.shape == (32, 3, 16, 16)
    assert 0 <= views.min() <= views.max() <= 1
    assert target.tolist() == [dataset.targets[i] * 10 for i in loader.index]
    assert loader.policy == gpuaug.from_torchvision(transform)
    assert loader.dataset is dataset
    assert isinstance(loader.source, FolderSource)
    assert (vars(dataset), vars(dataset.transforms)) == before
    assert dataset[0][0].shape == (3, 16, 16)


def test_image_folder_gives_the_views_of_its_path(folder, policy):
    by_path = [v for views, _ in gpuaug.DataLoader(folder, policy, batch_size=16) for v in views]
    by_dataset = [v for views, _ in gpuaug.DataLoader(datasets.ImageFolder(folder), policy, batch_size=16) for v in views]
    assert all(torch.equal(a, b) for a, b in zip(by_path, by_dataset, strict=True))


def test_a_loader_of_ones_own_is_asked(folder, plain):
    dataset = datasets.DatasetFolder(folder, lambda path: Image.new("RGB", (8, 8), (9, 9, 9)), extensions=(".png",))
    views, _ = next(iter(gpuaug.DataLoader(dataset, plain)))
    assert (views * 255).round().unique().tolist() == [9]


def test_a_loader_of_ones_own_with_torchvisions_name_is_asked(folder, plain):
    def default_loader(path):
        return Image.new("RGB", (8, 8), (9, 9, 9))

    views, _ = next(iter(gpuaug.DataLoader(datasets.ImageFolder(folder, loader=default_loader), plain)))
    assert (views * 255).round().unique().tolist() == [9]


class Relabelled(datasets.ImageFolder):
    def __getitem__(self, i):
        return super().__getitem__(i)[0], 77


def test_a_subclass_with_its_own_getitem_is_asked(folder):
    loader = gpuaug.DataLoader(Relabelled(folder, transform=CROP), batch_size=2)
    views, target = next(iter(loader))
    assert target.tolist() == [77, 77]
    assert views.shape == (2, 3, 8, 8)


SMALL = {
    "CIFAR10": (in_memory(datasets.CIFAR10, PIXELS, targets=list(range(10)), transform=CROP), PIXELS),
    "CIFAR100": (in_memory(datasets.CIFAR100, PIXELS, targets=list(range(10)), transform=CROP), PIXELS),
    "SVHN": (
        in_memory(datasets.SVHN, PIXELS.transpose(0, 3, 1, 2), labels=np.arange(10), transform=CROP),
        PIXELS,
    ),
    "STL10": (
        in_memory(datasets.STL10, PIXELS.transpose(0, 3, 1, 2), labels=np.arange(10), transform=CROP),
        PIXELS,
    ),
    "FashionMNIST": (
        in_memory(datasets.FashionMNIST, torch.from_numpy(PIXELS[..., 0]), targets=torch.arange(10), transform=CROP),
        np.repeat(PIXELS[..., :1], 3, axis=3),
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_datasets_in_memory_are_read_as_arrays(name):
    dataset, expected = SMALL[name]
    views, targets = everything(dataset)
    assert torch.equal(views, planes(expected))
    assert targets.tolist() == [10 * k for k in range(10)]
    assert isinstance(gpuaug.DataLoader(dataset).source, ArraySource)
    assert dataset.transform is CROP


@pytest.mark.parametrize("workers", [0, 2])
def test_fake_data(workers):
    dataset = datasets.FakeData(6, (3, 12, 12), num_classes=3, transform=CROP)
    views, targets = everything(dataset, num_workers=workers)
    assert torch.equal(views, torch.stack([(dataset[i][0] * 255).round().byte() for i in range(6)]))
    assert targets.tolist() == [dataset[i][1] for i in range(6)]


def test_a_policy_takes_the_place_of_a_torchvision_transform(policy):
    dataset = datasets.FakeData(6, (3, 12, 12), transform=CROP)
    views, _ = next(iter(gpuaug.DataLoader(dataset, policy, batch_size=6)))
    assert [v.shape for v in views] == [(6, 3, 16, 16)] * 2


def test_the_joint_form_of_a_separate_transform():
    dataset = datasets.FakeData(4, (3, 12, 12))
    dataset.transforms = datasets.vision.StandardTransform(CROP, times_ten)
    joint = copy.copy(dataset.transforms)
    loader = gpuaug.DataLoader(dataset, batch_size=4)
    assert loader.policy == gpuaug.from_torchvision(CROP)
    assert vars(dataset.transforms) == vars(joint)


def test_transforms_of_image_and_target_together_are_refused():
    dataset = datasets.FakeData(4, (3, 12, 12))
    dataset.transforms = v2.Compose([v2.RandomHorizontalFlip()])
    with pytest.raises(TypeError, match="image and target together"):
        gpuaug.DataLoader(dataset)


def test_a_transform_in_ones_own_dataset_is_converted_without_a_policy():
    dataset = Listed(ITEMS["PIL"], transform=CROP)
    views, _ = everything(dataset)
    assert torch.equal(views, planes(PIXELS))
    assert dataset.transform is CROP


def test_a_transform_in_ones_own_dataset_is_left_alone_with_a_policy(plain):
    flip = v2.RandomHorizontalFlip(p=1)
    views, _ = everything(Listed(ITEMS["PIL"], transform=flip), plain)
    assert torch.equal(views, planes(PIXELS).flip(3))


def test_a_policy_must_come_from_somewhere(folder):
    for source in (folder, datasets.ImageFolder(folder), Listed(ITEMS["PIL"]), (PIXELS, range(10))):
        with pytest.raises(ValueError, match=r"policy is missing; give a gpuaug\.Policy, a policy's name"):
            gpuaug.DataLoader(source)


@pytest.mark.parametrize("first", [v1.RandomHorizontalFlip(1.0), v1.Compose([])], ids=["flip", "nothing"])
def test_a_transform_that_leaves_the_size_of_pixels_in_memory(first):
    """Transforms for evaluation may be ToTensor and Normalize alone."""
    transform = v1.Compose([first, v1.ToTensor(), v1.Normalize((0.5,), (0.5,))])
    dataset = in_memory(datasets.CIFAR10, PIXELS, targets=list(range(10)), transform=transform)
    expected = torch.stack([transform(Image.fromarray(x)) for x in PIXELS])
    again = v1.Compose([first, v1.ToTensor(), v1.Normalize((0.5,), (0.5,))])
    equal = in_memory(datasets.CIFAR10, PIXELS, targets=list(range(10)), transform=again)
    parts = {"twice": ConcatDataset([dataset, dataset]), "equal": ConcatDataset([dataset, equal])}
    wholes = {"alone": dataset, "part": Subset(dataset, range(10)), **parts}
    for name, whole in wholes.items():
        views, _ = next(iter(gpuaug.DataLoader(whole, batch_size=10)))
        assert torch.allclose(views, expected, atol=1e-6), name


def test_a_transform_that_leaves_pictures_at_sizes_of_their_own(folder):
    small = in_memory(datasets.CIFAR10, PIXELS[:, :4], targets=list(range(10)), transform=v1.ToTensor())
    large = in_memory(datasets.CIFAR10, PIXELS, targets=list(range(10)), transform=small.transform)
    for dataset in (datasets.ImageFolder(folder, transform=v1.ToTensor()), ConcatDataset([small, large])):
        with pytest.raises(ValueError, match=r"no step brings the images to one size; .*CenterCrop"):
            gpuaug.DataLoader(dataset)
