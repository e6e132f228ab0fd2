"""Instructions that a kernel issues: those of each basic block, times how often the block runs.

How often a block runs follows from its source lines and how often the interpreter ran these, without knowing the kernel. Each
instruction votes. If its statement ran n times a program, and the block lies in none of the loops around the statement (the
compiler moved it out of a loop, or unrolled the loop), the vote is n divided by their trips; conversely for a loop that the
statement is not in. The median wins.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib import import_module
from math import prod
from typing import Any

from . import source
from .sass import KIND_OF, Block, Loop, blocks_of, disassembled, loops_of, reached, render
from .trace import Launch

TYPES = {"uint8": "*u8", "int16": "*i16", "int32": "*i32", "int64": "*i64", "float16": "*fp16"}
TYPES |= {"bfloat16": "*bf16", "float32": "*fp32", "float64": "*fp64"}

WORK = ("float", "global load", "global store", "shared", "special", "tensor core")
"""Kinds of instructions of which each copy of a loop's body has as many."""


def compiled(launch: Launch, capability: int) -> bytes:
    """Machine code of a kernel as a launch of `trace` would compile it, for a compute capability such as 90."""
    import triton
    from triton.backends.compiler import GPUTarget

    kernel = getattr(import_module(launch["module"]), launch["kernel"])
    names, constants, multiples = kernel.arg_names, dict(launch["constants"]), set(launch["types"])
    for parameter in kernel.params:
        value = launch["numbers"].get(parameter.name)
        if value is not None and not parameter.do_not_specialize:
            if value == 1:
                constants[parameter.name] = 1
            elif value % 16 == 0:
                multiples.add(parameter.name)
    types = {name: TYPES[kind] for name, kind in launch["types"].items()}
    signature = {n: "constexpr" if n in constants else types.get(n, "i32") for n in names}
    places = {(names.index(n),): value for n, value in constants.items()}
    aligned: Any = {(names.index(n),): [["tt.divisibility", 16]] for n in multiples}
    with triton.knobs.compilation.scope():  # what is in the cache may name the files of another clone
        triton.knobs.compilation.always_compile = True
        made = triton.compile(
            triton.compiler.ASTSource(kernel, signature, places, aligned),
            target=GPUTarget("cuda", capability, 32),
            options=launch["options"],
        )
    return bytes(made.asm["cubin"])


class Lines:
    """How often the lines of a kernel ran, per program.

    Args:
        lines: Chain -> how often its statement ran.
    """

    def __init__(self, lines: dict[str, float]) -> None:
        self.lines = lines
        self.longer: dict[str, list[str]] = {}
        for chain in lines:
            self.longer.setdefault(chain.partition(" < ")[0], []).append(chain)
        self.runs, self.trips = cache(self.runs), cache(self.trips)  # type: ignore[method-assign]

    def runs(self, chain: str) -> float:
        """How often a statement ran, for one of the copies that the compiler makes of it if a statement calls it several times.

        The head of a loop counts as its body.
        """
        n = self.lines.get(source.body(chain) if source.is_loop(chain) else chain, 0.0)
        caller = chain.partition(" < ")[2]
        if not (n and caller):
            return n
        trips = prod(self.trips(loop) for loop in set(source.loops(chain)) - set(source.loops(caller)))
        return min(n / trips, self.runs(caller)) * trips

    def chains(self, place: str) -> list[str]:
        """The chains that a place may stand for: before Triton 3.8, machine code does not name the calls that led there."""
        if place in self.lines or " < " in place or not place:
            return [place] * bool(place)
        return self.longer.get(place, [place])

    def block_runs(self, chain: str, around: set[str]) -> float:
        """How often a block runs that is in the loops `around`, by one of its statements."""
        n, mine = self.runs(chain), set(source.loops(chain))
        for loop in mine - around:
            n /= self.trips(loop) or 1.0
        for loop in around - mine:
            n *= self.trips(loop)
        return n

    def trips(self, loop: str) -> float:
        """How often a loop's body runs each time that the loop is reached."""
        body = self.lines.get(source.body(loop), 0.0)
        return body / self.lines[loop] if body else 0.0


