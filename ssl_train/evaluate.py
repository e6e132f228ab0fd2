"""`python -m ssl_train.evaluate RUN`: the quality of a run's features; and the kNN accuracy that training reports."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F  # noqa: N812

import gpuaug
from gpuaug.data.atomic import atomic

from . import checkpoint, measures
from .command import parse, tyro
from .data import Data, open_data
from .errors import UserError, exit_status
from .model import JointEmbedding
from .options import NAMED, ResolvedSettings, option
from .run import CHECKPOINT, saved_settings
from .settings import heads, known_device
from .views import run_policy

CHUNK = 1024
"""Queries that are compared at a time; their similarities to 50,000 images take 200 MB."""


def evaluation_policy(size: int) -> gpuaug.Policy:
    """Views without augmentation: up to 64 pixels the whole centre square, above that the usual 224/256 of it."""
    edge = size if size <= 64 else round(size * 256 / 224)
    view = gpuaug.View(size, gpuaug.Resize(edge), gpuaug.CenterCrop(), gpuaug.Normalize())
    return gpuaug.Policy(view, name="evaluation")


def plain_loader(source: Any, size: int, **more: Any) -> gpuaug.DataLoader:
    """All images without augmentation, on every rank; `more` are arguments of gpuaug.DataLoader."""
    return gpuaug.DataLoader(source, evaluation_policy(size), batch_size=256, rank=0, world_size=1, **more)


def plain_loaders(
    data: Data, size: int, bank: gpuaug.DataLoader | None = None, **more: Any
) -> tuple[gpuaug.DataLoader, gpuaug.DataLoader]:
    """Loaders of all training and all test images without augmentation.

    bank: the first of them, if it exists already. Raises UserError if either split has no labels.
    """
    if bank is None:
        bank = plain_loader(data.train, size, labels=data.labels, **more)
    if not bank.labelled:
        raise UserError(f"{data.train}: its images have no labels, so features cannot be evaluated on them")
    if data.test is None:
        raise UserError(
            f"{data.train}: there is no test/ (or val/) beside it to evaluate features on; to train without labels and "
            f"evaluate nothing, give --data {data.train}"
        )
    queries = plain_loader(data.test, size, **more)
    if not queries.labelled:
        raise UserError(f"{data.test}: it needs one folder of images per class, as {data.train} has them")
    return bank, queries


@torch.no_grad()
def features(
    encode: Callable[[torch.Tensor], torch.Tensor], loader: Iterable[Any], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, D) float32 and targets (N,) int64 of all images of a loader with one view, on the device."""
    x, y = zip(*((encode(view).flatten(1).float(), target) for view, target in loader), strict=True)
    return torch.cat(x), torch.cat(y).to(device)


def knn(
    train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor], k: int, temperature: float = 0.07
) -> float:
    """Accuracy of the weighted kNN classifier (Wu et al. 2018, arXiv 1805.01978, section 3.4).

    Each of the k nearest training features, by cosine similarity s, votes for its class with weight exp(s / temperature).

    Args:
        train: features (N, D) and targets (N,) of the training images.
        test: features (M, D) and targets (M,) of the test images.
        k: number of neighbours, 1..N.
        temperature: above 0.

    Returns:
        The share of test images with the right class, 0 to 1.

    Raises:
        ValueError: k is not in 1..N.
    """
    bank, labels = F.normalize(train[0], dim=1), train[1]
    if not 1 <= k <= len(bank):
        raise ValueError(f"knn: k must be in 1..{len(bank)}, the number of training images, got {k}")
    classes = int(labels.max()) + 1
    right = 0
    for x, y in zip(torch.split(test[0], CHUNK), torch.split(test[1], CHUNK), strict=True):
        similarity, nearest = (F.normalize(x, dim=1) @ bank.T).topk(k, dim=1)
        votes = torch.zeros(len(x), classes, device=x.device, dtype=similarity.dtype)
        votes.scatter_add_(1, labels[nearest], (similarity / temperature).exp())
        right += int((votes.argmax(dim=1) == y).sum())
    return right / len(test[0])


@dataclass(frozen=True)
class Options:
    """Evaluate the backbone of a run: kNN, logistic regression, a linear probe by SGD, RankMe, alignment and uniformity.

    The result is printed, and written to evaluation.json beside the checkpoint. The features are kept there too.
    """

    checkpoint: tyro.conf.Positional[Path]
    """Folder of the run, or the checkpoint.pt in it."""
    data: Annotated[str | None, option("NAME")] = None
    """Labelled images: photos, cifar10, or a folder that has train/ and test/. Default: what the run was trained on."""
    device: Annotated[str, NAMED] = "auto"
    """auto (CUDA if available), cpu, cuda, cuda:1, mps."""
    num_workers: int = 1
    """Worker threads of the data loader."""
    knn_k: int = 200
    """Neighbours that vote in the kNN evaluation, at most as many as there are training images."""
    probe_epochs: int = 100
    """Epochs of training for the linear probe."""


