"""Writes docs/parity.md, the tables of how far each backend is from the truth: python -m tests.parity.table"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import torch

import gpuaug
from gpuaug import Images, Policy, View, backends
from gpuaug.ops import Op

from .cases import (
    CROPS,
    HEIGHT,
    MAPS,
    NUDGE,
    TOLERANCE,
    TRUTH,
    WIDTH,
    Comparison,
    compare,
    map_tables,
    photos,
    policy_cases,
    ragged,
    refuses,
    tables,
    uniform,
)
from .kornia_functions import rows as kornia_rows

HEAD = """# Parity with torchvision

*Written by `python -m tests.parity.table -o docs/parity.md`; do not edit.*

The truth is the backend `{truth}`: it applies `torchvision.transforms.v2.functional` to one decoded float32 image in [0, 1]
at a time, with `antialias=True`. Every other backend gets the same pixels and the same draws, and the tables show how far its
pixel values are from the truth. White minus black is 1, and 1/255 is 0.0039. The tests in `tests/parity` hold every row to the
tolerance.

The truth differs from torchvision's functions in two places:

- A bicubic crop or resize overshoots. Its result is clipped to [0, 1], or to the range of its input if a Normalize or noise
  made that wider. The published pipelines clip too, since they work on 8 bits.
- `RandomAutocontrast` leaves a channel as it is if its range is below half a level of 8 bits (0.00196). Such a range does not
  exist in 8 bits. In float32 a filter leaves one of about 1e-7 in a flat area, and torchvision's function would stretch it to
  noise from black to white.

`JPEG` is compared bit by bit. `batched` and the fused CPU kernels repeat the integers of libjpeg-turbo, the library behind
torchvision's function (4:2:0, the accurate integer transform, a triangle filter for colours), and have the same 8-bit levels at
every quality and size. A view is first rounded to 8 bits as torchvision's `to_dtype(torch.uint8, scale=True)` does it. Behind a
filter, which differs in the last bits of float32, a few pixels are rounded to the neighbouring level, and their block of 8 x 8
follows: of 96 x 96 crops of the photographs below, 0.1 % of the pixels then differ by more than the tolerance in the fused
backend, or 0.6 % if the filter is bicubic, by at most 10 levels. The mean difference is below 1 % of JPEG's own loss.

Tolerance: {tolerances}.

Measured on the CPU with {versions}.
The images are four photographs of scikit-image, reduced in size (astronaut, coffee, chelsea and rocket), and four synthetic
ones: noise, a flat image, a checkerboard of pure colours, and stripes one pixel wide. The draws have seed 7.

*left out*: the share of pixels that are not compared, because the truth jumps there and rounding decides on which side a pixel
falls. A pixel is left out if its error is above the tolerance and one of two things is true. Either the truth changes by more
than the tolerance, too, when the input of every op moves by about the backend's own rounding
({nudge}). Or a nearest-neighbour warp reads the pixel within a
thousandth of a pixel of the edge between two pixels.

*refused*: the backend lacks this op, and `Augmenter(..., backend=...)` raises an error. `dali` builds torchvision's functions
from DALI's operators. DALI reads its bicubic filter from a table, hence the larger tolerance; without a bicubic crop its errors
are within 2e-4 here. `dali` runs on the CPU and on CUDA. For CUDA it makes the same graph of DALI's operators for the GPU,
which was written without a GPU: a test defines and serialises it for every op, but it has not been run yet.
"""

OPS = """
## Ops

Crops turn {ragged} images, of sizes from 1 x 1 to 3000 x 20, into 64 x 64 pixels. The other ops run on 16 images of
{height} x {width}.

"""

KORNIA = """
## Which ops of `kornia` are Kornia's

`Augmenter(policy, backend="kornia")` runs Kornia's own function or module, with our draws as its parameters, for each op where
the result equals the truth within the tolerance on any pixels that a policy can produce. `batched` does the other steps, and
`print(augmenter)` shows which backend does which step.

The table lists, for every op, the function of Kornia that is nearest to it and its largest error: on the 16 images of
{height} x {width} above, moved to values between 8-bit levels, as a crop leaves them (*largest in [0, 1]*), and on the same
images stretched to [-0.3, 1.3], as noise, erasing and Normalize leave them (*outside*). Crops are measured on the four
photographs. Functions that draw their own random numbers are not measured.

Kornia's functions need a batch of one size, so they run only after the first crop. On the CPU their convolutions (the blur)
give the same bits in any batch, and the tests hold this. On CUDA the convolution is cuDNN's, for which this was not measured.

The rounding error of a warp's float32 coordinates grows with the size of the image. On photographs of 224 x 224, Kornia's
bilinear warps are within 8e-5 of the truth. At 384 x 384, `RandomPerspective` differs from the truth by 1.9e-4; compared with
the same warp with float64 coordinates, the truth itself is off by 1.6e-4 and Kornia by 1.0e-4.

"""

DTYPES = """
## Views of 16 bits

