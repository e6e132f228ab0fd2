"""The command `python -m benchmarks`: run, compare, report, readme, gpu-check, model, list.

Its options are read by argparse, since `gpu-check` runs on machines that have few packages; docs/gpu-check.md names them.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any

from .measure import cores

LEAST_REPEATS, REPEATS = 10, 20

SECONDS = {False: 0.1, True: 0.06}
"""Whether the run is quick -> seconds that a repeat lasts at least."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

SUITES = {
    "augment": "decoded images in memory -> views",
    "scaling": "time against batch, image size, threads and views, and the exponent",
    "memory": "peak memory of a batch of views",
    "mix": "a batch of views and classes -> mixed views and soft labels",
    "train": "a training step, and how long it waits for its data",
    "decode": "image files -> pixels",
    "loader": "image files, or arrays, -> batches of two views",
}
"""Each suite, and what it measures."""

LOADERS = ("train", "loader")
"""Suites that measure a loader, which gets all cores unless `--threads` says otherwise."""


def parser() -> ArgumentParser:
    """Every command with its options; a parsed line holds the command's function as `work`, and its parser as `parser`."""
    whole = ArgumentParser("python -m benchmarks", description="What augmentation costs on this machine.", allow_abbrev=False)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, work: Any, help: str) -> Any:
        made = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        made.set_defaults(work=work, parser=made)
        return made.add_argument

    add = command("run", run_suites, "Measure, and print a table.")
    add("suites", nargs="*", type=suite, metavar="SUITE", help=f"{', '.join(SUITES)} or all; `list` says what each measures")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="device of images and views (default: cpu)")
    add("--threads", type=int, help="threads that each contender may use (default: 1; all cores for train, loader)")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="type of the views (default: float32)")
    add("--policy", nargs="+", default=(), metavar="NAME", help="these policies only (default: those that `list` shows)")
    add("--contender", nargs="+", default=(), metavar="NAME", help="these contenders only (default: those that `list` shows)")
    add("--batch", type=int, help="images in a call (default: the workload's)")
    add("--data", type=Path, metavar="FOLDER", help="images, in one folder a class (default: cut from photographs)")
    add("--repeats", type=int, default=REPEATS, help=f"timed rounds, {LEAST_REPEATS} or more (default: {REPEATS})")
    add("--minutes", type=float, help="minutes after which a suite begins no further round (default: no limit)")
    add("--seed", type=int, default=0, help="seed of every contender's draws (default: 0)")
    add("--quick", action="store_true", help="small batches and short repeats: rough figures")
    add("--json", metavar="FILE", help="write the results here; auto means benchmarks/results/MACHINE--DEVICE--DATE.json")
    add("--plot", type=Path, metavar="FILE.png", help="write a picture of the first suite here")
    add = command("compare", run_compare, "Compare two result files, cell by cell; status 1 if speed was lost beyond noise.")
    add("old", type=Path, metavar="OLD.json", help="result file of the code before")
    add("new", type=Path, metavar="NEW.json", help="result file of the code after")
    add = command("report", run_report, "Write results as one HTML page.")
    add("files", nargs="*", type=Path, metavar="FILE.json", help="result files")
    add("-o", "--out", type=Path, default=Path("report.html"), metavar="FILE.html", help="page (default: report.html)")
    add("--png", type=Path, metavar="FOLDER", help="write every chart as a PNG into this folder as well")
    add = command("readme", run_readme, "Write the README's tables and picture from result files.")
    add("files", nargs="*", type=Path, metavar="FILE.json", help="result files (default: those that the README names)")
    add("--check", action="store_true", help="only say whether README and results agree; status 1 if they do not")
    add("--readme", type=Path, default=Path("README.md"), metavar="FILE.md", help="the README (default: README.md)")
    add = command(
        "gpu-check",
        run_gpu_check,
        "Prove correctness and speed on this machine's GPU; status 1 if a step failed or a promise is missed.",
    )
    add("--minutes", type=float, help="minutes that all steps may take together (default: 10 with CUDA, 4 without)")
    add("--data", type=Path, metavar="FOLDER", help="JPEGs, in one folder a class (default: cut from photographs)")
    add("--json", type=Path, default=Path("gpu-check.json"), metavar="FILE.json", help="result file (default: gpu-check.json)")
    add("--step", nargs="+", default=(), metavar="NAME", help="these steps only; `--step list` shows them (default: all)")
    add("--device", choices=("auto", "cuda", "cpu"), default="auto", help="auto takes CUDA if there is any (default: auto)")
    add("--quick", action="store_true", help="a few cases and tiny batches, to try the command itself")
    add = command("model", run_model, "Predict what the CUDA kernels cost on a GPU, without one.")
    add("--device", choices=("sm_75", "sm_80", "sm_90"), default="sm_90", help="T4, A100, or H100 and H200 (default: sm_90)")
    add("--draws", type=int, default=64, help="images to draw for each workload; more take longer (default: 64)")
    add("--workload", nargs="+", default=(), metavar="NAME", help="these of the core workloads only (default: all five)")
    add("--yuv", action="store_true", help="images as planes of brightness and colours at half resolution (default: RGB)")
    add("--blocks", action="store_true", help="first print every basic block of the machine code, and how often it runs")
    add("--write", type=Path, metavar="FILE.md", help="also replace the marked section of this page")
    command("list", run_list, "List suites, workloads, contenders and targets.")
    return whole


