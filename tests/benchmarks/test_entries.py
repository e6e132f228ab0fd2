"""The benchmark of loaders over many entries, over few: every kind can be filled, made into a loader, and read."""

from __future__ import annotations

from pathlib import Path

import pytest

import gpuaug
from benchmarks.suites import entries


@pytest.mark.parametrize("kind", entries.KINDS)
def test_every_kind_is_a_source(kind: str, tmp_path: Path) -> None:
    fill, given = entries.KINDS[kind]
    fill(tmp_path, 2 * entries.GROUPS)
    loader = gpuaug.DataLoader(given(tmp_path, 2 * entries.GROUPS), "simclr_cifar", entries.BATCH, shuffle=True)
    assert len(loader.source) >= 2 * entries.GROUPS
    ((first, second), _) = next(iter(loader))
    assert len(first) == len(second) == entries.BATCH


def test_each_promise_is_judged_by_the_worst_kind() -> None:
    found = entries.verdicts(lambda text: None, ["dataset", "with replacement"], 3000)
    assert [verdict.most for verdict in found] == list(entries.MOST.values())
    assert all(any(kind in verdict.target for kind in ("dataset", "with replacement")) for verdict in found)
