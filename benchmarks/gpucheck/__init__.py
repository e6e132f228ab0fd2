"""`python -m benchmarks gpu-check`: one command that proves gpuaug on a CUDA machine.

    steps (a process each, bounded in time) --rows--> report (one JSON file, rewritten at each row) -> verdicts, table, picture

Without CUDA it runs the first three steps in the small, on the CPU and in Triton's interpreter.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

MINUTES = {"cuda": 10.0, "cpu": 4.0}
"""That all steps may take together, unless said."""


def add_command(commands: Any) -> None:
    """Add `gpu-check` to argparse's sub-commands."""
    check = commands.add_parser("gpu-check", help="prove correctness and speed on this machine's GPU")
    check.add_argument("--minutes", type=float, help="for everything (default: 10 with CUDA, 4 without)")
    check.add_argument("--data", type=Path, metavar="DIR", help="JPEGs, one folder a class (default: made from noise)")
    check.add_argument("--json", type=Path, metavar="FILE", default=Path("gpu-check.json"), help="default: %(default)s")
    check.add_argument("--step", nargs="+", default=[], metavar="NAME", help="only these; `--step list` shows them")
    check.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto", help="default: %(default)s")
    check.add_argument("--quick", action="store_true", help="a few cases and tiny batches, to try the command itself")
    check.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the check; 0 where every step went well and no promise was missed, else 1."""
    import torch

    from . import picture, report, runner, steps, text, verdicts

    if options.step == ["list"]:
        print("\n".join(f"{step.name:<12} {step.title}" for step in steps.STEPS))
        return 0
    if options.minutes is not None and not 0 < options.minutes < 24 * 60:
        raise ValueError(f"--minutes must be above 0 and below a day, got {options.minutes:g}")
    if options.data is not None and not options.data.is_dir():
        raise ValueError(f"--data {options.data}: no such folder")
    chosen = steps.choose(options.step)
    cuda = torch.cuda.is_available()
    if options.device == "cuda" and not cuda:
        raise ValueError("--device cuda: torch finds no CUDA device; use --device auto")
    device = "cuda" if cuda and options.device != "cpu" else "cpu"
    if device == "cpu":
        print("No CUDA device: correctness and augmentation in the small, on the CPU and in Triton's interpreter.", flush=True)
    seconds = 60 * (options.minutes or MINUTES[device])
    setting = steps.Setting(device, options.quick, str(options.data.resolve()) if options.data else None)
    named = bool(options.step)
    check = runner.run_all(chosen, setting, seconds, options.json, named, lambda line: print(line, file=sys.stderr, flush=True))
    check = report.with_verdicts(check, verdicts.judge(check))
    report.save(check, options.json)
    print(text.render(check))
    print(picture.write(check, options.json.with_suffix(".png")))
    print(f"wrote {options.json}")
    return int(check.failed)
