"""One step in a process of its own: python -m benchmarks.gpucheck.child MODULE SETTING, a JSON row a line on its output."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict

from .steps import Row, Setting, attempt


def main(module: str, setting: str) -> None:
    """Rows go to what was standard output; whatever libraries print goes to the errors."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    rows = importlib.import_module(module).rows(Setting(**json.loads(setting)))
    for row in attempt("the rest of the step", rows):
        checked: Row = row.checked()
        out.write(json.dumps(asdict(checked), allow_nan=False) + "\n")
        out.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
