"""torchrun with gloo: two and four processes make the same weights as one with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from conftest import write_images
from test_train import ROOT
from torch import nn

from ssl_train import METHODS, Settings, distributed
from ssl_train.train import train

SCRIPT = """
import json, sys
from dataclasses import replace
import torch
from ssl_train import Settings, distributed
from ssl_train.data import open_data
from ssl_train.evaluate import plain_loaders
from ssl_train.train import train

torch.set_num_threads(1)
for k, given in enumerate(json.loads(sys.argv[1])):
    s = Settings(**given)
    train(replace(s, out=f"{s.out}-{sys.argv[2]}"), progress=False)
    if k == 0:  # the first rank evaluates, and on all images
        assert torch.distributed.get_world_size() == int(sys.argv[2])
        for loader in plain_loaders(open_data(s.data, False), s.size):
            assert sum(len(target) for _, target in loader) == len(loader.dataset)
distributed.stop()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Settings]:
    """Every method on a tiny transformer without batch statistics, and one with BatchNorm: 10 steps of SGD each."""
    folder = tmp_path_factory.mktemp("ranks")
    data = write_images(folder / "images", {"train": 20, "test": 2})
    base = Settings(data=str(data), backbone="vit_nano", head_norm="layer", size=16, batch_size=8, epochs=2, device="cpu")
    base = replace(
        base, projector_hidden=32, projector_dim=16, optimizer="sgd", learning_rate=0.32, warmup_epochs=0, eval_every=0
    )
    base = replace(base, num_workers=0)
    several = [replace(base, method=name, out=str(folder / name)) for name in METHODS if name != "supervised"]
    several = [replace(s, learning_rate=0.032) if s.method == "vicreg" else s for s in several]  # its loss is 25 times as steep
    several = [replace(s, prototypes=12) if s.method in ("swav", "dino") else s for s in several]
    several = [replace(s, queue_size=16) if s.method == "swav" else s for s in several]  # full from step 5 of 10
    several.append(
        replace(base, method="supervised", projector_hidden=None, projector_dim=None, out=str(folder / "supervised"))
    )
    by_name = {s.method: s for s in several}
    several.append(replace(by_name["simclr"], hard_views=4, out=str(folder / "hard")))
    pairs = (("augself", "moco_v2"), ("cassle", "byol"), ("equimod", "simclr"))
    # Their heads have BatchNorm, which multiplies rounding errors.
    several += [replace(by_name[m], aware=a, learning_rate=0.032, out=str(folder / a)) for a, m in pairs]  # type: ignore[arg-type]
    # From seed 0 an activation comes so near to ReLU's corner that one process, with one thread and with two, differs by 1e-3.
    batchnorm = replace(base, backbone="resnet10_quarter", head_norm="batch", learning_rate=0.032, seed=1)
    return [*several, replace(batchnorm, out=str(folder / "batchnorm"))]


@pytest.fixture(scope="module")
def alone(runs: list[Settings]) -> Iterator[None]:
    """All of them in one process, as torchrun would start one."""
    os.environ["WORLD_SIZE"] = "1"
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for s in runs:
            train(replace(s, out=f"{s.out}-1"), progress=False)
        yield
    finally:
        distributed.stop()
        del os.environ["WORLD_SIZE"]


@pytest.mark.parametrize("world", [2, 4])
def test_more_processes_make_the_same_weights(world: int, runs: list[Settings], alone: None) -> None:
    chosen = runs if world == 2 else [s for s in runs if s.method in ("simclr", "moco_v2", "swav", "lejepa")]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={world}", "--standalone", "--no-python"]
    work = [sys.executable, "-c", SCRIPT, json.dumps([asdict(s) for s in chosen]), str(world)]
    environment = {name: value for name, value in os.environ.items() if name != "WORLD_SIZE"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *work], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for s in chosen:
        files = [Path(f"{s.out}-{n}", "metrics.jsonl").read_text().splitlines() for n in (1, world)]
        losses = [[json.loads(row)["loss"] for row in file] for file in files]
        assert losses[1][:3] == pytest.approx(losses[0][:3], rel=1e-4, abs=1e-6)
        if s.backbone == "vit_nano":  # while BatchNorm on so few pixels multiplies rounding errors tenfold a step
            states = [torch.load(f"{s.out}-{n}/checkpoint.pt", weights_only=True) for n in (1, world)]
            for part in {"model", "aware"} & states[0].keys():
                one, many = (state[part] for state in states)
                assert one.keys() == many.keys()
                apart = {name: float((many[name] - w).abs().max()) for name, w in one.items()}
                assert max(apart.values()) <= 1e-5, (s.method, s.aware, apart)


def test_batchnorm_in_plain_operations_is_torchs(alone: None) -> None:
    torch.manual_seed(0)
    ours, theirs = distributed.GatheredBatchNorm(5), nn.BatchNorm2d(5)
    grads = []
    for norm in (ours, theirs):
        x = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
        (norm(x) * torch.linspace(-1, 1, 180).view(4, 5, 3, 3)).sum().backward()
        assert x.grad is not None
        grads.append(x.grad)
    torch.testing.assert_close(grads[0], grads[1])
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    x = torch.randn(4, 5, 3, 3)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
