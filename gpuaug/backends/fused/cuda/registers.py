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
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..cpu.pack import ANY
from ..instructions import BLUR, ELASTIC, JPEG
from .drawn import LANES, OPTIONS, Inputs
from .sizes import BLOCKS, GENERAL_TILE, STRIP_REGISTERS, TILE, WARPS, register_limit, strips_for

CAPABILITIES = (75, 80, 90, 100)
"""Turing (T4), Ampere (A100), Hopper (H100, H200), Blackwell (B200)."""

NARROW = {
    **{"table": "*i32", "memory": "*fp16", "scratch": "*fp16", "across": "*fp16", "sums": "*i64", "out": "*bf16"},
    **{"kept": "*fp16", "total": "*fp32", "field": "*fp32", "tables": "*i32"},
}
WIDE = {**NARROW, "scratch": "*fp32", "across": "*fp32", "kept": "*fp32", "out": "*fp32"}
"""Types of the pointer arguments of the kernels that make pixels, for bfloat16 and float32 views."""

POINTERS = {"source", *NARROW}
"""Arguments that are pointers, aligned to 16 bytes. The others are 32-bit integers or known when a kernel is compiled."""

FLOATS64 = {"numbers", "ranges", "constants"}
INTEGERS64 = {"state", "samples", "images"}
DRAW_TYPES = {n: "*fp64" if n in FLOATS64 else "*i64" if n in INTEGERS64 else "*i32" for n in (*Inputs._fields, "table")}
"""Types of the pointer arguments of the kernel that draws."""

DTYPES = {"*bf16": torch.bfloat16, "*fp16": torch.float16, "*fp32": torch.float32}

TILES = {"H": TILE[0], "W": TILE[1]}

STRIPS = {"strip_pass", "blur_pass"}
"""Kernels that make strips."""

LIMITED = {"first_pass", "next_pass", "general_pass"}
"""Kernels whose registers `register_limit` limits."""

MODULES = {
    **dict.fromkeys(STRIPS, "strips"),
    **{"draw_records": "draw", "general_pass": "general", "jpeg_blocks": "jpeg"},
    **{"elastic_noise": "elastic", "elastic_across": "elastic"},
}
"""The module of each kernel that is not in `tiles`."""


