"""Augmentation-aware methods: their losses by hand, where gradients go, and that they go together with everything else."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from test_methods import small, trainer
from test_train import rows, same, weights

import gpuaug
from ssl_train import METHODS, Head, JointEmbedding, Settings, nt_xent
from ssl_train.__main__ import main
from ssl_train.aware import AugSelf, Cassle, EquiMod, Given, Network, augself_loss, equimod_loss
from ssl_train.errors import UserError
from ssl_train.evaluate import load_run
from ssl_train.train import Trainer, train
from ssl_train.vectors import Vectors, boxes, differences

Tensor = torch.Tensor
AWARE = ("augself", "cassle", "equimod")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def step_of(made: Trainer, batches: int = 1) -> None:
    """Make some steps on the same batch."""
    views, labels = next(iter(made.loaders.views))
    for _ in range(batches):
        made.update(views, labels)


def test_augselfs_loss_by_hand() -> None:
    predicted = {"color": [[0.5, 0.0], [-1.0, 2.0]], "flip": [[0.0], [2.0]]}
    wanted = {"color": [[0.1, 0.0], [-0.5, 1.0]], "flip": [[1.0], [0.0]]}
    squares = [(math.tanh(0.5) - 0.1) ** 2, 0.0, (math.tanh(-1) + 0.5) ** 2, (math.tanh(2) - 1) ** 2]
    entropy = (math.log(2) + math.log(1 + math.exp(2))) / 2
    both = [{name: torch.tensor(x, dtype=torch.float64) for name, x in given.items()} for given in (predicted, wanted)]
    assert float(augself_loss(*both)) == pytest.approx(sum(squares) / 4 + entropy, rel=1e-12)


def test_equimods_loss_is_ntxent_among_all_views_and_predictions() -> None:
    """The loss of `src/loss.py` on torch.cat([y, y_hat]): all entries but oneself, at temperature 0.2."""
    seen, predicted = random(6, 4), random(6, 4, seed=1)  # two views of three images
    z = F.normalize(torch.cat([seen, predicted]), dim=1)
    expected = []
    for i in range(12):
        others = torch.stack([z[i] @ z[k] / 0.2 for k in range(12) if k != i])
        expected.append(others.logsumexp(0) - z[i] @ z[(i + 6) % 12] / 0.2)
    torch.testing.assert_close(equimod_loss(seen, predicted), torch.stack(expected).mean())


def test_differences_by_hand() -> None:
    """Two crops, of which the second is flipped, and jitters; the first as the authors' `extract_diff` computes it."""
    policy = gpuaug.Policy(
        gpuaug.View(
            16,
            gpuaug.RandomResizedCrop(),
            gpuaug.RandomHorizontalFlip(),
            gpuaug.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.5),
            gpuaug.GaussianBlur(5, (0.1, 2.0), p=0.5),
            repeat=2,
        )
    )
    draws = gpuaug.sample(policy, range(64)).with_shapes(np.tile([[40, 60]], (64, 1)))
    vectors = Vectors(policy, "augself")
    one, other = vectors(draws, [0, 1], torch.device("cpu"))
    found = differences(one, other, vectors.groups())
    assert {name: x.shape[1] for name, x in found.items()} == {"crop": 4, "flip": 1, "color": 4, "blur": 1}
    tables = [draws.columns(k) for k in (0, 1)]
    flips = [t["RandomHorizontalFlip.apply"].astype(bool) for t in tables]
    np.testing.assert_array_equal(found["flip"][:, 0], flips[0] == flips[1])
    parts: dict[str, Any] = {}
    for part, width in (("brightness", 0.8), ("contrast", 0.8), ("saturation", 0.4), ("hue", 0.2)):
        neutral = 0 if part == "hue" else 1
        values = [np.where(t["ColorJitter.apply"], t[f"ColorJitter.{part}"] - neutral, 0) / width for t in tables]
        parts[part] = values[0] - values[1]
    np.testing.assert_allclose(found["color"], np.stack(list(parts.values()), 1), atol=1e-6)
    sigma = [np.where(t["GaussianBlur.apply"], t["GaussianBlur.sigma"], 0) for t in tables]
    np.testing.assert_allclose(found["blur"][:, 0], (sigma[0] - sigma[1]) / 2, atol=1e-6)
    where = []
    op: Any = policy.views[0].ops[0]
    for drawn, flipped in zip(draws.tables, flips, strict=True):
        top, left, height, width = op.boxes(drawn[0], np.full(64, 40), np.full(64, 60)).T
        across = (left + width / 2) / 60
        where.append(np.stack([(top + height / 2) / 40, np.where(flipped, 1 - across, across), height / 40, width / 60], 1))
    np.testing.assert_allclose(found["crop"], where[0] - where[1], atol=1e-6)
    swapped = differences(other, one, vectors.groups())
    for name, x in found.items():
        assert float(x.abs().max()) <= 1
        torch.testing.assert_close(swapped[name], x if name == "flip" else -x)


