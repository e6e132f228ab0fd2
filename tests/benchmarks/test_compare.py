"""`compare` finds a planted loss in any cell, and nothing else, though the machine drifts between two runs."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.__main__ import main
from benchmarks.measure.machine import Machine
from benchmarks.measure.result import FUSED, OURS, Cell, ContenderRecord, Result, Run, WorkloadRecord, save
from benchmarks.measure.stats import quartiles
from benchmarks.report.compare import ALL, compare, differences

SPEEDS = {FUSED: 8000.0, "gpuaug-kornia": 90.0, "torchvision": 150.0, "albumentationsx": 900.0, "dali": 300.0}
ALONE = {FUSED: 8000.0}
WORKLOADS = ("strong-256", "cheap-256", "cifar")
ROUNDS = 10

Change = dict[tuple[str, str], float]


def drifting(rng: random.Random, wander: float) -> np.ndarray:
    """How fast a shared machine is in each round: a walk, with a burst now and then."""
    walk = np.cumsum([rng.gauss(0, wander) for _ in range(ROUNDS)]) + rng.gauss(0, wander * 3)
    bursts = np.array([0.5 if rng.random() < 0.1 else 1.0 for _ in range(ROUNDS)])
    return np.exp(walk) * bursts


def run(seed: int, change: Change | None = None, wander: float = 0.05, speeds: dict[str, float] = SPEEDS) -> Result:
    """A run of one commit on a machine that drifts; change: factors on cells' speeds."""
    rng = random.Random(seed)
    machine = drifting(rng, wander)
    cells = []
    for workload in WORKLOADS:
        for name, speed in speeds.items():
            own = rng.gauss(0, 0.01)  # placement, which stays for a run
            noise = np.exp([own + rng.gauss(0, 0.02) for _ in range(ROUNDS)])
            values = tuple((speed * machine * noise * (change or {}).get((name, workload), 1.0)).tolist())
            cells.append(Cell(workload, name, "ok", values=values, figure=quartiles(values)))
    return Result(
        suite="augment",
        unit="views/s",
        better="higher",
        date="2030-01-01T00:00:00+00:00",
        run=Run("cpu", 1, "float32", ROUNDS, 0, False, 0.05),
        machine=Machine("a processor", 2, 2**34, "Linux", "3.12", None, None, {"torch": "2.15"}, None, (0.5, 0.6)),
        bandwidth=None,
        workloads=tuple(WorkloadRecord(name, "simclr", (256, 256), (224, 224), 64, 799_000) for name in WORKLOADS),
        contenders=tuple(ContenderRecord(name, "", "", {}) for name in speeds),
        cells=tuple(cells),
    )


def lost(old: Result, new: Result) -> set[tuple[str, str]]:
    return {(row.contender, row.workload) for row in compare(old, new).losses}