def suite(name: str) -> str:
    if name not in (*SUITES, "all"):
        raise ArgumentTypeError(f"unknown suite {name}; one of {', '.join(SUITES)}, all")
    return name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The words after `python -m benchmarks`; those of this process by default.

    Returns:
        The exit status: 0; 1 if `compare` finds a loss, `readme --check` a difference or `gpu-check` a failure; 2 for bad
        input; 130 after Ctrl-C.

    Raises:
        SystemExit: With status 0 after `--help`, with status 2 for a command line that does not parse.
    """
    read, unknown = parser().parse_known_args(argv)
    options = vars(read)
    work, own = options.pop("work"), options.pop("parser")
    if unknown:  # the parser of the whole would show the usage of all commands
        own.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return work(**options) or 0
    except (ValueError, OSError, ImportError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130


def run_suites(
    suites: Sequence[str],
    device: str,
    threads: int | None,
    dtype: str,
    policy: Sequence[str],
    contender: Sequence[str],
    batch: int | None,
    data: Path | None,
    repeats: int,
    minutes: float | None,
    seed: int,
    quick: bool,
    json: str | None,
    plot: Path | None,
) -> None:
    if not suites:
        raise ValueError(f"run: name one SUITE or more: {', '.join(SUITES)} or all")
    for option, value, least in (
        ("threads", threads, 1),
        ("batch", batch, 1),
        ("repeats", repeats, LEAST_REPEATS),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"--{option} must be at least {least}, got {value}")
    check_minutes(minutes)
    names = suites_of(suites)
    each = {name: threads_of(name, threads) for name in names}
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(max(each.values()))
    from .measure import result  # only now: OpenMP reads the variables when it is loaded
    from .report import charts, table
    from .suites.common import Request, usable

    usable(device)
    done: list[result.Result] = []
    for name in names:
        settings = result.Run(device, each[name], dtype, repeats, seed, quick, SECONDS[quick])
        end = inf if minutes is None else time.monotonic() + 60 * minutes
        request = Request(settings, tuple(policy), tuple(contender), batch, data, end)
        suite = import_module(f".suites.{name}", __package__)
        done.append(suite.measure(request, lambda text, name=name: print(f"benchmarks: {name}: {text}", file=sys.stderr)))
        print("\n\n" * (len(done) > 1) + table.render(done[-1]), flush=True)
        if json:  # after each suite, so that an interrupted run keeps what it has
            result.save(done, result.output_path(done, json))
    if json:
        print(f"benchmarks: wrote {result.output_path(done, json)}", file=sys.stderr)
    if plot:
        found = charts.charts(done[0])
        if not found:
            raise ValueError("--plot: no contender was measured")
        charts.png(next(iter(found.values())), done[0], plot)


def suites_of(names: Sequence[str]) -> list[str]:
    """The suites to run, each once; "all" stands for all of them."""
    return list(dict.fromkeys(name for given in names for name in (SUITES if given == "all" else [given])))


def check_minutes(given: float | None) -> None:
    if given is not None and not 0 < given < 24 * 60:
        raise ValueError(f"--minutes must be above 0 and below a day, got {given:g}")


def threads_of(suite: str, given: int | None) -> int:
    """Threads that a suite's contenders may use: as given, or one, or all cores where the suite measures a loader."""
    return given or (cores() if suite in LOADERS else 1)


def run_compare(old: Path, new: Path) -> int:
    from .measure import result
    from .report import compare

    found = [(a, b, compare.compare(a, b)) for a, b in compare.pairs(result.load(old), result.load(new))]
    print("\n\n".join(compare.render(*one) for one in found))
    losses = sum(len(comparison.losses) for _, _, comparison in found)
    print(f"\n{losses} of {sum(len(c.rows) for _, _, c in found)} rows lost speed beyond noise")
    return int(losses > 0)


def run_report(files: Sequence[Path], out: Path, png: Path | None) -> None:
    from .measure import result
    from .report import html

    if not files:
        raise ValueError("report: name one FILE.json or more")
    loaded = [(path.name, result.load(path)) for path in files]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html.page(loaded), encoding="utf-8")
    for path in [out, *(html.pictures(loaded, png) if png else [])]:
        print(f"benchmarks: wrote {path}", file=sys.stderr)


def run_readme(files: Sequence[Path], check: bool, readme: Path) -> int:
    from .measure import result
    from .report import readme as page

    named = files or page.sources(readme)
    found = [one for file in named for one in page.shown_of(result.load(file), file)]
    wanted = page.block(found, named, readme.parent)
    if check:
        differs = page.stale(readme, wanted)
        print(f"{readme} {'differs from' if differs else 'agrees with'} {', '.join(map(str, named))}")
        return int(differs)
    page.write(readme, wanted, found)
    print(f"benchmarks: wrote {readme} and {readme.parent / page.PICTURE}", file=sys.stderr)
    return 0


def run_gpu_check(minutes: float | None, data: Path | None, json: Path, step: Sequence[str], device: str, quick: bool) -> int:
    from . import gpucheck
    from .suites.common import usable

    if list(step) == ["list"]:
        print("\n".join(task.name for task in gpucheck.TASKS))
        return 0
    check_minutes(minutes)
    if data is not None and not data.is_dir():
        raise ValueError(f"--data {data}: no such folder")
    usable(device)
    return gpucheck.command(step, gpucheck.device_of(device), quick, data, minutes, json)


def run_model(device: str, draws: int, workload: Sequence[str], yuv: bool, blocks: bool, write: Path | None) -> None:
    from .model import predict

    predict.command(device, draws, workload, yuv, blocks, write)


def run_list() -> None:
    from .report import listing

    print(listing.render(SUITES))


if __name__ == "__main__":
    sys.exit(main())
