"""Programs that take a DataLoader: each runs in processes of its own and writes down what it has seen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpuaug

PROGRAMS = Path(__file__).parent / "programs"
sys.path.insert(0, str(PROGRAMS))

from common import BATCH, SAMPLES, make_loader, rows  # noqa: E402 - lies beside the programs, which are no package

ROOT = Path(gpuaug.__file__).parents[1]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture
def run(tmp_path):
    """Run a program; gives what it wrote: name -> content."""

    def run(*command, **variables):
        path = os.pathsep.join([str(ROOT), str(PROGRAMS), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "SEEN": str(tmp_path), "OMP_NUM_THREADS": "1", **variables}
        environment = {name: value for name, value in environment.items() if not name.startswith(("COV_CORE", "COVERAGE"))}
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.glob("*.json"))}

    return run


@pytest.fixture(scope="session")
def plain():
    """What a plain loop in one process sees: plain(epoch) -> rows (sample, digest of its views), in order."""
    loader, epochs = make_loader(), {}

    def plain(epoch):
        if epoch not in epochs:
            loader.set_epoch(epoch)
            epochs[epoch] = [list(row) for batch in loader for row in rows(batch)]
        return epochs[epoch]

    return plain


@pytest.fixture(scope="session")
def halves(plain):
    """Check that two ranks have had the epoch between them, each every other sample, with the epoch's own draws."""

    def halves(ranks, epoch):
        whole = plain(epoch)
        assert ranks[0] == whole[0::2]
        assert ranks[1] == whole[1::2]
        assert len(whole) == SAMPLES
        assert len(ranks[0]) == len(ranks[1]) == SAMPLES // 2 == 4 * BATCH

    return halves
