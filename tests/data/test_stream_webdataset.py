"""WebDataset pipelines: files to our decoder, indices by a hash of URL and key, decoded tuples as torch runs them."""

import gc
import io
import json
import pickle
import threading
import warnings
from hashlib import blake2b
from itertools import islice

import numpy as np
import pytest
import torch
import webdataset as wds
from PIL import Image
from streamed import by_index, indices, made, same, taken
from tars import of_folder, tar

import gpuaug
from gpuaug.data import DatasetStream, DecodeError, FolderSource, ShardSource, WebDatasetStream
from gpuaug.data.decoding import Decoding

COUNT = 70

pytestmark = [  # `webdataset` leaves it to the garbage collector to close its tars
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _collected():
    """Lets tars that a test has left open be closed at its end, not within another test, where a warning is an error."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    return list(map(str, of_folder(FolderSource(folder), tmp_path_factory.mktemp("shards"), 4)))


def pipeline(shards, **options):
    return wds.WebDataset(shards, **{"shardshuffle": False, "empty_check": False, **options})


def hashed(url, key):
    return int.from_bytes(blake2b(f"{url}\0{key}".encode(), digest_size=6).digest(), "little")


@pytest.mark.parametrize("workers", [0, 2])
def test_order_targets_and_draws_are_those_of_the_shards(shards, workers, policy):
    loader, found = made(pipeline(shards), policy, num_workers=workers, batch_size=9)
    source = ShardSource(shards)
    expected = [hashed(*source.name(i).removesuffix(".png").split(": ")) for i in range(COUNT)]
    assert indices(found) == expected
    assert [t for _, _, ts in found for t in ts] == source.targets.tolist()
    assert isinstance(loader.source, WebDatasetStream)
    assert loader.labelled
    draws = gpuaug.sample(policy, expected, loader.seed, 0)
    images = gpuaug.Images.from_list([np.asarray(Image.open(io.BytesIO(source.read(i))).convert("RGB")) for i in range(COUNT)])
    views = torch.stack(gpuaug.Augmenter(policy)(images, draws))
    assert torch.equal(torch.cat([v for _, v, _ in found], 1), views)


def test_pixels_are_those_of_the_map_style_loader(shards, plain):
    _, found = made(pipeline(shards), plain)
    _, expected = made(ShardSource(shards), plain)
    assert torch.equal(torch.cat([v for _, v, _ in found], 1), torch.cat([v for _, v, _ in expected], 1))


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_sample_comes_once_with_the_same_views_for_any_ranks_workers_and_order(shards, ranks, workers, policy):
    once = by_index(made(pipeline(shards), policy)[1])
    found = []
    for rank in range(ranks):

        def split(urls, rank=rank):
            return islice(urls, rank, None, ranks)

        stream = pipeline(shards, nodesplitter=split).shuffle(20, seed=rank)
        found += made(stream, policy, num_workers=workers, rank=rank, world_size=ranks)[1]
    views = by_index(found)
    assert views.keys() == once.keys()
    assert list(views) != list(once)
    assert all(torch.equal(views[i], once[i]) for i in once)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_goes_on_to_the_bit(shards, workers, policy):
    def loader(size=8):
        stream = pipeline(shards, shardshuffle=100, detshuffle=True, seed=5).compose(wds.filters.detshuffle(30, seed=7))
        return gpuaug.DataLoader(stream, policy, batch_size=size, num_workers=workers)

    first = loader()
    passes = [taken(first) for _ in range(3)]
    assert indices(passes[0]) != indices(passes[1]) != indices(passes[2])
    for epoch in range(3):
        for batches in (1, 4, 8):
            begun = loader()
            begun.set_epoch(epoch)
            assert same(taken(begun, batches), passes[epoch][:batches])
            later = loader(5)
            later.load_state_dict(pickle.loads(pickle.dumps(begun.state_dict())))
            rest = taken(later)
            assert indices(rest) == indices(passes[epoch])[8 * batches :]
            whole = by_index(passes[epoch])
            assert all(torch.equal(views, whole[i]) for i, views in by_index(rest).items())


def test_a_state_that_does_not_fit(shards, plain):
    loader, _ = made(pipeline(shards), plain, 10)
    later = gpuaug.DataLoader(pipeline(shards[:1]), plain)
    later.load_state_dict(loader.state_dict())
    with pytest.raises(ValueError, match="the stream ended after 18 samples, but the state was saved after 40 of them"):
        taken(later)
    with pytest.raises(ValueError, match="world_size=1, but this loader has world_size=2"):
        gpuaug.DataLoader(pipeline(shards), plain, rank=1, world_size=2).load_state_dict(loader.state_dict())


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_pipelines_that_decode_run_in_torchs_workers(shards, workers, policy):
    stream = pipeline(shards).decode("pil").to_tuple("png", "cls")
    loader, found = made(stream, policy, num_workers=workers)
    assert isinstance(loader.source, DatasetStream)
    plain_loader, files = made(ShardSource(shards), policy)
    assert len(set(indices(found))) == len(indices(found)) == COUNT
    if workers < 2:
        assert same(found, files)  # the index is the position
    assert sorted(t for _, _, ts in found for t in ts) == sorted(t for _, _, ts in files for t in ts)
    del plain_loader


def test_lengths_and_endless_pipelines(shards, plain, held):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sized = pipeline(shards).with_length(COUNT)
    assert len(gpuaug.DataLoader(sized, plain, batch_size=9)) == 8
    with pytest.raises(TypeError):
        len(gpuaug.DataLoader(pipeline(shards), plain))
    for workers in (0, 2):
        _, found = made(pipeline(shards).repeat(), plain, 30, num_workers=workers)
        assert len(indices(found)) == 120
        assert len(set(indices(found))) == COUNT  # a sample that comes again has its index again
        assert held()[:2] == ([], 0)
    resampled = pipeline(shards, resampled=True).with_epoch(25)
    assert len(indices(made(resampled, plain, num_workers=1)[1])) == 25


def test_a_sample_that_comes_twice_in_a_batch(shards, policy):
    once = by_index(made(pipeline(shards[:1]), policy)[1])
    _, found = made(pipeline(shards[:1]).repeat(2), policy, batch_size=36, num_workers=2)
    ((index, views, _),) = found
    assert index == list(once) * 2
    assert all(torch.equal(views[:, row], once[i]) for row, i in enumerate(index))


def test_different_pictures_under_one_key_are_not_mistaken_for_each_other(tmp_path, plain):
    members = [(f"{k % 2}.png", png(k)) for k in range(4)]
    path = str(tar(tmp_path / "double.tar", members))
    _, found = made(pipeline([path]), plain)
    assert found[0][0][:2] == found[0][0][2:]
    assert len({view.numpy().tobytes() for view in found[0][1][0]}) == 4


def png(k, size=(8, 8)):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(k).integers(0, 256, (*size, 3), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_files_are_named_or_skipped(tmp_path, workers, plain):
    path = str(tar(tmp_path / "b.tar", [(f"{k}.png", png(k)[: 30 if k == 3 else None]) for k in range(10)]))
    loader, found = made(pipeline([path]), plain, num_workers=workers, on_error="skip")
    assert list(loader.bad_files) == [f"{path}: 3.png"]
    assert [len(index) for index, _, _ in found] == [3, 4, 2]
    assert not loader.labelled
    assert found[0][2] == found[0][0]
    with pytest.raises(DecodeError, match=r"b\.tar: 3\.png"):
        made(pipeline([path]), plain, num_workers=workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_is_cut_short_says_where(tmp_path, workers, plain, held):
    path = tar(tmp_path / "cut.tar", [(f"{k}.png", png(k)) for k in range(10)])
    path.write_bytes(path.read_bytes()[:6000])
    loader = gpuaug.DataLoader(pipeline([str(path)]), plain, batch_size=2, num_workers=workers)
    seen = []
    with pytest.raises(Exception, match=r"unexpected end of data|cut\.tar") as raised:
        seen.extend(len(target) for _, target in loader)
    assert seen
    assert any(f"epoch 0, after {sum(seen)}" in n or f"after {sum(seen) + 1}" in n for n in raised.value.__notes__)
    assert held()[:2] == ([], 0)


@pytest.mark.parametrize("named", [".cls", ".json"])
def test_classes(tmp_path, named, plain):
    def member(k):
        return b"%d" % k if named == ".cls" else json.dumps({"label": k}).encode()

    members = [(f"{k}{end}", data) for k in range(4) for end, data in ((".png", png(k)), (named, member(k)))]
    path = str(tar(tmp_path / "c.tar", members))
    assert made(pipeline([path]), plain)[1][0][2] == [0, 1, 2, 3]
    assert made(pipeline([path]).decode(only="cls"), plain)[1][0][2] == [0, 1, 2, 3]  # decoded classes are classes too
    assert not made(pipeline([path]), plain, labels=False)[0].labelled
    some = str(tar(tmp_path / "some.tar", [*members[:2], ("9.png", png(9))]))
    assert made(pipeline([some]), plain)[1][0][2] == [0, -1]
    late = str(tar(tmp_path / "late.tar", [("9.png", png(9)), *members[2:4]]))
    with pytest.raises(TypeError, match="1 has a class, while the first sample has none; give the loader labels=False"):
        made(pipeline([late]), plain)
    with pytest.raises(ValueError, match="its first sample has no cls, and no json with the field label"):
        gpuaug.DataLoader(pipeline([late]), plain, labels=True)
    words = str(tar(tmp_path / "w.tar", [("0.png", png(0)), ("0.cls", b"dog")]))
    with pytest.raises(ValueError, match=r"w\.tar: 0: the class must be an integer, got b'dog'; make it one"):
        gpuaug.DataLoader(pipeline([words]), plain)
    assert len(made(pipeline([words]), plain, labels=False)[1]) == 1
    listed = gpuaug.DataLoader(pipeline([path]), plain, batch_size=4, target_collate_fn=list)
    assert next(iter(listed))[1] == [0, 1, 2, 3]


def test_samples_that_are_no_files_are_refused_at_once(tmp_path, shards, plain):
    none = str(tar(tmp_path / "n.tar", [("0.txt", b"a")]))
    two = str(tar(tmp_path / "t.tar", [("0.png", png(0)), ("0.jpg", png(0))]))
    for stream, error, message in (
        (pipeline(shards).decode("pil"), TypeError, r"has a decoded image, png; leave out \.decode\(\), or end the pipeline"),
        (pipeline(shards).to_tuple("png", "cls"), TypeError, r"gives tuples of files; leave out \.to_tuple\(\)"),
        (pipeline(shards).compose(lambda samples: ({"png": s["png"]} for s in samples)), TypeError, "has no __key__"),
        (pipeline([none]), ValueError, r"n\.tar: 0 has no image, one of \.jpg"),
        (pipeline([two]), ValueError, r"t\.tar: 0 has several images, png, jpg"),
        (pipeline([str(tmp_path / "gone.tar")]), FileNotFoundError, r"gone\.tar"),
    ):
        with pytest.raises(error, match=message):
            gpuaug.DataLoader(stream, plain)


def test_empty_and_short_pipelines(tmp_path, plain):
    empty = str(tar(tmp_path / "e.tar", []))
    for workers in (0, 2):
        assert made(pipeline([empty]), plain, num_workers=workers)[1] == []
    one = str(tar(tmp_path / "o.tar", [("0.png", png(0))]))
    assert len(made(pipeline([one]), plain)[1]) == 1
    assert made(pipeline([one]), plain, drop_last=True)[1] == []
    with pytest.raises(ValueError, match="is a stream, so shuffle must stay False"):
        gpuaug.DataLoader(pipeline([one]), plain, shuffle=True)


def test_the_pipeline_divides_itself_among_ranks(shards, plain, monkeypatch):
    """As `webdataset` does it, by the variables of a launcher or the process group."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    every = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        loader, found = made(pipeline(shards, nodesplitter=wds.split_by_node), plain, rank=rank, world_size=2)
        assert loader.rank == rank
        every += indices(found)
    assert len(set(every)) == len(every) == COUNT


def test_a_batch_is_delivered_before_the_next_one_has_been_read_and_a_stalled_stream_is_left(plain, held):
    go_on = threading.Event()

    def samples():
        for k in range(12):
            if k == 6:
                go_on.wait(60)
            yield {"__key__": str(k), "__url__": "made", "png": png(k)}

    loader = gpuaug.DataLoader(wds.DataPipeline(samples), plain, batch_size=4, num_workers=2)
    epoch = iter(loader)
    next(epoch)
    assert loader.index.tolist() == [hashed("made", str(k)) for k in range(4)]
    epoch.close()
    assert [name for name in held()[0] if name != "gpuaug-reader"] == []  # nothing can interrupt what the reader waits for
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "gpuaug-reader":
            thread.join(10)
    assert held()[0] == []


def test_a_stream_that_gives_nothing_in_time_is_a_timeout(plain, held):
    go_on = threading.Event()

    def samples():
        yield {"__key__": "0", "png": png(0)}
        go_on.wait(60)

    with pytest.raises(TimeoutError, match=r"no batch within 0\.3 s"):
        made(wds.DataPipeline(samples), plain, num_workers=1, timeout=0.3)
    go_on.set()


def test_a_run_over_a_stream_cannot_be_replayed(shards, plain, tmp_path):
    loader = gpuaug.DataLoader(pipeline(shards), plain)
    with pytest.raises(TypeError, match=r"write_run: WebDatasetStream\(WebDataset\) is a stream, of which no sample"):
        gpuaug.write_run(tmp_path, loader)


def test_auto_on_cuda_takes_the_decoder_of_the_cpu(shards):
    """The files of a stream cannot be tried in advance."""
    decoding = Decoding("auto", 10**6, torch.device("cpu"), 1, 1.0)
    decoding.chosen = None  # as on CUDA, where "auto" has not chosen yet
    decoding.settle(WebDatasetStream(pipeline(shards)), lambda index: None)
    assert decoding.chosen in ("libjpeg", "dali", "pillow")
    assert "cannot be tried in advance" in decoding.why
