"""The command `python -m benchmarks model`: what the workloads cost on a device, predicted from its published rates.

A kernel takes at least as long as its busiest unit. The prediction is BOUND_REACHED of that bound, and a gap for each launch.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..report.text import table, wrapped
from ..workloads import CORE, Workload, one_view, perfect_bytes
from .counts import issued
from .sass import KINDS, PRODUCT
from .trace import traces

BOUND_REACHED = 0.75
"""Share of its bound that a kernel is taken to reach. An assumption: well tuned kernels reach 0.6 to 0.9."""

COPIED = 0.9
"""Share of the published bandwidth that a copy is taken to reach. An assumption."""

GAP, BATCH = 0.9e-6, 256
"""Seconds between kernels of a stream (NVIDIA, "Getting Started with CUDA Graphs": 3.8 us a kernel of 2.9), and images."""

GOALS = {"strong": 0.3, "cheap": 0.6}
"""First word of a workload's name -> share of copy bandwidth that it is to reach, by the bytes of a perfect pass."""

RATIO = 2.0
"""How many times as long as the cheap view the strong one may take."""

BEGIN, END = "<!-- model: sm_{} -->", "<!-- end of model -->"
"""What the section of a page lies between, for one compute capability."""


def instructions(kinds: dict[str, float]) -> float:
    """Instructions of all kinds."""
    return sum(n for kind, n in kinds.items() if kind != PRODUCT)


@dataclass(frozen=True)
class Device:
    """Published rates of a GPU. Where the source leaves them open, NVIDIA's programming guide ("Arithmetic Instructions").

    Attributes:
        name: Its name.
        capability: Compute capability, 90 for 9.0.
        units: Multiprocessors.
        clock: Hz.
        bandwidth: Bytes per second.
        floats: Threads a clock and multiprocessor that do a float32 operation.
        tensor: The same for a product of 16 x 8 x 16 by tensor cores.
        source: Where the rates are published.
    """

    name: str
    capability: int
    units: int
    clock: float
    bandwidth: float
    floats: int
    tensor: int
    source: str

    def bounds(self, kinds: dict[str, float]) -> dict[str, float]:
        """Unit -> seconds that it takes for instructions of one thread each."""
        n = dict.fromkeys((*KINDS, PRODUCT), 0.0) | kinds
        clocks = {
            "issue": instructions(n) / 128,  # 4 schedulers x 32 threads
            "integer": n["alu"] / 64,
            "float": n["float"] / self.floats + n["multiply"] / 64,
            "special": (n["special"] + n["convert"]) / 16,
            "load": (n["global load"] + n["global store"] + n["shared"]) / 32,
            "tensor": n[PRODUCT] / self.tensor,
        }
        return {unit: count / self.units / self.clock for unit, count in clocks.items()}


DEVICES = (
    Device("T4", 75, 40, 1.59e9, 0.32e12, 64, 16, "NVIDIA Turing whitepaper, T4 datasheet"),
    Device("A100", 80, 108, 1.41e9, 2.039e12, 64, 16, "NVIDIA A100 whitepaper and datasheet, SXM, 80 GB"),
    # 1.98 GHz at most; this is lower, as under load.
    Device("H100", 90, 132, 1.755e9, 3.35e12, 128, 32, "NVIDIA H100 whitepaper and datasheet, SXM"),
    Device("H200", 90, 132, 1.755e9, 4.8e12, 128, 32, "NVIDIA H200 datasheet, SXM"),
)


@dataclass(frozen=True)
class Kernel:
    """A launch, per view: its name, instructions of one thread each by kind, bytes that move; and the blocks of its code."""

    name: str
    kinds: dict[str, float]
    bytes: float
    blocks: str


@dataclass(frozen=True)
class Cost:
    """A workload, the pixels of its view, its launches, and whether its images are planes of brightness and colours."""

    workload: Workload
    pixels: int
    kernels: tuple[Kernel, ...]
    yuv: bool = False

    def seconds(self, device: Device) -> float:
        """Predicted seconds a view."""
        each = (max(*device.bounds(k.kinds).values(), k.bytes / device.bandwidth / COPIED) for k in self.kernels)
        return sum(each) / BOUND_REACHED + len(self.kernels) * GAP / BATCH

    def share(self, device: Device) -> float:
        """Predicted share of copy bandwidth, by the bytes of a perfect pass."""
        return perfect_bytes(self.workload, 2, self.yuv) / self.seconds(device) / device.bandwidth / COPIED


def costs(workloads: Sequence[Workload], capability: int, draws: int, yuv: bool = False) -> list[Cost]:
    """Costs of workloads with bfloat16 views, on `draws` draws. yuv: whether images are planes of brightness and colours."""
    found = traces({f"{w.policy} {w.name}": list(w.sizes) for w in workloads}, draws, capability, yuv=yuv)
    made = []
    for workload, launches in zip(workloads, found.values(), strict=True):
        names = [launch["kernel"] for launch in launches]
        kernels = []
        for k, launch in enumerate(launches):
            number = f" {names[: k + 1].count(names[k])}" if names.count(names[k]) > 1 else ""
            programs = launch["grid"] / draws
            threads = programs * 32 * launch["options"].get("num_warps", 4)
            each, text = issued(launch, capability)
            kinds = {kind: n * threads for kind, n in each.items()}
            kernels.append(Kernel(names[k] + number, kinds, (launch["read"] + launch["written"]) * programs, text))
        height, width = one_view(workload.policy).views[0].size
        made.append(Cost(workload, height * width, tuple(kernels), yuv))
    return made


