"""Processes that torchrun and SLURM start, kill and start again end in the weights of an uninterrupted run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from conftest import write_images
from test_train import ROOT, arguments, rows, same, weights

from ssl_train import Settings, distributed
from ssl_train.errors import UserError
from ssl_train.launch import PORTS, Launch, first_host, launch

PLAN = """
import contextlib, os, signal, sys
import torch
from ssl_train import checkpoint, probes, progress
from ssl_train.__main__ import main
from ssl_train.train import Trainer

torch.set_num_threads(1)
progress.INTERVAL = 1e9  # lines at the ends of epochs alone
rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID")))
attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", -1))
plan = sys.argv[1]

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

save, features, update, atomic = Trainer.save, probes.features, Trainer.update, checkpoint.atomic
if plan == "killed" and attempt == 0 and rank == 0:
    Trainer.save = lambda self: kill()  # before the first checkpoint
if plan == "killed" and attempt == 1 and rank == 0:
    evaluations = []  # in the second half of the first one
    probes.features = lambda *given: kill() if evaluations else (evaluations.append(0), features(*given))[1]
if plan == "killed" and attempt == 2 and rank == 1:
    Trainer.update = lambda self, *given: kill() if self.step == 9 else update(self, *given)  # in the middle of an epoch
if plan == "killed" and attempt == 3 and rank == 0:
    @contextlib.contextmanager
    def atomic_until_killed(path, keep=None):
        with atomic(path, keep) as file:
            yield file
            if path.name == "checkpoint.pt":
                file.truncate(1000)
                file.flush()
                kill()
    checkpoint.atomic = atomic_until_killed
if plan == "signalled" and rank == 1:
    Trainer.update = lambda self, *given: (self.step == 8 and signal.raise_signal(signal.SIGUSR1), update(self, *given))[1]
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """18 steps in 3 epochs, evaluated before and after."""
    folder = tmp_path_factory.mktemp("launch")
    data = write_images(folder / "images", {"train": 12, "test": 2}, side=8)
    s = Settings(data=str(data), backbone="vit_nano", size=8, batch_size=4, epochs=3, optimizer="adamw", device="cpu")
    s = replace(s, projector_hidden=16, projector_dim=8, knn_k=3, eval_every=3, checkpoint_every=4, num_workers=0)
    return replace(s, resume="auto", out=str(folder / "run"))


