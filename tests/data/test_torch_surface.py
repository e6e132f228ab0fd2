"""Every public attribute of torch's DataLoader has torch's meaning here, or an error that says what to do."""

import inspect
import itertools

import numpy as np
import pytest
import torch
from numbered import Numbered, order
from torch.utils.data import BatchSampler, DistributedSampler, SequentialSampler
from torch.utils.data import DataLoader as TorchLoader

import gpuaug
from gpuaug.data import DecodeError

OPTIONS = {"batch_size": 5, "num_workers": 0, "drop_last": True}


@pytest.fixture
def both(plain):
    dataset = Numbered()
    return gpuaug.DataLoader(dataset, plain, **OPTIONS), TorchLoader(dataset, **OPTIONS)


def test_it_is_one_by_its_class(both):
    ours, _ = both
    assert isinstance(ours, TorchLoader)
    assert isinstance(ours.sampler, DistributedSampler)


DIFFERENT = {
    "collate_fn": "raises",
    "sampler": "EpochOrder, a DistributedSampler",
    "batch_sampler": "a BatchSampler of that",
    "prefetch_factor": "2 unless given; torch's is None without workers",
    "timeout": "300 s unless given",
}
"""Attributes whose values differ from torch's, and why."""


def test_every_public_attribute_is_there(both):
    ours, theirs = both
    names = {name for name in dir(theirs) if not name.startswith("_")}
    assert {"dataset", "batch_size", "sampler", "batch_sampler", "generator", "multiprocessing_context"} <= names
    for name in sorted(names - DIFFERENT.keys()):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert callable(mine) if callable(other) else mine == other, name
    for name in ("_index_sampler", "_auto_collation", "_dataset_kind"):
        assert type(getattr(ours, name)) is type(getattr(theirs, name)), name


def test_every_argument_of_torch_is_taken_or_refused_by_name(plain):
    ours = inspect.signature(gpuaug.DataLoader).parameters
    for name in inspect.signature(TorchLoader).parameters:
        assert name in ours, name
    for name, value in (("collate_fn", list), ("generator", torch.Generator())):
        with pytest.raises(ValueError, match=f"{name} is not supported"):
            gpuaug.DataLoader(Numbered(), plain, **{name: value})


def test_the_batch_sampler_gives_the_batches_of_the_next_pass(plain):
    loader = gpuaug.DataLoader(Numbered(), plain, 5, shuffle=True)
    assert type(loader.batch_sampler) is BatchSampler
    assert (loader.batch_sampler.batch_size, loader.batch_sampler.drop_last, len(loader.batch_sampler)) == (5, False, 3)
    assert loader.batch_sampler.sampler is loader.sampler
    for _ in range(2):
        wanted = list(loader.batch_sampler)
        assert order(loader) == wanted


def test_no_loader_can_be_made_of_its_parts(both):
    """Accelerate's and Ray's helpers do this; the other loader would leave out the augmentation."""
    with pytest.raises(TypeError, match=r"no collate_fn, .* Give the loader itself to the loop .* loader.load_state_dict"):
        both[0].collate_fn  # noqa: B018 - asking is what raises


def test_what_the_loader_was_made_with_stays(both):
    for loader in both:
        for name in ("batch_size", "sampler", "batch_sampler", "drop_last", "dataset", "persistent_workers"):
            with pytest.raises((ValueError, AttributeError)):
                setattr(loader, name, None)


@pytest.mark.parametrize("kind", ["dataset", "arrays"])
def test_another_loader_can_be_made_of_its_attributes(kind, plain):
    """Lightning does this for prediction, from the attributes that the class accepts as arguments and another sampler."""
    source = Numbered() if kind == "dataset" else (np.zeros((12, 8, 8, 3), np.uint8), np.arange(12))
    loader = gpuaug.DataLoader(source, plain, 5, seed=7, target_collate_fn=list, on_error="skip", num_workers=1)
    names = inspect.signature(gpuaug.DataLoader).parameters
    options = {name: value for name, value in vars(loader).items() if name in names}
    assert {
        "source",
        "dataset",
        "policy",
        "seed",
        "backend",
        "dtype",
        "labels",
        "target_collate_fn",
        "on_error",
    } <= options.keys()
    options |= {"sampler": None, "batch_size": 1, "batch_sampler": [[3], [2, 4]]}
    other = gpuaug.DataLoader(**options, multiprocessing_context=loader.multiprocessing_context)
    assert [target for _, target in other] == [[3], [2, 4]]
    assert other.dataset is loader.dataset
    assert (other.seed, other.on_error, other.policy) == (7, "skip", plain)


@pytest.mark.parametrize("name", ["backend", "device", "dtype", "labels", "num_workers", "policy", "seed", "shuffle", "source"])
def test_what_other_parts_were_made_of_stays_too(name, both):
    with pytest.raises(ValueError, match=f"{name} cannot be changed once the loader is made; make another loader"):
        setattr(both[0], name, 1)
    both[0].worker_init_fn = print  # as Fabric sets it


