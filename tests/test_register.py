"""A user's registered op runs where gpuaug's ops do; the example is that of docs/own-ops.md."""

from __future__ import annotations

import importlib
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import backends
from gpuaug.ops import OpDraws

ROOT = Path(__file__).parent.parent
CODE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own-ops.md").read_text(encoding="utf-8"), flags=re.DOTALL)
SHOWN = re.findall(r"```\n(Augmenter.*?)\n```", (ROOT / "docs" / "own-ops.md").read_text(encoding="utf-8"), flags=re.DOTALL)
GENERATOR = np.random.default_rng(0)
IMAGES = [GENERATOR.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((40, 50), (33, 31), (64, 48), (20, 90)) * 4]
BACKENDS = ["auto", "fused", "batched", "kornia"]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module on the page, importable from a folder on the path."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "channel_dropout.py").write_text(CODE[0])
    sys.path.insert(0, str(folder))
    yield importlib.import_module("channel_dropout")
    sys.path.remove(str(folder))
    backends.REGISTERED.pop(sys.modules.pop("channel_dropout").ChannelDropout)


def policy_of(*ops: gpuaug.Op, size: int = 24) -> gpuaug.Policy:
    return gpuaug.Policy(gpuaug.View(size, gpuaug.RandomResizedCrop(), *ops))


