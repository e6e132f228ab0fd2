"""Loaders and their parts can be copied and pickled, as torch's can; a copy delivers the same batches."""

import copy
import io
import pickle
import tarfile
import time

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, DistributedSampler

import gpuaug
from gpuaug.data import ArraySource

COPY = {"pickle": lambda x: pickle.loads(pickle.dumps(x)), "deepcopy": copy.deepcopy}
PIXELS = np.random.default_rng(0).integers(0, 256, (70, 20, 20, 3), dtype=np.uint8)


class Pictures(Dataset):
    def __len__(self):
        return 70

    def __getitem__(self, i):
        return PIXELS[i], i


@pytest.fixture
def sources(folder, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for k, path in enumerate(sorted(folder.glob("*/*.png"))):
            for suffix, data in ((".png", path.read_bytes()), (".cls", b"1")):
                member = tarfile.TarInfo(f"{k:03}{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return {"folder": folder, "shards": tmp_path / "a.tar", "arrays": (PIXELS, range(70)), "dataset": Pictures()}


def batches(loader):
    return [(loader.index.tolist(), [view.clone() for view in views], target) for views, target in loader]


def equal(one, other):
    return all(
        a[0] == b[0] and all(map(torch.equal, a[1], b[1])) and torch.equal(a[2], b[2]) for a, b in zip(one, other, strict=True)
    )


def test_a_shallow_copy_has_a_place_in_the_order_of_its_own(plain):
    loader = gpuaug.DataLoader((PIXELS, range(70)), plain, 70, shuffle=True)

    def epoch(one):
        (batch,) = one
        return next(e for e in range(9) if batch[1].tolist() == one.sampler.indices(e).tolist())

    twin = copy.copy(loader)
    assert [epoch(twin), epoch(twin), epoch(loader)] == [0, 1, 0]
    third = copy.copy(twin)
    third.set_epoch(7)
    third.bad_files["a"] = "b"
    assert [epoch(twin), epoch(third), epoch(loader)] == [2, 7, 1]
    assert not twin.bad_files
    assert twin.batch_sampler.sampler is twin.sampler


@pytest.mark.parametrize("decoder", ["auto", "pillow"])
@pytest.mark.parametrize("how", COPY)
def test_a_copy_of_a_loader_goes_on_with_the_next_epoch(how, decoder, sources, policy):
    for name, source in sources.items():
        for workers in (0, 1):
            options = {"shuffle": True, "num_workers": workers, "decoder": decoder, "seed": 4}
            loader = gpuaug.DataLoader(source, policy, 32, **options)
            next(iter(loader))
            twin = COPY[how](loader)
            assert twin.state_dict() == loader.state_dict(), name
            assert twin.index.tolist() == loader.index.tolist()
            assert twin.draws.epoch == 0
            assert twin.stats().samples == 0
            assert equal(batches(twin), batches(loader)), name
            assert twin.draws.epoch == loader.draws.epoch == 1


@pytest.mark.parametrize("how", COPY)
def test_a_copy_takes_its_sampler_along_and_leaves_the_threads(how, folder, policy, held):
    sampler = DistributedSampler(range(70), num_replicas=2, rank=1)
    told = gpuaug.DataLoader(folder, policy, 16, sampler=sampler)
    twin = COPY[how](told)
    twin.sampler.set_epoch(3)
    assert [len(batches(twin)), twin.draws.epoch, sampler.epoch] == [3, 3, 0]
    early = gpuaug.DataLoader(folder, policy, 16, num_workers=1, persistent_workers=True)
    batches(early)
    threads = ["gpuaug-decode-0", "gpuaug-producer"]  # those of the next epoch, which begins now
    end = time.monotonic() + 20
    while held()[0] != threads and time.monotonic() < end:
        time.sleep(0.001)
    twin = COPY[how](early)
    assert held()[0] == threads
    assert equal(batches(twin), batches(early))
    del twin, early
    assert held()[0] == []


@pytest.mark.parametrize("how", COPY)
def test_a_copy_of_an_array_source_has_its_pixels_once(how):
    source = COPY[how](ArraySource(PIXELS, range(70)))
    images, targets = source.load(np.array([3, 1]))
    assert images.buffer.data_ptr() == source.images.ctypes.data
    assert [images[0].tolist(), targets.tolist()] == [PIXELS[3].tolist(), [3, 1]]
    assert len(pickle.dumps(source)) < 1.5 * PIXELS.nbytes
