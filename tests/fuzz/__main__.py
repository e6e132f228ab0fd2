"""Runs the fuzz targets one after another, each in a process of its own, and says what they found.

With --folder, an input that breaks a target is kept as FOLDER/TARGET/crash-..., timeout-... or oom-...; run it alone by
`python -m tests.fuzz.one TARGET FILE`. Without it all inputs are deleted at the end.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from . import targets
from .seeds import write_seeds

HANG = 20
"""Seconds for one input, after which it counts as a hang; a machine may be busy."""

MOST_MEMORY = 2000
"""MB of a process, of which torch, DALI and compiled code take 600 to 900 before the first input."""

ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    names = list(targets.TARGETS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=names, help=f"which; all by default: {', '.join(names)}")
    parser.add_argument("--minutes", type=float, default=1.0, help="of all targets together")
    parser.add_argument("--folder", type=Path, help="where inputs are kept, and read again by the next run")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if unknown := set(given.targets) - set(names):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if find_spec("atheris") is None:
        print("not fuzzed: atheris is not installed, which needs Linux on x86-64 and Python before 3.14")
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = (given.folder or Path(scratch)).resolve()
        found = [run(name, folder / name, given.minutes * 60 / len(given.targets), given.seed) for name in given.targets]
    return int(any(found))


def run(name: str, folder: Path, seconds: float, seed: int) -> bool:
    """Fuzz a target; returns whether it broke."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    write_seeds(name, corpus)
    options = {
        "max_total_time": max(1, round(seconds)),
        "timeout": HANG,
        "rss_limit_mb": MOST_MEMORY,
        "max_len": targets.TARGETS[name].most,
        "seed": seed,
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    began = monotonic()
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(corpus), *(f"-{k}={v}" for k, v in options.items())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    count = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    memory = re.search(r"peak_rss_mb:\s*(\d+)", done.stderr)
    inputs = f"{int(count[1]):,} inputs" if count else "no inputs"
    peak = f", {memory[1]} MB" if memory else ""
    broke = done.returncode != 0
    print(f"{name:12} {'BROKE' if broke else 'ok':5} {inputs} in {monotonic() - began:.0f} s{peak}", flush=True)
    if broke:
        lines = [
            line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("INFO:", "WARNING:", "stat::"))
        ]
        print(*lines[-30:], sep="\n")
    return broke


if __name__ == "__main__":
    sys.exit(main())
