"""A sample's views depend on (seed, epoch, index, view) alone, and a restart goes on where it stopped."""

import itertools

import numpy as np
import pytest
import torch
from small_datasets import Listed

import gpuaug

RICH = gpuaug.policy("byol", size=16)
"""Two views with every op of the named policies' usual chain: crop, flip, jitter, gray, blur, solarize and normalize."""


def views_by_sample(loader):
    """Sample index -> its views' bytes, over one epoch."""
    out = {}
    for views, _ in loader:
        for row, i in enumerate(loader.index.tolist()):
            out[i] = b"".join(view[row].numpy().tobytes() for view in views)
    return out


@pytest.fixture(scope="module", params=["auto", "torchvision"])
def truth(request, folder):
    """The views of an epoch one sample at a time, and the backend that made them."""
    loader = gpuaug.DataLoader(folder, RICH, batch_size=1, backend=request.param, seed=11)
    loader.set_epoch(2)
    return views_by_sample(loader), request.param


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("batch_size", [7, 64])
def test_views_do_not_depend_on_the_batch(truth, folder, batch_size, workers, shuffle):
    expected, backend = truth
    loader = gpuaug.DataLoader(folder, RICH, batch_size, shuffle, num_workers=workers, backend=backend, seed=11)
    loader.set_epoch(2)
    assert views_by_sample(loader) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_views_do_not_depend_on_where_pixels_come_from(truth, pictures, workers):
    expected, backend = truth
    loader = gpuaug.DataLoader(Listed(pictures), RICH, 7, num_workers=workers, backend=backend, seed=11)
    loader.set_epoch(2)
    assert views_by_sample(loader) == expected


def test_views_do_depend_on_seed_epoch_and_view(folder):
    def first(seed, epoch):
        loader = gpuaug.DataLoader(folder, RICH, batch_size=8, seed=seed)
        loader.set_epoch(epoch)
        return next(iter(loader))[0]

    variants = [*first(0, 0), *first(0, 1), *first(1, 0)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(variants, 2))


def stream(loader):
    """An epoch as one row of bytes per sample, in order."""
    return [
        (int(i), *(view[row].numpy().tobytes() for view in views), int(target[row]))
        for views, target in loader
        for row, i in enumerate(loader.index)
    ]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("batch_size", "batches"), [(7, 3), (20, 1), (64, 1), (7, 10)])
def test_a_restart_yields_the_rest_of_the_epoch(folder, policy, batch_size, batches, workers):
    whole = gpuaug.DataLoader(folder, policy, batch_size=16, shuffle=True, seed=4)
    epochs = [stream(whole) for _ in range(3)]
    for later_batch_size, later_workers in ((batch_size, workers), (5, 2 - workers)):
        first = gpuaug.DataLoader(folder, policy, batch_size, shuffle=True, seed=4, num_workers=workers)
        assert stream(first) == epochs[0]
        for _ in itertools.islice(first, batches):
            pass
        state = first.state_dict()
        assert (state["epoch"], state["position"]) == (1, min(batch_size * batches, 70))
        later = gpuaug.DataLoader(folder, policy, later_batch_size, shuffle=True, seed=4, num_workers=later_workers)
        later.load_state_dict(state)
        assert later.state_dict() == state
        assert stream(later) == epochs[1][state["position"] :]
        assert stream(later) == epochs[2]


def test_set_epoch_keeps_a_restored_position(folder, plain):
    loader = gpuaug.DataLoader(folder, plain, batch_size=10)
    state = {**loader.state_dict(), "epoch": 3, "position": 60}
    loader.load_state_dict(state)
    loader.set_epoch(3)
    assert [loader.index.tolist() for _ in loader] == [list(range(60, 70))]
    loader.load_state_dict(state)
    loader.set_epoch(4)
    assert len(list(loader)) == 7


def test_a_restart_goes_on_in_the_same_sampler(folder, plain):
    sampler = np.random.default_rng(0).permutation(70).tolist()
    loader = gpuaug.DataLoader(folder, plain, batch_size=10, sampler=sampler)
    next(iter(loader))
    later = gpuaug.DataLoader(folder, plain, batch_size=70, sampler=sampler)
    later.load_state_dict(loader.state_dict())
    assert [later.index.tolist() for _ in later] == [sampler[10:]]


def test_the_state_after_an_epoch_is_the_next_ones_start(folder, plain):
    loader = gpuaug.DataLoader(folder, plain, batch_size=50)
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (0, 0)
    positions = [loader.state_dict()["position"] for _ in loader]
    assert positions == [50, 70]
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 0)


@pytest.mark.parametrize(("name", "value"), [("seed", 1), ("samples", 71), ("shuffle", True)])
def test_a_state_of_another_loader_is_refused(folder, plain, name, value):
    loader = gpuaug.DataLoader(folder, plain)
    with pytest.raises(ValueError, match=f"saved with {name}={value}, but this loader has {name}="):
        loader.load_state_dict({**loader.state_dict(), name: value})
