"""`python -m ssl_train.table`: all methods on part of a data set, against the untrained network and raw pixels."""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from gpuaug.data import FolderSource
from gpuaug.data.atomic import atomic

from .command import arg, parse
from .criteria import CRITERIA
from .data import image_folder, open_data
from .errors import UserError, exit_status
from .evaluate import features, knn, plain_loaders
from .measures import colour_prediction, linear_probe, rankme
from .methods import METHODS
from .model import backbone
from .options import FLAG, FOLDER, NAMED, Settings
from .run import versions
from .settings import recipe
from .train import train

Row = dict[str, float]

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "simclr + augself": ("simclr", {"aware": "augself"}),
    "simclr + cassle": ("simclr", {"aware": "cassle"}),
    "simclr + equimod": ("simclr", {"aware": "equimod"}),
    "simclr + hard views": ("simclr", {"hard_views": 4}),
    "byol + augself": ("byol", {"aware": "augself"}),
    "byol + hard views": ("byol", {"hard_views": 4}),
}
"""More rows: a method, and the settings that it is trained with besides its own."""
BASELINES = ("raw pixels", "untrained")
PERCENT = ("knn", "linear", "colour")


@dataclass(frozen=True)
class Options:
    """Train every method in one small setting and tabulate kNN accuracy, linear accuracy and more.

    Colour is how well the features of a plain and of a jittered view tell the jitter's parameters, as R^2. The optimizer is
    AdamW. Each figure is the mean over the seeds, with its standard error.

    Results are written after every run. The same command continues an interrupted table.
    """

    data: Annotated[str, NAMED] = "photos"
    """photos, or a folder that has train/ and test/, such as CIFAR-10's images."""
    methods: Annotated[tuple[str, ...], arg(metavar="NAME...")] = (*METHODS, *VARIANTS)
    """Methods to train, and methods with additions such as 'simclr + augself'; one row each."""
    seeds: Annotated[tuple[int, ...], arg(metavar="INT...")] = (0, 1, 2)
    """Seeds of the runs. All methods are trained with the first seed, then all with the second, and so on."""
    images: int = 5000
    """Number of training images, evenly distributed over the classes."""
    test_images: int = 2000
    """Number of test images, evenly distributed over the classes."""
    stored: int = 32
    """Side in pixels of the images that are decoded once and kept; crops are taken from these."""
    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 128
    """Images per step."""
    size: int = 32
    """Side of a view in pixels."""
    backbone: Annotated[str, NAMED] = "resnet10_quarter"
    """Network, a name that `python -m ssl_train --help` lists."""
    projector: int = 512
    """Largest width of the heads' layers; the published 2,048 to 8,192 would take most of the time here."""
    prototypes: int = 256
    """Number of prototypes of SwAV and DINO; their published thousands are for at least ten times as many images."""
    momentum: float = 0.99
    """Momentum of all moving averages at the start; DINO's published 0.9995 hardly moves in so few steps."""
    learning_rate: float = 4e-3
    """Peak learning rate of AdamW for 256 images per batch."""
    knn_k: int = 20
    """Neighbours that vote in the kNN evaluation."""
    num_workers: int = 1
    """Worker threads of the data loader."""
    out: Annotated[Path, FOLDER] = Path("runs/table")
    """Folder for the runs."""
    results: Annotated[Path, arg(metavar="FILE.json")] = Path("runs/table/table.json")
    """File of the results; the Markdown table is written beside it."""
    render: Annotated[bool, FLAG] = False
    """Only write the Markdown table again from the results."""


