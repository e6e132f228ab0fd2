"""Samples whose pixels tell their number, and the order in which a loader delivers them."""

import numpy as np
from torch.utils.data import Dataset

PIXELS = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)


class Numbered(Dataset):
    """Sample i is a picture of value i."""

    def __init__(self, samples=12):
        self.samples = samples

    def __len__(self):
        return self.samples

    def __getitem__(self, i):
        if not 0 <= i < self.samples:
            raise IndexError(i)
        return np.full((8, 8, 3), i, np.uint8), i


def order(loader):
    """Sample indices of each batch of an epoch."""
    out = []
    for _, target in loader:
        assert loader.index.tolist() == target.tolist()
        out.append(target.tolist())
    return out
