"""The Augmenter's plan: which backend does which steps, what each stage reads and writes, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from small_batch import POLICY, RAGGED, draws_of

import gpuaug
from gpuaug import backends
from gpuaug.backends import Backend, batched, torchvision
from gpuaug.backends.traffic import Stage, traffic


def test_print_shows_the_plan() -> None:
    lines = str(gpuaug.Augmenter(POLICY, "torchvision", dtype=torch.bfloat16)).splitlines()
    colour = "ColorJitter -> RandomGrayscale -> RandomSolarize -> GaussianBlur -> Normalize"
    assert lines == [
        "Augmenter(backend='torchvision', device='of the images')",
        "  2 x 16x16 bfloat16",
        f"    1. torchvision: RandomResizedCrop -> RandomHorizontalFlip -> {colour}",
        "       a view reads 19 kB, writes 20 kB",
        "    one perfect pass would move 2 kB, 6% of this",
        "  1 x 8x12 bfloat16",
        "    1. torchvision: Resize -> RandomCrop -> GaussianNoise",
        "       a view reads 3 kB, writes 3 kB",
        "    one perfect pass would move 1 kB, 16% of this",
    ]
    assert "device='cpu'" in str(gpuaug.Augmenter(POLICY, device="cpu"))


def test_the_plan_counts_bytes() -> None:
    """A view has 768 values. A fused stage reads bytes, writes the view, and goes through a float buffer at each barrier."""
    crop, jitter, blur = gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(contrast=0.5, p=0.8), gpuaug.GaussianBlur(5, p=0.5)
    view = gpuaug.View(16, crop, jitter, blur)
    fused, general = backends.load("fused"), backends.load("batched")
    assert traffic(view, Stage("fused", 0, view.steps), fused, torch.float16) == (768 * (1 + 4 * 1.3), 768 * (2 + 4 * 1.3))
    assert traffic(view, Stage("batched", 0, view.steps), general, torch.float32) == (768 * (1 + 4 * 2), 768 * (4 + 4 * 2))
    assert traffic(view, Stage("batched", 1, view.steps[1:2]), general, torch.float32) == (768 * 4, 768 * 4)
    bright = gpuaug.View(16, crop, gpuaug.ColorJitter(brightness=0.5))
    assert traffic(bright, Stage("fused", 0, bright.steps), fused, torch.float32) == (768, 768 * 4)


def put(monkeypatch: pytest.MonkeyPatch, **found: Backend) -> None:
    """Make these the only backends, best first."""
    monkeypatch.setattr(backends, "REQUIRES", {name: {"any": "torch"} for name in found})
    monkeypatch.setattr(backends, "AUTOMATIC", tuple(found))
    monkeypatch.setattr(backends, "load", lambda name, kind: found[name])


def test_auto_splits_a_view_into_stages_and_the_views_stay_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each op goes to the first backend that has it, in order; a run of one backend is one call."""
    calls: list[str] = []

    def only(name: str, ops: set[type]) -> Backend:
        def apply(batch: Any, run: Any, draws: Any) -> Any:
            calls.append(f"{name}:{len(run)}")
            return torchvision.apply(batch, run, draws)

        return Backend(ops, lambda steps, given: backends.leading(steps, ops), apply)

    few = only("batched", {gpuaug.ColorJitter, gpuaug.RandomGrayscale, gpuaug.Normalize})
    every = only("torchvision", set(torchvision.OPS))
    truth = gpuaug.Augmenter(POLICY, "torchvision")(RAGGED, draws_of())
    put(monkeypatch, batched=few, torchvision=every)
    augment = gpuaug.Augmenter(POLICY)
    assert [(stage.backend, stage.first, len(stage.ops)) for stage in augment.plan[0]] == [
        ("torchvision", 0, 2),
        ("batched", 2, 2),
        ("torchvision", 4, 2),
        ("batched", 6, 1),
    ]
    views = augment(RAGGED, draws_of())
    assert calls == ["torchvision:2", "batched:2", "torchvision:2", "batched:1"] * 2 + ["torchvision:3"]
    assert all(torch.equal(a, b) for a, b in zip(views, truth, strict=True))
    assert "    2. batched: ColorJitter -> RandomGrayscale" in str(augment).splitlines()


