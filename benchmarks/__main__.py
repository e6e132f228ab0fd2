"""The command `python -m benchmarks`: run, gpu-check, list.

Exit status: 0; 1 where `gpu-check` found a failure; 2 for bad input; 130 when interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import gpucheck

LEAST_REPEATS = 10
QUICK = 4
"""By which a quick run divides batches."""

SECONDS = {False: 0.05, True: 0.005}
"""That a repeat lasts at least; less when quick."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description="What augmentation costs on this machine.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure, and print a table")
    run.add_argument("suite", choices=["augment"], help="augment: decoded images in memory -> views")
    run.add_argument("--device", choices=["cpu"], default="cpu", help="default: %(default)s")
    run.add_argument("--threads", type=int, default=1, help="that each contender may use (default: %(default)s)")
    run.add_argument("--policy", nargs="+", default=[], metavar="NAME", help="only these (default: those that `list` shows)")
    run.add_argument("--contender", nargs="+", default=[], metavar="NAME", help="only these (default: all)")
    run.add_argument("--batch", type=int, help="images a call (default: the workload's)")
    run.add_argument("--repeats", type=int, default=LEAST_REPEATS, help="timed rounds, 10 or more (default: %(default)s)")
    run.add_argument("--seed", type=int, default=0, help="of every contender's draws (default: %(default)s)")
    run.add_argument("--quick", action="store_true", help="small batches and short repeats: rough figures")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    run.add_argument("--plot", type=Path, metavar="FILE.png", help="write a picture of it here")
    run.set_defaults(run=run_suite)

    gpucheck.add_command(commands)

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


def run_suite(options: argparse.Namespace) -> None:
    for name, least in (("threads", 1), ("batch", 1), ("repeats", LEAST_REPEATS), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)
    from . import augment, peers, plot, result, table, workloads  # only now: OpenMP reads the variables when it is loaded

    chosen = workloads.choose(options.policy)
    if options.batch or options.quick:
        chosen = [replace(w, batch=options.batch or w.batch // QUICK) for w in chosen]
    known = [c.name for c in peers.ALL]
    unknown = [name for name in options.contender if name not in known]
    if unknown:
        raise ValueError(f"--contender: unknown {', '.join(unknown)}; one of {', '.join(known)}")
    contenders = [c for c in peers.ALL if not options.contender or c.name in options.contender]
    settings = result.Run(options.device, options.threads, options.repeats, options.seed, options.quick, SECONDS[options.quick])
    done = augment.run(chosen, contenders, settings, lambda text: print(f"benchmarks: {text}", file=sys.stderr))
    print(table.render(done))
    if options.json:
        result.save(done, options.json)
    if options.plot:
        plot.plot(done, options.plot)


def run_list(options: argparse.Namespace) -> None:
    from . import peers, table, targets, workloads

    print("workloads of `run augment`")
    for w in workloads.DEFAULT:
        print(f"  {w.name:16}{w.policy:16}{w.image[1]}x{w.image[0]}, batch {w.batch}")
    print(table.wrapped(f"  other policies, from 256x256: {', '.join(more_policies())}", "    "))
    print("\ncontenders")
    for c in peers.ALL:
        versions = ", ".join(f"{name} {version}" for name, version in c.versions.items())
        print(f"  {c.name:18}{versions if not c.missing else f'not installed: {c.install}'}")
        print(table.wrapped(f"    {c.regime}" + (f"; {c.note}" if c.note else ""), "    "))
    print("\ntargets, one thread")
    for target in targets.TARGETS:
        print(f"  {target.text:52}{f'>= {target.least:g}' if target.least else f'<= {target.most:g}':>8}")


def more_policies() -> list[str]:
    from gpuaug import policies

    from . import workloads

    shown = {w.policy for w in workloads.DEFAULT}
    return [name for name in (*workloads.OWN, *policies) if name not in shown]


if __name__ == "__main__":
    sys.exit(main())
