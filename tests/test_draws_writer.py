"""Draws in files: every bit comes back by sample and epoch, a crash costs no whole batch, and a resumed run repeats none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_plain import Mine, policies, same_bits

import gpuaug
from gpuaug import Draws, DrawsWriter, GaussianBlur, OneOf, Policy, RandomResizedCrop, View, read_draws, sample

pytest.importorskip("pyarrow")
POLICY = gpuaug.policy("simclr", size=32)
FORMATS = pytest.mark.parametrize("ending", ["jsonl", "parquet"])


def drawn(index: Any, epoch: int = 0, policy: Policy = POLICY, seed: int = 3) -> Draws:
    draws = sample(policy, index, seed, epoch)
    return draws.with_shapes(np.stack([draws.index % 50 + 1, np.full(len(draws), 77)], axis=1))


@FORMATS
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    policies(),
    st.lists(st.integers(0, 2**48 - 1), max_size=6, unique=True),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.none() | st.just(5),
)
def test_what_was_written_comes_back(
    ending: str, tmp_path: Path, policy: Policy, index: list[int], seed: int, epoch: int, shaped: bool, step: int | None
) -> None:
    path = tmp_path / f"{np.random.default_rng().integers(2**60)}.{ending}"
    draws = drawn(index, epoch, policy, seed) if shaped else sample(policy, index, seed, epoch)
    with DrawsWriter(path) as writer:
        writer.write(draws.take(slice(0, 2)), step)
        writer.write(draws.take(slice(2, None)), step)
    if not index:
        with pytest.raises(LookupError, match=f"holds no draws of these samples in epoch {epoch}"):
            read_draws(path, epoch=epoch)
        return
    assert same_bits(read_draws(path, epoch=epoch), draws)
    assert same_bits(read_draws(path, index[::-1], epoch), draws.take(slice(None, None, -1)))
    for k, i in enumerate(index):
        assert same_bits(read_draws(path, i, epoch), draws.take(k))


def changed(draws: Draws, sigma: list[float]) -> Draws:
    """Other draws of the blur in the first view."""
    steps = [dict(step) for step in draws.tables[0]]
    blur = next(k for k, step in enumerate(draws.policy.views[0].steps) if isinstance(step, GaussianBlur))
    steps[blur]["sigma"] = np.array(sigma, np.float32)
    return replace(draws, tables=(tuple(steps), *draws.tables[1:]))


@FORMATS
def test_changed_draws_are_written_as_they_are(ending: str, tmp_path: Path) -> None:
    draws = changed(drawn([4, 9, 2]), [0.5, float("nan"), float("inf")])
    with DrawsWriter(tmp_path / f"draws.{ending}") as writer:
        writer.write(draws)
    assert same_bits(read_draws(tmp_path, [9, 4], 0), draws.take([1, 0]))


@FORMATS
def test_views_that_were_chosen(ending: str, tmp_path: Path) -> None:
    draws = drawn([4, 9, 2])
    chosen = gpuaug.concat([draws.take(0, [1, 0, 1]), draws.take(0, [0, 1, 1])], axis="views")
    with DrawsWriter(tmp_path / f"draws.{ending}") as writer:
        writer.write(chosen)
        writer.write(drawn([5]).take([0]))
    assert same_bits(read_draws(tmp_path, [4, 9, 2]), chosen)
    assert read_draws(tmp_path, [5]).drawn_as is None
    assert len(read_draws(tmp_path)) == 4


@FORMATS
def test_policies_seeds_and_columns_may_change(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"draws.{ending}"
    own = drawn([1], 2, Policy(View(8, RandomResizedCrop(), OneOf(Mine(), (GaussianBlur(3), Mine())))))
    boxes = replace(own, tables=(({"boxes": np.array([[1, 2, 3, 4]], np.int32)}, *list(own.tables[0])[1:]),))
    all_of_them = [drawn([1, 2]), drawn([3], seed=4), drawn([1, 5], 1), own, sample(POLICY, [7], 3, 3), replace(boxes, epoch=4)]
    with DrawsWriter(path) as writer:
        for draws in all_of_them:
            writer.write(draws)
    for draws in all_of_them[2:]:
        assert same_bits(read_draws(path, epoch=draws.epoch, ops={"Mine": Mine}), draws)
    assert same_bits(read_draws(path, 3), all_of_them[1])
    with pytest.raises(ValueError, match=r"these samples of epoch 0 were drawn from different policies or seeds"):
        read_draws(path)
    with pytest.raises(ValueError, match="unknown op 'Mine'"):
        read_draws(path, epoch=2)
    with pytest.raises(LookupError, match=r"draws\.[a-z]+: holds no draws of sample 6 in epoch 1"):
        read_draws(path, [5, 6], 1)


@FORMATS
def test_of_a_sample_that_was_written_twice_the_last_draws_count(ending: str, tmp_path: Path) -> None:
    first, last = drawn([4, 9]), changed(drawn([9, 4]), [0.25, 0.75])
    for draws in (first, last):  # as two runs of a program would
        with DrawsWriter(tmp_path / f"draws.{ending}") as writer:
            writer.write(draws)
    assert same_bits(read_draws(tmp_path, [9, 4]), last)
    assert read_draws(tmp_path).index.tolist() == [4, 9, 9, 4]


@FORMATS
def test_several_records_in_a_folder_are_read_as_one(ending: str, tmp_path: Path) -> None:
    for rank in range(2):
        with DrawsWriter(tmp_path / f"draws.{rank}.{ending}") as writer:
            writer.write(drawn([rank, rank + 2]))
    assert same_bits(read_draws(tmp_path), drawn([0, 2, 1, 3]))


@FORMATS
@pytest.mark.parametrize("step", range(7))
def test_a_record_is_resumed_after_a_step(ending: str, step: int, tmp_path: Path) -> None:
    path = tmp_path / f"draws.{ending}"
    batches = [drawn([2 * k, 2 * k + 1], k // 3, seed=k // 2) for k in range(6)]
    with DrawsWriter(path) as writer:
        for k, draws in enumerate(batches):
            writer.write(draws, k + 1)
            if k == 3:
                writer.flush()  # so one part of a Parquet record holds steps 1 and 2, one 3 and 4, one 5 and 6
    with DrawsWriter(path, resume_at=step) as writer:
        for k, draws in enumerate(batches[step:]):
            writer.write(draws, step + k + 1)
    for draws in batches:
        assert same_bits(read_draws(path, draws.index, draws.epoch), draws)
    for epoch in range(2):
        found = [row for draws in batches if draws.epoch == epoch for row in draws.index.tolist()]
        assert sorted(i for seed in range(3) for i in everything(path, epoch)[seed]) == found


def everything(path: Path, epoch: int) -> list[list[int]]:
    """The indices under each seed in one epoch, as often as they are there."""
    out: list[list[int]] = [[], [], []]
    for record in gpuaug.record.files.records_in(path):
        for header, columns in record.read(None, epoch):
            out[header["seed"]] += columns["index"].tolist()
    return out


@FORMATS
def test_without_a_step_nothing_is_dropped(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"draws.{ending}"
    for i, resume_at in ((5, None), (2, 0), (7, 3)):
        with DrawsWriter(path, resume_at) as writer:
            writer.write(drawn([i]))
    assert read_draws(path).index.tolist() == [5, 2, 7]


def test_a_torn_line_is_dropped_and_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "draws.jsonl"
    with DrawsWriter(path) as writer:
        for k in range(3):
            writer.write(drawn([k]))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    ends = np.cumsum([len(line) for line in lines])
    for size in sorted({*range(0, len(whole), 499), *(end + k for end in ends.tolist() for k in (-1, 0, 1, 30)), 1, 20, 60}):
        path.write_bytes(whole[:size])
        with DrawsWriter(path) as writer:
            writer.write(drawn([9]))
        assert same_bits(read_draws(path), drawn([*range((ends[1:] <= size).sum()), 9]))


KILLED = """
import os, sys
from test_draws_writer import DrawsWriter, drawn
writers = [DrawsWriter("draws.jsonl"), DrawsWriter("draws.parquet")]
for writer in writers:
    writer.write(drawn([1, 2]))
    writer.flush()
    writer.write(drawn([3]))
