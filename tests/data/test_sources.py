"""What may be given as a source: folders, torchvision datasets with their transform, any Dataset, arrays."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset, random_split
from torchvision import datasets
from torchvision import transforms as v1
from torchvision.transforms import v2

import gpuaug
from gpuaug.data import ArraySource, DatasetSource, DecodeError, FolderSource

RNG = np.random.default_rng(2)
PIXELS = RNG.integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
CROP = v2.Compose([v2.CenterCrop(8), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def times_ten(target: int) -> int:
    return target * 10


class Listed(Dataset):
    """Items as given, each a pair with its position as the target unless it is a pair already."""

    def __init__(self, items, transform=None):
        self.items = items
        self.transform = transform

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        item = self.items[i]
        image, target = item if isinstance(item, tuple) else (item, i)
        return (image if self.transform is None else self.transform(image)), target


def everything(*args, **kwargs):
    """All views as uint8 (N, 3, H, W), and all targets."""
    batches = list(gpuaug.DataLoader(*args, batch_size=4, **kwargs))
    return torch.cat([(v * 255).round().byte() for v, _ in batches]), torch.cat([t for _, t in batches])


def planes(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


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
    pixels = RNG.integers(0, 256, (2, 3, 5, 3), dtype=np.uint8)
    assert ArraySource(pixels, [0, 1]).images.shape == (2, 3, 5, 3)
    assert ArraySource(torch.from_numpy(pixels), [0, 1]).images.shape == (2, 5, 3, 3)


def test_memory_map(tmp_path, plain):
    np.save(tmp_path / "x.npy", PIXELS)
    views, _ = everything((np.load(tmp_path / "x.npy", mmap_mode="r"), np.zeros(10, int)), plain)
    assert torch.equal(views, planes(PIXELS))


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
        (PIXELS[0, 0], range(8), ValueError, r"shape \(N, H, W, 3\) or \(N, 3, H, W\), got \(8, 3\)"),
        (PIXELS[..., :2], range(10), ValueError, r"got \(10, 8, 8, 2\)"),
        (PIXELS, range(9), ValueError, "10 images but 9 targets"),
        (PIXELS, ["a"] * 10, TypeError, "targets must be numbers"),
    ],
)
def test_arrays_that_do_not_fit(images, targets, error, message, plain):
    with pytest.raises(error, match=message):
        gpuaug.DataLoader((images, targets), plain)


ITEMS = {
    "PIL": [Image.fromarray(x) for x in PIXELS],
    "PIL gray": [Image.fromarray(x[..., 0]) for x in PIXELS],
    "array": list(PIXELS),
    "tensor": list(planes(PIXELS)),
}


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


def test_concatenated_datasets(plain):
    views, _ = everything(ConcatDataset([Listed(ITEMS["PIL"][:4]), Listed(ITEMS["array"][4:])]), plain)
    assert torch.equal(views, planes(PIXELS))


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
    with pytest.raises(TypeError, match=r"sample 0 of list must be a pair \(image, target\), got ndarray"):
        next(iter(gpuaug.DataLoader(list(PIXELS), plain)))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize("source", [Stream(), 7, {"a": 1}, torch.zeros(3), None, iter([])])
def test_things_that_are_no_source(source, plain):
    with pytest.raises(TypeError, match=r"DataLoader: .*(map-style Dataset)"):
        gpuaug.DataLoader(source, plain)


# Torchvision datasets, with their transform inside.


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


def in_memory(cls, pixels, transform=None, **attributes):
    """A torchvision dataset as its constructor would leave it, without a download."""
    dataset = cls.__new__(cls)
    datasets.VisionDataset.__init__(dataset, root=".", transform=transform, target_transform=times_ten)
    dataset.data = pixels
    vars(dataset).update(attributes)
    return dataset


SMALL = {
    "CIFAR10": (in_memory(datasets.CIFAR10, PIXELS, targets=list(range(10)), transform=CROP), PIXELS),
    "CIFAR100": (in_memory(datasets.CIFAR100, PIXELS, targets=list(range(10)), transform=CROP), PIXELS),
    "SVHN": (
        in_memory(datasets.SVHN, PIXELS.transpose(0, 3, 1, 2), labels=np.arange(10), transform=CROP),
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
    """Loaders for evaluation have ToTensor and Normalize, and no more."""
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


# Subsets.


@pytest.mark.parametrize(
    "whole",
    [SMALL["CIFAR10"][0], Listed(ITEMS["PIL"], transform=CROP), datasets.FakeData(10, (3, 8, 8), transform=CROP)],
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


def test_sources_say_what_they_are(folder, plain):
    assert repr(FolderSource(folder)) == "FolderSource(70 files, 3 classes)"
    assert repr(ArraySource(PIXELS, range(10))) == "ArraySource(10 images of 8x8)"
    assert repr(gpuaug.DataLoader(Listed(ITEMS["PIL"]), plain).source) == "DatasetSource(Listed, 10 samples)"
    assert ArraySource(PIXELS, range(10)).name(3) == "image 3 of the array"


def test_sources_may_be_given_themselves(folder, plain):
    for source in (FolderSource(folder), ArraySource(PIXELS, range(10)), DatasetSource(Listed(ITEMS["PIL"]))):
        loader = gpuaug.DataLoader(source, plain, batch_size=5)
        assert loader.source is source
        assert len(next(iter(loader))[0]) == 5


def folder_dataset(folder, transform):
    return datasets.ImageFolder(folder, transform=transform)


@pytest.mark.parametrize("workers", [0, 2])
def test_parts_of_a_concatenation(folder, policy, workers):
    """Folders, arrays and a Dataset of one's own, in any mixture, give what each gives alone."""
    arrays = (PIXELS, np.arange(10))
    parts = {
        "threads": [folder_dataset(folder, CROP), folder_dataset(folder, CROP)],
        "processes": [folder_dataset(folder, CROP), Listed(ITEMS["PIL"], CROP), Subset(folder_dataset(folder, CROP), [3, 1])],
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
    assert arrays[0].shape[0] == 10


def test_parts_in_memory(tmp_path, plain):
    fakes = []
    for k in range(2):
        fake = datasets.MNIST.__new__(datasets.MNIST)
        fake.data, fake.targets = torch.full((3, 8, 8), 10 * k + 1, dtype=torch.uint8), torch.arange(3) + 10 * k
        fake.transform, fake.target_transform, fake.transforms = CROP, None, None
        fakes.append(fake)
    views, targets = everything(ConcatDataset(fakes))
    assert targets.tolist() == [0, 1, 2, 10, 11, 12]
    assert views[:, 0, 0, 0].tolist() == [1, 1, 1, 11, 11, 11]


def test_parts_with_transforms(folder, plain):
    again = v2.Compose([v2.CenterCrop(8), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    same = ConcatDataset([folder_dataset(folder, CROP), folder_dataset(folder, again)])
    assert gpuaug.DataLoader(same).policy == gpuaug.from_torchvision(CROP)
    for other in (v2.CenterCrop(9), None):
        different = ConcatDataset([folder_dataset(folder, CROP), folder_dataset(folder, other)])
        with pytest.raises(ValueError, match="parts 0 and 1 of the ConcatDataset have different transforms"):
            gpuaug.DataLoader(different)
        assert gpuaug.DataLoader(different, plain).policy == plain


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_among_parts_that_differ_is_not_too_large_either(folder, plain, workers):
    mixed = Subset(ConcatDataset([Listed(ITEMS["PIL"]), folder_dataset(folder, None)]), range(len(ITEMS["PIL"]) + 3))
    with pytest.raises(DecodeError, match=r"000\.png: .* pixels are more than max_pixels=20"):
        everything(mixed, plain, num_workers=workers, max_pixels=20)


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


@pytest.mark.parametrize("target", [3, 0.5, "cat", (1, 2.0), {"a": 1, "b": "x"}])
def test_a_target_out_of_its_batch(target):
    from torch.utils.data import default_collate

    from gpuaug.data.concat import only

    assert str(default_collate([only(default_collate([target]))])) == str(default_collate([target]))
