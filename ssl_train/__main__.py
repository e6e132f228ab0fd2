"""The command `python -m ssl_train`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tyro

from . import distributed, run
from .errors import exit_status
from .settings import Settings, resolve
from .train import train


def parse(argv: Sequence[str] | None) -> Settings:
    """The command line's settings; those of a continued run stand in for what is not given."""
    settings = tyro.cli(Settings, prog="python -m ssl_train", args=argv)
    if not settings.resume:
        return settings
    out = resolve(settings).out or ""
    return tyro.cli(Settings, prog="python -m ssl_train", args=argv, default=replace(run.saved_settings(Path(out)), out=out))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    folder = Path()

    def work() -> None:
        nonlocal folder
        settings = parse(argv)
        folder = Path(resolve(settings).out or "")
        done = train(settings)
        if distributed.rank() == 0:
            done.draw()
            print(f"{done.folder}: settings.json, metrics.jsonl, checkpoint.pt, curves.png")
            if done.knn:
                first, last = min(done.knn), max(done.knn)
                print(f"kNN accuracy: {done.knn[first]:.1%} untrained, {done.knn[last]:.1%} after {last} epochs")
            print(f"{done.images_per_s:.0f} images/s, data wait {done.data_wait:.1%}")
        distributed.stop()

    def interrupted() -> str:
        begun = (folder / "checkpoint.pt").exists()
        hint = f"; continue with: python -m ssl_train --resume --out {shlex.quote(str(folder))}"
        return f"interrupted{hint if begun else ', nothing was begun'}"

    return exit_status("ssl_train", work, interrupted)


if __name__ == "__main__":
    sys.exit(main())
