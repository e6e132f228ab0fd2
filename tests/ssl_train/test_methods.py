"""Every method trains, every option changes what it says, and the whole state of a run survives `kill -9`."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_train import ROOT, arguments, rows, same, weights
from torch import nn

from ssl_train import METHODS, Settings, losses
from ssl_train.__main__ import main
from ssl_train.loaders import Loaders
from ssl_train.settings import queue_length, resolve
from ssl_train.train import Trainer, train
from ssl_train.views import local_side, run_policy


def small(tiny: Settings, method: str) -> Settings:
    """A row of the table with narrow heads, and multi-crop where it was published with it."""
    scores = {"swav": 12, "dino": 12}.get(method)
    crops = 2 if method in ("swav", "dino", "lejepa") else None
    queue = 8 if method == "swav" else None  # full from step 5 of 10
    heads = {} if method == "supervised" else {"projector_hidden": 16, "projector_dim": 8}
    return replace(tiny, method=method, prototypes=scores, multi_crop=crops, queue_size=queue, **heads)  # type: ignore[arg-type]


def trainer(s: Settings) -> Trainer:
    s = resolve(s)
    return Trainer(s, Path(s.out or ""), Loaders(s, False), False)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_moves_every_weight_it_trains(tiny: Settings, method: str) -> None:
    """And its target branch, by gradient where it is shared, else as the moving average says."""
    made = trainer(replace(small(tiny, method), learning_rate=1e-2, warmup_epochs=0, eval_every=0, epochs=4))
    model = made.run.model
    before = {name: w.detach().clone() for name, w in model.named_parameters()}
    views, labels = next(iter(made.loaders.views))
    for _ in range(2):
        made.step = max(made.step, made.recipe.frozen_epochs * made.epoch_steps)  # before, prototypes stand still
        loss, _ = made.update(views if isinstance(views, list) else [views], labels)
        assert math.isfinite(float(loss))
    still = {name for name, w in model.named_parameters() if torch.equal(w, before[name])}
    frozen = {name for name, w in model.named_parameters() if not w.requires_grad}
    assert still == frozen
    if made.target:
        target = dict(made.target.named_parameters())
        assert not any(name.startswith("predictor") for name in target)
        assert not any(w.requires_grad for w in target.values())
        name = next(n for n in target if n.startswith("backbone"))
        moved, whole = (float((w.detach() - before[name]).norm()) for w in (target[name], model.get_parameter(name)))
        assert 0 < moved < whole


def test_switches_make_the_network_that_they_name(tiny: Settings) -> None:
    base = small(tiny, "simclr")
    assert trainer(base).run.model.predictor is None
    assert trainer(replace(base, predictor="on")).run.model.predictor is not None
    assert trainer(base).target is None
    assert trainer(replace(base, momentum=0.9)).target is not None
    byol = small(tiny, "byol")
    assert trainer(replace(byol, momentum="off", predictor="off")).target is None
    for layers in (0, 1, 3):
        made = trainer(replace(base, projector_layers=layers)).run.model
        assert sum(isinstance(m, torch.nn.Linear) for m in made.projector) == layers
        assert made.embedding == (8 if layers else 128)
    assert trainer(replace(byol, loss="dino")).run.model.scores is not None
    made = trainer(replace(byol, head_norm="layer"))
    kinds = {type(m) for m in [*made.run.model.projector, *(made.run.model.predictor or [])]}
    assert torch.nn.LayerNorm in kinds
    assert torch.nn.BatchNorm1d not in kinds


@pytest.mark.parametrize("loss", ["nt_xent", "cosine", "vicreg", "swav", "moco_v2"])
def test_losses_switches_and_policies_go_together_freely(tiny: Settings, loss: str) -> None:
    """A method with another's loss, a predictor, a moving average, small views and a policy of one view."""
    s = replace(small(tiny, "simclr"), loss=loss, predictor="on", momentum=0.9, multi_crop=1, policy="mae", prototypes=12)
    made = trainer(replace(s, symmetric="off" if loss == "moco_v2" else None))
    assert [view.size for view in made.loaders.policy.views] == [(16, 16), (16, 16), (8, 8)]
    views, labels = next(iter(made.loaders.views))
    loss_value, _ = made.update(views, labels)
    assert math.isfinite(float(loss_value))


def test_schedules(tiny: Settings) -> None:
    made = trainer(
        replace(small(tiny, "dino"), momentum=0.9, weight_decay=0.1, weight_decay_end=0.3, batch_size=4, scaling="sqrt")
    )
    made.step = made.total // 2
    assert made.schedule() < (made.s.learning_rate or 0) * math.sqrt(4 / 256)
    assert made.optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.2)
    assert made.optimizer.param_groups[1]["weight_decay"] == 0


