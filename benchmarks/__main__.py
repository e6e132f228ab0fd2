"""The command `python -m benchmarks`: run, compare, report, readme, gpu-check, model, list."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from .measure import cores

LEAST_REPEATS, REPEATS = 10, 20

SECONDS = {False: 0.1, True: 0.06}
"""Whether the run is quick -> seconds that a repeat lasts at least."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

SUITES = {
    "augment": "decoded images in memory -> views",
    "scaling": "time against batch, image size, threads and views, and the exponent",
    "memory": "peak memory of a batch of views",
    "train": "a training step, and how long it waits for its data",
    "decode": "image files -> pixels",
    "loader": "image files, or arrays, -> batches of two views",
}
"""Each suite, and what it measures."""

LOADERS = ("train", "loader")
"""Suites that measure a loader, which gets all cores unless `--threads` says otherwise."""

FLAG = arg(help_behavior_hint="")
if TYPE_CHECKING:
    Suite = str
else:
    Suite = tyro.extras.literal_type_from_choices([*SUITES, "all"])

Files = Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE.json...", help_behavior_hint="(required)")]
Names = Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: those that `list` shows)")]
Minutes = Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="(default: no limit)")]


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
    commands: dict[str, Callable[..., int | None]] = {
        "run": run_suites,
        "compare": run_compare,
        "report": run_report,
        "readme": run_readme,
        "gpu-check": run_gpu_check,
        "model": run_model,
        "list": run_list,
    }
    try:
        status = tyro.extras.subcommand_cli_from_dict(
            commands,
            prog="python -m benchmarks",
            description="What augmentation costs on this machine.",
            args=argv,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        return status or 0
    except (ValueError, OSError, ImportError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130


def run_suites(
    suites: Annotated[
        Positional[tuple[Suite, ...]],
        arg(metavar="SUITE...", help_behavior_hint="(required)"),
    ],
    *,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: 1; all cores for train, loader)")] = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    policy: Names = (),
    contender: Names = (),
    batch: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: the workload's)")] = None,
    data: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: cut from photographs)")] = None,
    repeats: int = REPEATS,
    minutes: Minutes = None,
    seed: int = 0,
    quick: Annotated[bool, FLAG] = False,
    json: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    plot: Annotated[Path | None, arg(metavar="FILE.png", help_behavior_hint="")] = None,
) -> None:
    """Measure, and print a table.

    Args:
        suites: augment, scaling, memory, train, decode, loader or all; `list` says what each measures.
        device: Device of images and views.
        threads: Threads that each contender may use, 1 or more.
        dtype: Type of the views.
        policy: Measure these policies only.
        contender: Measure these contenders only.
        batch: Images in a call, 1 or more.
        data: Images, in one folder a class.
        repeats: Timed rounds, 10 or more.
        minutes: Minutes after which a suite begins no further round.
        seed: Seed of every contender's draws, 0 or more.
        quick: Small batches and short repeats: rough figures.
        json: Write the results here; auto means benchmarks/results/MACHINE--DEVICE--DATE.json.
        plot: Write a picture of the first suite here.
    """
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
        request = Request(settings, policy, contender, batch, data, end)
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


def run_compare(
    old: Annotated[Positional[Path], arg(metavar="OLD.json")], new: Annotated[Positional[Path], arg(metavar="NEW.json")]
) -> int:
    """Compare two result files, cell by cell; exit status 1 if speed was lost beyond noise.

    Args:
        old: Result file of the code before.
        new: Result file of the code after.
    """
    from .measure import result
    from .report import compare

    found = [(a, b, compare.compare(a, b)) for a, b in compare.pairs(result.load(old), result.load(new))]
    print("\n\n".join(compare.render(*one) for one in found))
    losses = sum(len(comparison.losses) for _, _, comparison in found)
    print(f"\n{losses} of {sum(len(c.rows) for _, _, c in found)} rows lost speed beyond noise")
    return int(losses > 0)


def run_report(
    files: Files,
    *,
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE.html")] = Path("report.html"),
    png: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
) -> None:
    """Write results as one HTML page.

    Args:
        files: Result files.
        out: Page to write.
        png: Write every chart as a PNG into this folder as well.
    """
    from .measure import result
    from .report import html

    if not files:
        raise ValueError("report: name one FILE.json or more")
    loaded = [(path.name, result.load(path)) for path in files]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html.page(loaded), encoding="utf-8")
    for path in [out, *(html.pictures(loaded, png) if png else [])]:
        print(f"benchmarks: wrote {path}", file=sys.stderr)


def run_readme(
    files: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="[FILE.json...]", help_behavior_hint="(default: those that the README names)")
    ] = (),
    *,
    check: Annotated[bool, FLAG] = False,
    readme: Annotated[Path, arg(metavar="FILE.md")] = Path("README.md"),
) -> int:
    """Write the README's tables and picture from result files.

    Args:
        files: Result files.
        check: Only say whether README and results agree; exit status 1 if they do not.
        readme: The README.
    """
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


def run_gpu_check(
    *,
    minutes: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="(default: 10 with CUDA, 4 without)")] = None,
    data: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: cut from photographs)")] = None,
    json: Annotated[Path, arg(metavar="FILE.json")] = Path("gpu-check.json"),
    step: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: all)")] = (),
    device: Literal["auto", "cuda", "cpu"] = "auto",
    quick: Annotated[bool, FLAG] = False,
) -> int:
    """Prove correctness and speed on this machine's GPU; exit status 1 if a step failed or a promise is missed.

    Args:
        minutes: Minutes that all steps may take together.
        data: JPEGs, in one folder a class.
        json: Result file to write; a page and a picture are written beside it.
        step: Run these steps only; `--step list` shows them.
        device: Device to check; auto takes CUDA if there is any.
        quick: A few cases and tiny batches, to try the command itself.
    """
    from . import gpucheck
    from .suites.common import usable

    if step == ("list",):
        print("\n".join(task.name for task in gpucheck.TASKS))
        return 0
    check_minutes(minutes)
    if data is not None and not data.is_dir():
        raise ValueError(f"--data {data}: no such folder")
    usable(device)
    return gpucheck.command(step, gpucheck.device_of(device), quick, data, minutes, json)


def run_model(
    *,
    device: Literal["sm_75", "sm_80", "sm_90"] = "sm_90",
    draws: int = 64,
    workload: Names = (),
    blocks: Annotated[bool, FLAG] = False,
    write: Annotated[Path | None, arg(metavar="FILE.md", help_behavior_hint="")] = None,
) -> None:
    """Predict what the CUDA kernels cost on a GPU, without one.

    Args:
        device: Compute capability: T4, A100, or H100 and H200.
        draws: Images to draw for each workload; more are more exact, and take longer.
        workload: Predict these workloads only.
        blocks: First print every basic block of the machine code, and how often it runs in a program.
        write: Also replace the marked section of this page.
    """
    from .model import predict

    predict.command(device, draws, workload, blocks, write)


def run_list() -> None:
    """List suites, workloads, contenders and targets."""
    from .report import listing

    print(listing.render(SUITES))


if __name__ == "__main__":
    sys.exit(main())
