"""Memory for pictures on their way to a device: filled by threads, sent once, never reused while a copy may be in flight."""

import gc
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import gpuaug
from gpuaug.data import DecodeError
from gpuaug.data.decoders import staging
from gpuaug.data.decoders.staging import CHUNK, InFlight, OnDevice, StagedBatch, Staging
from gpuaug.memory import Pool

CPU = torch.device("cpu")


class Copy:
    """An event that passes when the test says so."""

    def __init__(self):
        self.passed = False

    def query(self):
        return self.passed


class Device:
    """Staging whose events are recorded here, with memory of its own."""

    def __init__(self):
        self.events = []
        self.pool = Pool(recent=1024, most=4096)
        self.staging = Staging(CPU, self.pool, InFlight(), self.record)

    def record(self, device):
        self.events.append(Copy())
        return self.events[-1]

    @property
    def chunks(self):
        return len(self.pool.blocks)


@pytest.fixture
def device():
    return Device()


def random_pictures(count, seed=0, largest=60):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*rng.integers(1, largest, 2), 3), dtype=np.uint8) for _ in range(count)]


def assert_same(images, wanted):
    assert len(images) == len(wanted)
    assert all(np.array_equal(mine.numpy(), one) for mine, one in zip(images, wanted, strict=True))


def test_pictures_come_in_the_order_asked_for_wherever_threads_put_them(device):
    wanted = random_pictures(200)
    batch = StagedBatch(device.staging)
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(batch.place, wanted[::-1]))[::-1]
    images = batch.send(places)
    assert_same(images, wanted)
    assert images.buffer.numel() == batch.copied == sum(one.nbytes for one in wanted)


def test_a_batch_that_was_filled_in_order_has_no_gaps(device):
    wanted = random_pictures(5)
    batch = StagedBatch(device.staging)
    images = batch.send([batch.place(one) for one in wanted])
    assert images.starts is None
    assert_same(images, wanted)
    assert len(StagedBatch(device.staging).send([])) == 0


def test_memory_is_not_written_while_a_copy_may_read_it(device):
    """As long as the event of a copy has not passed, other batches get other memory."""
    wanted = random_pictures(3)
    batch = StagedBatch(device.staging)
    places = [batch.place(one) for one in wanted]
    (read,) = (chunk[:used] for chunk, used in zip(batch.chunks, batch.used, strict=True))
    before, address = read.copy(), read.ctypes.data
    batch.send(places)
    del read, batch
    held = [event for event in device.events if not event.passed]
    assert len(held) == 1
    for seed in range(1, 4):
        other = StagedBatch(device.staging)
        places = [other.place(one) for one in random_pictures(3, seed)]
        assert all(chunk.ctypes.data != address for chunk in other.chunks)
        other.send(places)
        device.events[-1].passed = True
    (kept,) = (things for event, things in device.staging.in_flight.kept if event is held[0])
    assert np.array_equal(kept[0].numpy(), before)
    held[0].passed = True
    del kept
    device.staging.in_flight.drop()
    reused = set()
    batches = [StagedBatch(device.staging) for _ in range(device.chunks)]
    for batch in batches:
        batch.place(wanted[0])
        reused.add(batch.chunks[0].ctypes.data)
    assert address in reused


def test_memory_stays_bounded_over_many_batches(device):
    """Two batches in flight: three in the making and in flight together, however many follow each other."""
    for k in range(50):
        batch = StagedBatch(device.staging)
        batch.send([batch.place(one) for one in random_pictures(4, k)])
        for event in device.events[:-2]:
            event.passed = True
    assert device.chunks <= 4


def test_memory_that_torch_has_allocated_is_told_to_be_in_use_too():
    """As page-locked memory is: the base of such an array is a tensor."""
    pool = Pool(make=lambda size: torch.empty(size, dtype=torch.uint8).numpy())
    first = pool.allocate(CHUNK)
    part = torch.from_numpy(first[100:200][5:])
    address = first.ctypes.data
    del first
    second = pool.allocate(CHUNK)
    assert second.ctypes.data != address
    del part
    third = pool.allocate(CHUNK)
    assert third.ctypes.data == address


def test_a_large_batch_takes_more_chunks_and_gives_them_back(device):
    large = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)  # 6.75 MB: two of them in a chunk
    whole = np.zeros((3000, 2000, 3), np.uint8)  # has a chunk of its own
    assert 2 * large.nbytes < CHUNK < whole.nbytes
    wanted = [large, whole, *random_pictures(2), large, large]
    batch = StagedBatch(device.staging)
    places = [batch.place(one) for one in wanted]
    assert [len(chunk) for chunk in batch.chunks] == [CHUNK, whole.nbytes, CHUNK]
    assert_same(batch.send(places), wanted)
    for event in device.events:
        event.passed = True
    del batch
    device.staging.in_flight.drop()
    assert device.pool.release() >= 2 * CHUNK + whole.nbytes
    assert device.chunks == 0