def test_the_queue_holds_the_latest_keys_and_is_scaled_to_the_data(tiny: Settings) -> None:
    made = trainer(replace(small(tiny, "moco_v2"), queue_size=9))
    assert made.memory.queue.shape == (8, 8)  # whole batches of 4
    old = made.memory.queue.clone()
    views, labels = next(iter(made.loaders.views))
    made.update(views, labels)
    assert torch.equal(made.memory.queue[4:], old[4:])
    assert not torch.equal(made.memory.queue[:4], old[:4])
    torch.testing.assert_close(made.memory.queue.norm(dim=1), torch.ones(8))
    assert trainer(small(tiny, "nnclr")).memory.queue.shape == (20, 8)
    assert trainer(small(tiny, "simclr")).memory.queue.shape == (0, 8)


def test_swavs_queue_begins_late_and_joins_the_codes_once_it_is_full(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.3 of 2 epochs of 5 steps: it is filled from step 3 on, and 2 batches of 4 are its length."""
    balanced, balance = [], losses.sinkhorn

    def sinkhorn(scores: torch.Tensor) -> torch.Tensor:
        balanced.append(scores)
        return balance(scores)

    made = trainer(small(tiny, "swav"))
    memory, scores = made.memory, made.run.model.scores
    assert memory.queue.shape == (2, 8, 8)
    assert scores is not None
    monkeypatch.setattr(losses, "sinkhorn", sinkhorn)
    batches = [batch for epoch in range(2) for batch in made.loaders.views]
    for step, (views, labels) in enumerate(batches[:6]):
        queue = memory.queue.clone()
        with torch.no_grad():
            earlier = scores(queue[1])
        made.update(views, labels)
        assert len(balanced) == 2 * (step + 1)
        assert torch.equal(balanced[-1][:-4], earlier[: 8 if step >= 5 else 0])
        changed = (memory.queue != queue).any(dim=2)
        assert changed[0].tolist() == changed[1].tolist() == [step >= 3 and k // 4 == step % 2 for k in range(8)]
    torch.testing.assert_close(memory.queue.norm(dim=2), torch.ones(2, 8))


def test_swavs_queue_has_the_published_length_or_none_in_large_batches() -> None:
    for batch, images, length in ((256, 50_000, 3840), (512, 50_000, 3584), (4096, 1_281_167, 0), (64, 5000, 384)):
        assert queue_length(resolve(Settings(method="swav", batch_size=batch)), images) == length
    assert queue_length(resolve(Settings(method="swav", queue_size=0)), 50_000) == 0


def test_simsiams_predictor_keeps_its_learning_rate(tiny: Settings) -> None:
    made = trainer(replace(small(tiny, "simsiam"), batch_size=4, learning_rate=0.64))
    made.step = made.total // 2
    rate = made.schedule()
    assert rate == pytest.approx(0.01 * (1 + math.cos(math.pi * 4 / 9)) / 2)  # after a warm-up of 1 step of 10
    predictor = {id(p) for p in (made.run.model.predictor or nn.Identity()).parameters()}
    rates = {id(p): group["lr"] for group in made.optimizer.param_groups for p in group["params"]}
    assert {rates[p] for p in predictor} == {0.01}
    assert {r for p, r in rates.items() if p not in predictor} == {rate}
    assert len(rates) == sum(p.requires_grad for p in made.run.model.parameters())


def test_small_views_are_in_proportion() -> None:
    assert [local_side(size) for size in (224, 32, 64, 160)] == [96, 16, 32, 72]
    assert [view.size for view in run_policy("dino", 224, None, None).views] == [(224, 224)] * 2 + [(96, 96)] * 8
    assert len(run_policy("swav", 32, 0, None)) == 2
    assert [view.size[0] for view in run_policy("byol", 96, 3, 40).views] == [96, 96, 40, 40, 40]


KILLED = """
import os, signal, sys
from ssl_train.__main__ import main
from ssl_train.train import Trainer

update = Trainer.update
def updated(self, *given):
    if self.step == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return update(self, *given)
Trainer.update = updated
main(sys.argv[2:])
"""


@pytest.mark.parametrize("method", ["moco_v2", "swav", "dino"])  # SimCLR: test_train.py
def test_killed_at_a_random_step_and_resumed_every_bit_is_the_same(tiny: Settings, method: str) -> None:
    s = replace(small(tiny, method), checkpoint_every=2, eval_every=0, num_workers=0)
    train(replace(s, out=f"{s.out}-whole"), progress=False)
    step = random.randrange(3, 9)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(step), *arguments(s)]
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert s.out is not None
    assert main(["--resume", "--out", s.out]) == 0
    assert same(weights(s.out), weights(f"{s.out}-whole")), f"killed at step {step}"
    assert rows(s.out) == rows(f"{s.out}-whole")
    whole, resumed = (torch.load(f"{folder}/checkpoint.pt", weights_only=True) for folder in (f"{s.out}-whole", s.out))
    for part in ("target", "memory", "probe"):
        assert (part in whole) == (part in resumed)
        assert part not in whole or same(whole[part], resumed[part]), part


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_open_in_resolved_settings(method: str, size: int) -> None:
    open_ones = {name for name, value in vars(resolve(Settings(method=method, size=size))).items() if value is None}
    assert open_ones == {"multi_crop", "local_size", "queue_size", "negatives"}  # where None is a choice of its own