def test_a_batch_sampler_of_ones_own(plain):
    batches = [[3, 1], [0], [7, 2, 5]]
    loader = gpuaug.DataLoader(Numbered(), plain, batch_sampler=batches)
    theirs = TorchLoader(Numbered(), batch_sampler=batches)
    assert order(loader) == order(loader) == batches
    assert (
        (len(loader), loader.batch_size, loader.drop_last)
        == (len(theirs), theirs.batch_size, theirs.drop_last)
        == (3, None, False)
    )
    assert type(loader.sampler) is type(theirs.sampler) is SequentialSampler
    assert loader.batch_sampler is batches
    for position, rest in ((1, [[1], [0], [7, 2, 5]]), (3, [[7, 2, 5]]), (6, [])):
        loader.load_state_dict({**loader.state_dict(), "epoch": 1, "position": position})
        assert order(loader) == rest
    for option in ({"batch_size": 2}, {"shuffle": True}, {"sampler": [0]}, {"drop_last": True}):
        with pytest.raises(ValueError, match="batch_sampler makes the batches"):
            gpuaug.DataLoader(Numbered(), plain, batch_sampler=batches, **option)
    with pytest.raises(IndexError, match=r"the sampler yielded 12, outside 0\.\.11"):
        order(gpuaug.DataLoader(Numbered(), plain, batch_sampler=[[0, 12]]))


@pytest.mark.parametrize("name", ["sampler", "batch_sampler"])
def test_a_sampler_that_goes_on_beyond_its_length(name, plain):
    """Samplers for training by steps do this; the loop ends by itself."""

    class Endless:
        def __len__(self):
            return 3

        def __iter__(self):
            items = itertools.cycle([2, 0, 1])
            return items if name == "sampler" else ([i] for i in items)

    loader = gpuaug.DataLoader(Numbered(), plain, **{name: Endless()})
    assert len(loader) == 3
    assert [int(target) for _, target in itertools.islice(loader, 7)] == [2, 0, 1, 2, 0, 1, 2]


def test_a_batch_samplers_epoch_is_told_and_followed(plain):
    sampler = DistributedSampler(Numbered(), num_replicas=2, rank=1, seed=3)
    loader = gpuaug.DataLoader(Numbered(), plain, batch_sampler=BatchSampler(sampler, 4, False))
    for epoch in (0, 1):
        seen = order(loader)
        assert sampler.epoch == loader.draws.epoch == epoch
        assert seen == list(BatchSampler(sampler, 4, False))
    sampler.set_epoch(7)
    assert order(loader) == list(BatchSampler(sampler, 4, False))
    assert loader.draws.epoch == 7


class Turns:
    """A batch sampler with its own epoch, around a sampler with or without one."""

    def __init__(self, sampler):
        self.sampler = sampler
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 2

    def __iter__(self):
        return iter([[self.epoch, 0], [1]])


@pytest.mark.parametrize("inside", [SequentialSampler(range(12)), DistributedSampler(range(12), num_replicas=1, rank=0)])
def test_a_batch_samplers_own_epoch_is_told_and_followed(plain, inside):
    batches = Turns(inside)
    loader = gpuaug.DataLoader(Numbered(), plain, batch_sampler=batches)
    for epoch in (0, 1):
        assert order(loader) == [[epoch, 0], [1]]
        assert loader.draws.epoch == epoch
    batches.set_epoch(5)
    assert order(loader) == [[5, 0], [1]]
    assert loader.draws.epoch == 5
    assert order(loader) == [[6, 0], [1]]


def test_max_bad_is_a_share_of_a_batch_samplers_samples(plain):
    """The sampler names four of twelve samples, of which two are missing."""

    class Gone(Numbered):
        def __getitem__(self, i):
            if i > 9:
                raise OSError("gone")
            return super().__getitem__(i)

    batches = [[0, 10], [1, 11]]
    with pytest.raises(DecodeError, match="2 of the 4 samples of epoch 0 are bad"):
        order(gpuaug.DataLoader(Gone(), plain, batch_sampler=batches, on_error="skip", max_bad=0.3))
    assert order(gpuaug.DataLoader(Gone(), plain, batch_sampler=batches, on_error="skip", max_bad=0.5)) == [[0], [1]]


def test_views_of_a_batch_sampler_are_the_samples_own(plain):
    images = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), dtype=np.uint8)
    whole = gpuaug.DataLoader((images, np.arange(12)), plain, 12)
    views, _ = next(iter(whole))
    picked = gpuaug.DataLoader((images, np.arange(12)), plain, batch_sampler=[[4], [11, 0]])
    for batch, (part, _) in zip([[4], [11, 0]], picked, strict=True):
        assert torch.equal(part, views[batch])