def test_what_the_device_has_decoded_is_not_copied_if_it_is_alone(device):
    flat = torch.arange(60, dtype=torch.uint8)
    batch = StagedBatch(device.staging)
    images = batch.send([OnDevice(flat, 24, (3, 4)), OnDevice(flat, 0, (2, 4))])
    assert images.buffer.data_ptr() == flat.data_ptr()
    assert_same(images, [flat[24:60].view(3, 4, 3).numpy(), flat[:24].view(2, 4, 3).numpy()])
    assert batch.copied == 0
    assert not device.events
    batch.finish()  # the decoder may have its buffer back once the kernels that read it are done
    assert [things is flat for _, things in device.staging.in_flight.kept] == [True]


def test_pictures_of_the_host_and_of_the_device_become_one_batch(device):
    first, second = (torch.from_numpy(one.reshape(-1)) for one in random_pictures(2, 5))
    shapes = [one.shape[:2] for one in random_pictures(2, 5)]
    mine = random_pictures(3, 6)
    batch = StagedBatch(device.staging)
    a, b, c = (batch.place(one) for one in mine)
    images = batch.send([b, OnDevice(second, 0, shapes[1]), a, c, OnDevice(first, 0, shapes[0])])
    assert_same(images, [mine[1], random_pictures(2, 5)[1], mine[0], mine[2], random_pictures(2, 5)[0]])
    assert batch.copied == sum(one.nbytes for one in mine)


def test_released_memory_is_what_nothing_reads(monkeypatch, device):
    monkeypatch.setattr(staging, "PINNED", device.pool)
    monkeypatch.setattr(staging, "IN_FLIGHT", device.staging.in_flight)
    batch = StagedBatch(device.staging)
    batch.send([batch.place(one) for one in random_pictures(2)])
    del batch
    gpuaug.release_memory()
    assert device.chunks == 1
    device.events[0].passed = True
    gpuaug.release_memory()
    assert device.chunks == 0


def test_a_pickle_shares_nothing():
    copy = pickle.loads(pickle.dumps(Staging(CPU)))
    assert copy.device == CPU
    assert copy.pool is staging.PINNED


def staged_loader(folder, policy, device, decoder, **options):
    """A loader on the CPU that sends its pictures as it would to a GPU."""
    loader = gpuaug.DataLoader(folder, policy, decoder=decoder, **options)
    loader.decoding.staging = device.staging
    return loader


@pytest.mark.parametrize("decoder", ["pillow", "dali"])
@pytest.mark.parametrize("workers", [0, 2])
def test_views_are_those_of_the_loader_without_staging(folder, pictures, policy, device, decoder, workers):
    options = {"batch_size": 16, "shuffle": True, "num_workers": workers, "decoder": decoder, "seed": 3}
    plain = gpuaug.DataLoader(folder, policy, **options)
    staged = staged_loader(folder, policy, device, **options)
    for (views, target), (others, other) in zip(plain, staged, strict=True):
        assert torch.equal(target, other)
        assert all(map(torch.equal, views, others))
        assert device.events
        for event in device.events:
            event.passed = True
    assert staged.stats().copied == sum(one.nbytes for one in pictures)
    assert plain.stats().copied == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_leave_no_memory_behind(tmp_path, plain, device, workers):
    for k, one in enumerate(random_pictures(40, 1)):
        Image.fromarray(one).save(tmp_path / f"{k:02}.png")
    (tmp_path / "21.png").write_bytes(b"")
    for _ in range(5):
        loader = staged_loader(tmp_path, plain, device, "pillow", batch_size=8, num_workers=workers)
        with pytest.raises(DecodeError, match=r"21\.png: the file is empty"):
            list(loader)
        for event in device.events:
            event.passed = True
    gc.collect()
    device.staging.in_flight.drop()
    device.pool.release()
    assert device.chunks == 0
    assert not [t for t in threading.enumerate() if t.name.startswith("gpuaug-decode")]


def test_skipped_pictures_are_left_out(tmp_path, plain, device):
    for k, one in enumerate(random_pictures(12, 1)):
        Image.fromarray(one).save(tmp_path / f"{k:02}.png")
    for k in (0, 5, 6, 7):
        (tmp_path / f"{k:02}.png").write_bytes(b"")
    options = {"batch_size": 4, "on_error": "skip", "max_bad": 1.0, "decoder": "pillow"}
    staged = staged_loader(tmp_path, plain, device, **options)
    found = [(views, staged.index) for views, _ in staged]
    expected = gpuaug.DataLoader(tmp_path, plain, **options)
    for (views, _), (others, index) in zip(expected, found, strict=True):
        assert torch.equal(views, others)
        assert np.array_equal(expected.index, index)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_memory_is_page_locked_on_cuda():
    batch = StagedBatch(Staging(torch.device("cuda", torch.cuda.current_device())))
    wanted = random_pictures(20)
    places = [batch.place(one) for one in wanted]
    assert torch.from_numpy(batch.chunks[0]).is_pinned()
    assert_same(batch.send(places).to("cpu"), wanted)
