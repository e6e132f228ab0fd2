"""The command `python -m ssl_train`."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from . import distributed, run
from .command import parse as read
from .errors import exit_status
from .interrupts import Stopped
from .options import Settings
from .settings import out_folder
from .train import train


def parse(argv: Sequence[str] | None) -> Settings:
    """The settings of a command line. With --resume, options that are not given have the values of the run."""
    words = list(sys.argv[1:] if argv is None else argv)
    for k, word in enumerate(words):
        if word == "--resume" and (k + 1 == len(words) or words[k + 1].startswith("-")):
            words[k] = "--resume=always"
    # Only a continued run has values that --no-compile and --no-tensorboard can undo.
    continued = "--resume=always" in words or ("--resume", "always") in pairwise(words)
    settings = read(Settings, "python -m ssl_train", words, undo=continued)
    if settings.resume != "always":
        return settings
    out = out_folder(settings)
    saved = Settings(**vars(run.saved_settings(Path(out))) | {"out": out})
    return read(Settings, "python -m ssl_train", words, undo=continued, default=saved)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    folder: Path | None = None  # until the command line is parsed
    first = True  # only the first rank prints anything

    def work() -> None:
        nonlocal folder, first
        settings = parse(argv)
        folder = Path(out_folder(settings))
        try:
            done = train(settings)
        except Stopped:  # on all ranks at once
            first = distributed.rank() == 0
            distributed.stop()
            raise
        first = distributed.rank() == 0
        if first:
            done.draw()
            print(f"{done.folder}: settings.json, metrics.jsonl, checkpoint.pt, curves.png")
            if done.knn:
                begin, end = min(done.knn), max(done.knn)
                print(f"kNN accuracy: {done.knn[begin]:.1%} untrained, {done.knn[end]:.1%} after {end} epochs")
            if math.isnan(done.images_per_s):
                print("the run was finished already: no step was made")
            else:
                print(f"{done.images_per_s:.0f} images/s, data wait {done.data_wait:.1%}")
        distributed.stop()

    def interrupted() -> str:
        if not first:
            return ""
        if folder is None or not (folder / run.CHECKPOINT).exists():
            return "interrupted before the first checkpoint"
        return f"interrupted; continue with: python -m ssl_train --resume --out {shlex.quote(str(folder))}"

    return exit_status("ssl_train", work, interrupted)


if __name__ == "__main__":
    sys.exit(main())
