"""Hugging Face datasets: undecoded files, columns found by their features, errors that name the columns.

`datasets` is no requirement of gpuaug, and brings pyarrow and pandas with it; without it there is nothing to test here.
"""

import io
import pickle
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import gpuaug
from gpuaug.data import DecodeError, FolderSource, HuggingFaceSource
from gpuaug.data.sources.huggingface import is_huggingface

INTEGER = datasets.Value("int64")
NAMES = datasets.ClassLabel(names=["ant", "bee", "cat"])


@pytest.fixture(scope="module")
def hugging(folder):
    """The folder's files as a dataset."""
    source = FolderSource(folder)
    rows = {
        "photo": [{"bytes": source.read(i), "path": None} for i in range(len(source))],
        "kind": source.targets.tolist(),
        "text": ["x"] * len(source),
    }
    features = datasets.Features({"text": datasets.Value("string"), "photo": datasets.Image(), "kind": NAMES})
    return datasets.Dataset.from_dict(rows, features=features)


def epoch(source, policy, **options):
    batches = list(gpuaug.DataLoader(source, policy, batch_size=9, **options))
    return torch.cat([torch.stack(views) for views, _ in batches], 1), torch.cat([t for _, t in batches])


@pytest.mark.parametrize("workers", [0, 3])
def test_it_gives_the_views_of_the_folder_of_the_same_files(hugging, folder, policy, workers):
    views, targets = epoch(hugging, policy, num_workers=workers)
    expected, numbers = epoch(folder, policy)
    assert torch.equal(views, expected)
    assert torch.equal(targets, numbers)


def test_files_come_as_they_are(hugging, folder):
    loader = gpuaug.DataLoader(hugging, "byol")
    assert isinstance(loader.source, HuggingFaceSource)
    assert loader.source.workers == "threads"
    assert loader.source.classes == ["ant", "bee", "cat"]
    assert loader.source.read(7) == Path(FolderSource(folder).name(7)).read_bytes()
    assert loader.dataset is hugging
    assert hugging.features["photo"] == datasets.Image()  # the user's dataset still decodes
    assert isinstance(hugging[0]["photo"], Image.Image)


def test_selected_and_shuffled_rows(hugging, plain):
    part = hugging.shuffle(seed=1).select(range(20, 40))
    source = HuggingFaceSource(part)
    assert source.targets.tolist() == part["kind"][:]
    raw = part.cast_column("photo", datasets.Image(decode=False))
    assert [source.read(i) for i in range(20)] == [raw[i]["photo"]["bytes"] for i in range(20)]
    half = torch.utils.data.Subset(part, [3, 5])
    _, target = next(iter(gpuaug.DataLoader(half, plain, batch_size=2)))
    assert target.tolist() == [part[3]["kind"], part[5]["kind"]]


def test_a_format_or_a_transform_does_not_matter(hugging):
    for changed in (hugging.with_format("torch"), hugging.with_transform(lambda rows: {"nothing": [0] * len(rows["kind"])})):
        source = HuggingFaceSource(changed)
        assert source.read(3) == HuggingFaceSource(hugging).read(3)
        assert source.targets.tolist() == HuggingFaceSource(hugging).targets.tolist()


def test_images_in_files(folder, plain):
    local = FolderSource(folder)
    rows = {"image": [local.name(i) for i in range(5)], "label": [0, None, 2, 3, 4]}
    found = datasets.Dataset.from_dict(rows, features=datasets.Features({"image": datasets.Image(), "label": INTEGER}))
    source = HuggingFaceSource(found)
    assert [source.read(i) for i in range(5)] == [local.read(i) for i in range(5)]
    assert source.targets.tolist() == [0, -1, 2, 3, 4]


def empty(**features):
    return datasets.Dataset.from_dict({name: [] for name in features}, features=datasets.Features(features))


