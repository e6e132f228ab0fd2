"""The command `python -m ssl_train`. Exit status: 0, 2 for bad input, 130 when interrupted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tyro

from . import distributed, run
from .errors import UserError
from .settings import Settings, resolve
from .train import train


def parse(argv: Sequence[str] | None) -> Settings:
    """The command line's settings; those of a continued run stand in for what is not given."""
    settings = tyro.cli(Settings, prog="python -m ssl_train", args=argv)
    if not settings.resume:
        return settings
    folder = resolve(settings).out
    assert folder is not None
    saved = replace(run.saved_settings(Path(folder)), out=folder)
    return tyro.cli(Settings, prog="python -m ssl_train", args=argv, default=saved)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    out = None
    try:
        settings = parse(argv)
        out = resolve(settings).out
        done = train(settings)
        first_rank = distributed.rank() == 0
        if first_rank:
            done.draw()
    except (UserError, OSError) as error:  # an OSError: the disk is full, a folder has gone
        print(f"ssl_train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        begun = out is not None and (Path(out) / "checkpoint.pt").exists()
        hint = (
            f"; continue with: python -m ssl_train --resume --out {shlex.quote(str(out))}" if begun else ", nothing was begun"
        )
        print(f"ssl_train: interrupted{hint}", file=sys.stderr)
        return 130
    distributed.stop()
    if not first_rank:
        return 0
    print(f"{done.folder}: settings.json, metrics.jsonl, checkpoint.pt, curves.png")
    if done.knn:
        first, last = min(done.knn), max(done.knn)
        print(f"kNN accuracy: {done.knn[first]:.1%} untrained, {done.knn[last]:.1%} after {last} epochs")
    print(f"{done.images_per_s:.0f} images/s, data wait {done.data_wait:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
