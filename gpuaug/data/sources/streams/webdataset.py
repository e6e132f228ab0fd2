"""WebDataset pipelines whose samples are dicts of encoded files, which gpuaug decodes in threads."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from ...targets import Collate
from ..archives.tar_index import class_in
from ..folder import EXTENSIONS
from . import Pass, Reading, Record, StreamPass, collate_classes, set_stream_epoch


class WebDatasetStream:
    """The samples of a `webdataset` pipeline before `decode()` and `to_tuple()`, in the pipeline's order.

    A sample is a dict with `__key__`, one encoded image ("jpg", "png", ...), and its class, if it has one: an integer in "cls",
    or in the field `label` of "json". Its index is a hash of `__url__` and `__key__`, so its views are the same for any order,
    number of workers and ranks. Making the object reads the pipeline's first sample.

    Args:
        pipeline: A `webdataset.WebDataset` or another `DataPipeline`. One thread of this process reads it; its `nodesplitter`
            divides the shards among ranks, as always.
        labelled: None and True take labels if the first sample has a class, and give samples without one -1; False takes none.
        first: The first sample, if it has been read already.

    Raises:
        TypeError: The first sample is no such dict.
        ValueError: It has no image or several, or its class is no integer.
    """

    workers = "stream"
    encoded = True
    divides = False
    identity = MappingProxyType({"kind": "WebDataset"})

    def __init__(self, pipeline: Any, labelled: bool | None = None, first: Any = None) -> None:
        self.pipeline = pipeline
        found = first_sample(pipeline) if first is None else first
        self.wanted, self.labelled = labelled, True
        if found is not None:
            self.record(found)  # raises if it is no such dict
        self.labelled = labelled is not False and found is not None and class_of(found) is not None

    def __len__(self) -> int:
        return len(self.pipeline)

    def name(self, i: int) -> str:
        return f"the sample of the WebDataset pipeline whose index is {i}"

    def begin(self, what: StreamPass) -> Reading:
        set_stream_epoch(self.pipeline, what.epoch)
        return Pass(self.records(), what)

    def records(self) -> Generator[Record, None, None]:
        for sample in self.pipeline:
            yield self.record(sample)

    def record(self, sample: Any) -> Record:
        """A sample as a record. Raises TypeError or ValueError with its name."""
        if not is_encoded_sample(sample):
            raise TypeError(f"DataLoader: {called(sample)} of the WebDataset pipeline {wrong_kind(sample)}")
        name = called(sample)
        images = [key for key in sample if f".{key}".lower() in EXTENSIONS]
        if len(images) != 1:
            members = ", ".join(key for key in sample if not key.startswith("__"))
            has = f"several images, {', '.join(images)}" if images else f"no image, one of {' '.join(EXTENSIONS)}"
            raise ValueError(f"DataLoader: {name} has {has}, among its members {members}; choose by .rename(jpg=...)")
        index = index_of(str(sample.get("__url__", "")), str(sample["__key__"]))
        return Record(index, f"{name}.{images[0]}", sample[images[0]], self.target(sample, name))

    def target(self, sample: Mapping[str, Any], name: str) -> int | None:
        """The class of a sample, -1 without one; None if labels are not taken."""
        if self.wanted is False:
            return None
        try:
            found = class_of(sample)
        except ValueError as error:
            raise ValueError(f"{name}: {error}; make it one by .map_dict(cls=...), or give the loader labels=False") from error
        if found is not None and not self.labelled:
            raise TypeError(
                f"DataLoader: {name} has a class, while the first sample has none; give the loader labels=False, which leaves "
                "classes out"
            )
        return -1 if found is None else found

    def open(self, file: bytes) -> bytes:
        return file

    def collate(self, targets: Sequence[Any], collate: Collate) -> Any:
        return collate_classes(targets, collate) if self.labelled else None

    def __repr__(self) -> str:
        return f"WebDatasetStream({type(self.pipeline).__name__})"


def stream_of_files(pipeline: Any, labelled: bool | None) -> WebDatasetStream | None:
    """The source of a pipeline of dicts; None if its samples are decoded already. Raises TypeError for tuples of files."""
    first = first_sample(pipeline)
    if isinstance(first, (tuple, list)) and first and isinstance(first[0], bytes):
        raise TypeError(
            "DataLoader: the WebDataset pipeline gives tuples of files; leave out .to_tuple(), so that gpuaug decodes the "
            "images of its dicts, or put .decode('pil') before it"
        )
    return WebDatasetStream(pipeline, labelled, first) if first is None or isinstance(first, Mapping) else None


def first_sample(pipeline: Any) -> Any:
    """What a pass over a pipeline begins with; None if there is nothing."""
    set_stream_epoch(pipeline, 0)
    items = iter(pipeline)
    try:
        return next(items, None)
    finally:
        if hasattr(items, "close"):
            items.close()


def is_encoded_sample(sample: Any) -> bool:
    """Whether a sample is a dict in which images are still files."""
    return isinstance(sample, Mapping) and "__key__" in sample and not decoded(sample)


def decoded(sample: Mapping[str, Any]) -> list[str]:
    """The keys of images that are files no more."""
    return [key for key in sample if f".{key}".lower() in EXTENSIONS and not isinstance(sample[key], bytes)]


def called(sample: Any) -> str:
    if not isinstance(sample, Mapping):
        return "a sample"
    return f"{sample.get('__url__', 'sample')}: {sample.get('__key__', 'without a key')}"


def wrong_kind(sample: Any) -> str:
    """What is wrong with a sample that is no dict of files."""
    if isinstance(sample, Mapping) and (keys := decoded(sample)):
        return f"has a decoded image, {keys[0]}; leave out .decode(), or end the pipeline with .to_tuple({keys[0]!r}, 'cls')"
    if isinstance(sample, Mapping):
        return "has no __key__; keep the keys that begin with two underscores"
    return f"is a {type(sample).__name__}, while the first one is a dict of files; let all of them be of one kind"


def class_of(sample: Mapping[str, Any]) -> int | None:
    """The class of a sample, None without one. Raises ValueError if it is no integer."""
    for key in ("cls", "json"):
        if (value := sample.get(key)) is None:
            continue
        if isinstance(value, bytes):
            found = class_in(value, key == "json")
            return None if key == "json" and found == -1 else found
        value = value.get("label") if isinstance(value, Mapping) else value
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise ValueError(f"the class must be an integer, got {value!r}")
    return None


def index_of(url: str, key: str) -> int:
    """The index of the sample with this URL and key, 48 bits of a hash, which is what the draws take."""
    digest = blake2b(f"{url}\0{key}".encode(errors="surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "little")