PHOTO = datasets.Image()


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (
            {"label": NAMES, "text": datasets.Value("string")},
            {},
            r"no column of label, text can be the image; use .*image=\.\.\.",
        ),
        ({"a": PHOTO, "b": PHOTO, "label": NAMES}, {}, r"columns a, b may each be the image"),
        (
            {"image": PHOTO},
            {"labelled": True},
            r"no column of image can be the label; use .*label=\.\.\.\), or labels=False",
        ),
        ({"image": PHOTO, "fine": NAMES, "coarse": NAMES}, {}, "columns fine, coarse may each be the label"),
        ({"image": PHOTO, "x": INTEGER, "y": INTEGER}, {}, "columns x, y may each be the label"),
        ({"image": PHOTO, "label": NAMES}, {"image": "img"}, "image='img' is no column; the columns are image, label"),
        ({"image": PHOTO, "label": NAMES}, {"image": "label"}, "column 'label' cannot be the image, its feature is ClassLabel"),
        ({"image": datasets.Value("int64"), "label": NAMES}, {"image": "image"}, "column 'image' cannot be the image"),
        ({"image": PHOTO, "label": datasets.Value("float32")}, {"label": "label"}, "column 'label' cannot be the label"),
    ],
)
def test_columns_that_do_not_fit_are_named(features, options, message):
    with pytest.raises(ValueError, match=message):
        HuggingFaceSource(empty(**features), **options)


@pytest.mark.parametrize(
    ("features", "options"),
    [
        ({"image": PHOTO, "id": INTEGER, "label": NAMES}, {}),
        ({"image": PHOTO, "score": datasets.Value("float32"), "number": datasets.Value("uint8")}, {}),
        ({"image": PHOTO, "fine": NAMES, "coarse": NAMES}, {"label": "coarse"}),
        ({"a": PHOTO, "b": PHOTO}, {"image": "b", "labelled": False}),
        ({"image": PHOTO, "caption": datasets.Value("string")}, {}),
        ({"image": PHOTO, "fine": NAMES, "coarse": NAMES}, {"labelled": False}),
        ({"image": datasets.Value("large_binary"), "path": datasets.Value("string")}, {"image": "image"}),
    ],
)
def test_columns_that_fit(features, options):
    assert len(HuggingFaceSource(empty(**features), **options)) == 0


def test_without_labels(hugging, plain):
    bare = hugging.remove_columns("kind")
    for given in (
        HuggingFaceSource(hugging, labelled=False),
        bare,
        HuggingFaceSource(bare),
        torch.utils.data.Subset(bare, range(4)),
    ):
        loader = gpuaug.DataLoader(given, plain, batch_size=4)
        _, index = next(iter(loader))
        assert index.tolist() == [0, 1, 2, 3]
        assert not loader.labelled
    assert repr(HuggingFaceSource(bare)) == "HuggingFaceSource(70 rows, image 'photo', no labels)"
    _, target = next(iter(gpuaug.DataLoader(hugging, plain, batch_size=4, labels=False)))
    assert target.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"no column of .* can be the label"):
        gpuaug.DataLoader(bare, plain, labels=True)


def test_a_data_set_whose_labels_are_held_back_has_none(hugging):
    held = datasets.Dataset.from_dict(
        {"image": [None] * 3, "label": [-1, -1, None]}, datasets.Features(image=PHOTO, label=NAMES)
    )
    assert not HuggingFaceSource(held).labelled
    with pytest.raises(ValueError, match=r"labels=True, but .* has none: column 'label' holds no class in any row"):
        gpuaug.DataLoader(held, "simclr", labels=True)
    assert HuggingFaceSource(hugging).labelled


@contextmanager
def served(root):
    """The URL of a server of the files in a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=root)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def archive(tmp_path, folder):
    """A zip of the folder's first three files, and their names as `datasets` writes them."""
    local = FolderSource(folder)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        for i in range(3):
            file.writestr(f"in/{i}.png", local.read(i))
    return [f"zip://in/{i}.png::{path}" for i in range(3)]


@pytest.mark.parametrize("workers", [0, 3])
def test_images_inside_an_archive_and_by_url(archive, folder, plain, workers, tmp_path):
    local = FolderSource(folder)
    (tmp_path / "plain.png").write_bytes(local.read(3))
    with served(tmp_path) as url:
        rows = {"image": [*archive, f"{url}/plain.png"]}
        found = datasets.Dataset.from_dict(rows, datasets.Features(image=PHOTO))
        source = HuggingFaceSource(found)
        assert [source.read(i) for i in range(4)] == [local.read(i) for i in range(4)]
        views = torch.cat([views for views, _ in gpuaug.DataLoader(found, plain, 2, num_workers=workers)])
    assert torch.equal(views, next(iter(gpuaug.DataLoader(folder, plain, 4)))[0])


