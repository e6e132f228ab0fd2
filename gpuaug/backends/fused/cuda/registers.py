"""Compiles every Triton kernel for several devices, without a GPU, and reports the registers of a thread.

python -m gpuaug.backends.fused.cuda.registers docs/fused-registers.md
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .launch import TILE, WARPS, register_limit

CAPABILITIES = (75, 80, 90, 100)
"""Turing (T4), Ampere (A100), Hopper (H100, H200), Blackwell (B200)."""

POINTERS = {"source", "table", "scratch", "sums", "out"}
"""Arguments that are pointers, aligned to 16 bytes. The others are 32-bit integers or known when a kernel is compiled."""


@dataclass(frozen=True)
class Variant:
    """A kernel as it is launched for one kind of stage.

    Attributes:
        kernel: Name of the function in `kernels`.
        name: Name of the variant in the table.
        types: Types of the pointer arguments, in Triton's notation.
        constants: Values of the arguments that are known when the kernel is compiled.
    """

    kernel: str
    name: str
    types: dict[str, str]
    constants: dict[str, Any]


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel uses.

    Attributes:
        registers: Registers of a thread.
        stack: Bytes of local memory of a thread, to which it spills registers.
        shared: Bytes of shared memory of a program.
    """

    registers: int
    stack: int
    shared: int


def variants() -> Iterator[Variant]:
    """Every kernel, in the variants that differ most."""
    tile = {"H": TILE[0], "W": TILE[1]}
    narrow = {"table": "*i32", "scratch": "*i16", "sums": "*i64", "out": "*bf16"}
    wide = {**narrow, "scratch": "*fp32", "out": "*fp32"}
    for noisy in (False, True):
        noise = ", noise" if noisy else ""
        finish = {"NOISY": noisy, "CHANNELS_LAST": False, **tile}
        resize = {"FLOATS": False, "CUBIC": False, "GUARD": False, **finish}
        yield Variant("first_pass", "bilinear" + noise, {**narrow, "source": "*u8"}, resize)
        yield Variant("first_pass", "bicubic" + noise, {**narrow, "source": "*u8"}, {**resize, "CUBIC": True})
        if not noisy:
            yield Variant(
                "first_pass", "bicubic, guarded", {**narrow, "source": "*u8"}, {**resize, "CUBIC": True, "GUARD": True}
            )
            yield Variant("first_pass", "bicubic, float32", {**wide, "source": "*u8"}, {**resize, "CUBIC": True})
            yield Variant("first_pass", "from floats", {**wide, "source": "*fp32"}, {**resize, "FLOATS": True})
        yield Variant("next_pass", "bfloat16" + noise, {**narrow, "source": "*i16"}, finish)
        if not noisy:
            last = {**finish, "CHANNELS_LAST": True}
            yield Variant("next_pass", "bfloat16, channels last", {**narrow, "source": "*i16"}, last)
            yield Variant("next_pass", "float32", {**wide, "source": "*fp32"}, finish)
    yield Variant("blur_across", "bfloat16", {**narrow, "source": "*i16"}, tile)
    yield Variant("blur_across", "float32", {**wide, "source": "*fp32"}, tile)


def compiled(variant: Variant, capability: int) -> Any:
    """Compile a kernel for a compute capability, such as 90 for 9.0."""
    import triton
    from triton.backends.compiler import GPUTarget

    from . import kernels

    kernel = getattr(kernels, variant.kernel)
    names = kernel.arg_names
    signature = {n: "constexpr" if n in variant.constants else variant.types.get(n, "i32") for n in names}
    constants = {(names.index(n),): value for n, value in variant.constants.items()}
    # Arguments that are multiples of 16. At a launch, Triton finds this out by itself.
    alike = POINTERS | ({"height", "width"} if variant.kernel == "next_pass" else set())
    multiples: Any = {(names.index(n),): [["tt.divisibility", 16]] for n in names if n in alike}
    options = {"num_warps": WARPS, "enable_fp_fusion": True}
    if "NOISY" in variant.constants:
        options |= register_limit(variant.kernel, variant.constants["NOISY"], variant.types["source"] == "*fp32")
    source = triton.compiler.ASTSource(kernel, signature, constants, multiples)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def resources(variant: Variant, capability: int) -> Resources:
    """Compile a kernel and read what it uses. Raises RuntimeError if Triton's wheel has no cuobjdump."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        raise RuntimeError(f"{tool} is missing; it comes with Triton's wheel for Linux and reads the registers of a kernel")
    kernel = compiled(variant, capability)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        done = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", done.stdout + done.stderr)
    if found is None:
        raise RuntimeError(f"{tool} -res-usage printed no registers: {done.stdout or done.stderr}")
    registers, stack, local = map(int, found.groups())
    return Resources(registers, stack + local, kernel.metadata.shared)


def table() -> str:
    """The table in Markdown, with a row per variant and a column per device; cells of kernels that spill say so."""
    import triton

    lines = [
        "# Registers of the CUDA kernels",
        "",
        f"Registers of a thread, and bytes of shared memory of a program ({WARPS} warps, {TILE[0]} x {TILE[1]} pixels);",
        f"no kernel may spill. Written by `python -m gpuaug.backends.fused.cuda.registers` with Triton {triton.__version__}.",
        "",
        "| kernel | variant | " + " | ".join(f"sm_{c}" for c in CAPABILITIES) + " | shared |",
        "|---|---|" + "---|" * (len(CAPABILITIES) + 1),
    ]
    for variant in variants():
        found = [resources(variant, c) for c in CAPABILITIES]
        cells = [str(r.registers) + (f" ({r.stack} bytes spilled)" if r.stack else "") for r in found]
        lines.append(f"| `{variant.kernel}` | {variant.name} | {' | '.join(cells)} | {max(r.shared for r in found)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    text = table()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