def environment(**more: str) -> dict[str, str]:
    launched = ("SLURM_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_")
    return {name: v for name, v in os.environ.items() if not name.startswith(launched)} | {"OMP_NUM_THREADS": "1"} | more


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def srun(plan: str, s: Settings, **more: str) -> list[tuple[int, str, str]]:
    """Start two processes as srun does; exit status, stdout and stderr of each."""
    step = {"SLURM_JOB_ID": "1234", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    step |= {"SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "no-such-machine", "MASTER_PORT": free_port()} | more
    command = [sys.executable, "-c", PLAN, plan, *arguments(s)]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(**step, SLURM_PROCID=str(k), SLURM_LOCALID=str(k)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in (0, 1)
    ]
    said = [process.communicate(timeout=600) for process in started]
    return [(process.returncode, out, without_gpuaug(err)) for process, (out, err) in zip(started, said, strict=True)]


def without_gpuaug(text: str) -> str:
    """Without the lines that say that kernels are compiled, once a machine."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("gpuaug: "))


@pytest.fixture(scope="module")
def uninterrupted(settings: Settings) -> str:
    """The folder of a run of two processes that srun started."""
    s = replace(settings, out=f"{settings.out}-uninterrupted")
    (first, out, err), (second, *silent) = srun("none", s)
    assert (first, second) == (0, 0), err
    assert silent == ["", ""]  # the first rank alone says anything
    assert "after 3 epochs" in out
    assert [line.split(" of ")[0] for line in err.splitlines()[1:]] == [f"simclr: epoch {k}" for k in (1, 2, 3)]
    assert s.out is not None
    assert [row["epoch"] for row in rows(s.out) if "knn" in row] == [0, 3]
    return s.out


def test_torchrun_starts_killed_processes_again_and_the_weights_are_the_same(settings: Settings, uninterrupted: str) -> None:
    s = replace(settings, out=f"{settings.out}-torchrun")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--max-restarts=4"]
    done = subprocess.run(
        [*command, "--no-python", sys.executable, "-c", PLAN, "killed", *arguments(s)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    begun = [line.split(": ")[1] for line in done.stdout.splitlines() if "continues after step" in line]
    assert begun == [f"continues after step {k} of 18" for k in (8, 8)]
    assert same(weights(s.out), weights(uninterrupted))
    assert rows(s.out) == rows(uninterrupted)
    assert not list(Path(s.out or "").glob(".*"))


def test_slurm_warns_and_the_same_command_goes_on(settings: Settings, uninterrupted: str) -> None:
    s = replace(settings, out=f"{settings.out}-requeued")
    (first, _, err), (second, *silent) = srun("signalled", s)
    assert (first, second) == (128 + signal.SIGUSR1, 128 + signal.SIGUSR1), err
    assert silent == ["", ""]
    assert err.splitlines()[-1].startswith("ssl_train: interrupted; continue with: ")
    assert [row["step"] for row in rows(s.out) if "loss" in row] == list(range(1, 11))  # heeded at every tenth step
    (first, out, err), (second, *_) = srun("none", s)
    assert (first, second) == (0, 0), err
    assert "continues after step 10 of 18" in out
    assert same(weights(s.out), weights(uninterrupted))
    assert rows(s.out) == rows(uninterrupted)


def test_what_the_first_rank_finds_wrong_ends_all_and_is_said_once(settings: Settings, uninterrupted: str) -> None:
    (first, _, err), (second, *silent) = srun("none", replace(settings, out=uninterrupted, epochs=4))
    assert (first, second) == (2, 2)
    assert err.splitlines()[-1].startswith("ssl_train: --epochs 4: the run was started with 3")
    assert silent == ["", ""]


def given(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in list(os.environ):
        if name not in environment():
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


STEP = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "100000"}


def test_rank_and_meeting_place_of_a_slurm_step(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch)
    assert launch() is None
    given(monkeypatch, **STEP, SLURM_JOB_NODELIST="gpu[07-09,12],cpu1")
    found = launch()
    assert found is not None
    assert (found.rank, found.world, found.local) == (5, 8, 1)
    assert found.meeting[0] == "gpu07"
    assert found.meeting[1] in PORTS
    monkeypatch.setenv("SLURM_STEP_ID", "1")  # another step of the job, at the same time
    other = launch()
    assert other is not None
    assert other.meeting[1] in PORTS
    assert other.meeting[1] != found.meeting[1]
    monkeypatch.setenv("MASTER_ADDR", "head")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert launch() == Launch(5, 8, 1, ("head", 29500), slurm=True)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")  # srun --ntasks=1 in a job of eight
    assert launch() is None
    monkeypatch.setenv("WORLD_SIZE", "2")  # torchrun in a SLURM job
    monkeypatch.setenv("RANK", "1")
    assert launch() == Launch(1, 2, 1, ("head", 29500))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (STEP, "set MASTER_ADDR to the machine of rank 0"),
        ({**STEP, "MASTER_ADDR": "a", "MASTER_PORT": "http"}, "MASTER_PORT=http: it must be a whole number"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is set but RANK, MASTER_ADDR, MASTER_PORT is not"),
    ],
)
def test_variables_that_are_missing_or_wrong_are_named(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, **variables)
    with pytest.raises(UserError, match=message):
        launch()


@pytest.mark.parametrize(
    ("names", "first"),
    [("a", "a"), ("a,b", "a"), ("n[3-5]", "n3"), ("n[03,07-09],m1", "n03"), ("r[1-2]n[04-06]-ib", "r1n04-ib")],
)
def test_the_first_of_slurms_machines(names: str, first: str) -> None:
    assert first_host(names) == first


@pytest.mark.parametrize(("backend", "device"), [("nccl", "cuda"), ("gloo", "cpu")])
def test_the_group_is_told_which_gpu_each_process_has(monkeypatch: pytest.MonkeyPatch, backend: str, device: str) -> None:
    """So that NCCL neither guesses it from the rank nor makes its communicator late, with a warning at the first barrier."""
    given: dict[str, Any] = {}
    started = Launch(rank=5, world=8, local=1, meeting=("127.0.0.1", 1))
    monkeypatch.setattr(distributed, "launch", lambda: started)
    monkeypatch.setattr(distributed, "meet", lambda started: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda local: None)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **more: given.update(more, backend=backend))
    used = distributed.start(device)
    assert given["backend"] == backend
    assert given["device_id"] == (torch.device("cuda:1") if device == "cuda" else None)
    assert used == ("cuda:1" if device == "cuda" else "cpu")