def checkpoint_of(run: Path) -> Path:
    """The path of the checkpoint in a run's folder; a path of a file stays as it is."""
    return run / CHECKPOINT if run.is_dir() else run


def load_run(path: Path) -> tuple[JointEmbedding, ResolvedSettings]:
    """The network of a checkpoint, on the CPU, and the settings beside it. Raises UserError if there is no run."""
    if not (path.is_file() and (path.parent / "settings.json").exists()):
        folder = path.parent if path.name == CHECKPOINT else path
        raise UserError(f"there is no run in {folder}; give a run's folder, with {CHECKPOINT} and settings.json in it")
    settings = saved_settings(path.parent)
    state = checkpoint.load(path)["model"]
    scores = next((w for name, w in state.items() if name.startswith("scores.") and name.endswith("weight")), None)
    classes = "scores.bias" in state
    model = JointEmbedding(settings.backbone, settings.size, *heads(settings), 0 if scores is None else len(scores), classes)
    model.load_state_dict(state)
    return model.eval(), settings


@torch.no_grad()
def run_features(options: Options, device: torch.device) -> dict[str, torch.Tensor]:
    """Features and embeddings of both splits without augmentation, and features of two augmented views of the test images.

    They are kept in features-KEY.pt beside the checkpoint, where KEY is a hash of the checkpoint and the name of the data.
    """
    model, s = load_run(options.checkpoint)
    data = options.data or s.data
    key = hashlib.sha256(options.checkpoint.read_bytes() + data.encode()).hexdigest()[:12]
    cache = options.checkpoint.with_name(f"features-{key}.pt")
    if cache.exists():
        return {name: x.to(device) for name, x in checkpoint.load(cache).items()}
    model = model.to(device)
    splits = open_data(data)
    more: dict[str, Any] = {"num_workers": options.num_workers, "device": device}
    found: dict[str, torch.Tensor] = {}
    try:
        loaders = plain_loaders(splits, s.size, **more)
    except UserError as error:
        raise UserError(f"--data {data}: {error}; give a data set with labels as --data") from None
    for name, loader in zip(("train", "test"), loaders, strict=True):
        found[f"{name}_x"], found[f"{name}_y"] = features(model.backbone, loader, device)
        found[f"{name}_z"] = torch.cat([model.projector(x) for x in torch.split(found[f"{name}_x"], 1024)])
    policy = run_policy(s.policy, s.size, 0, None)
    for k, view in enumerate(policy.views[:2]):
        one = gpuaug.DataLoader(loaders[1].dataset, gpuaug.Policy(view), batch_size=256, seed=k, **more)
        found[f"view{k}"], _ = features(model.backbone, one, device)
    checkpoint.save(cache, {name: x.cpu() for name, x in found.items()})
    return found


def evaluate(options: Options) -> dict[str, Any]:
    """Everything that the command prints. Raises UserError for something that the user can correct."""
    f = run_features(options, torch.device(known_device(options.device)))
    train, test = (f["train_x"], f["train_y"]), (f["test_x"], f["test_y"])
    k = min(options.knn_k, len(train[0]))
    return {
        "checkpoint": str(options.checkpoint),
        "images": {"train": len(train[0]), "test": len(test[0])},
        "knn": {"accuracy": knn(train, test, k), "k": k},
        "logistic": measures.logistic(train, test),
        "linear_probe": {"accuracy": measures.linear_probe(train, test, options.probe_epochs), "epochs": options.probe_epochs},
        "rankme": {name: measures.rankme(f[f"train_{x}"][:25_600]) for name, x in (("features", "x"), ("embeddings", "z"))},
        "alignment": measures.alignment(f["view0"], f["view1"]),
        "uniformity": measures.uniformity(f["test_x"]),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse(Options, "python -m ssl_train.evaluate", argv)
    options = replace(options, checkpoint=checkpoint_of(options.checkpoint))

    def work() -> None:
        try:
            text = json.dumps(evaluate(options), indent=2)
        except ValueError as error:
            raise UserError(str(error)) from error
        with atomic(options.checkpoint.with_name("evaluation.json")) as file:
            file.write(text.encode())
        print(text)

    return exit_status("ssl_train.evaluate", work)


if __name__ == "__main__":
    sys.exit(main())
