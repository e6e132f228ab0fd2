"""The statements and loops of Python source files, by line; the same names for the interpreter's lines and the compiler's.

A chain is the path of a statement through its calls, as "/path/ops.py:41 < /path/tiles.py:133": innermost first.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import gpuaug

OURS = str(Path(gpuaug.__file__).parent)
"""Files outside this folder, such as Triton's own functions, count as part of the statement that calls them."""

COMPOUND = (ast.While, ast.For, ast.If, ast.With, ast.FunctionDef)


@cache
def parsed(file: str) -> tuple[dict[int, int], dict[int, tuple[int, ...]], dict[int, int]]:
    """Line -> first line of its statement; statement -> loops around it, outwards, itself if it is one; loop -> its body."""
    starts: dict[int, int] = {}
    loops: dict[int, tuple[int, ...]] = {}
    bodies: dict[int, int] = {}

    def visit(node: ast.AST, around: tuple[int, ...]) -> None:
        if isinstance(node, ast.stmt):
            if isinstance(node, ast.While | ast.For):
                around = (node.lineno, *around)
                bodies[node.lineno] = node.body[0].lineno
            loops[node.lineno] = around
            last = node.body[0].lineno - 1 if isinstance(node, COMPOUND) else node.end_lineno or node.lineno
            starts.update(dict.fromkeys(range(node.lineno, max(last, node.lineno) + 1), node.lineno))
            if isinstance(node, ast.FunctionDef):
                starts.update({d.lineno: node.lineno for d in node.decorator_list})
        for child in ast.iter_child_nodes(node):
            visit(child, around)

    visit(ast.parse(Path(file).read_text(encoding="utf-8")), ())
    return starts, loops, bodies


@cache
def statement(file: str, line: int) -> str:
    """ "file:line" of the statement that a line belongs to; for a line of an `if` or a loop, its head."""
    return f"{file}:{parsed(file)[0].get(line, line)}"


def loops(chain: str) -> tuple[str, ...]:
    """The loops around a statement, in its function and at each call, each as the chain of its head."""
    found, parts = [], chain.split(" < ") if chain else []
    for k, part in enumerate(parts):
        file, _, line = part.rpartition(":")
        found += [" < ".join([f"{file}:{loop}", *parts[k + 1 :]]) for loop in parsed(file)[1].get(int(line), ())]
    return tuple(found)


def body(loop: str) -> str:
    """The chain of the first statement in a loop."""
    part, _, rest = loop.partition(" < ")
    file, _, line = part.rpartition(":")
    return f"{file}:{parsed(file)[2][int(line)]}" + (f" < {rest}" if rest else "")


def is_loop(chain: str) -> bool:
    """Whether a chain is the head of a loop."""
    return chain in loops(chain)
