"""What a loader over a stream has delivered: the views of each sample by its index, and where each batch ended."""

from itertools import islice

import torch

import gpuaug


def made(source, policy, batches=None, **options):
    """A loader, and [(index, views, target)] of the batches of its next epoch, or of the first of them."""
    options = {"batch_size": 4, **options}
    loader = gpuaug.DataLoader(source, policy, **options)
    return loader, taken(loader, batches)


def taken(loader, batches=None):
    found = []
    epoch = iter(loader)
    for views, target in islice(epoch, batches):
        stacked = torch.stack(views) if isinstance(views, list) else views[None]
        found.append((loader.index.tolist(), stacked.clone(), target.tolist()))
    epoch.close()
    return found


def indices(batches):
    return [i for index, _, _ in batches for i in index]


def by_index(batches):
    """Index -> views of that sample, (V, 3, H, W); a sample that comes twice is an error."""
    found = {}
    for index, views, _ in batches:
        for row, i in enumerate(index):
            assert i not in found
            found[i] = views[:, row]
    return found


def same(some, others):
    """Whether two lists of batches are equal to the bit."""
    return len(some) == len(others) and all(
        a[0] == b[0] and torch.equal(a[1], b[1]) and a[2] == b[2] for a, b in zip(some, others, strict=True)
    )