seeds = st.integers(0, 10**6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(old=seeds, new=seeds)
def test_two_runs_of_the_same_code_show_no_loss_though_the_machine_drifts(old, new):
    assert lost(run(old), run(new)) == set()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(old=seeds, new=seeds, where=st.sampled_from([(name, w) for name in SPEEDS for w in WORKLOADS]))
def test_a_fifth_more_time_in_any_one_cell_of_ours_is_found_and_nothing_else(old, new, where):
    assert lost(run(old), run(new, {where: 1 / 1.2})) == ({where} if where[0].startswith(OURS) else set())


def test_a_slower_peer_is_noise():
    found = compare(run(1), run(2, {("dali", w): 0.5 for w in WORKLOADS}))
    assert [row.workload for row in found.rows if row.verdict == "noise" and row.contender == "dali"] == [ALL]
    assert not found.losses


@settings(max_examples=10, deadline=None, derandomize=True)
@given(old=seeds, new=seeds)
def test_a_slower_gpuaug_is_found_in_all_its_cells_at_once(old, new):
    cells = {(name, w) for name in (FUSED, "gpuaug-kornia") for w in WORKLOADS}
    assert lost(run(old), run(new, dict.fromkeys(cells, 0.8))) == cells | {(FUSED, ALL), ("gpuaug-kornia", ALL)}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(old=seeds, new=seeds)
def test_without_peers_a_quiet_machine_is_enough(old, new):
    quiet = {"wander": 0.0, "speeds": ALONE}
    steady = [replace(r, cells=tuple(replace(c, values=tuple(sorted(c.values)[-5:]) * 2) for c in r.cells)) for r in
              (run(old, **quiet), run(new, **quiet), run(new, {(FUSED, "cifar"): 1 / 1.2}, **quiet))]  # fmt: skip
    assert lost(steady[0], steady[1]) == set()
    assert lost(steady[0], steady[2]) == {(FUSED, "cifar")}


def test_a_loss_of_every_cell_is_found_where_none_of_them_is_beyond_noise():
    rng = random.Random(1)
    loud = {(name, w): rng.uniform(0.88, 1.12) for name in ("torchvision", "albumentationsx", "dali") for w in WORKLOADS}
    slow = {(FUSED, w): 1 / 1.2 for w in WORKLOADS}
    assert lost(run(1), run(2, loud)) == set()
    assert lost(run(1), run(2, {**loud, **slow})) == {(FUSED, ALL)}


def test_a_gain_is_no_loss():
    found = compare(run(1), run(2, {(FUSED, "cifar"): 1.25}))
    assert [(row.contender, row.workload) for row in found.rows if row.verdict == "gain"] == [(FUSED, "cifar")]
    assert not found.losses


def test_more_memory_is_a_loss_where_less_is_better():
    old, new = (replace(run(k, c, 0), unit="MiB a view", better="lower") for k, c in ((1, {}), (2, {(FUSED, "cifar"): 1.3})))
    assert lost(old, new) == {(FUSED, "cifar")}


def with_processor(result: Result, values: Result) -> Result:
    """The result, with the processor time that the other one's values tell of."""
    pairs = zip(result.cells, values.cells, strict=True)
    return replace(result, cells=tuple(replace(a, processor=tuple(1 / v for v in b.values)) for a, b in pairs))


def test_time_that_other_programs_had_is_no_loss():
    """A burst that hit one cell alone, by the clock but not on the processor."""
    old, new = run(1), run(2, {(FUSED, "cifar"): 0.8})
    assert lost(old, new) == {(FUSED, "cifar")}
    assert lost(with_processor(old, run(1)), with_processor(new, run(2))) == set()
    assert lost(with_processor(old, run(1)), with_processor(run(2), run(2, {(FUSED, "cifar"): 0.8}))) == {(FUSED, "cifar")}


def test_peers_that_scatter_raise_the_limit():
    rng = random.Random(0)
    loud = {(name, w): rng.uniform(0.6, 1.6) for name in ("torchvision", "albumentationsx", "dali") for w in WORKLOADS}
    found = compare(run(1), run(2, {**loud, (FUSED, "cifar"): 0.8}))
    assert max(row.limit for row in found.rows if row.workload != ALL) < 0.7
    assert not [row for row in found.losses if row.contender == FUSED]


def test_a_peer_of_another_version_is_no_yardstick():
    new = run(2)
    newer = tuple(replace(c, versions={"dali": "9"}) if c.name == "dali" else c for c in new.contenders)
    found = compare(run(1), replace(new, contenders=newer))
    assert found.peers == ("torchvision", "albumentationsx")


def test_machines_are_compared():
    old, new = run(1), run(2)
    assert list(differences(old, new)) == []
    other = replace(new, machine=replace(new.machine, cpu="another", versions={"torch": "2.16", "numba": "1"}))
    assert list(differences(old, other)) == ["cpu: a processor -> another", "numba: none -> 1", "torch: 2.15 -> 2.16"]


def test_the_command(tmp_path, capsys):
    old, same, slow = (tmp_path / f"{name}.json" for name in ("old", "same", "slow"))
    save([run(1)], old)
    save([run(2)], same)
    save([run(3, {(FUSED, "cifar"): 0.8})], slow)
    assert main(["compare", str(old), str(same)]) == 0
    assert "0 of 20 rows lost speed" in capsys.readouterr().out
    assert main(["compare", str(old), str(slow)]) == 1
    text = capsys.readouterr().out
    assert next(line for line in text.splitlines() if "LOSS" in line).startswith(f"  {FUSED} on cifar")
    assert "drift of the machine" in text
    assert "same machine and versions" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: replace(r, run=replace(r.run, threads=2)), "--threads was 1, now 2"),
        (lambda r: replace(r, suite="train"), "no suite in common: augment and train"),
        (lambda r: replace(r, workloads=tuple(replace(w, batch=9) for w in r.workloads)), "no cell is measured in both"),
        (lambda r: replace(r, cells=tuple(replace(c, values=(0.0,)) for c in r.cells)), "values must be above 0"),
    ],
)
def test_what_cannot_be_compared_is_bad_input(change, message, tmp_path, capsys):
    save([run(1)], tmp_path / "old.json")
    save([change(run(2))], tmp_path / "new.json")
    assert main(["compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_none_is_bad_input(tmp_path, capsys):
    (tmp_path / "x.json").write_text("{")
    assert main(["compare", str(tmp_path / "x.json"), str(tmp_path / "none.json")]) == 2
    assert "x.json" in capsys.readouterr().err
