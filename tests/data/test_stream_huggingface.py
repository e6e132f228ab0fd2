"""Streamed Hugging Face data sets: files to our decoder, indices of shard and offset, ranks by shards, exact resume."""

import io
import json
import pickle

import datasets
import numpy as np
import pytest
import torch
from datasets.distributed import split_dataset_by_node
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from streamed import by_index, indices, made, same, taken
from torch.utils.data import IterableDataset

import gpuaug
from gpuaug.data import DecodeError, HuggingFaceStream
from gpuaug.data.sources.streams.huggingface import OFFSET_BITS, shard_order

SHARDS = (5, 4, 1, 7)
TOTAL = sum(SHARDS)
FEATURES = datasets.Features(
    img=datasets.Image(), kind=datasets.ClassLabel(names=["ant", "bee", "cat"]), text=datasets.Value("string")
)


def png(k):
    file = io.BytesIO()
    pixels = np.random.default_rng(k).integers(0, 256, (20, 18, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def rows(first, count):
    numbers = range(first, first + count)
    return {
        "img": [{"bytes": png(k), "path": None} for k in numbers],
        "kind": [k % 3 for k in numbers],
        "text": [str(k) for k in numbers],
    }


@pytest.fixture(scope="module", params=["parquet", "arrow", "json"])
def files(request, tmp_path_factory):
    """Shards of one format, and how `datasets` streams them."""
    root = tmp_path_factory.mktemp(request.param)
    datasets.disable_progress_bars()
    for s, count in enumerate(SHARDS):
        table = datasets.Dataset.from_dict(rows(sum(SHARDS[:s]), count), features=FEATURES)
        if request.param == "parquet":
            table.to_parquet(root / f"{s}.parquet")
        elif request.param == "arrow":
            with datasets.arrow_writer.ArrowWriter(path=str(root / f"{s}.arrow"), features=FEATURES) as writer:
                for row in table.cast_column("img", datasets.Image(decode=False)):
                    writer.write(row)
                writer.finalize()
        else:
            (root / "img").mkdir(exist_ok=True)
            lines = []
            for k in range(sum(SHARDS[:s]), sum(SHARDS[:s]) + count):
                (root / "img" / f"{k}.png").write_bytes(png(k))
                lines.append({"img": str(root / "img" / f"{k}.png"), "kind": k % 3, "text": str(k)})
            (root / f"{s}.json").write_text("\n".join(map(json.dumps, lines)))

    def load(streaming=True):
        return datasets.load_dataset(
            request.param,
            data_files=[str(root / f"{s}.{request.param}") for s in range(len(SHARDS))],
            split="train",
            streaming=streaming,
            features=FEATURES,
            cache_dir=str(root / "cache"),
        )

    return load


@pytest.fixture(scope="module")
def stream():
    """Examples of four shards, made in memory."""

    def examples(shards):
        for s in shards:
            yield from datasets.Dataset.from_dict(rows(sum(SHARDS[:s]), SHARDS[s]), features=FEATURES)

    return lambda: datasets.IterableDataset.from_generator(
        examples, gen_kwargs={"shards": list(range(len(SHARDS)))}, features=FEATURES
    )


def index_of(k):
    """Index of the k-th example of all."""
    s = next(s for s in range(len(SHARDS)) if k < sum(SHARDS[: s + 1]))
    return (s << OFFSET_BITS) + k - sum(SHARDS[:s])


INDEX = [index_of(k) for k in range(TOTAL)]


@pytest.mark.parametrize("workers", [0, 2])
def test_pixels_targets_and_order_are_those_of_the_map_style_dataset(files, workers, plain):
    loader, found = made(files(), plain, num_workers=workers)
    _, expected = made(files(streaming=False), plain)
    assert torch.equal(torch.cat([v for _, v, _ in found], 1), torch.cat([v for _, v, _ in expected], 1))
    assert [t for _, _, t in found] == [t for _, _, t in expected]
    assert indices(found) == INDEX
    assert (loader.labelled, loader.source.classes, loader.source.shards) == (True, ["ant", "bee", "cat"], 4)
    assert isinstance(loader.source, HuggingFaceStream)


def test_views_are_those_of_the_map_style_loader_where_the_index_is_the_same(files, policy):
    """With one shard the index is the position; regions are decoded by DALI where it is installed."""
    first = files().shard(4, 0)
    _, found = made(first, policy, num_workers=2)
    _, expected = made(files(streaming=False).select(range(SHARDS[0])), policy)
    assert same(found, expected)


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_every_sample_comes_once_with_the_same_views_for_any_number_of_ranks(stream, ranks, epoch, policy):
    """Up to four ranks by shards, six by turns; the order of shards is that of `set_epoch`."""
    whole = gpuaug.DataLoader(stream(), policy, batch_size=4)
    whole.set_epoch(epoch)
    expected = taken(whole)
    reference = stream()
    reference.set_epoch(epoch)
    assert indices(expected) == [index_of(int(example["text"])) for example in reference]
    found = []
    for rank in range(ranks):
        loader = gpuaug.DataLoader(stream(), policy, batch_size=4, rank=rank, world_size=ranks, num_workers=rank % 3)
        loader.set_epoch(epoch)
        found += taken(loader)
    views, once = by_index(found), by_index(expected)
    assert sorted(views) == sorted(INDEX)
    assert all(torch.equal(views[i], once[i]) for i in once)


def test_the_order_of_shards_is_that_of_datasets(stream):
    for epoch in range(4):
        told = stream()
        told.set_epoch(epoch)
        seen = [int(example["text"]) for example in told]
        expected = [k for s in shard_order(4, epoch) for k in range(sum(SHARDS[:s]), sum(SHARDS[: s + 1]))]
        assert seen == expected


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_pass_goes_on_to_the_bit_at_any_batch(files, workers, epoch, policy):
    loader = gpuaug.DataLoader(files(), policy, batch_size=2)
    loader.set_epoch(epoch)
    whole = taken(loader)
    for batches in range(len(whole)):
        loader = gpuaug.DataLoader(files(), policy, batch_size=2, num_workers=workers)
        loader.set_epoch(epoch)
        taken(loader, batches)
        later = gpuaug.DataLoader(files(), policy, batch_size=2)
        later.load_state_dict(pickle.loads(pickle.dumps(loader.state_dict())))
        if batches:
            assert same(taken(later), whole[batches:])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(1, 6),
    after=st.integers(1, 6),
    left=st.integers(1, 5),
    ranks=st.integers(1, 6),
    own=st.booleans(),
    steps=st.sampled_from(["plain", "map", "filter", "shuffle", "take", "skip"]),
)
def test_any_pass_goes_on_with_another_batch_size(stream, size, after, left, ranks, own, steps):
    """Of each rank; from its own state, or from that of rank 0, where the samples that were read are read and dropped."""
    policy = gpuaug.Policy(gpuaug.View(8, gpuaug.RandomResizedCrop()))

    def loader(rank, batch_size):
        changed = {
            "plain": lambda s: s,
            "map": lambda s: s.map(same_example, features=FEATURES),
            "filter": lambda s: s.filter(is_even),
            "shuffle": lambda s: s.shuffle(seed=3, buffer_size=5),
            "take": lambda s: s.take(9),
            "skip": lambda s: s.skip(4),
        }[steps](stream())
        return gpuaug.DataLoader(changed, policy, batch_size=batch_size, rank=rank, world_size=ranks)

    states, first = [], []
    for rank in range(ranks):
        begun = loader(rank, size)
        first.append(taken(begun, left))
        states.append(begun.state_dict())
    counts = [len(indices(batches)) for batches in first]
    if states[0]["epoch"] or counts[0] != size * left:
        return
    for rank in range(ranks):
        if counts[rank] != counts[0] or states[rank]["epoch"]:
            continue
        later = loader(rank, after)
        later.load_state_dict(states[rank if own else 0])
        rest, whole = by_index(taken(later)), by_index(taken(loader(rank, size)))
        assert list(rest) == list(whole)[counts[rank] :]
        assert all(torch.equal(views, whole[i]) for i, views in rest.items())


def same_example(example):
    return example


def is_even(example):
    return int(example["text"]) % 2 == 0


def numbers_of(batches):
    """Which pictures these are, by their pixels."""
    known = {bytes(np.asarray(Image.open(io.BytesIO(png(k))))[6:14, 5:13].tobytes()): k for k in range(TOTAL)}
    views = [(view * 255).round().byte().permute(1, 2, 0) for _, views, _ in batches for view in views[0]]
    return [known[view.numpy().tobytes()] for view in views]


@pytest.mark.parametrize(
    ("change", "shards"),
    [
        (lambda s: s.filter(is_even), True),
        (lambda s: s.map(same_example, features=FEATURES), True),
        (lambda s: s.map(lambda e, i: e, with_indices=True, features=FEATURES), False),
        (lambda s: s.shuffle(seed=1, buffer_size=4), False),
        (lambda s: s.take(9), False),
        (lambda s: s.skip(4), False),
        (lambda s: datasets.concatenate_datasets([s, s.take(3)]), False),
        (lambda s: datasets.interleave_datasets([s, s]), False),
    ],
    ids=["filter", "map", "with_indices", "shuffle", "take", "skip", "concatenate", "interleave"],
)
def test_streams_of_several_steps_keep_their_order_and_are_divided_without_loss(stream, change, shards, plain):
    changed = change(stream())
    expected = [int(example["text"]) for example in change(stream())]
    loader, found = made(changed, plain, labels=False)
    assert (loader.source.shards is not None) is shards
    of = [index_of(k) >> OFFSET_BITS for k in expected]  # an offset counts the samples that a step has left in the shard
    packed = [(s << OFFSET_BITS) + of[:k].count(s) for k, s in enumerate(of)]
    assert indices(found) == (packed if shards else list(range(len(expected))))
    assert numbers_of(found) == expected
    for ranks in (2, 3, 5):
        every = []
        for rank in range(ranks):
            every += made(change(stream()), plain, rank=rank, world_size=ranks, labels=False)[1]
        assert len(indices(every)) == len(set(indices(every))) == len(expected)
        assert sorted(numbers_of(every)) == sorted(expected)


def test_a_dataset_that_is_divided_already_is_not_divided_again(stream, plain):
    for nodes in (2, 3):
        every = []
        for node in range(nodes):
            split = split_dataset_by_node(stream(), rank=node, world_size=nodes)
            every += made(split, plain, rank=node, world_size=nodes)[1]
        assert len(set(indices(every))) == len(indices(every)) == TOTAL


def test_a_shuffled_stream_is_told_its_epoch(stream, plain):
    loader = gpuaug.DataLoader(stream().shuffle(seed=1, buffer_size=6), plain, batch_size=TOTAL)
    passes = [taken(loader)[0][2] for _ in range(2)]
    assert sorted(passes[0]) == sorted(passes[1])
    assert passes[0] != passes[1]
    for epoch in range(2):
        told = stream().shuffle(seed=1, buffer_size=6)
        told.set_epoch(epoch)
        assert [example["kind"] for example in told] == passes[epoch]


def test_a_state_that_was_loaded_and_not_used_is_saved_as_it_was(stream, policy):
    """Even on another rank, whose own place is elsewhere in the stream."""

    def rank(r, batches=None, state=None):
        loader = gpuaug.DataLoader(stream(), policy, batch_size=3, rank=r, world_size=2)
        if state is not None:
            loader.load_state_dict(state)
        return loader, taken(loader, batches) if batches != 0 else []

    state = rank(0, 1)[0].state_dict()
    again = rank(1, 0, state)[0].state_dict()
    assert again == state
    for r in range(2):
        assert same(rank(r, state=again)[1], rank(r)[1][1:])


def test_states_of_other_ranks_or_streams_are_refused(stream, plain):
    loader, _ = made(stream(), plain, 2)
    later = gpuaug.DataLoader(stream(), plain, batch_size=7, num_workers=2)
    later.load_state_dict(loader.state_dict())  # neither workers nor the batch size matter
    assert indices(taken(later)) == INDEX[8:]
    other = gpuaug.DataLoader(stream(), plain, rank=0, world_size=2)
    with pytest.raises(ValueError, match="world_size=1, but this loader has world_size=2"):
        other.load_state_dict(loader.state_dict())
    short = gpuaug.DataLoader(stream().take(5), plain)
    short.load_state_dict({**loader.state_dict(), "stream": {**loader.state_dict()["stream"], "resume": None}})
    with pytest.raises(ValueError, match="the stream ended after 5 samples, but the state was saved after 8"):
        taken(short)
    for name, value in (("shards", 99), ("kind", "WebDataset")):
        changed = {**loader.state_dict(), "stream": {**loader.state_dict()["stream"], name: value}}
        with pytest.raises(ValueError, match=f"in the middle of an epoch with {name}={value}, but"):
            later.load_state_dict(changed)
    with pytest.raises(ValueError, match="the state is not of a HuggingFaceStream"):
        later.load_state_dict({**loader.state_dict(), "stream": 3})


def test_an_image_folder_is_streamed(folder, tmp_path, policy):
    streamed = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), split="train", streaming=True, cache_dir=str(tmp_path)
    )
    loader, found = made(streamed, policy, num_workers=2, batch_size=9)
    paths = [example["image"]["path"] for example in streamed.cast_column("image", datasets.Image(decode=False))]
    _, expected = made(paths, policy, batch_size=9)
    assert torch.equal(torch.cat([v for _, v, _ in found], 1), torch.cat([v for _, v, _ in expected], 1))
    assert loader.source.classes == ["ant", "bee", "cat"]
    assert len(indices(found)) == 70


