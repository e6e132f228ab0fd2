"""Lengths, order, epochs and samplers as in torch.utils.data.DataLoader."""

import itertools
import random

import numpy as np
import pytest
import torch
from numbered import PIXELS, Numbered, order
from PIL import Image
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import DistributedSampler, RandomSampler, Sampler

import gpuaug


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_are_torchs(drop_last, workers, plain):
    for samples in (1, 2, 5, 6):
        for batch_size in (1, 2, 3, 5, 6, 7):
            theirs = TorchLoader(range(samples), batch_size=batch_size, drop_last=drop_last)
            if not len(theirs):
                continue
            arrays = (PIXELS[:samples], range(samples))
            ours = gpuaug.DataLoader(arrays, plain, batch_size, drop_last=drop_last, num_workers=workers)
            assert len(ours) == len(theirs)
            assert order(ours) == [batch.tolist() for batch in theirs]


def test_a_batch_larger_than_the_data_set(plain):
    assert order(gpuaug.DataLoader(Numbered(3), plain, batch_size=8)) == [[0, 1, 2]]
    with pytest.raises(ValueError, match=r"batch_size=8 with drop_last=True leaves no batch of 3 samples.*at most 3"):
        gpuaug.DataLoader(Numbered(3), plain, batch_size=8, drop_last=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_several_views_are_a_list_and_one_is_a_tensor(folder, policy, plain, workers):
    views, target = next(iter(gpuaug.DataLoader(folder, policy, batch_size=4, num_workers=workers)))
    assert [v.shape for v in views] == [(4, 3, 16, 16)] * 2
    assert isinstance(views, list)
    assert (target.dtype, target.shape) == (torch.int64, (4,))
    view, _ = next(iter(gpuaug.DataLoader(folder, plain, batch_size=4, num_workers=workers)))
    assert view.shape == (4, 3, 8, 8)


def test_dtype_and_memory_format(folder, plain):
    loader = gpuaug.DataLoader(folder, plain, 4, dtype=torch.bfloat16, memory_format=torch.channels_last)
    view, _ = next(iter(loader))
    assert view.dtype == torch.bfloat16
    assert view.is_contiguous(memory_format=torch.channels_last)


def test_shuffling_is_another_order_an_epoch_and_the_same_again(plain):
    loader = gpuaug.DataLoader(Numbered(), plain, batch_size=12, shuffle=True, seed=3)
    epochs = [order(loader)[0] for _ in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    again = gpuaug.DataLoader(Numbered(), plain, batch_size=12, shuffle=True, seed=3)
    assert [order(again)[0] for _ in range(3)] == epochs
    assert order(gpuaug.DataLoader(Numbered(), plain, batch_size=12, shuffle=True, seed=4))[0] != epochs[0]


def test_the_order_never_changes_from_version_to_version(plain):
    loader = gpuaug.DataLoader(Numbered(), plain, batch_size=12, shuffle=True, seed=3)
    assert order(loader) == [[6, 1, 11, 8, 5, 2, 7, 10, 9, 4, 3, 0]]


def test_every_place_is_as_likely():
    loader = gpuaug.DataLoader(Numbered(4), "byol", shuffle=True)
    counts = np.zeros((4, 4))
    for epoch in range(2000):
        counts[np.arange(4), loader.sampler.indices(epoch)] += 1
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 1 / 4 * 3 / 4)


def test_epochs_count_up_and_can_be_set(plain):
    loader = gpuaug.DataLoader(Numbered(), plain, batch_size=6)
    seen = []
    for _ in range(2):
        for _ in loader:
            seen.append(loader.draws.epoch)
    for _ in loader:
        break
    loader.set_epoch(7)
    for _ in loader:
        seen.append(loader.draws.epoch)
    next(iter(loader))
    assert [*seen, loader.draws.epoch] == [0, 0, 1, 1, 7, 7, 8]


def test_before_the_first_batch_there_are_no_draws(folder, policy):
    with pytest.raises(RuntimeError, match="no batch has been delivered yet"):
        _ = gpuaug.DataLoader(folder, policy, 4).draws


def test_draws_are_those_of_the_batch(folder, policy, pictures):
    loader = gpuaug.DataLoader(folder, policy, batch_size=8, shuffle=True, seed=5, num_workers=2)
    for views, _ in loader:
        draws = gpuaug.sample(policy, loader.index, seed=5, epoch=0)
        assert np.array_equal(loader.draws.index, loader.index)
        assert loader.index.dtype == np.int64
        for v in range(2):
            for name, column in draws.columns(v).items():
                assert np.array_equal(loader.draws.columns(v)[name], column)
        assert len(views[0]) == len(loader.draws)
        assert loader.draws.shapes.tolist() == [list(pictures[i].shape[:2]) for i in loader.index.tolist()]


@pytest.mark.parametrize("workers", [0, 1])
def test_two_iterators_do_not_disturb_each_other(plain, workers):
    for source in (Numbered(), (PIXELS, range(12))):
        loader = gpuaug.DataLoader(source, plain, batch_size=4, shuffle=True, num_workers=workers)
        alone = gpuaug.DataLoader(source, plain, batch_size=4, shuffle=True)
        first, second = iter(loader), iter(loader)
        pairs = [(a[1].tolist(), b[1].tolist()) for a, b in zip(first, second, strict=True)]
        assert [list(batches) for batches in zip(*pairs, strict=True)] == [order(alone), order(alone)]


def test_samplers(plain):
    assert order(gpuaug.DataLoader(Numbered(), plain, batch_size=2, sampler=[5, 3, 3])) == [[5, 3], [3]]
    mine = RandomSampler(range(12), generator=torch.Generator().manual_seed(1))
    theirs = RandomSampler(range(12), generator=torch.Generator().manual_seed(1))
    assert order(gpuaug.DataLoader(Numbered(), plain, batch_size=12, sampler=mine)) == [list(theirs)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_distributed_sampler_is_told_the_epoch(plain, workers):
    parts = [DistributedSampler(Numbered(), num_replicas=2, rank=rank, seed=1) for rank in range(2)]
    loaders = [gpuaug.DataLoader(Numbered(), plain, 3, sampler=part, num_workers=workers) for part in parts]
    assert [len(loader) for loader in loaders] == [2, 2]
    for loader in loaders:
        loader.set_epoch(4)
    ranks = [list(itertools.chain.from_iterable(order(loader))) for loader in loaders]
    assert sorted(ranks[0] + ranks[1]) == list(range(12))
    assert [part.epoch for part in parts] == [4, 4]
    parts[0].set_epoch(4)
    assert ranks[0] == list(parts[0])


class Endless(Sampler):
    def __iter__(self):
        i = 0
        while True:
            yield i % 12
            i += 5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sampler_without_a_length(plain, workers):
    loader = gpuaug.DataLoader(Numbered(), plain, batch_size=3, sampler=Endless(), num_workers=workers)
    batches = iter(loader)
    assert [next(batches)[1].tolist() for _ in range(2)] == [[0, 5, 10], [3, 8, 1]]
    with pytest.raises(TypeError, match="Endless has no length"):
        len(loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sampler_that_leaves_the_data_set(plain, workers):
    with pytest.raises(IndexError, match=r"the sampler yielded 12, outside 0\.\.11"):
        order(gpuaug.DataLoader(Numbered(), plain, sampler=[0, 12], num_workers=workers))


def test_the_default_sampler_is_torchs_kind(plain):
    loader = gpuaug.DataLoader(Numbered(), plain, shuffle=True, batch_size=12)
    assert (len(loader.sampler), list(loader.sampler)) == (12, order(loader)[0])
    loader.sampler.set_epoch(1)
    assert list(loader.sampler) == order(loader)[0]


def test_attributes(folder, plain):
    dataset = Numbered()
    loader = gpuaug.DataLoader(dataset, plain, 5, num_workers=1, drop_last=True)
    assert loader.dataset is dataset
    assert (loader.batch_size, loader.num_workers, loader.drop_last) == (5, 1, True)
    by_path = gpuaug.DataLoader(str(folder), plain)
    assert by_path.dataset.classes == ["ant", "bee", "cat"]
    assert "70 files" in repr(by_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_single_pixel_and_pictures_smaller_than_the_crop(tmp_path, policy, workers):
    (tmp_path / "a").mkdir()
    for k, size in enumerate([(1, 1), (1, 9), (200, 1), (3, 3)]):
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "a" / f"{k}.png")
    views, _ = next(iter(gpuaug.DataLoader(tmp_path, policy, batch_size=4, num_workers=workers)))
    colour = torch.tensor([10, 20, 30])[None, :, None, None] / 255
    assert all((view - colour).abs().max() < 1e-6 for view in views)


def test_centre_crop_of_a_small_picture_pads_with_black(tmp_path, plain):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (2, 2), (255, 255, 255)).save(tmp_path / "a" / "1.png")
    view, _ = next(iter(gpuaug.DataLoader(tmp_path, plain)))
    assert view[0, 0].nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]


@pytest.mark.parametrize("workers", [0, 2])
def test_global_generators_are_left_alone(folder, policy, workers):
    for source in (str(folder), Numbered(), (PIXELS, range(12))):
        before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002 - the state in question
        for _ in gpuaug.DataLoader(source, policy, batch_size=5, shuffle=True, num_workers=workers):
            pass
        after = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_views_and_targets_come_out_on_the_gpu(folder, policy, workers):
    on_cpu = list(gpuaug.DataLoader(folder, policy, batch_size=16))
    on_gpu = list(gpuaug.DataLoader(folder, policy, batch_size=16, num_workers=workers, device="cuda"))
    for (views, target), (truth, labels) in zip(on_gpu, on_cpu, strict=True):
        assert all(v.is_cuda and (v.cpu() - t).abs().max() <= 1 / 255 for v, t in zip(views, truth, strict=True))
        assert target.is_cuda
        assert torch.equal(target.cpu(), labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_epochs_and_loaders_share_one_stream_beside_the_consumers(folder, policy):
    """Otherwise torch's allocator would keep the memory of each of them."""
    seen = []

    class Watched(gpuaug.Augmenter):
        def __call__(self, *arguments):
            seen.append(torch.cuda.current_stream())
            return super().__call__(*arguments)

    for _ in range(2):
        loader = gpuaug.DataLoader(folder, policy, batch_size=16, num_workers=1, device="cuda")
        loader.augment = Watched(policy, device="cuda")
        for _ in range(3):
            list(loader)
    assert len(set(seen)) == 1
    assert seen[0] != torch.cuda.current_stream()