def test_a_crop_keeps_its_centre_where_nothing_flips() -> None:
    found = boxes(torch.tensor([[0.1, 0.2, 0.4, 0.6]]), {"crop": [0, 1, 2, 3]})
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.5, 0.4, 0.6]]))


def test_views_of_different_ops_share_their_columns() -> None:
    """BYOL's second view alone solarizes: the first has zeros there."""
    policy = gpuaug.policy("byol", size=32)
    vectors = Vectors(policy, "cassle")
    draws = gpuaug.sample(policy, range(32)).with_shapes(np.tile([[40, 60]], (32, 1)))
    first, second = vectors(draws, [0, 1], torch.device("cpu"))
    for view, found in enumerate((first, second)):
        own = draws.vector_names(view)
        assert torch.equal(found[:, [vectors.names.index(name) for name in own]], draws.vector(view))
        assert not found[:, [k for k, name in enumerate(vectors.names) if name not in own]].any()
    assert first.shape == second.shape == (32, len(vectors.names))


def network(head: Any) -> Network:
    torch.manual_seed(0)
    return Network(JointEmbedding("resnet10_quarter", 16, Head(2, 8, 6)), head).double()


def images(seed: int) -> Tensor:
    return random(4, 3, 16, 16, seed=seed)


def test_augself_sees_pairs_both_ways_and_trains_the_backbone() -> None:
    head = AugSelf(128, {"color": 4, "flip": 1})
    net = network(head)
    seen = [images(0), images(1)]
    _, z, q, found = net(seen, Given(pairs=[(0, 1)]))
    h = [net.model.backbone(torch.cat(seen))[:4], net.model.backbone(torch.cat(seen))[4:]]
    both = torch.cat([torch.cat([h[0], h[1]], 1), torch.cat([h[1], h[0]], 1)])
    torch.testing.assert_close(found["color"], head.heads["color"](both))
    torch.autograd.backward(augself_loss(found, {name: torch.zeros_like(x) for name, x in found.items()}))
    assert all(p.grad is not None and float(p.grad.norm()) > 0 for p in net.model.backbone.parameters())
    assert all(p.grad is None for p in net.model.projector.parameters())
    assert all(p.grad is not None for p in head.parameters())
    plain = net.model(seen)
    torch.testing.assert_close(z, plain[1])
    torch.testing.assert_close(q, plain[2])


def test_cassles_projector_is_one_for_features_and_embedded_draws_side_by_side() -> None:
    head = Cassle(5, 128, 8)
    net, vectors = network(head), random(2, 4, 5)
    seen = [images(0), images(1)]
    _, z, _, found = net(seen, Given(vectors))
    assert not found
    first = net.model.projector[0]
    assert isinstance(first, torch.nn.Linear)
    joint = torch.nn.Linear(128 + 64, 8, bias=False).double()
    with torch.no_grad():
        joint.weight.copy_(torch.cat([first.weight, head.join.weight], dim=1))
    h = net.model.backbone(torch.cat(seen))
    expected = net.model.projector[1:](joint(torch.cat([h, head.embed(vectors.flatten(0, 1))], dim=1)))
    torch.testing.assert_close(torch.cat(z), expected)
    torch.autograd.backward(torch.cat(z).square().sum())
    assert all(p.grad is not None and float(p.grad.norm()) > 0 for p in head.join.parameters())
    assert all(p.grad is not None for p in [*head.parameters(), *net.model.parameters()])


def test_cassle_tells_shuffled_draws_from_the_right_ones(tiny: Settings) -> None:
    made = trainer(replace(small(tiny, "simclr"), aware="cassle"))
    views, _ = next(iter(made.loaders.views))
    right = made.aware.given(made.draws, made.seen).vectors
    assert right is not None
    losses = []
    for vectors in (right, right, right.roll(1, dims=1)):
        with torch.no_grad():
            _, (one, other), _, _ = made.network(views, Given(vectors))
        losses.append(float(nt_xent(one, other, 0.2)))
    assert losses[0] == losses[1]
    assert abs(losses[0] - losses[2]) > 1e-4