def test_backends_hand_over_ragged_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a resize of the shorter edge, sizes still differ: the next backend gets a list."""
    policy = gpuaug.Policy(gpuaug.View(12, gpuaug.Resize(20), gpuaug.CenterCrop(), gpuaug.Normalize()))
    truth = gpuaug.Augmenter(policy, "torchvision")(RAGGED, draws_of(policy))
    resize = Backend({gpuaug.Resize}, lambda steps, given: backends.leading(steps, {gpuaug.Resize}), torchvision.apply)
    put(monkeypatch, torchvision=resize, batched=batched.BACKEND)
    (view,) = gpuaug.Augmenter(policy)(RAGGED, draws_of(policy))
    assert torch.allclose(view, truth[0], atol=1e-5)


def stages_of(*ops: gpuaug.ops.Op, backend: str = "fused") -> list[tuple[str, int]]:
    plan = gpuaug.Augmenter(gpuaug.Policy(gpuaug.View(16, *ops)), backend).plan[0]
    return [(stage.backend, len(stage.ops)) for stage in plan]


@pytest.mark.parametrize("name", list(gpuaug.policies))
def test_every_named_policy_is_one_fused_stage_per_view(name: str) -> None:
    for view in gpuaug.Augmenter(gpuaug.policy(name), "auto").plan:
        reflected = any(getattr(op, "padding_mode", "constant") == "reflect" for stage in view for op in stage.ops)
        assert [stage.backend for stage in view] == ["batched"] * reflected + ["fused"]


@dataclass(frozen=True)
class Own(gpuaug.Op):
    """An op of a user's, which no kernel has."""


def test_what_cannot_be_fused_goes_to_batched_between_fused_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.REGISTERED, Own, lambda x, o, d: x)
    crop, jitter, flip = gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(0.4), gpuaug.RandomHorizontalFlip()
    noise, equalize = gpuaug.GaussianNoise(), gpuaug.RandomEqualize()
    assert stages_of(crop, jitter, Own(), flip, jitter) == [("fused", 2), ("batched", 1), ("fused", 2)]
    assert stages_of(crop, jitter, equalize, flip, jitter) == [("fused", 5)]
    assert stages_of(crop, gpuaug.RandomRotation(9), flip, jitter) == [("fused", 2), ("fused", 2)]
    assert stages_of(crop, noise, flip, jitter) == [("fused", 2), ("fused", 2)]  # a flip cannot move before the noise
    assert stages_of(flip, crop, jitter) == [("batched", 2), ("fused", 1)]  # a crop reads the pixels as they were
    assert stages_of(gpuaug.Resize(20), gpuaug.CenterCrop(), jitter) == [("fused", 3)]
    assert stages_of(gpuaug.RandomResizedCrop(interpolation="nearest"), jitter) == [("batched", 1), ("fused", 1)]
    assert stages_of(gpuaug.RandomCrop(padding=2, fill=0.5), jitter) == [("batched", 1), ("fused", 1)]
    assert stages_of(equalize, jitter, gpuaug.Resize((16, 16))) == [("batched", 3)]  # sizes differ until the resize


def test_print_shows_the_plan_of_every_kind_of_images_that_was_given() -> None:
    policy = gpuaug.Policy(gpuaug.View(16, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip()))
    draws = gpuaug.sample(policy, range(2))
    augment = gpuaug.Augmenter(policy, "torchvision")
    before = str(augment)
    assert len(before.splitlines()) == 5
    augment(torch.zeros(2, 3, 20, 20, dtype=torch.uint8), draws)
    assert str(augment) == before
    augment(torch.zeros(2, 1, 20, 20), draws)
    augment([torch.zeros(4, 20, 20), torch.zeros(4, 20, 21)], draws)
    assert str(augment).splitlines()[5:] == [
        "  given floats of one size, 1 channel:",
        "  1 x 16x16 float32",
        "    1. torchvision: RandomResizedCrop -> RandomHorizontalFlip",
        "       a view reads 2 kB, writes 2 kB",
        "    one perfect pass would move 2 kB, 50% of this",
        "  given floats of several sizes, 4 channels:",
        "  1 x 16x16 float32",
        "    1. torchvision: RandomResizedCrop -> RandomHorizontalFlip",
        "       a view reads 8 kB, writes 8 kB",
        "    one perfect pass would move 8 kB, 50% of this",
    ]


def test_a_policy_for_many_channels_shows_its_plan_before_it_runs() -> None:
    policy = gpuaug.Policy(gpuaug.View(16, gpuaug.RandomResizedCrop(), gpuaug.Normalize([0.1, 0.2, 0.3, 0.4], 0.5)))
    assert "  given floats of one size, 4 channels:" in str(gpuaug.Augmenter(policy)).splitlines()
