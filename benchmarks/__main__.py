"""The command `python -m benchmarks`: run, compare, report, readme, gpu-check, list.

Exit status: 0; 1 where `compare` finds a loss, `readme --check` a difference or `gpu-check` a failure; 2 for bad input; 130
when interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from math import inf
from pathlib import Path

from .measure.cores import cores

LEAST_REPEATS, REPEATS = 10, 20

SECONDS = {False: 0.1, True: 0.06}
"""That a repeat lasts at least; less when quick."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Suite:
    """text: what it measures. feeds: whether it measures a loader, which gets all cores."""

    text: str
    feeds: bool = False


SUITES = {
    "augment": Suite("decoded images in memory -> views"),
    "scaling": Suite("time against batch, image size, threads and views, and the exponent"),
    "memory": Suite("peak memory of a batch of views"),
    "train": Suite("a training step, and how long it waits for its data", feeds=True),
    "decode": Suite("image files -> pixels"),
    "loader": Suite("image files, or arrays, -> batches of two views", feeds=True),
}
ALL = "all"

README = Path("README.md")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description="What augmentation costs on this machine.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure, and print a table")
    suites = "; ".join(f"{name}: {suite.text}" for name, suite in SUITES.items())
    run.add_argument("suite", nargs="+", choices=[*SUITES, ALL], metavar="SUITE", help=f"{suites}; {ALL}: each of them")
    run.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    run.add_argument("--threads", type=int, help="that each contender may use (default: 1; all cores for train and loader)")
    run.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of views (default: %(default)s)")
    run.add_argument("--policy", nargs="+", default=[], metavar="NAME", help="only these (default: those that `list` shows)")
    run.add_argument("--contender", nargs="+", default=[], metavar="NAME", help="only these (default: those that `list` shows)")
    run.add_argument("--batch", type=int, help="images a call (default: the workload's)")
    run.add_argument("--data", type=Path, metavar="FOLDER", help="images, one folder a class (default: some are made)")
    run.add_argument("--repeats", type=int, default=REPEATS, help="timed rounds, 10 or more (default: %(default)s)")
    run.add_argument("--minutes", type=float, help="after which a suite begins no further round (default: no limit)")
    run.add_argument("--seed", type=int, default=0, help="of every contender's draws (default: %(default)s)")
    run.add_argument("--quick", action="store_true", help="small batches and short repeats: rough figures")
    run.add_argument(
        "--json", metavar="FILE", help="write the results here; auto: benchmarks/results/MACHINE--DEVICE--DATE.json"
    )
    run.add_argument("--plot", type=Path, metavar="FILE.png", help="write a picture of the first suite here")
    run.set_defaults(run=run_suites)

    compare = commands.add_parser("compare", help="two results, cell by cell; status 1 on a loss beyond noise")
    compare.add_argument("old", type=Path, metavar="OLD.json")
    compare.add_argument("new", type=Path, metavar="NEW.json")
    compare.set_defaults(run=run_compare)

    report = commands.add_parser("report", help="results as one HTML page")
    report.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    report.add_argument("-o", "--out", type=Path, default=Path("report.html"), help="default: %(default)s")
    report.add_argument("--png", type=Path, metavar="DIR", help="write every chart here as well")
    report.set_defaults(run=run_report)

    readme = commands.add_parser("readme", help="write the README's tables and picture from results")
    readme.add_argument("files", nargs="*", type=Path, metavar="FILE.json", help="default: those that it names")
    readme.add_argument("--check", action="store_true", help="only say whether they agree; status 1 where they do not")
    readme.add_argument("--readme", type=Path, default=README, help="default: %(default)s")
    readme.set_defaults(run=run_readme)

    check = commands.add_parser("gpu-check", help="prove correctness and speed on this machine's GPU")
    check.add_argument("--minutes", type=float, help="for everything (default: 10 with CUDA, 4 without)")
    check.add_argument("--data", type=Path, metavar="DIR", help="JPEGs, one folder a class (default: made from photographs)")
    check.add_argument("--json", type=Path, metavar="FILE", default=Path("gpu-check.json"), help="default: %(default)s")
    check.add_argument("--step", nargs="+", default=[], metavar="NAME", help="only these; `--step list` shows them")
    check.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto", help="default: %(default)s")
    check.add_argument("--quick", action="store_true", help="a few cases and tiny batches, to try the command itself")
    check.set_defaults(run=run_gpu_check)

    table = commands.add_parser("list", help="workloads, contenders and targets")
    table.set_defaults(run=run_list)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parser().parse_args(argv)
    try:
        return int(options.run(options) or 0)
    except (ValueError, OSError, ImportError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130


def run_suites(options: argparse.Namespace) -> None:
    for name, least in (("threads", 1), ("batch", 1), ("repeats", LEAST_REPEATS), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    o = options
    check_minutes(o.minutes)
    names = suites_of(o.suite)
    threads = {name: threads_of(name, o.threads) for name in names}
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(max(threads.values()))
    from .measure import result  # only now: OpenMP reads the variables when it is loaded
    from .report import charts, table
    from .suites.common import Request, usable

    usable(o.device)
    done: list[result.Result] = []
    for name in names:
        settings = result.Run(o.device, threads[name], o.dtype, o.repeats, o.seed, o.quick, SECONDS[o.quick])
        end = inf if o.minutes is None else time.monotonic() + 60 * o.minutes
        request = Request(settings, tuple(o.policy), tuple(o.contender), o.batch, o.data, end)
        suite = import_module(f".suites.{name}", __package__)
        done.append(suite.measure(request, lambda text, name=name: print(f"benchmarks: {name}: {text}", file=sys.stderr)))
        print("\n\n" * (len(done) > 1) + table.render(done[-1]), flush=True)
        if o.json:  # after each, so that an interrupted run keeps what it has
            result.save(done, result.place(done, o.json))
    if o.json:
        print(f"benchmarks: wrote {result.place(done, o.json)}", file=sys.stderr)
    if o.plot:
        found = charts.charts(done[0])
        if not found:
            raise ValueError("--plot: no contender was measured")
        charts.png(next(iter(found.values())), done[0], o.plot)


def suites_of(names: Sequence[str]) -> list[str]:
    """The suites to run, each once; all for "all"."""
    return list(dict.fromkeys(name for given in names for name in (SUITES if given == ALL else [given])))


def check_minutes(given: float | None) -> None:
    if given is not None and not 0 < given < 24 * 60:
        raise ValueError(f"--minutes must be above 0 and below a day, got {given:g}")


def threads_of(suite: str, given: int | None) -> int:
    """That a suite's contenders may use: as given, else one; all of the machine's where it feeds a step or an epoch."""
    return given or (cores() if SUITES[suite].feeds else 1)


def run_compare(options: argparse.Namespace) -> int:
    from .measure import result
    from .report import compare

    old, new = result.load(options.old), result.load(options.new)
    found = [(a, b, compare.compare(a, b)) for a, b in compare.pairs(old, new)]
    print("\n\n".join("\n".join(compare.render(*one)) for one in found))
    losses = sum(len(comparison.losses) for _, _, comparison in found)
    print(f"\n{losses} of {sum(len(c.rows) for _, _, c in found)} rows lost speed beyond noise")
    return int(losses > 0)


def run_report(options: argparse.Namespace) -> None:
    from .measure import result
    from .report import html

    files = [(path.name, result.load(path)) for path in options.files]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(html.page(files), encoding="utf-8")
    print(f"benchmarks: wrote {options.out}", file=sys.stderr)
    if options.png:
        for path in html.pictures(files, options.png):
            print(f"benchmarks: wrote {path}", file=sys.stderr)


def run_readme(options: argparse.Namespace) -> int:
    from .measure import result
    from .report import readme

    files = options.files or readme.sources(options.readme)
    found = [one for file in files for one in readme.shown_of(result.load(file), file)]
    wanted = readme.block(found, files, options.readme.parent)
    if options.check:
        differs = readme.stale(options.readme, wanted)
        named = ", ".join(map(str, files))
        print(f"{options.readme} {'does not say what these say' if differs else 'agrees with'}: {named}")
        return int(differs)
    readme.write(options.readme, wanted, found)
    print(f"benchmarks: wrote {options.readme} and {options.readme.parent / readme.PICTURE}", file=sys.stderr)
    return 0


def run_gpu_check(options: argparse.Namespace) -> int:
    from . import gpucheck
    from .report import charts, html
    from .suites.common import usable

    o = options
    if o.step == ["list"]:
        print("\n".join(task.name for task in gpucheck.TASKS))
        return 0
    check_minutes(o.minutes)
    if o.data is not None and not o.data.is_dir():
        raise ValueError(f"--data {o.data}: no such folder")
    tasks = gpucheck.choose(o.step)
    usable(o.device)
    device = gpucheck.device_of(o.device)
    if device == "cpu":
        print("No CUDA device: correctness and augmentation in the small, on the CPU and in Triton's interpreter.", flush=True)
    setting = gpucheck.Setting(device, o.quick, o.data.resolve() if o.data else None, bool(o.step))
    minutes = o.minutes or gpucheck.MINUTES[device]
    check, found = gpucheck.run(tasks, setting, minutes, o.json, lambda line: print(line, file=sys.stderr, flush=True))
    print(gpucheck.render(check))
    if found:
        o.json.with_suffix(".html").write_text(html.page([(o.json.name, found)]), encoding="utf-8")
        charts.png(next(iter(charts.charts(found[0]).values()), charts.bars), found[0], o.json.with_suffix(".png"))
    print(f"wrote {o.json}{', and .html and .png beside it' * bool(found)}")
    return int(gpucheck.failed(check))


def run_list(options: argparse.Namespace) -> None:
    from . import peers, workloads
    from .report import text
    from .report.figures import judged
    from .suites import targets

    print("suites")
    for name, suite in SUITES.items():
        print(f"  {name:16}{suite.text}")
    print(f"\nworkloads of `run augment`; the first {len(workloads.CORE)} with --quick")
    for w in workloads.DEFAULT:
        sizes = " ".join(f"{width}x{height}" for height, width in w.sizes)
        print(f"  {w.name:16}{w.policy:16}{sizes}, batch {w.batch}")
    print(text.wrapped(f"  other policies, from 256x256: {', '.join(more_policies())}", "    "))
    print("\ncontenders")
    for c in peers.ALL:
        versions = ", ".join(f"{name} {version}" for name, version in c.versions.items())
        asked = f"with --contender, or on the first {len(workloads.CORE)} of a full run; " if c.on_request else ""
        print(f"  {c.name:20}{asked}{versions if not c.missing else f'not installed: {c.install}'}")
        print(text.wrapped(f"    {c.regime}" + (f"; {c.note}" if c.note else ""), "    "))
    print("\ntargets, one thread")
    rows = ((f"  {v.target}", judged(v)[0]) for v in targets.judge(lambda of, to: None))
    print(text.table(rows))
    print("\npromises on CUDA, bfloat16")
    print(text.table((f"  {v.target}", judged(v)[0]) for v in targets.unmeasured()))


def more_policies() -> list[str]:
    from gpuaug import policies

    from . import workloads

    shown = {w.policy for w in workloads.DEFAULT}
    return [name for name in (*workloads.OWN, *policies) if name not in shown]


if __name__ == "__main__":
    sys.exit(main())
