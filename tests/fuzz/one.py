"""One target in this process: `python -m tests.fuzz.one TARGET [FILE or FOLDER...] [libFuzzer's -options]`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gpuaug.data", "gpuaug.record", "ssl_train", "tarfile", "zipfile", "json"]):
    from . import targets
    from .seeds import SEEDS


def main() -> None:
    name = sys.argv.pop(1)
    warnings.simplefilter("ignore")  # Pillow's, of damaged files
    logging.disable(logging.CRITICAL)
    check = targets.TARGETS[name].check

    with Path(os.devnull).open("w") as nowhere:

        def quiet(data: bytes) -> None:
            with contextlib.redirect_stderr(nowhere):  # progress bars
                check(data)

        for seed in SEEDS[name]():  # compiles what it needs, which may take longer than an input may
            quiet(seed)
        atheris.Setup(sys.argv, quiet)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