def kernel_rows(found: Sequence[Cost], devices: Sequence[Device]) -> Iterator[list[str]]:
    """A title row, then a row a kernel: instructions a pixel, and microseconds a view of the units that could bound it."""
    shown = {"global load": "load", "global store": "store", "shared": "smem", "special": "sfu", "convert": "conv"}
    shown["tensor core"] = "tc"
    yield ["workload", "kernel", "all", *shown.values(), "issue", "busiest unit", *(f"mem {d.name}" for d in devices)]
    for cost in found:
        for k in cost.kernels:
            bounds = devices[0].bounds(k.kinds)
            unit = max(bounds, key=bounds.__getitem__)
            counts = [instructions(k.kinds), *(k.kinds.get(kind, 0.0) for kind in shown)]
            each = [f"{n / cost.pixels:.{0 if n / cost.pixels >= 99.5 else 1}f}" for n in counts]
            moved = [f"{k.bytes / device.bandwidth / COPIED * 1e6:.3f}" for device in devices]
            name = cost.workload.name
            yield [name, k.name, *each, f"{bounds['issue'] * 1e6:.3f}", f"{unit} {bounds[unit] * 1e6:.3f}", *moved]


def view_rows(found: Sequence[Cost], devices: Sequence[Device]) -> Iterator[list[str]]:
    """A title row, then for each workload and device the predicted speed, beside the goals."""
    yield ["workload", "device", "us a view", "views/s", "of copy", "goal", "strong / cheap", "goal"]
    by_name = {cost.workload.name: cost for cost in found}
    for cost in found:
        word, _, size = cost.workload.name.partition("-")
        cheap = by_name.get(f"cheap-{size}") if word == "strong" else None
        goal = f"{GOALS[word]:.0%}" if word in GOALS else "-"
        for device in devices:
            seconds = cost.seconds(device)
            ratio = [f"{seconds / cheap.seconds(device):.1f}", f"{RATIO:g}"] if cheap else ["-", "-"]
            speed = [f"{seconds * 1e6:.3f}", f"{1e-6 / seconds:.2f} M", f"{cost.share(device):.1%}"]
            yield [cost.workload.name, device.name, *speed, goal, *ratio]


def notes(devices: Sequence[Device], draws: int) -> list[str]:
    import triton

    rates = "; ".join(
        f"{d.name}: {d.units} multiprocessors, {d.clock / 1e9:g} GHz, {d.bandwidth / 1e12:g} TB/s ({d.source})" for d in devices
    )
    return [
        f"Predicted, not measured: from the machine code of Triton {triton.__version__} for sm_{devices[0].capability}, "
        f"and {draws} draws a workload; bfloat16, NCHW.",
        "Kernels: instructions a pixel and thread, on average over all images, also those that skip the kernel (all; loads and "
        "stores of global memory; of shared memory; of the special-function unit; conversions; of tensor cores); then us a "
        "view that the schedulers, the busiest unit and the memory take at least.",
        f"Views: the longest of these of each kernel, divided by {BOUND_REACHED:g}, and {GAP * 1e6:g} us a launch at batch "
        f"{BATCH}, where a copy reaches {COPIED:.0%} of the bandwidth; these are assumptions. The host's work is left out.",
        f"Rates: {rates}; NVIDIA's programming guide, throughput of arithmetic instructions.",
    ]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def section(found: Sequence[Cost], devices: Sequence[Device], draws: int) -> str:
    """The section of the documentation, between its marks."""
    views, kernels = (markdown(list(rows(found, devices))) for rows in (view_rows, kernel_rows))
    begin = BEGIN.format(devices[0].capability)
    heading = f"### Predicted on {' and '.join(device.name for device in devices)}"
    return "\n\n".join([begin, heading, views, kernels, *map(fill, notes(devices, draws)), END])


def fill(text: str) -> str:
    return textwrap.fill(text, 128, break_long_words=False, break_on_hyphens=False)


def replaced(path: Path, begin: str, text: str) -> str:
    """A page with another section between the mark `begin` and END. Raises ValueError if the page lacks these."""
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    if END not in rest:
        raise ValueError(f"--write {path}: the page needs a line {begin!r}, and after it a line {END!r}")
    return before + text + rest.partition(END)[2]


def command(device: str, draws: int, names: Sequence[str], yuv: bool, blocks: bool, page: Path | None) -> None:
    """Predict, print the tables, and write the section if a page is given."""
    known = {w.name: w for w in CORE}
    for name in names:
        if name not in known:
            raise ValueError(f"--workload {name}: must be one of {', '.join(known)}")
    if draws < 1:
        raise ValueError(f"--draws must be at least 1, got {draws}")
    if yuv and page:
        raise ValueError("--yuv: --write replaces a section about RGB images; leave one of them out")
    devices = [d for d in DEVICES if f"sm_{d.capability}" == device]
    begin = BEGIN.format(devices[0].capability)
    if page:
        replaced(page, begin, "")  # raises now rather than after minutes
    found = costs([known[name] for name in names or known], devices[0].capability, draws, yuv)
    for cost in found if blocks else ():
        print(*(f"{cost.workload.name}, {k.name}: {k.blocks}" for k in cost.kernels), sep="\n\n", end="\n\n")
    for rows in (kernel_rows, view_rows):
        head, *cells = rows(found, devices)
        print(table(cells, head, "llr"), end="\n\n")
    print("\n".join(wrapped(note) for note in notes(devices, draws)))
    if page:
        page.write_text(replaced(page, begin, section(found, devices, draws)), encoding="utf-8")
        print(f"benchmarks: wrote {page}", file=sys.stderr)
