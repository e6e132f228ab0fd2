"""`python -m ssl_train.table`: every method on a small part of a data set, beside its untrained network and raw pixels."""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

import gpuaug

from .checkpoint import write_atomic
from .data import image_folder, open_data
from .errors import UserError
from .evaluate import evaluation_policy, features, knn
from .measures import rankme
from .methods import METHODS
from .settings import Settings
from .train import train


@dataclass(frozen=True)
class Options:
    """Train every method in the same small setting, with AdamW, and tabulate kNN accuracy and RankMe: mean and standard error
    over the seeds. A run that is there already is not made again, so an interrupted table is continued by the same command."""

    data: str = "photos"
    """photos, or a folder that has train/ and test/, such as CIFAR-10's images."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Which rows."""
    seeds: tuple[int, ...] = (0, 1, 2)
    images: int = 5000
    """Training images, evenly over the classes; and at most as many test images."""
    epochs: int = 20
    batch_size: int = 128
    size: int = 32
    backbone: str = "resnet18_quarter"
    policy: str | None = None
    """One for all methods. Default: each method's own."""
    projector_hidden: int = 512
    """Width of the heads' hidden layers: the published 2,048 to 8,192 would be most of the work beside so small a backbone."""
    momentum: float = 0.99
    """Of all moving averages: DINO's published 0.9995 hardly moves in so few steps."""
    knn_k: int = 20
    device: str = "auto"
    num_workers: int = 1
    out: Path = Path("runs/table")


def subset(data: str, images: int, out: Path) -> Path:
    """A folder of links to the first images of each class in both splits of an image folder; returns it."""
    source = image_folder(Path(data)) if data not in ("photos", "cifar10") else open_data(data)
    if not isinstance(source.train, str):
        raise UserError(f"--data {data}: the table needs a folder of images; unpack them as train/CLASS/* and test/CLASS/*")
    for split, folder in (("train", Path(source.train)), ("test", Path(source.test))):
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        for place in classes:
            target = out / split / place.name
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(place.iterdir())[: images // len(classes)]:
                if not (target / file.name).exists():
                    (target / file.name).symlink_to(file.resolve())
    return out


def one_run(o: Options, data: Path, method: str, seed: int) -> dict[str, float]:
    """A method's row for one seed, from its file where it is there."""
    folder = o.out / f"{method}-{seed}"
    done = folder / "row.json"
    if done.exists():
        found: dict[str, float] = json.loads(done.read_text())
        return found
    s = Settings(method=method, data=str(data), policy=o.policy, backbone=o.backbone, size=o.size, batch_size=o.batch_size)
    s = replace(s, epochs=o.epochs, seed=seed, optimizer="adamw", device=o.device, num_workers=o.num_workers, knn_k=o.knn_k)
    s = replace(
        s, projector_hidden=o.projector_hidden, eval_every=o.epochs, out=str(folder), resume=(folder / "checkpoint.pt").exists()
    )
    if METHODS[method].target == "momentum":
        s = replace(s, momentum=o.momentum)
    run = train(s)
    loader = gpuaug.DataLoader(data / "train", evaluation_policy(o.size), batch_size=256, device=run.settings.device)
    x, _ = features(run.model.eval().backbone, loader, torch.device(run.settings.device))
    steps = [row for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if "loss" in row]
    row = {"untrained": run.knn[0], "knn": run.knn[o.epochs], "probe": run.probe[o.epochs][0], "rankme": rankme(x)}
    row |= {"first_loss": steps[0]["loss"], "last_loss": steps[-1]["loss"]}
    write_atomic(done, lambda file: file.write(json.dumps(row).encode()))
    return row


def pixels(o: Options, data: Path) -> float:
    """kNN accuracy of the pixels themselves."""
    device = torch.device("cpu")
    bank, queries = (
        features(lambda view: view, gpuaug.DataLoader(data / split, evaluation_policy(o.size), batch_size=256), device)
        for split in ("train", "test")
    )
    return knn(bank, queries, o.knn_k)


def cell(values: Sequence[float], percent: bool = True) -> str:
    """Mean, and its standard error where there are several."""
    scale = 100 if percent else 1
    error = f" ± {scale * statistics.stdev(values) / math.sqrt(len(values)):.1f}" if len(values) > 1 else ""
    return f"{scale * statistics.fmean(values):.1f}{error}"


def table(o: Options) -> str:
    """The table as Markdown, and all runs in table.json."""
    unknown = [name for name in o.methods if name not in METHODS]
    if unknown:
        raise UserError(f"--methods {unknown[0]}: unknown; there are {', '.join(METHODS)}")
    data = subset(o.data, o.images, o.out / "images")
    rows: dict[str, list[dict[str, Any]]] = {m: [one_run(o, data, m, seed) for seed in o.seeds] for m in o.methods}
    raw = pixels(o, data)
    lines = [
        f"kNN (k={o.knn_k}) on raw pixels: {100 * raw:.1f} %. {o.images} images, {o.epochs} epochs, {o.backbone}, AdamW,"
        f" {len(o.seeds)} seeds.",
        "",
        "| method | kNN (%) | linear probe (%) | untrained kNN (%) | RankMe | loss, first to last |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        column = {key: [row[key] for row in found] for key in found[0]}
        loss = f"{statistics.fmean(column['first_loss']):.3g} to {statistics.fmean(column['last_loss']):.3g}"
        cells = [cell(column["knn"]), cell(column["probe"]), cell(column["untrained"]), cell(column["rankme"], False), loss]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    about = json.dumps({"pixels": raw, "rows": rows}, indent=1)
    write_atomic(o.out / "table.json", lambda file: file.write(about.encode()))
    write_atomic(o.out / "table.md", lambda file: file.write(text.encode()))
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        print(table(tyro.cli(Options, prog="python -m ssl_train.table", args=argv)))
    except (UserError, OSError) as error:
        print(f"ssl_train.table: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ssl_train.table: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