The largest error of views in float16 and bfloat16, beyond the rounding of the truth to that dtype: half a unit in the last
place. The pixels are those of the tables above. `kornia` and `dali` are left out: like `batched`, they compute in float32, and
the finished view is rounded. On CUDA, `fused` keeps 16 bits between passes; its tests in Triton's interpreter have bounds too.

"""

POLICIES = """
## Policies

Views have 48 x 48 pixels, and small views of multi-crop policies 24 x 24. Errors are those after Normalize, which multiplies
them by 4.4. *largest* is over all kinds of views of a policy, *mean* the mean of their means.

"""

COMPOSED = """
## `compose_warps`

`Augmenter(policy, compose_warps=True)` makes one warp of warps that follow one another; torchvision resamples for each. The
table shows how far this moves the fused backend's views from the truth, on the 16 images above, behind a crop that reads them
as they are. The differences are those between one interpolation and two or three, at the edges within the image, and the border
that an earlier warp has cut off.

| warps | one by one: mean | composed: mean | composed: largest |
|---|---:|---:|---:|
"""

WARPS: dict[str, tuple[Op, ...]] = {
    "`RandomRotation(20)` twice, bilinear": (gpuaug.RandomRotation(20, "bilinear"),) * 2,
    "`RandomAffine`, `RandomPerspective`, bilinear": (
        MAPS["RandomAffine bilinear"],
        gpuaug.RandomPerspective(0.5, 1.0, fill=0.5),
    ),
    "`RandomRotation(20)` twice, nearest": (gpuaug.RandomRotation(20),) * 2,
    "`RandAugment(3, 20)`, bilinear": (MAPS["RandAugment bilinear"],),
}


def composed_table() -> str:
    """For views with several warps in a row: how far composing them moves the views from the truth."""
    lines = []
    images = Images.from_list([(image.permute(1, 2, 0) * 255).round().byte().numpy() for image in uniform()])
    for label, ops in WARPS.items():
        policy = Policy(View((HEIGHT, WIDTH), gpuaug.CenterCrop(), *ops))
        draws = gpuaug.sample(policy, range(len(images)), seed=7)
        made = {
            how: gpuaug.Augmenter(policy, backend, compose_warps=how == "composed")(images, draws)[0]
            for how, backend in (("truth", TRUTH), ("apart", "fused"), ("composed", "fused"))
        }
        apart, composed = ((made[how] - made["truth"]).abs() for how in ("apart", "composed"))
        lines.append(f"| {label} | {apart.mean():.1e} | {composed.mean():.1e} | {composed.max():.1e} |")
    return COMPOSED + "\n".join(lines) + "\n"


def rows(cases: Iterable[tuple[str, Callable[[str], Comparison]]]) -> str:
    """A table with three columns per backend, except `kornia`, which has a table of its own."""
    names = [name for name in TOLERANCE if name != "kornia"]
    lines = [
        "| |" + "".join(f" {name}: largest | mean | left out |" for name in names),
        "|---|" + "---:|" * (3 * len(names)),
    ]
    for label, measure in cases:
        lines.append(f"| {label} |" + "".join(cells(label, measure, name) for name in names))
    return "\n".join(lines) + "\n"


def dtypes_table(cases: Iterable[tuple[str, Callable[[str, torch.dtype], Comparison]]]) -> str:
    columns = [(backend, dtype) for backend in ("fused", "batched") for dtype in (torch.float16, torch.bfloat16)]
    titles = (f"{backend}, {str(dtype).removeprefix('torch.')}" for backend, dtype in columns)
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(columns)]
    for label, measure in cases:
        lines.append(f"| {label} | " + " | ".join(f"{measure(*column).largest:.1e}" for column in columns) + " |")
    return DTYPES + "\n".join(lines) + "\n"


def kornia_table() -> str:
    """For every op: the nearest function of Kornia, its errors, and whether the backend runs it."""
    lines = ["| op | runs | Kornia's function | largest in [0, 1] | outside | why ours |", "|---|---|---|---:|---:|---|"]
    for row in kornia_rows():
        errors = ("" if value is None else f"{value:.1e}" for value in (row.inside, row.outside))
        whose = "Kornia's" if row.kornia else "ours"
        lines.append(f"| {row.case} | {whose} | {row.label} | {' | '.join(errors)} | {row.why} |")
    return "\n".join(lines) + "\n"


def cells(label: str, measure: Callable[[str], Comparison], backend: str) -> str:
    if refuses(backend, label.strip("`")):
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
    dtypes = [
        (name, lambda b, t, steps=steps: compare(b, ragged(), *tables(steps, count, 64), dtype=t))
        for name, steps in CROPS.items()
    ]
    dtypes += [(name, lambda b, t, op=op: compare(b, uniform(), *map_tables(op, 16), dtype=t)) for name, op in MAPS.items()]
    return head + sizes + rows(ops) + dtypes_table(dtypes) + composed_table() + kornia + POLICIES + rows(policies)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare every backend with the truth and write the tables.")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/parity.md"))
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text())
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