def test_equimod_predicts_from_the_plain_view_and_the_draws() -> None:
    head = EquiMod(5, 128, 16, out=6)
    net, vectors = network(head), random(2, 4, 5)
    seen, plain = [images(0), images(1)], images(2)
    _, z, _, found = net(seen, Given(vectors, plain))
    h = net.model.backbone(torch.cat([plain, *seen]))  # one batch for the statistics of BatchNorm
    y = head.projector(h)
    torch.testing.assert_close(found["seen"], y[4:])
    start = torch.cat([y[:4], y[:4]])
    torch.testing.assert_close(found["predicted"], head.predictor(torch.cat([start, head.embed(vectors.flatten(0, 1))], 1)))
    torch.testing.assert_close(torch.cat(z), net.model.projector(h[4:]))
    torch.autograd.backward(equimod_loss(found["seen"], found["predicted"]))
    assert all(p.grad is not None and float(p.grad.norm()) > 0 for p in net.model.backbone.parameters())
    assert all(p.grad is not None for p in head.parameters() if p.requires_grad)


def test_augself_learns_to_tell_the_draws(tiny: Settings) -> None:
    """On one batch its loss falls, below that of predicting no difference, which is what the mean over all pairs is."""
    made = trainer(replace(small(tiny, "simclr"), aware="augself", learning_rate=0.05, warmup_epochs=0, epochs=8, batch_size=8))
    views, labels = next(iter(made.loaders.views))
    losses = []
    for _ in range(16):
        made.update(views, labels)
        losses.append(float(made.figures["aware_loss"]))
    one, other = made.aware.vectors(made.draws, [0, 1], made.device)
    zero = {name: torch.zeros(len(x), x.shape[1]) for name, x in differences(one, other, made.aware.groups).items()}
    guess = float(augself_loss(zero, differences(one, other, made.aware.groups)))
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] < guess


@pytest.mark.parametrize("aware", AWARE)
@pytest.mark.parametrize("method", [name for name in METHODS if name != "supervised"])
def test_every_method_is_trained_with_it(tiny: Settings, method: str, aware: Any) -> None:
    """Every weight moves, the heads' too, and the network starts from the same weights as without it."""
    s = replace(small(tiny, method), learning_rate=1e-2, warmup_epochs=0, eval_every=0, epochs=4)
    plain, made = trainer(s), trainer(replace(s, aware=aware))
    assert same(plain.run.model.state_dict(), made.run.model.state_dict())
    assert same(plain.memory.state_dict(), made.memory.state_dict())
    assert same(plain.probes.classifiers.state_dict(), made.probes.classifiers.state_dict())
    before = {name: w.detach().clone() for name, w in made.network.named_parameters()}
    target = {name: w.clone() for name, w in made.follower.named_parameters()} if made.follower else {}
    views, labels = next(iter(made.loaders.views))
    assert len(views) == len(made.loaders.policy.views) + (aware == "equimod")
    for _ in range(2):
        made.step = max(made.step, made.recipe.frozen_epochs * made.epoch_steps)
        loss, _ = made.update(views, labels)
        assert math.isfinite(float(loss))
    still = {name for name, w in made.network.named_parameters() if torch.equal(w, before[name])}
    assert still == {name for name, w in made.network.named_parameters() if not w.requires_grad}
    assert ("aware_loss" in made.figures) == (aware != "cassle")
    assert any(name.startswith("head.") for name in target) == bool(target) * (aware == "cassle")
    if made.follower:
        moved = {name for name, w in made.follower.named_parameters() if not torch.equal(w, target[name])}
        assert moved == set(target) - still


@pytest.mark.parametrize("aware", AWARE)
def test_it_goes_together_with_all_options(tiny: Settings, aware: Any) -> None:
    s = replace(small(tiny, "simclr"), aware=aware, predictor="on", momentum=0.9, multi_crop=1, policy="byol", size=64)
    for more in (
        {"loss": "swav", "prototypes": 12, "symmetric": "off", "weights": "draws"},
        {"hard_views": 3, "precision": "bf16"},
        {"momentum": "off", "stop_gradient": "on", "loss": "cosine", "grow_from": 32, "head_norm": "layer"},
    ):
        step_of(trainer(replace(s, **more)), batches=2)  # type: ignore[arg-type]


