"""Targets that torch's default_collate cannot batch, and targets that belong to the picture's geometry."""

from itertools import chain

import numpy as np
import pytest
import torch
from small_datasets import ITEMS, PIXELS, Listed
from torch.utils.data import ConcatDataset, Subset
from torchvision import datasets, tv_tensors

import gpuaug
from gpuaug.data import ArraySource

UNEQUAL = Listed([(image, torch.arange(k)) for k, image in enumerate(ITEMS["PIL"])])


def lengths(targets):
    return torch.tensor([len(target) for target in targets])


@pytest.mark.parametrize("workers", [0, 2])
def test_lists_of_targets(workers, plain):
    loader = gpuaug.DataLoader(UNEQUAL, plain, 4, num_workers=workers, target_collate_fn=list)
    found = [target for _, target in loader]
    assert [[t.tolist() for t in batch] for batch in found] == [
        [list(range(k)) for k in range(first, min(first + 4, 10))] for first in (0, 4, 8)
    ]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "whole", [UNEQUAL, Subset(UNEQUAL, range(10)), ConcatDataset([UNEQUAL])], ids=["itself", "part", "parts"]
)
def test_a_function_of_the_targets(whole, workers, plain):
    loader = gpuaug.DataLoader(whole, plain, 5, shuffle=True, num_workers=workers, target_collate_fn=lengths)
    for _, target in loader:
        assert target.tolist() == loader.index.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_targets_of_unequal_length_are_met_with_advice(workers, plain):
    with pytest.raises(ValueError, match=r"default_collate cannot batch these targets: .*target_collate_fn=list keeps them"):
        list(gpuaug.DataLoader(UNEQUAL, plain, 4, num_workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_folders_and_arrays_have_lists_too(folder, workers, plain):
    def epoch(source):
        return [target for _, target in gpuaug.DataLoader(source, plain, 7, num_workers=workers, target_collate_fn=list)]

    whole = datasets.ImageFolder(folder, target_transform=lambda target: [target] * target)
    expected = [[target] * target for target in whole.targets]
    for source in (whole, ConcatDataset([Subset(whole, range(30)), Subset(whole, range(30, 70))])):
        assert [*chain(*epoch(source))] == expected
    assert [*chain(*epoch(folder))] == whole.targets
    assert epoch((PIXELS, np.arange(10))) == [list(range(7)), [7, 8, 9]]
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    assert [t.tolist() for t in chain(*epoch((PIXELS, rows)))] == rows.tolist()
    assert [*chain(*epoch(ArraySource(PIXELS, rows, len)))] == [2] * 10


class Torn(Listed):
    def __getitem__(self, i):
        if i == 3:
            raise OSError("torn")
        return super().__getitem__(i)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_left_out_of_the_list_or_replaced_in_it(workers, plain):
    for mode, expected in (("skip", [0, 1, 2]), ("replace", [0, 1, 2, None])):
        options = {"on_error": mode, "max_bad": 1.0, "num_workers": workers, "target_collate_fn": lengths}
        loader = gpuaug.DataLoader(Torn(UNEQUAL.items), plain, 4, **options)
        _, target = next(iter(loader))
        assert target.tolist() == loader.index.tolist()
        assert len(target) == len(expected)
        assert target.tolist()[:3] == expected[:3]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("source", ["dataset", "folder"])
def test_functions_that_end_without_a_target(source, workers, folder, plain):
    """A StopIteration would end the epoch silently."""

    def stops(targets):
        raise StopIteration

    given = UNEQUAL if source == "dataset" else folder
    with pytest.raises(RuntimeError, match="target_collate_fn stops raised StopIteration"):
        list(gpuaug.DataLoader(given, plain, 4, num_workers=workers, target_collate_fn=stops))
    with pytest.raises(ValueError, match="target_collate_fn <lambda> returned None; to leave targets out, give labels=False"):
        list(gpuaug.DataLoader(given, plain, 4, num_workers=workers, target_collate_fn=lambda targets: None))
    if source == "folder":
        transformed = datasets.ImageFolder(folder, target_transform=stops)
        with pytest.raises(RuntimeError, match="target_transform raised StopIteration"):
            list(gpuaug.DataLoader(transformed, plain, 4, num_workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_target_that_is_left_out_is_not_transformed_either(folder, workers, plain):
    def fails(target):
        raise AssertionError

    class Own(datasets.ImageFolder):
        def __getitem__(self, i):
            return super().__getitem__(i)[0], MASK

    whole = datasets.ImageFolder(folder, target_transform=fails)
    for source in (whole, ConcatDataset([whole, whole]), ConcatDataset([whole, Own(folder)])):
        loader = gpuaug.DataLoader(source, plain, 35, num_workers=workers, labels=False)
        assert torch.cat([index for _, index in loader]).tolist() == list(range(len(source)))


def test_arguments_that_contradict_each_other(plain):
    with pytest.raises(ValueError, match="labels=False leaves out the targets that target_collate_fn would collate"):
        gpuaug.DataLoader(UNEQUAL, plain, labels=False, target_collate_fn=list)
    with pytest.raises(TypeError, match="target_collate_fn must be a function of a list of targets, such as list, got 'list'"):
        gpuaug.DataLoader(UNEQUAL, plain, target_collate_fn="list")


MASK = tv_tensors.Mask(torch.zeros(8, 8, dtype=torch.uint8))
BOXES = tv_tensors.BoundingBoxes(torch.zeros(2, 4), format="XYXY", canvas_size=(8, 8))
POINTS = tv_tensors.KeyPoints(torch.zeros(2, 2), canvas_size=(8, 8))
GEOMETRIC = {
    "alone": (MASK, "target is of class torchvision.tv_tensors.Mask"),
    "in a tuple": ((1, BOXES), r"target\[1\] is of class torchvision.tv_tensors.BoundingBoxes"),
    "in a list": ([1, [POINTS]], r"target\[1\]\[0\] is of class torchvision.tv_tensors.KeyPoints"),
    "in a dict": (
        {"labels": torch.ones(2), "boxes": BOXES},
        r"target\['boxes'\] is of class torchvision.tv_tensors.BoundingBoxes",
    ),
    "another picture": (tv_tensors.Image(torch.zeros(3, 8, 8)), "target is of class torchvision.tv_tensors.Image"),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("collate", [None, list])
@pytest.mark.parametrize("kind", GEOMETRIC)
def test_masks_and_boxes_are_refused(kind, collate, workers, plain):
    target, message = GEOMETRIC[kind]
    dataset = Listed([(PIXELS[0], target)])
    message = f"sample 0 of Listed: {message}, .* views that are .*labels=False"
    with pytest.raises(TypeError, match=message):
        next(iter(gpuaug.DataLoader(dataset, plain, num_workers=workers, target_collate_fn=collate)))
    views, _ = next(iter(gpuaug.DataLoader(dataset, plain, num_workers=workers, labels=False)))
    assert len(views) == 1


def test_masks_from_folders_and_arrays_are_refused(folder, plain):
    masks = tv_tensors.Mask(torch.zeros(10, 8, 8, dtype=torch.uint8))
    with pytest.raises(TypeError, match=r"DataLoader: target is of class torchvision\.tv_tensors\.Mask"):
        gpuaug.DataLoader((PIXELS, masks), plain)
    with pytest.raises(TypeError, match=r"000\.png: target is of class torchvision\.tv_tensors\.Mask"):
        next(iter(gpuaug.DataLoader(datasets.ImageFolder(folder, target_transform=lambda _: MASK), plain)))


def test_a_picture_may_be_a_tv_tensor_and_a_target_a_plain_one(plain):
    image = tv_tensors.Image(torch.from_numpy(PIXELS[0]).permute(2, 0, 1))
    views, target = next(iter(gpuaug.DataLoader(Listed([(image, BOXES.as_subclass(torch.Tensor))]), plain)))
    assert torch.equal((views[0] * 255).round().byte(), image.as_subclass(torch.Tensor))
    assert target.shape == (1, 2, 4)