def test_files_are_read_and_decoded_by_the_threads_that_decode(files, policy):
    loader, _ = made(files(), policy, num_workers=2)
    stats = loader.stats()
    assert (stats.first_stage, stats.samples, stats.makers) == ("stream", TOTAL, 2)
    assert stats.read > 0
    assert stats.decode > 0
    assert stats.decoder.startswith(("libjpeg", "dali", "pillow"))


def broken():
    """A stream with one file that is cut short and one row without a file."""

    def examples():
        for k in range(8):
            yield {"img": {"bytes": png(k)[:40] if k == 2 else png(k), "path": None} if k != 5 else None, "kind": k % 3}

    features = datasets.Features(img=datasets.Image(decode=False), kind=FEATURES["kind"])
    return datasets.IterableDataset.from_generator(examples, features=features)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_files_are_named_or_skipped(workers, policy):
    loader, found = made(broken(), policy, num_workers=workers, on_error="skip")
    names = {f"example {k} of shard 0 of the IterableDataset, column img" for k in (2, 5)}
    assert set(loader.bad_files) == names
    assert "there is no image" in "".join(loader.bad_files.values())
    assert indices(found) == [0, 1, 3, 4, 6, 7]
    assert [len(index) for index, _, _ in found] == [3, 3]
    assert [t for _, _, t in found] == [[0, 1, 0], [1, 0, 1]]
    with pytest.raises(DecodeError, match="example 2 of shard 0 of the IterableDataset, column img"):
        made(broken(), policy, num_workers=workers)
    with pytest.raises(DecodeError, match=r"1 of the first 1000 samples of epoch 0 are bad so far"):
        made(broken(), policy, num_workers=workers, on_error="skip", max_bad=0.0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_stream_says_after_how_many_samples(workers, plain, held):
    def examples():
        yield from ({"img": {"bytes": png(k), "path": None}, "kind": 0} for k in range(6))
        raise ConnectionError("the server is gone")

    features = datasets.Features(img=datasets.Image(), kind=FEATURES["kind"])
    loader = gpuaug.DataLoader(
        datasets.IterableDataset.from_generator(examples, features=features), plain, batch_size=2, num_workers=workers
    )
    seen = []
    with pytest.raises(ConnectionError, match="the server is gone") as raised:
        seen.extend(len(target) for _, target in loader)
    assert seen == [2, 2, 2]
    assert any("raised this in epoch 0, after 6 samples" in note for note in raised.value.__notes__)
    assert held()[:2] == ([], 0)


def test_columns_and_labels(plain):
    def streamed(features, **columns):
        return datasets.Dataset.from_dict(
            {"img": [{"bytes": png(k)} for k in range(3)], **columns}, features
        ).to_iterable_dataset()

    photo = datasets.Image()
    listed = streamed(datasets.Features(img=photo, of=datasets.List(FEATURES["kind"])), of=[[0, 2], [], None])
    assert torch.equal(
        next(iter(gpuaug.DataLoader(listed, plain, batch_size=3)))[1],
        torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 0, 0]], device="cpu"),
    )
    numbers = streamed(datasets.Features(img=photo, n=datasets.Value("int32")), n=[7, None, 9])
    assert made(numbers, plain)[1][0][2] == [7, -1, 9]
    bare = streamed(datasets.Features(img=photo))
    loader, batches = made(bare, plain)
    assert (loader.labelled, batches[0][2]) == (False, [0, 1, 2])
    with pytest.raises(ValueError, match=r"no column of img can be the label; use gpuaug.data.HuggingFaceStream\(dataset"):
        gpuaug.DataLoader(bare, plain, labels=True)
    words = streamed(datasets.Features(img=photo, label=datasets.Value("string")), label=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"column 'label' holds strings.*dataset.cast_column\('label', datasets.ClassLabel"):
        gpuaug.DataLoader(words, plain)
    assert made(words.cast_column("label", datasets.ClassLabel(names=["a", "b"])), plain)[1][0][2] == [0, 1, 0]
    assert not made(words, plain, labels=False)[0].labelled
    binary = datasets.Dataset.from_dict(
        {"f": [png(0)], "label": [1]}, datasets.Features(f=datasets.Value("binary"), label=numbers.features["n"])
    )
    source = HuggingFaceStream(binary.to_iterable_dataset(), image="f")
    assert made(source, plain)[1][0][2] == [1]
    with pytest.raises(ValueError, match="no column of f, label can be the image"):
        gpuaug.DataLoader(binary.to_iterable_dataset(), plain)
    with pytest.raises(ValueError, match="the columns of the IterableDataset are not known"):
        gpuaug.DataLoader(bare.map(same_example), plain)