def test_compiled_it_is_the_same(tiny: Settings) -> None:
    losses = []
    for compiled in (False, True):
        made = trainer(replace(small(tiny, "simclr"), aware="equimod", multi_crop=1))
        if compiled:
            made.forward = torch.compile(made.network, backend="aot_eager")
        step_of(made, batches=2)
        losses.append(float(made.figures["aware_loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("aware", AWARE)
def test_resumed_every_bit_is_the_same(tiny: Settings, aware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s = replace(small(tiny, "byol"), aware=aware, checkpoint_every=2, num_workers=0)
    whole = train(replace(s, out=f"{s.out}-whole"), progress=False)
    update = Trainer.update

    def stopped(self: Trainer, *given: Any) -> Any:
        if self.step == 7:
            raise KeyboardInterrupt
        return update(self, *given)

    monkeypatch.setattr(Trainer, "update", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(s, progress=False)
    monkeypatch.undo()
    assert s.out is not None
    assert main(["--resume", "--out", s.out]) == 0
    one, other = (torch.load(f"{folder}/checkpoint.pt", weights_only=True) for folder in (whole.folder, s.out))
    assert ("target_aware" in one) == (aware == "cassle")
    for part in ("model", "aware", "target", "target_aware", "probe", "memory"):
        assert part not in one or same(one[part], other[part]), part
    assert rows(s.out) == rows(whole.folder)
    assert ("aware_loss" in Path(s.out, "metrics.jsonl").read_text()) == (aware != "cassle")


@pytest.mark.parametrize("aware", AWARE)
def test_features_of_a_run_come_from_the_backbone_alone(tiny: Settings, aware: Any) -> None:
    run = train(replace(small(tiny, "simclr"), aware=aware, epochs=1), progress=False)
    model, _ = load_run(run.folder / "checkpoint.pt")
    x = images(0).float()
    torch.testing.assert_close(model.backbone(x), run.model.eval().backbone(x))
    assert not any("head" in name or "aware" in name for name in weights(run.folder))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"aware": "augself", "method": "supervised"}, "--aware augself: the method supervised has one view"),
        ({"aware": "siamese"}, "--aware siamese: unknown; choose from off, augself, cassle, equimod"),
        ({"aware": "cassle", "projector_layers": 0}, "--aware cassle: it shows the draws to the projector"),
        ({"aware": "cassle", "aware_weight": 0.5}, "--aware-weight 0.5: --aware cassle adds no loss"),
        ({"aware_weight": 0.5}, "--aware-weight 0.5: --aware off adds no loss"),
        ({"aware": "augself", "aware_weight": 0.0}, "--aware-weight 0: it must be above 0"),
        ({"aware": "equimod", "aware_weight": math.inf}, "--aware-weight inf: it must be above 0"),
    ],
)
def test_what_excludes_it_is_said(tiny: Settings, changed: dict[str, Any], message: str) -> None:
    s = tiny if changed.get("method") == "supervised" else small(tiny, "simclr")
    with pytest.raises(UserError, match=message):
        trainer(replace(s, **changed))


@pytest.mark.parametrize("aware", AWARE)
def test_a_policy_without_draws_is_refused(aware: Any) -> None:
    policy = gpuaug.Policy(gpuaug.View(16, gpuaug.Resize(16), gpuaug.CenterCrop(), gpuaug.Normalize(), repeat=2), name="bare")
    with pytest.raises(UserError, match=f"--aware {aware}: the policy bare draws nothing"):
        Vectors(policy, aware)


def test_the_weight_is_the_papers_by_default_and_multiplies_the_loss(tiny: Settings) -> None:
    assert trainer(replace(small(tiny, "simclr"), aware="augself")).s.aware_weight == 1
    assert trainer(replace(small(tiny, "simclr"), aware="augself", size=96, batch_size=2)).s.aware_weight == 0.5
    found = []
    for weight in (1.0, 3.0):
        made = trainer(replace(small(tiny, "simclr"), aware="equimod", aware_weight=weight))
        views, labels = next(iter(made.loaders.views))
        loss, _ = made.update(views, labels)
        found.append((float(loss), float(made.figures["aware_loss"])))
    assert found[0][1] == found[1][1]
    assert found[1][0] - found[0][0] == pytest.approx(2 * found[0][1], rel=1e-5)