os.kill(os.getpid(), 9)
"""


def test_a_kill_costs_at_most_what_was_not_flushed(tmp_path: Path) -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    )
    assert done.returncode != 0
    assert same_bits(read_draws(tmp_path / "draws.jsonl"), drawn([1, 2, 3]))
    assert same_bits(read_draws(tmp_path / "draws.parquet"), drawn([1, 2]))
    (tmp_path / "draws.parquet" / ".part-00001.parquet.12345678.partial").write_bytes(b"a part")
    assert same_bits(read_draws(tmp_path / "draws.parquet"), drawn([1, 2]))
    DrawsWriter(tmp_path / "draws.parquet").close()
    assert [part.name for part in (tmp_path / "draws.parquet").iterdir()] == ["part-00000.parquet"]


def test_other_programs_read_the_columns(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    draws = drawn([5, 2**40], 6)
    for ending in ("jsonl", "parquet"):
        with DrawsWriter(tmp_path / f"draws.{ending}") as writer:
            writer.write(draws, 12)
    table = pandas.read_parquet(tmp_path / "draws.parquet")
    lines = [json.loads(line) for line in (tmp_path / "draws.jsonl").read_text().splitlines()]
    assert lines[0]["policy"] == draws.to_dict()["policy"]
    for k, line in enumerate(lines[1:]):
        row = table.iloc[k]
        assert list(line) == list(row.index)
        assert (line["epoch"], line["index"], line["step"]) == (6, draws.index[k], 12)
        assert (
            line["view1.ColorJitter.brightness"]
            == row["view1.ColorJitter.brightness"]
            == draws.columns(1)["ColorJitter.brightness"][k]
        )
        assert row["view0.RandomResizedCrop.area"].tolist() == line["view0.RandomResizedCrop.area"]


def test_a_large_buffer_is_written_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuaug.record.parquet.MOST", 4)
    writer = DrawsWriter(tmp_path / "draws.parquet")
    for k in range(5):
        writer.write(drawn([2 * k, 2 * k + 1]))
    assert len(list((tmp_path / "draws.parquet").iterdir())) == 2
    writer.close()
    assert same_bits(read_draws(tmp_path / "draws.parquet"), drawn(range(10)))


def test_wrong_arguments_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"path must end in .jsonl or .parquet, got 'draws.csv'"):
        DrawsWriter("draws.csv")
    with pytest.raises(ValueError, match=r"resume_at must be an integer >= 0, or None, got -1"):
        DrawsWriter(tmp_path / "draws.jsonl", resume_at=-1)
    with (
        DrawsWriter(tmp_path / "draws.jsonl") as writer,
        pytest.raises(TypeError, match=r"draws must be gpuaug.Draws, got dict"),
    ):
        writer.write({})  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"no record of draws here; it ends in .jsonl or .parquet"):
        read_draws(tmp_path / "nothing")
    with pytest.raises(ValueError, match="epoch must be an integer"):
        read_draws(tmp_path, epoch=-1)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"Parquet needs pyarrow; install it with: pip install pyarrow"):
        DrawsWriter(tmp_path / "draws.parquet")


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "draws.jsonl"
    path.write_text("some notes\n")
    with pytest.raises(ValueError, match="is there already, and is no record of draws"):
        DrawsWriter(path)
    assert path.read_text() == "some notes\n"
    with pytest.raises(ValueError, match=r"draws.jsonl, line 1: is no JSON"):
        read_draws(path)
    path.unlink()
    with DrawsWriter(path) as writer:
        writer.write(drawn([4]))
    header, line = path.read_text().splitlines(keepends=True)
    for text, words in (
        (line, "line 1: there is no header before the first sample"),
        (header.replace('"version": 1', '"version": 9') + line, "line 1: version 9 of the format; this gpuaug reads version 1"),
        (header + "[1]\n" + line, "line 2: must be an object"),
        (header + line.replace('"view1.RandomResizedCrop.top"', '"top"'), "lacks the column 'view1.RandomResizedCrop.top'"),
        (header.replace('"dtype": "float32"', '"dtype": "text"', 1) + line, "a column is a dict with dtype, a number's"),
        (header.replace('"step": 1, "name"', '"step": 99, "name"', 1) + line, "its policy has no step for the column"),
        (header.replace('"name": "sigma"', '"name": "other"') + line, "GaussianBlur lacks the column 'sigma'"),
        (header.replace('"columns"', '"rows"') + line, "the header of the record is damaged"),
        (header.replace('"policy"', '"other"') + line, "the header of the record is damaged (KeyError('policy'))"),
        (header.replace('"own": ["epoch", ', '"own": [') + line, "the header of the record is damaged (KeyError('epoch'))"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=re.escape(words)):
            read_draws(path)
    folder = tmp_path / "draws.parquet"
    folder.mkdir()
    (folder / "part-00000.parquet").write_bytes(b"no part")
    with pytest.raises(ValueError, match=r"part-00000.parquet: is no part of a record of draws"):
        read_draws(folder)
