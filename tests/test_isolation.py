"""A program's torch settings change no view: autocast, gradients, default dtype and device, torch.compile."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.cases import examples

import gpuaug as g
from gpuaug.backends import REQUIRES

BACKENDS = list(REQUIRES)

MAPS = [
    *(kind(30, interpolation=mode) for kind in (g.RandomAffine, g.RandomRotation) for mode in ("nearest", "bilinear")),
    g.RandomPerspective(p=1.0),
    g.ColorJitter(0.4, 0.4, 0.4, 0.1),
    g.RandomGrayscale(1.0),
    g.RandomSolarize(p=1.0),
    g.RandomPosterize(4, 1.0),
    g.RandomEqualize(1.0),
    g.RandomAutocontrast(1.0),
    g.RandomInvert(1.0),
    g.GaussianBlur(5, p=1.0),
    g.GaussianNoise(),
    g.RandomAdjustSharpness(2.0, 1.0),
    g.RandomErasing(1.0),
    g.RandomErasing(1.0, value="random"),
    g.RandomHorizontalFlip(1.0),
    g.Normalize(),
    g.ToDtype(torch.float16),
]
MAPS += [
    replace(op, p=1.0) if hasattr(op, "p") else op  # type: ignore[type-var]
    for kind, op in examples().items()
    if kind not in {type(op) for op in MAPS}
]
CUTS = [
    *(g.RandomResizedCrop(interpolation=mode) for mode in ("nearest", "bilinear", "bicubic")),
    g.Resize((32, 32)),
    g.CenterCrop(),
    *(g.RandomCrop(padding=4, padding_mode=mode) for mode in ("constant", "edge", "reflect", "symmetric")),
]


def policies(backend: str) -> Iterator[g.Policy]:
    """Every op that the backend has, on views and on pictures of different sizes."""
    chains = [[cut] for cut in CUTS] + [[g.RandomResizedCrop(), op] for op in MAPS] + [[op, g.CenterCrop()] for op in MAPS]
    for chain in chains:
        policy = g.Policy(g.View(32, *chain))
        try:
            g.Augmenter(policy, backend)
        except ValueError:
            assert backend == "dali"
        else:
            yield policy


def photos() -> g.Images:
    rng = np.random.default_rng(0)
    return g.Images.from_list([rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((40, 50), (64, 33), (32, 32))])


@contextmanager
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "float64": float64,
    "a default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_views_of_every_op_are_the_same_under_any_setting(backend: str) -> None:
    images, changed = photos(), []
    for policy in policies(backend):
        draws = g.sample(policy, range(3), seed=1)
        (expected,) = g.Augmenter(policy, backend)(images, draws)
        for name, setting in SETTINGS.items():
            with setting():
                (view,) = g.Augmenter(policy, backend)(photos(), g.sample(policy, range(3), seed=1))
            if not (view.dtype == expected.dtype and view.device == expected.device and torch.equal(view, expected)):
                changed.append((name, str(policy)))
    assert not changed


def test_autocast_goes_on_around_an_augmenter() -> None:
    policy = g.policy("simclr", size=32)
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        views = g.Augmenter(policy)(photos(), g.sample(policy, range(3)))
        assert (views[0].flatten(1) @ views[1].flatten(1).T).dtype == torch.bfloat16
        assert torch.empty(1).device.type == "meta"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_default_device_changes_no_view_of_a_batch_that_the_pool_has_memory_for(backend: str) -> None:
    """Views of more than 64 kB, of pictures of one size and of several, and of floats; in both memory formats."""
    policy = g.Policy(g.View(96, g.RandomResizedCrop(interpolation="bicubic"), g.ColorJitter(0.4, 0.4, 0.4), g.Normalize()))
    batches = [lambda: photos(), lambda: g.Images.from_tensor(photo_tensor()), lambda: list(photo_tensor().permute(0, 2, 3, 1))]
    for batch in batches:
        for layout in (torch.contiguous_format, torch.channels_last):
            made = []
            for device in ("cpu", "meta"):
                with torch.device(device):
                    augment = g.Augmenter(policy, backend, memory_format=layout, approximate=backend == "dali")
                    made += augment(batch(), g.sample(policy, range(len(batch())), seed=1))
            assert made[1].device.type == "cpu"
            assert torch.equal(*made)


FACTORIES = {"arange", "empty", "empty_strided", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "randperm"}
FACTORIES |= {"as_tensor", "asarray", "scalar_tensor", "tensor", "zeros"}


@pytest.mark.parametrize("package", ["gpuaug", "ssl_train"])
def test_every_tensor_is_made_on_a_device_that_is_named(package: str) -> None:
    """So that it is not made where the program's default device happens to be."""
    root, unnamed = Path(__file__).parent.parent, []
    for path in sorted((root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (called := ast.unparse(node.func)).startswith("torch."):
                named = {keyword.arg for keyword in node.keywords} & {"device", "out"}
                if called.removeprefix("torch.") in FACTORIES and not named:
                    unnamed.append(f"{path.relative_to(root)}:{node.lineno}: {ast.unparse(node)}")
    assert unnamed == []


PROGRAM = """
import hashlib, sys
import numpy as np, torch, gpuaug
from PIL import Image
from torch.utils.data import ConcatDataset, DistributedSampler
from torchvision.datasets import ImageFolder

if __name__ == "__main__":
    if sys.argv[1] != "cpu":
        torch.set_default_device(sys.argv[1])
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)

    class Pictures:
        def __init__(self, target): self.target = target
        def __len__(self): return len(pixels)
        def __getitem__(self, i): return Image.fromarray(pixels[i]), self.target(i)

    folder = sys.argv[2]
    numbers = ImageFolder(folder, target_transform=lambda t: t * 2.5)
    nested = Pictures(lambda i: {"a": i, "b": (float(i), np.float32(i))})
    sources = {
        "arrays": (pixels, np.arange(12)), "folder": folder, "transformed": numbers, "dataset": nested,
        "concatenated": ConcatDataset([Pictures(float), numbers]), "sampler": (pixels, np.arange(12)),
    }

    def tensors(tree):
        if isinstance(tree, torch.Tensor): return [tree]
        return [t for v in (tree.values() if isinstance(tree, dict) else tree) for t in tensors(v)]

    def digest(batches):
        out = hashlib.sha1()
        for tensor in tensors(batches):
            assert tensor.device.type == "cpu", tensor.device
            out.update(str(tensor.dtype).encode() + tensor.numpy().tobytes())
        return out.hexdigest()

    for backend in ("fused", "batched", "kornia", "torchvision", "dali"):
        policy = gpuaug.policy("barlow_twins", size=32)
        augment = gpuaug.Augmenter(policy, backend)
        augment.prepare()
        print(backend, digest(augment(list(pixels), gpuaug.sample(policy, range(12), seed=3))))
        assert {view.device.type for view in augment.empty(1)} == {"cpu"}
    for name, source in sources.items():
        for workers in (0, 2):
            sampler = DistributedSampler(range(12), 2, 1) if name == "sampler" else None
            for decoder in ("pillow", "dali") if name == "folder" else ("auto",):
                loader = gpuaug.DataLoader(source, "simclr_cifar", 4, sampler=sampler, num_workers=workers, decoder=decoder)
                print(name, workers, decoder, digest(list(loader)))
    gpuaug.gallery.contact_sheet(gpuaug.policy("simclr_cifar"), [pixels[0]], folder + "/../sheet.png")
    print(hashlib.sha1(open(folder + "/../sheet.png", "rb").read()).hexdigest())
"""


def test_the_default_device_changes_no_byte_of_a_program(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(1)
    for k in range(6):
        path = tmp_path / "photos" / str(k % 2) / f"{k}.{'jpg' if k % 3 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30 + k, 50 - k, 3), dtype=np.uint8)).save(path)

    def lines(device: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", "import gpuaug.gallery\n" + PROGRAM, device, str(tmp_path / "photos")],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    expected = lines("cpu")
    assert len(expected) == 5 + 7 * 2 + 1
    assert lines("meta") == expected


def photo_tensor() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 40, 50), dtype=np.uint8))


@pytest.fixture
def compiled() -> Iterator[Callable[..., Any]]:
    """torch.compile with an empty cache."""
    torch._dynamo.reset()
    yield torch.compile
    torch._dynamo.reset()


@pytest.mark.parametrize("mode", ["eager", "aot_eager"])
@pytest.mark.parametrize("backend", ["fused", "batched", "kornia", "torchvision"])
def test_a_compiled_step_gets_the_same_views(compiled: Callable[..., Any], backend: str, mode: str) -> None:
    policy = g.policy("simclr", size=32)
    augment = g.Augmenter(policy, backend)

    def step(x: torch.Tensor, draws: g.Draws) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = augment(x.flip(3), draws)
        return a * 2, b + a

    fast = compiled(step, backend=mode)
    for epoch in range(3):
        draws = g.sample(policy, range(4), seed=1, epoch=epoch)
        for made, expected in zip(fast(photo_tensor(), draws), step(photo_tensor(), draws), strict=True):
            assert torch.equal(made, expected)


@pytest.mark.parametrize("versions", [1, 8])
def test_drawing_inside_a_compiled_step_draws_the_same(compiled: Callable[..., Any], versions: int) -> None:
    """This holds even where torch.compile gives up because it has compiled a function too often."""

    def step(pixels: torch.Tensor, index: torch.Tensor, augment: g.Augmenter) -> torch.Tensor:
        draws = g.sample(augment.policy, index, seed=5).take(slice(1, 4))
        images = g.Images.from_tensor(pixels[1:] ^ 1)
        return torch.stack(augment(images, draws)).mean(dim=(2, 3, 4))

    fast = compiled(step, backend="eager")
    with torch._dynamo.config.patch(recompile_limit=versions):
        for size in range(20, 30):
            augment = g.Augmenter(g.policy("byol", size=size))
            for first in (0, 2**40):
                index = torch.arange(first, first + 4)
                assert torch.equal(fast(photo_tensor(), index, augment), step(photo_tensor(), index, augment))


def test_a_second_batch_is_not_compiled_anew(compiled: Callable[..., Any]) -> None:
    policy = g.policy("byol", size=32)
    augment = g.Augmenter(policy)

    def step(pixels: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return torch.stack(augment(pixels ^ 1, g.sample(policy, index, seed=5))).mean(dim=(2, 3, 4))

    fast = compiled(step, backend="eager")
    for _ in range(2):
        fast(photo_tensor(), torch.arange(4))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for first in (4, 8, 12):
            fast(photo_tensor(), torch.arange(first, first + 4))


def test_an_augmenter_can_itself_be_compiled(compiled: Callable[..., Any]) -> None:
    policy = g.policy("simclr", size=32)
    augment = g.Augmenter(policy)
    draws = g.sample(policy, range(4))
    for made, expected in zip(
        compiled(augment, backend="eager")(photo_tensor(), draws), augment(photo_tensor(), draws), strict=True
    ):
        assert torch.equal(made, expected)
