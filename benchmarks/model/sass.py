"""The machine code of a compiled Triton kernel as basic blocks: instructions by kind, source lines, branches and loops."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .source import OURS, statement

KINDS = {
    "global load": ("LDG", "LDGSTS", "UBLKCP", "UTMALDG"),
    "global store": ("STG", "RED", "ATOM", "ATOMG", "UTMASTG"),
    "shared": ("LDS", "LDSM", "STS", "STSM", "ATOMS"),
    "special": ("MUFU",),
    "convert": ("I2F", "F2I", "F2F", "I2I", "FRND"),
    "tensor core": ("HMMA", "IMMA", "HGMMA", "IGMMA", "QGMMA", "BMMA", "DMMA", "UTCHMMA", "UTCIMMA"),
    "float": ("FADD", "FMUL", "FFMA", "HADD2", "HMUL2", "HFMA2", "FADD2", "FMUL2", "FFMA2"),
    "multiply": ("IMAD", "IMUL", "IDP", "IDP4A"),
    "alu": (
        *("IADD3", "IADD", "IABS", "IMNMX", "VIMNMX", "VIADD", "VIADDMNMX", "ISETP", "LEA", "LOP3", "LOP", "SHF", "SHL", "SHR"),
        *("PRMT", "SEL", "FSEL", "FSETP", "FMNMX", "FSET", "PLOP3", "BMSK", "SGXT", "HMNMX2", "HSETP2", "FCHK", "P2R", "R2P"),
        *("ISCADD", "MOV", "F2FP", "I2FP", "IADD64", "LEA3"),
    ),
}
"""Kind -> opcodes. The rest are "other": branches, barriers, constants, uniform registers."""

PRODUCT = "product"
"""Beside the kinds: the products of 16 x 8 x 16 that the instructions of tensor cores do."""

KIND_OF = {opcode: kind for kind, opcodes in KINDS.items() for opcode in opcodes}


@dataclass
class Block:
    """A basic block.

    Attributes:
        kinds: Number of instructions of each kind.
        chains: Number of instructions for each chain (see `source`) and opcode.
        last: Chain of the last instruction, often a branch.
        targets: Blocks that may follow it, by index.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    chains: Counter[tuple[str, str]] = field(default_factory=Counter)
    last: str = ""
    targets: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.kinds.total() - self.kinds[PRODUCT]


@dataclass(frozen=True)
class Loop:
    """A natural loop: the block that it begins with, the blocks that jump back to it, and all its blocks."""

    head: int
    back: tuple[int, ...]
    body: frozenset[int]


def disassembled(cubin: bytes) -> str:
    """Machine code with source lines. Raises RuntimeError if Triton's wheel has no disassembler."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    if not tool.exists():
        raise RuntimeError(f"{tool} is missing; it comes with Triton's wheel for Linux and reads the instructions of a kernel")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([tool, "-c", "-gi", file.name], capture_output=True, text=True, check=True).stdout


def products(opcode: str) -> int:
    """How many products of 16 x 8 x 16 a warp does in an instruction: several in Hopper's, such as HGMMA.64x32x16; else 1."""
    size = re.search(r"GMMA\.64x(\d+)x16", opcode)
    return int(size[1]) // 8 if size else 1


def blocks_of(text: str) -> list[Block]:
    """The basic blocks of a kernel, in the order of their addresses."""
    blocks, labels = [Block()], {}
    # A block, the labels that it may jump to, and whether it may also fall through.
    jumps: list[tuple[int, list[str], bool]] = []
    chain: list[str] = []
    fresh = False  # whether the next line of the source begins a new chain
    for line in text.splitlines():
        if found := re.match(r'\s*//## File "(.*?)", line (\d+)', line):
            chain = [*([] if fresh else chain), *([statement(found[1], int(found[2]))] if OURS in found[1] else [])]
            fresh = False
        elif found := re.match(r"(\.L_x_\d+|\$\S+):", line):
            if blocks[-1].size:
                jumps.append((len(blocks) - 1, [], True))
                blocks.append(Block())
            labels[found[1]] = len(blocks) - 1
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*)", line):
            guard, opcode, operands = found.groups()
            block, fresh = blocks[-1], True
            base = opcode.partition(".")[0]
            kind = KIND_OF.get(base, "other")
            block.kinds[kind] += base != "NOP"
            if kind == "tensor core":
                block.kinds[PRODUCT] += products(opcode)
            block.last = " < ".join(chain)
            block.chains[block.last, base] += 1
            if base in ("BRA", "BRX", "EXIT", "RET", "JMX"):
                jumps.append((len(blocks) - 1, re.findall(r"\.L_x_\d+", operands), bool(guard) or "P" in operands[:3]))
                blocks.append(Block())
    for k, names, through in jumps:
        blocks[k].targets = [labels[name] for name in names] + ([k + 1] if through and k + 1 < len(blocks) else [])
    return blocks


def reached(blocks: list[Block], start: int = 0, without: int = -1) -> set[int]:
    """Blocks that can run after block `start`, on a way that avoids block `without`."""
    seen, todo = set(), [start]
    while todo:
        k = todo.pop()
        if k not in seen and k != without:
            seen.add(k)
            todo += blocks[k].targets
    return seen


def loops_of(blocks: list[Block]) -> list[Loop]:
    """The natural loops, outer before inner."""
    every = reached(blocks)
    back: dict[int, list[int]] = {}
    for head in every:
        outside = reached(blocks, without=head)
        for k in every - outside:  # blocks that run only after `head`
            if head in blocks[k].targets:
                back.setdefault(head, []).append(k)
    loops = []
    for head, ends in back.items():
        inside = every - reached(blocks, without=head)
        body = {k for k in inside if k == head or set(ends) & reached(blocks, k, head)}
        loops.append(Loop(head, tuple(sorted(ends)), frozenset(body | {head})))
    return sorted(loops, key=lambda loop: (-len(loop.body), loop.head))


def render(blocks: list[Block], loops: list[Loop], times: list[float]) -> str:
    """A line a block: loops around it, how often it runs, instructions by kind, branches, and the place of its last one."""
    total: Counter[str] = sum((b.kinds for b in blocks), Counter())
    lines = [f"{sum(b.size for b in blocks)} instructions: " + ", ".join(f"{n} {kind}" for kind, n in total.most_common())]
    live = reached(blocks)
    for k, block in enumerate(blocks):
        if k in live and block.size:
            depth = "".join("|" for loop in loops if k in loop.body)
            back = "".join(f" BACK to {loop.head}" for loop in loops if k in loop.back)
            counts = ", ".join(f"{n} {kind}" for kind, n in block.kinds.most_common())
            place = re.sub(r"[^ ]*/", "", block.last)
            runs = f"{depth:3} block {k}: {times[k]:.2f} x {block.size} ({counts})"
            lines.append(f"{runs} -> {block.targets}{back}  [{place}]")
    return "\n".join(lines)