def views(policy: gpuaug.Policy, backend: str) -> torch.Tensor:
    return gpuaug.Augmenter(policy, backend)(IMAGES, gpuaug.sample(policy, range(len(IMAGES)), seed=4))[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_drops_the_channel_that_was_drawn(module: Any, backend: str) -> None:
    policy = policy_of(module.ChannelDropout(p=0.5))
    draws = gpuaug.sample(policy, range(len(IMAGES)), seed=4).tables[0][1]
    assert 0 < draws["apply"].sum() < len(IMAGES)
    assert set(draws["channel"][draws["apply"]]) == {0, 1, 2}
    plain = views(policy_of(), backend)
    for k, view in enumerate(views(policy, backend)):
        if draws["apply"][k]:
            plain[k, draws["channel"][k]] = 0
        assert torch.equal(view, plain[k])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_view_has_the_same_bits_alone_and_in_a_batch(module: Any, backend: str) -> None:
    policy = policy_of(gpuaug.OneOf(module.ChannelDropout(), gpuaug.RandomInvert(1.0)), gpuaug.ColorJitter(0.4))
    together = views(policy, backend)
    for k in range(len(IMAGES)):
        (alone,) = gpuaug.Augmenter(policy, backend)(IMAGES[k : k + 1], gpuaug.sample(policy, [k], seed=4))
        assert torch.equal(alone[0], together[k])


def test_it_runs_on_images_of_different_sizes(module: Any) -> None:
    first = gpuaug.Policy(gpuaug.View(24, module.ChannelDropout(), gpuaug.Resize((24, 24))))
    last = gpuaug.Policy(gpuaug.View(24, gpuaug.Resize((24, 24)), module.ChannelDropout()))
    made = [views(policy, "batched") for policy in (first, last)]
    draws = [gpuaug.sample(p, range(len(IMAGES))).columns(0)["ChannelDropout.channel"] for p in (first, last)]
    assert np.array_equal(*draws)
    assert torch.allclose(*made, atol=1e-5)


def test_the_page_shows_the_plan(module: Any) -> None:
    names = {**vars(module)}
    exec(CODE[1].replace("print(", "shown = str("), names)
    assert names["shown"] == SHOWN[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataloader_runs_it(module: Any, workers: int) -> None:
    policy = policy_of(module.ChannelDropout())
    pixels = GENERATOR.integers(0, 256, (12, 30, 30, 3), dtype=np.uint8)
    loader = gpuaug.DataLoader((pixels, range(12)), policy, 4, num_workers=workers, seed=4)
    made = torch.cat([view for view, _ in loader])
    (expected,) = gpuaug.Augmenter(policy)(list(pixels), gpuaug.sample(policy, range(12), seed=4))
    assert torch.equal(made, expected)


def test_a_fresh_process_that_unpickles_an_augmenter_runs_it(module: Any, tmp_path: Path) -> None:
    """The pickle names the op's module, and importing this module registers the op."""
    augment = gpuaug.Augmenter(policy_of(module.ChannelDropout()))
    (tmp_path / "augment.pickle").write_bytes(pickle.dumps(augment))
    np.save(tmp_path / "image.npy", IMAGES[0])
    program = (
        "import pickle, sys, numpy, torch\n"
        "augment = pickle.load(open('augment.pickle', 'rb'))\n"
        "import gpuaug\n"
        "(view,) = augment([numpy.load('image.npy')], gpuaug.sample(augment.policy, [0], seed=4))\n"
        "torch.save(view, 'view.pt')"
    )
    path = f"import sys; sys.path[:0] = [{str(Path(module.__file__).parent)!r}, {str(ROOT)!r}]\n"
    done = subprocess.run([sys.executable, "-c", path + program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(tmp_path / "view.pt"), views(augment.policy, "auto")[:1])


def test_gradients_pass(module: Any) -> None:
    op = module.ChannelDropout()
    x = torch.rand(2, 3, 4, 5, requires_grad=True)
    channel = np.array([2, 0])
    weight = torch.rand(2, 3, 4, 5)
    out = backends.load("batched").apply(x, [op], [{"channel": channel}])
    assert isinstance(out, torch.Tensor)
    (out * weight).sum().backward()
    assert x.grad is not None
    weight[0, 2] = weight[1, 0] = 0
    assert torch.equal(x.grad, weight)


@dataclass(frozen=True)
class Halve(gpuaug.Op):
    """Keep every second row and column: an op that changes the size."""

    def output_size(self, size: gpuaug.ops.Size | None) -> gpuaug.ops.Size | None:
        return None if size is None else (-(-size[0] // 2), -(-size[1] // 2))


@pytest.fixture
def registry() -> Any:
    before = dict(backends.REGISTERED)
    yield backends.REGISTERED
    backends.REGISTERED.clear()
    backends.REGISTERED.update(before)


def test_an_op_may_change_the_size(registry: Any) -> None:
    gpuaug.register(Halve, lambda x, op, draws: x[:, :, ::2, ::2])
    policy = gpuaug.Policy(gpuaug.View((12, 13), gpuaug.CenterCrop((24, 25)), Halve(), gpuaug.Normalize()))
    whole = gpuaug.Policy(gpuaug.View((24, 25), gpuaug.CenterCrop((24, 25)), gpuaug.Normalize()))
    assert torch.allclose(views(policy, "auto"), views(whole, "auto")[:, :, ::2, ::2], atol=1e-6)


@dataclass(frozen=True)
class HalveSometimes(Halve):
    p: float = 0.5


def test_an_op_that_changes_the_size_is_refused_where_only_some_images_get_it(registry: Any) -> None:
    choice = gpuaug.OneOf(Halve(), gpuaug.RandomInvert(1.0))
    with pytest.raises(ValueError, match="OneOf: branches must be ops that keep the size"):
        gpuaug.View(12, gpuaug.RandomResizedCrop(24), choice)
    with pytest.raises(ValueError, match="HalveSometimes has a probability p and changes the size"):
        gpuaug.View(12, gpuaug.RandomResizedCrop(24), HalveSometimes())


def nothing(x: torch.Tensor, op: gpuaug.Op, draws: OpDraws) -> Any:
    return None


def test_a_function_that_gives_something_else_is_named(registry: Any) -> None:
    policy = gpuaug.Policy(gpuaug.View((12, 13), gpuaug.CenterCrop((24, 25)), Halve()))
    wanted = r"Halve: its registered function must return a tensor \(16, 3, 12, 13\) torch.float32 on cpu, got "
    for function, found in (
        (nothing, "NoneType"),
        (lambda x, op, draws: x, r"\(16, 3, 24, 25\) torch.float32"),
        (lambda x, op, draws: x[:, :, ::2, ::2].double(), r"\(16, 3, 12, 13\) torch.float64"),
    ):
        gpuaug.register(Halve, function)
        with pytest.raises(ValueError, match=wanted + found):
            views(policy, "batched")


def test_an_op_that_is_not_registered_is_named_with_what_to_do() -> None:
    policy = gpuaug.Policy(gpuaug.View((12, 13), gpuaug.CenterCrop((24, 25)), Halve()))
    for backend in BACKENDS:
        with pytest.raises(ValueError, match=r"has Halve\(\); give it a function of a batch with gpuaug\.register\(Halve, "):
            gpuaug.Augmenter(policy, backend)
    with pytest.raises(ValueError, match=r"no backend of torchvision has Halve\(\); use backend='auto'"):
        gpuaug.Augmenter(policy, "torchvision")


@dataclass
class Loose:
    """No op."""


@pytest.mark.parametrize(
    ("op", "function", "error", "message"),
    [
        (Loose, nothing, TypeError, "op must be a frozen dataclass derived from gpuaug.Op, got <class .*Loose"),
        (Halve(), nothing, TypeError, "op must be a frozen dataclass derived from gpuaug.Op, got Halve"),
        (Halve, 3, TypeError, r"function must be callable as function\(x, op, draws\), got 3"),
        (gpuaug.RandomInvert, nothing, ValueError, "RandomInvert is gpuaug's own; derive an op of another name"),
    ],
)
def test_what_cannot_be_registered_is_refused(op: Any, function: Any, error: type[Exception], message: str) -> None:
    before = dict(backends.REGISTERED)
    with pytest.raises(error, match=message):
        gpuaug.register(op, function)
    assert before == backends.REGISTERED


def test_registering_gives_the_function_back(registry: Any) -> None:
    assert gpuaug.register(Halve, nothing) is nothing
    assert gpuaug.register(Halve)(nothing) is nothing
    assert registry[Halve] is nothing


def test_the_module_stands_alone(module: ModuleType) -> None:
    """The page's module needs only gpuaug's public names."""
    assert re.findall(r"gpuaug\.(\w+)", CODE[0]) == ["Op", "register"]