def executions(blocks: list[Block], lines: Lines) -> list[float]:
    """How often each block runs, per program."""
    live, found = reached(blocks), loops_of(blocks)
    names = [name_of(loop, blocks, lines) for loop in found]
    around = [{name for loop, name in zip(found, names, strict=True) if name and k in loop.body} for k in range(len(blocks))]
    times = [0.0] * len(blocks)
    for k in live:
        sure: list[tuple[float, int]] = []
        unsure: list[tuple[float, int]] = []
        for (place, _), count in blocks[k].chains.items():
            votes = [(lines.block_runs(chain, around[k]), count) for chain in lines.chains(place)]
            (sure if len(set(votes)) == 1 else unsure).extend(votes)
        times[k] = median(sure or unsure)
    for name in set().union(*around):
        unroll(name, blocks, around, lines.trips(name), times)
    # What was moved here from statements that never ran must not outvote the block's own few instructions.
    before = [[k for k in live if n in blocks[k].targets] for n in range(len(blocks))]
    for one, name in zip(found, names, strict=True):
        outside = [k for k in before[one.head] if k not in one.body]
        if name and len(outside) == 1 and lines.trips(name):
            times[outside[0]] = max(times[outside[0]], lines.runs(name) / lines.trips(name))
    times[0] = 1.0
    for k in sorted(live - {0}, reverse=True):
        times[k] = max([times[k], *(times[n] for n in blocks[k].targets if before[n] == [k])])
    return times


def name_of(loop: Loop, blocks: list[Block], lines: Lines) -> str:
    """The loop of the source, by the branches that go back to its head; "" for a loop of the compiler's own."""
    found = [(*source.loops(chain), "")[0] for k in loop.back for chain in lines.chains(blocks[k].last)[:1]]
    return Counter(found).most_common(1)[0][0] if found else ""


def median(votes: list[tuple[float, int]]) -> float:
    half = sum(count for _, count in votes) / 2
    for n, count in sorted(votes):
        half -= count
        if half <= 0:
            return n
    return 0.0


def unroll(loop: str, blocks: list[Block], around: list[set[str]], trips: float, times: list[float]) -> None:
    """Correct `times` where the compiler made a loop that does several trips at a time, and copies of its body for the rest."""
    place = loop.partition(" < ")[0]
    work = [
        Counter(
            {
                key: n
                for key, n in b.chains.items()
                if KIND_OF.get(key[1]) in WORK and {*source.loops(key[0])[:1]} & {loop, place}
            }
        )
        for b in blocks
    ]
    body = set().union(*(work[k] for k in range(len(blocks)) if loop in around[k]))
    sizes = {k: w.total() for k, w in enumerate(work) if body and len(w.keys() & body) >= len(body) / 2}
    # A copy that always comes before the others is the first trip. Of the rest, those that do most at a time come first.
    first = [k for k in sizes if loop not in around[k] and reached(blocks, without=k).isdisjoint(sizes.keys() - {k})]
    left = trips
    for k in sorted(sizes, key=lambda k: (k not in first, -sizes[k])) if len(sizes) > 1 and trips else ():
        at_a_time = max(round(sizes[k] / min(sizes.values())), 1)
        done = left / at_a_time if at_a_time == 1 else left // at_a_time
        if loop in around[k]:
            times[k] *= done / trips
        else:
            times[k] *= (done := min(done, 1.0))
        left -= done * at_a_time


def issued(launch: Launch, capability: int) -> tuple[dict[str, float], str]:
    """Instructions of each kind that a warp of a program issues, on average; and a listing of the blocks."""
    blocks = blocks_of(disassembled(compiled(launch, capability)))
    times = executions(blocks, Lines(launch["lines"]))
    total: dict[str, float] = {}
    for block, n in zip(blocks, times, strict=True):
        for kind, count in block.kinds.items():
            total[kind] = total.get(kind, 0.0) + n * count
    return total, render(blocks, loops_of(blocks), times)