@dataclass(frozen=True)
class Variant:
    """A kernel as it is launched for one kind of stage.

    Attributes:
        kernel: Name of the function.
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


def variants(capability: int) -> Iterator[Variant]:
    """Every kernel that runs on devices of a compute capability, in the variants that differ most."""
    for noisy in (False, True):
        for general in (False, True):
            yield from of_stages(capability, noisy, general)
    yield Variant("blur_across", "float32", WIDE, {**TILES, "GENERAL": False})
    if not strips_for(divmod(capability, 10), False):
        yield Variant("blur_across", "bfloat16", NARROW, {**TILES, "GENERAL": False})
    yield Variant("jpeg_blocks", "float32", WIDE, {"SIDE": BLOCKS})
    yield Variant("jpeg_blocks", "bfloat16", NARROW, {"SIDE": BLOCKS})
    yield Variant("elastic_noise", "any", NARROW, TILES)
    yield Variant("elastic_across", "any", NARROW, TILES)
    yield Variant("draw_records", "draws", DRAW_TYPES, {"LANES": LANES, "SHARES": False})
    yield Variant("draw_records", "draws, shared or nested", DRAW_TYPES, {"LANES": LANES, "SHARES": True})


def of_stages(capability: int, noisy: bool, general: bool) -> Iterator[Variant]:
    """The kernels of stages that may have noise, or general instructions; of those with both and of filters, only some."""
    strips = strips_for(divmod(capability, 10), noisy)
    more = (", general" if general else "") + (", noise" if noisy else "")
    last = {"NOISY": noisy, "CHANNELS_LAST": False}
    finish = {**last, "GENERAL": general}
    if strips:
        strip = {**finish, "H": strips.rows, "W": strips.columns, "KY": strips.chunk_rows, "KX": strips.chunk_columns}
        kernel, crop = "strip_pass", {**strip, "CUBIC": True, "YUV": False}
    else:
        kernel, crop = "first_pass", {"FLOATS": False, "CUBIC": True, **finish, **TILES}
    dtypes = {"bfloat16": NARROW, "float16": {**NARROW, "out": "*fp16"}, "float32": WIDE}
    for dtype, types in list(dtypes.items())[: 1 if general and noisy else 3]:
        order = {"CHANNELS_LAST": dtype == "float16"}
        yield Variant(kernel, f"bicubic, {dtype}{more}", {**types, "source": "*u8"}, {**crop, **order})
        if strips and (dtype == "float32" or not (general or noisy)):
            planes = {**crop, **order, "YUV": True}
            yield Variant(kernel, f"bicubic, {dtype}{more}, planes of colours", {**types, "source": "*u8"}, planes)
        if general:
            begun = {**last, **order, "H": GENERAL_TILE[0], "W": GENERAL_TILE[1]}
            yield Variant("general_pass", dtype + more, types, {**begun, "KIND": ANY})
            if dtype == "bfloat16" and not noisy:
                yield Variant("general_pass", "bfloat16, JPEG", types, {**begun, "KIND": JPEG})
                yield Variant("general_pass", "bfloat16, elastic", types, {**begun, "KIND": ELASTIC})
            if dtype == "float32":
                yield Variant("general_pass", "float32, blur", types, {**begun, "KIND": BLUR})
        else:
            yield Variant("next_pass", dtype + more, types, {**last, **TILES, **order})
        if strips and dtype != "float32":
            yield Variant("blur_pass", dtype + more, types, {**strip, **order})
    if general:
        return
    yield Variant(kernel, "bilinear, bfloat16" + more, {**NARROW, "source": "*u8"}, {**crop, "CUBIC": False})
    floats = {"FLOATS": True, "CUBIC": False, **finish, **TILES}
    yield Variant("first_pass", "from floats" + more, {**WIDE, "source": "*fp32"}, floats)


def compiled(variant: Variant, capability: int) -> Any:
    """Compile a kernel for a compute capability, such as 90 for 9.0."""
    import triton
    from triton.backends.compiler import GPUTarget

    draws = variant.kernel == "draw_records"
    kernel = getattr(import_module(f".kernels.{MODULES.get(variant.kernel, 'tiles')}", __package__), variant.kernel)
    names = kernel.arg_names
    signature = {n: "constexpr" if n in variant.constants else variant.types.get(n, "i32") for n in names}
    constants = {(names.index(n),): value for n, value in variant.constants.items()}
    # Arguments that are multiples of 16. At a launch, Triton finds this out by itself.
    alike = (
        POINTERS
        | set(DRAW_TYPES)
        | ({"height", "width"} if variant.kernel in {"next_pass", *STRIPS} else set())
        | ({"half"} & set(names))
    )
    multiples: Any = {(names.index(n),): [["tt.divisibility", 16]] for n in names if n in alike}
    options: dict[str, Any] = OPTIONS if draws else {"num_warps": WARPS, "enable_fp_fusion": True}
    if variant.kernel in STRIPS:
        options["maxnreg"] = STRIP_REGISTERS[DTYPES[variant.types["out"]]]
    elif variant.kernel in LIMITED:
        options["maxnreg"] = register_limit(variant.constants["NOISY"])
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
        f"Registers of a thread, and bytes of shared memory of a program of {WARPS} warps, of `draw_records` one;",
        f"no kernel may spill. Written by `python -m gpuaug.backends.fused.cuda.registers` with Triton {triton.__version__}.",
        "",
        "| kernel | variant | " + " | ".join(f"sm_{c}" for c in CAPABILITIES) + " | shared |",
        "|---|---|" + "---|" * (len(CAPABILITIES) + 1),
    ]
    devices = {c: {(v.kernel, v.name): v for v in variants(c)} for c in CAPABILITIES}
    for kernel, name in dict.fromkeys(key for found in devices.values() for key in found):
        found = {c: resources(of[kernel, name], c) for c, of in devices.items() if (kernel, name) in of}
        cells = [cell(found[c]) if c in found else "" for c in CAPABILITIES]
        lines.append(f"| `{kernel}` | {name} | {' | '.join(cells)} | {max(r.shared for r in found.values())} |")
    return "\n".join(lines) + "\n"


def cell(found: Resources) -> str:
    return str(found.registers) + (f" ({found.stack} bytes spilled)" if found.stack else "")


def main() -> None:
    text = table()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
