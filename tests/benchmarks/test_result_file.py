"""A result file is read as it was written; anything else is refused by the name of its key."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from benchmarks.measure.machine import Machine
from benchmarks.measure.result import SCHEMA, Cell, ContenderRecord, File, Result, Run, Verdict, WorkloadRecord, load, save
from benchmarks.measure.stats import Spread


@pytest.fixture
def example() -> Result:
    spread = Spread(2.0, 1.5, 2.5)
    return Result(
        suite="augment",
        unit="views/s",
        better="higher",
        date="2030-01-01T00:00:00+00:00",
        run=Run("cpu", 1, "float32", 10, 0, False, 0.05),
        machine=Machine("a processor", 2, 2**34, "Linux", "3.12", None, None, {"torch": "2.15"}, None, (0.5, 0.6)),
        bandwidth=spread,
        workloads=(WorkloadRecord("cifar", "simclr_cifar", (32, 32), (32, 32), 512, 15360),),
        contenders=(ContenderRecord("a", "uint8", "", {}),),
        cells=(Cell("cifar", "a", "ok", None, 0.1, 3, (0.5, 0.25), (0.1, 0.2), spread, 1.0, 0.5, spread, ("hue 0.05 off",)),),
        targets=(Verdict("a / b", 2.0, None, None, None),),
    )


def test_a_result_survives_its_file(example, tmp_path):
    save([example], tmp_path / "new folder" / "r.json")
    assert load(tmp_path / "new folder" / "r.json") == (example,)


def test_what_json_does_not_know_is_neither_written_nor_read(example, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save([replace(example, bandwidth=Spread(float("nan"), 0, 0))], tmp_path / "r.json")
    save([example], tmp_path / "r.json")
    path = tmp_path / "r.json"
    path.write_text(path.read_text().replace("0.25", "NaN"))
    with pytest.raises(ValueError, match=r"r\.json: results\.0\.cells\.0\.values\.1: .*finite number"):
        load(path)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("schema",), "other/9", "schema"),
        (("run", "threads"), "one", r"results\.0\.run\.threads"),
        (("run", "threads"), True, r"results\.0\.run\.threads"),
        (("run", "extra"), 1, r"results\.0\.run\.extra: Unexpected"),
        (("machine", "cores"), "2", r"results\.0\.machine\.cores"),
        (("bandwidth", "mean"), 1.0, r"results\.0\.bandwidth\.mean: Unexpected"),
        (("cells", 0, "values", 1), "fast", r"results\.0\.cells\.0\.values\.1"),
        (("cells", 0, "status"), None, r"results\.0\.cells\.0\.status"),
        (("workloads",), {}, r"results\.0\.workloads"),
    ],
)
def test_another_shape_is_refused_by_the_name_of_its_key(example, tmp_path, keys, value, message):
    data = json.loads(json.dumps(asdict(File(SCHEMA, (example,)))))
    inner = data if keys == ("schema",) else data["results"][0]
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path = tmp_path / "r.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        load(path)


def test_a_missing_key_is_refused(example, tmp_path):
    data = json.loads(json.dumps(asdict(File(SCHEMA, (example,)))))
    del data["results"][0]["machine"]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"results\.0\.machine: Field required"):
        load(path)


def test_a_file_without_results_is_refused(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"schema": SCHEMA, "results": []}))
    with pytest.raises(ValueError, match="one result or more"):
        load(path)