def test_what_is_not_in_an_archive_is_named(archive, plain):
    found = datasets.Dataset.from_dict({"image": [archive[0].replace("0.png", "9.png")]}, datasets.Features(image=PHOTO))
    with pytest.raises(DecodeError, match=r"row 0 of the Dataset, column image: cannot be read: .*in/9\.png"):
        next(iter(gpuaug.DataLoader(found, plain)))


def test_images_as_bytes_or_paths_by_the_columns_name(folder, archive):
    local = FolderSource(folder)
    columns = {
        "binary": [local.read(i) for i in range(3)],
        "large_binary": [local.read(i) for i in range(3)],
        "string": [local.name(0), archive[1], local.name(2)],
    }
    for kind, values in columns.items():
        found = datasets.Dataset.from_dict({"file": values}, datasets.Features(file=datasets.Value(kind)))
        source = HuggingFaceSource(found, image="file")
        assert [source.read(i) for i in range(3)] == [local.read(i) for i in range(3)]
        with pytest.raises(ValueError, match=r"no column of file can be the image; use .*image=\.\.\."):
            HuggingFaceSource(found)


@pytest.mark.parametrize("feature", [datasets.Sequence(NAMES), [NAMES]], ids=["Sequence", "list"])
def test_several_classes_a_picture_come_as_a_row_of_zeros_and_ones(feature, hugging, plain):
    rows = {"photo": hugging.select(range(4))["photo"], "kinds": [[0], [2, 0], [], None]}
    found = datasets.Dataset.from_dict(rows, datasets.Features(photo=PHOTO, kinds=feature))
    assert HuggingFaceSource(found).classes == ["ant", "bee", "cat"]
    for workers in (0, 2):
        _, target = next(iter(gpuaug.DataLoader(found, plain, 4, num_workers=workers)))
        assert target.dtype == torch.float32
        assert target.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_strings_are_numbered_in_sorted_order_and_that_is_said(hugging, plain, caplog):
    rows = {"photo": hugging.select(range(4))["photo"], "label": ["pug", None, "cat", "pug"], "breed": ["b", "a", "b", "c"]}
    found = datasets.Dataset.from_dict(
        rows, datasets.Features(photo=PHOTO, label=datasets.Value("string"), breed=datasets.Value("large_string"))
    )
    source = HuggingFaceSource(found)
    assert (source.classes, source.targets.tolist()) == (["cat", "pug"], [1, -1, 0, 1])
    assert "column label holds strings: its 2 classes are numbered in sorted order, cat, pug. Another split" in caplog.text
    source = HuggingFaceSource(found, label="breed")
    assert (source.classes, source.targets.tolist()) == (["a", "b", "c"], [1, 0, 1, 2])


def test_several_splits_are_refused_and_streams_have_a_source_of_their_own(hugging, plain):
    with pytest.raises(TypeError, match=r"DatasetDict has several splits; give one of them, such as dataset\['train'\]"):
        gpuaug.DataLoader(datasets.DatasetDict(train=hugging), plain)
    with pytest.raises(TypeError, match=r"IterableDatasetDict has several splits; give one of them"):
        gpuaug.DataLoader(datasets.IterableDatasetDict(train=hugging.to_iterable_dataset()), plain)
    with pytest.raises(TypeError, match=r"IterableDataset is a stream; give gpuaug.data.HuggingFaceStream"):
        HuggingFaceSource(hugging.to_iterable_dataset())


def test_rows_that_hold_no_image_are_named(plain):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "png")
    rows = {"image": [{"bytes": file.getvalue()}, None, {"bytes": b"x"}, {"path": "gone.png"}]}
    found = datasets.Dataset.from_dict(rows, features=datasets.Features({"image": PHOTO}))
    source = HuggingFaceSource(found, labelled=False)
    for i, message in ((1, "there is no image"), (2, "not an image"), (3, "No such file")):
        with pytest.raises(DecodeError, match=f"row {i} of the Dataset, column image: .*{message}"):
            next(iter(gpuaug.DataLoader(source, plain, sampler=[i])))


def test_a_pickled_source_reads_the_same(hugging):
    source = HuggingFaceSource(hugging)
    again = pickle.loads(pickle.dumps(source))
    assert again.read(5) == source.read(5)
    assert np.array_equal(again.targets, source.targets)


def test_ones_own_class_of_that_name_is_not_mistaken(hugging):
    assert is_huggingface(hugging)
    for module in ("datasets", "datasets.pets", "my.datasets.arrow_dataset"):
        assert not is_huggingface(type("Dataset", (list,), {"__module__": module})())