def test_images_that_a_step_has_decoded_come_with_the_same_pixels(stream, plain):
    _, decoded = made(stream().map(same_example, features=FEATURES), plain)
    assert same(decoded, made(stream(), plain)[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_may_leave_an_endless_stream(workers, policy, held):
    def examples():
        k = 0
        while True:
            yield {"img": {"bytes": png(k % 9), "path": None}, "kind": 0}
            k += 1

    features = datasets.Features(img=datasets.Image(), kind=FEATURES["kind"])
    loader, found = made(datasets.IterableDataset.from_generator(examples, features=features), policy, 5, num_workers=workers)
    assert indices(found) == list(range(20))
    assert held()[:2] == ([], 0)
    with pytest.raises(TypeError, match="a stream of IterableDataset has no length"):
        len(loader)
    del loader


def test_empty_and_short_streams(stream, plain):
    assert made(stream().filter(lambda e: False), plain)[1] == []
    assert made(stream().filter(lambda e: False), plain, num_workers=2)[1] == []
    assert len(made(stream().take(2), plain)[1]) == 1
    assert made(stream().take(2), plain, drop_last=True)[1] == []
    assert [len(index) for index, _, _ in made(stream(), plain, drop_last=True, num_workers=1)[1]] == [4, 4, 4, 4]


def test_the_dataset_itself_is_not_changed(stream, plain):
    given = stream()
    before = given.state_dict()
    loader, _ = made(given, plain)
    taken(loader)
    assert loader.dataset is given
    assert isinstance(given, IterableDataset)  # `datasets` makes it one; it is read by us all the same
    assert (given.epoch, given.state_dict()) == (0, before)


def test_targets_are_collated_and_mixed(stream, plain):
    loader = gpuaug.DataLoader(stream(), plain, batch_size=4, target_collate_fn=list)
    assert next(iter(loader))[1] == [0, 1, 2, 0]
    mixed = gpuaug.DataLoader(stream(), plain, batch_size=4, mix=gpuaug.CutMix(1.0, num_classes=3), num_workers=2)
    labels = torch.cat([target for _, target in mixed])
    assert labels.shape == (TOTAL, 3)
    with pytest.raises(ValueError, match="mix mixes the labels too, but the source has none"):
        gpuaug.DataLoader(stream().remove_columns(["kind", "text"]), plain, mix=gpuaug.MixUp(1.0, num_classes=3))
