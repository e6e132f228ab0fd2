"""Writes the parity tables of the documentation: python -m tests.parity.table -o docs/parity.md"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import gpuaug
from gpuaug import backends

from .cases import (
    CROPS,
    HEIGHT,
    MAPS,
    NUDGE,
    REFUSES,
    TOLERANCE,
    TRUTH,
    WIDTH,
    Comparison,
    compare,
    map_tables,
    photos,
    policy_cases,
    ragged,
    tables,
    uniform,
)

HEAD = """# Parity with torchvision

*Made by `python -m tests.parity.table -o docs/parity.md`; do not edit.*

The truth is the backend `{truth}`: `torchvision.transforms.v2.functional` on one float32 image in [0, 1] at a time, decoded
first, with `antialias=True`. What a bicubic crop or resize overshoots is clipped to [0, 1], as the published pipelines do,
which work on 8 bits (or to the range of the pixels given, where a Normalize or noise before has made that wider). Every backend
gets the same draws, and the numbers are absolute differences of pixel values from the truth; white minus black is 1, and 1/255
is 0.0039. The tests in `tests/parity` hold every row to the tolerance.

In two places the truth is not torchvision's function alone: that clip, and `RandomAutocontrast`, which leaves a channel as it
is whose range is below half a level of 8 bits (0.00196). 8 bits have no such range, while a filter in float32 leaves one of
1e-7 in a flat area, and torchvision's function would stretch that to noise from black to white.

Tolerance: {tolerances}.

Measured on the CPU with {versions}.
Photographs: astronaut, coffee, chelsea and rocket of scikit-image, reduced; beside them noise, a flat image, a checkerboard of
pure colours and stripes of one pixel. Draws: seed 7.

*left out* is the share of pixels where the truth itself jumps and rounding decides the side: the error is above the tolerance
there, and the truth changes by more than it too when the input of every op moves by about the backend's own rounding
({nudge}), or a nearest-neighbour warp reads within a thousandth of a pixel of the
edge between two. *refused*: the backend has no such function, and `Augmenter(..., backend=...)` says so. `dali` makes
torchvision's functions of DALI's; its bicubic filter comes from a table, whence its tolerance: without a bicubic crop it stays
within 2e-4 here.
"""

OPS = """
## Ops

Crops turn {ragged} images of sizes from 1 x 1 to 3000 x 20 into 64 x 64; other ops change 16 images of {height} x {width}.

"""

POLICIES = """
## Policies

Views of 48 x 48 pixels, and of 24 x 24 where a policy has small views too, after Normalize (which multiplies errors by 4.4);
the largest error of all kinds of views, and the mean of their means.

"""


def rows(cases: Iterable[tuple[str, Callable[[str], Comparison]]]) -> str:
    """A table with three columns a backend."""
    names = list(TOLERANCE)
    lines = [
        "| |" + "".join(f" {name}: largest | mean | left out |" for name in names),
        "|---|" + "---:|" * (3 * len(names)),
    ]
    for label, measure in cases:
        lines.append(f"| {label} |" + "".join(cells(label, measure, name) for name in names))
    return "\n".join(lines) + "\n"


def cells(label: str, measure: Callable[[str], Comparison], backend: str) -> str:
    if label.strip("`") in REFUSES.get(backend, ()):
        return " refused | | |"
    c = measure(backend)
    return f" {c.largest:.1e} | {c.mean:.1e} | {share(c.exempt)} |"


def share(value: float) -> str:
    return f"{100 * value:.3f} %" if value else "0"


def measure_policy(backend: str, name: str) -> Comparison:
    found = [compare(backend, photos(), ops, draws) for ops, draws in policy_cases(name)]
    return Comparison(max(c.largest for c in found), sum(c.mean for c in found) / len(found), max(c.exempt for c in found))


def text() -> str:
    modules = [str(backends.requirement(name)) for name in TOLERANCE]
    packages = ("gpuaug", "torch", "torchvision", *(backends.DISTRIBUTIONS.get(module, module) for module in modules))
    head = HEAD.format(
        truth=TRUTH,
        tolerances=", ".join(f"`{name}` {value:g}" for name, value in TOLERANCE.items()),
        versions=", ".join(f"{name} {gpuaug.__version__ if name == 'gpuaug' else version(name)}" for name in packages),
        nudge=", ".join(f"`{name}` {value:g}" for name, value in NUDGE.items()),
    )
    count = len(ragged())
    ops = [(name, lambda b, steps=steps: compare(b, ragged(), *tables(steps, count, 64))) for name, steps in CROPS.items()]
    ops += [(name, lambda b, op=op: compare(b, uniform(), *map_tables(op, 16))) for name, op in MAPS.items()]
    policies = [(f"`{name}`", lambda b, name=name: measure_policy(b, name)) for name in gpuaug.policies]
    sizes = OPS.format(ragged=count, height=HEIGHT, width=WIDTH)
    return head + sizes + rows(ops) + POLICIES + rows(policies)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare every backend with the truth and write the tables.")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/parity.md"))
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text())
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
