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
from .kornia_functions import rows as kornia_rows

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

KORNIA = """
## What of `kornia` is Kornia's

`Augmenter(policy, backend="kornia")` runs Kornia's own function or module, with our draws as its parameters, for each op where
it equals the truth within the tolerance on any pixels that a policy can make; `batched` does the other steps, and
`print(augmenter)` shows which are whose. Here is Kornia's function for every op, with its largest error: on the 16 images of
{height} x {width} above in [0, 1] (moved off the levels of 8 bits, as a crop does), and stretched to [-0.3, 1.3] (as noise,
erasing and Normalize do); crops on the four photographs. Where Kornia draws by itself nothing is measured.

Kornia's functions start after the first crop, since they take one batch of one size. Their convolutions (the blur) give the
same bits in any batch on the CPU, which the tests hold; on CUDA the convolution is cuDNN's, and this was not measured.

The rounding of a warp's float32 coordinates grows with the picture. On photographs of 224 x 224 a bilinear warp of Kornia's is
within 8e-5 of the truth; at 384 x 384 `RandomPerspective` is 1.9e-4 off, where the truth is itself 1.6e-4 from the same warp
with float64 coordinates, and Kornia 1.0e-4.

"""

POLICIES = """
## Policies

Views of 48 x 48 pixels, and of 24 x 24 where a policy has small views too, after Normalize (which multiplies errors by 4.4);
the largest error of all kinds of views, and the mean of their means.

"""


def rows(cases: Iterable[tuple[str, Callable[[str], Comparison]]]) -> str:
    """A table with three columns a backend; `kornia` has a table of its own."""
    names = [name for name in TOLERANCE if name != "kornia"]
    lines = [
        "| |" + "".join(f" {name}: largest | mean | left out |" for name in names),
        "|---|" + "---:|" * (3 * len(names)),
    ]
    for label, measure in cases:
        lines.append(f"| {label} |" + "".join(cells(label, measure, name) for name in names))
    return "\n".join(lines) + "\n"


def kornia_table() -> str:
    """For every op the function of Kornia, its errors, and whether the backend runs it."""
    lines = ["| op | runs | Kornia's function | largest in [0, 1] | outside | why ours |", "|---|---|---|---:|---:|---|"]
    for row in kornia_rows():
        errors = ("" if value is None else f"{value:.1e}" for value in (row.inside, row.outside))
        whose = "Kornia's" if row.kornia else "ours"
        lines.append(f"| {row.case} | {whose} | {row.label} | {' | '.join(errors)} | {row.why} |")
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
    needed = (backends.DISTRIBUTIONS.get(module, module) for module in modules)
    packages = dict.fromkeys(("gpuaug", "torch", "torchvision", *needed))
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
    kornia = KORNIA.format(height=HEIGHT, width=WIDTH) + kornia_table()
    return head + sizes + rows(ops) + kornia + POLICIES + rows(policies)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare every backend with the truth and write the tables.")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/parity.md"))
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text())
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
