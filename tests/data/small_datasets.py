"""Ten small pictures, and Datasets that hold them."""

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import datasets
from torchvision.transforms import v2

import gpuaug

PIXELS = np.random.default_rng(2).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
CROP = v2.Compose([v2.CenterCrop(8), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def times_ten(target: int) -> int:
    return target * 10


class Alone(Dataset):
    """Items as given."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Listed(Alone):
    """Items as given, each a pair with its position as the target unless it is a pair already."""

    def __init__(self, items, transform=None):
        super().__init__(items)
        self.transform = transform

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


ITEMS = {
    "PIL": [Image.fromarray(x) for x in PIXELS],
    "PIL gray": [Image.fromarray(x[..., 0]) for x in PIXELS],
    "array": list(PIXELS),
    "tensor": list(planes(PIXELS)),
}


def in_memory(cls, pixels, transform=None, **attributes):
    """A torchvision dataset as its constructor would leave it, without a download."""
    dataset = cls.__new__(cls)
    datasets.VisionDataset.__init__(dataset, root=".", transform=transform, target_transform=times_ten)
    dataset.data = pixels
    vars(dataset).update(attributes)
    return dataset