def subset(o: Options) -> Path:
    """Decode the first images of each class in both splits, with `gpuaug pack`. Returns the folder of the packed splits."""
    from gpuaug.cli import main as gpuaug_command  # needs tyro

    source = open_data(o.data) if o.data == "photos" else image_folder(Path(o.data))
    if source.test is None:
        raise UserError(f"--data {o.data}: it must have train/ and test/, each with one folder of images per class")
    for split, folder, count in (("train", source.train, o.images), ("test", source.test, o.test_images)):
        links, packed = o.out / "links" / split, o.out / "images" / split
        classes = [Path(folder, name) for name in FolderSource(folder, labels=True).classes]
        for place in classes:
            (links / place.name).mkdir(parents=True, exist_ok=True)
            for file in sorted(place.iterdir())[: count // len(classes)]:
                if not (links / place.name / file.name).exists():
                    (links / place.name / file.name).symlink_to(file.resolve())
        words = ["pack", str(links), str(packed), "--format", "raw", "--size", str(o.stored), "--workers", "1"]
        if gpuaug_command(words):
            raise UserError(f"--data {o.data}: gpuaug pack could not pack it, see above")
    return o.out / "images"


def run_settings(o: Options, data: Path, name: str, seed: int, out: Path) -> Settings:
    """The settings of one run: the method's own recipe, except for what the options and a variant determine."""
    method, more = VARIANTS.get(name, (name, {}))
    own = recipe(Settings(method=method, size=o.size))
    heads = own.projector.layers > 0
    width = min(o.projector, own.projector.out)
    batch_per_dim = CRITERIA[METHODS[method].loss].batch_per_dim
    if batch_per_dim:
        width = min(width, o.batch_size // batch_per_dim)  # in smaller batches whitening hides a collapse
    same: dict[str, Any] = {
        name: getattr(o, name) for name in ("backbone", "size", "batch_size", "epochs", "learning_rate", "num_workers")
    }
    return Settings(
        method=method,
        data=str(data),
        **same,
        **more,
        seed=seed,
        optimizer="adamw",
        weight_decay=1e-4,
        scaling="linear",
        momentum=o.momentum if METHODS[method].target == "momentum" else None,
        target_temperature=own.target_temperature[0],  # the published schedule has hardly raised it so early
        prototypes=o.prototypes if own.outputs else None,
        projector_hidden=o.projector if heads else None,
        projector_dim=width if heads else None,
        device="cpu",
        eval_every=0,
        probe="off",
        out=str(out),
        resume="auto",
    )


def measure(encode: Callable[[torch.Tensor], torch.Tensor], o: Options, data: Path) -> Row:
    """The quality of features: kNN, linear accuracy and colour on the test images, and RankMe of the training images."""
    loaders = plain_loaders(image_folder(data), o.size)
    bank, queries = (features(encode, loader, torch.device("cpu")) for loader in loaders)
    return {
        "knn": knn(bank, queries, o.knn_k),
        "linear": linear_probe(bank, queries, epochs=20),
        "colour": colour_prediction(encode, *loaders)["r2"],
        "rankme": rankme(bank[0]),
    }


def trained(o: Options, data: Path, name: str, seed: int) -> Row:
    """Train a method and measure it."""
    folder = o.out / f"{name.replace(' ', '')}-{seed}"
    settings = run_settings(o, data, name, seed, folder)
    resumed = (folder / "checkpoint.pt").exists()
    start = time.process_time()
    run = train(settings)
    spent = {} if resumed else {"cpu_s": time.process_time() - start}  # of a resumed run it would only be a part
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = measure(run.model.eval().backbone, o, data)
    return found | {"first_loss": losses[0], "last_loss": losses[-1]} | spent


def untrained(o: Options, data: Path, seed: int) -> Row:
    """Measure the network that every method of this seed starts from."""
    torch.manual_seed(seed)
    return measure(backbone(o.backbone, o.size)[0].eval(), o, data)


def collect(o: Options) -> None:
    """Make every run that is missing in the results, and add it to them."""
    unknown = [name for name in o.methods if name not in (*METHODS, *VARIANTS)]
    if unknown:
        known = [*METHODS, *(f"'{name}'" for name in VARIANTS)]
        raise UserError(f"--methods {unknown[0]}: unknown; choose from {', '.join(known)}")
    about = {**asdict(o), "data": Path(o.data).name}
    about = {name: value for name, value in about.items() if name not in ("methods", "seeds", "out", "results", "render")}
    found: dict[str, Any] = {"options": about, "versions": versions(), "rows": {}}
    if o.results.exists():
        found = json.loads(o.results.read_text())
        changed = [name for name, value in about.items() if found["options"].get(name) != value]
        if changed:
            raise UserError(
                f"--{changed[0].replace('_', '-')}: {o.results} holds runs with another value; choose another --results"
            )
    data = subset(o)
    for seed in o.seeds:
        for name in (*BASELINES, *o.methods):
            rows = found["rows"].setdefault(name, {})
            if str(seed) in rows or (name == "raw pixels" and rows):
                continue
            if name == "raw pixels":
                rows[str(seed)] = measure(lambda view: view, o, data)
            else:
                rows[str(seed)] = untrained(o, data, seed) if name == "untrained" else trained(o, data, name, seed)
            with atomic(o.results) as file:
                file.write(json.dumps(found, indent=1).encode())


def cell(values: Sequence[float], scale: float = 100, sign: str = "") -> str:
    """The mean, and its standard error if there are several values, as text; empty without values. sign: "+" shows it."""
    if not values:
        return ""
    error = f" ± {scale * statistics.stdev(values) / math.sqrt(len(values)):.1f}" if len(values) > 1 else ""
    return f"{scale * statistics.fmean(values):{sign}.1f}{error}"


def columns(seeds: dict[str, Row]) -> dict[str, list[float]]:
    """The values of a row's seeds by column; a value that a seed lacks, as results of an earlier version do, is left out."""
    found = defaultdict[str, list[float]](list)
    for row in seeds.values():
        for key, value in row.items():
            found[key].append(value)
    return found


def differences(one: dict[str, Row], other: dict[str, Row]) -> dict[str, Row]:
    """`one` less `other`, for the seeds and columns that both have."""
    return {seed: {k: one[seed][k] - other[seed][k] for k in one[seed] if k in other[seed]} for seed in one if seed in other}


def markdown(found: dict[str, Any], source: str) -> str:
    """The results as Markdown: a table of all rows, and one of what the additions change. source: the name of their file."""
    o, rows = found["options"], found["rows"]
    lines = [
        "# All methods, on a small budget",
        "",
        f"{o['images']} training and {o['test_images']} test images of {o['data']} at {o['size']} pixels, {o['epochs']} epochs"
        f" of batches of {o['batch_size']}, {o['backbone']}, AdamW; kNN with k = {o['knn_k']}.",
        f"Mean and standard error over seeds, from [{source}]({source}).",
        "",
        "| features | seeds | kNN (%) | linear (%) | colour (R², %) | RankMe | loss, first to last | CPU seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted(rows, key=(*BASELINES, *METHODS, *VARIANTS).index):
        c = columns(rows[name])
        cells = [str(len(rows[name])), *(cell(c[key]) for key in PERCENT), cell(c["rankme"], scale=1), "", ""]
        if c["last_loss"]:
            cells[-2] = f"{statistics.fmean(c['first_loss']):.3g} to {statistics.fmean(c['last_loss']):.3g}"
        if c["cpu_s"]:
            cells[-1] = f"{statistics.fmean(c['cpu_s']):.0f}"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    pairs = [
        (name, differences(rows[name], rows[VARIANTS[name][0]]))
        for name in VARIANTS
        if name in rows and VARIANTS[name][0] in rows
    ]
    if pairs:
        lines += [
            "",
            "What each addition changes, seed by seed: mean and standard error of the differences, in points.",
            "",
            "| addition | seeds | kNN | linear | colour | CPU seconds |",
            "|---|---|---|---|---|---|",
        ]
    for name, seeds in pairs:
        c = columns(seeds)
        cells = [str(len(seeds)), *(cell(c[key], sign="+") for key in PERCENT), cell(c["cpu_s"], scale=1, sign="+")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table(o: Options) -> str:
    """Write the Markdown table beside the results, after making the runs that are missing. Returns its text."""
    if not o.render:
        collect(o)
    text = markdown(json.loads(o.results.read_text()), o.results.name)
    with atomic(o.results.with_suffix(".md")) as file:
        file.write(text.encode())
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse(Options, "python -m ssl_train.table", argv)
    return exit_status("ssl_train.table", lambda: print(table(options)), lambda: "interrupted; the same command continues")


if __name__ == "__main__":
    sys.exit(main())
