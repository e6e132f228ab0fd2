"""docs/draws.md lists the columns of `Draws.vector`, how those of two views compare, and the formulas of `Draws.strength`.

`python tests/test_draw_columns.py` writes the three tables anew, from the code that computes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import gpuaug
from gpuaug import ops
from gpuaug.ops import Op
from gpuaug.ops.automatic.ops import Automatic
from gpuaug.ops.base import Wrapper
from gpuaug.ops.choice import Choice
from gpuaug.sampling.tensors.columns import APPLY, CROP, RULES, Column
from gpuaug.sampling.tensors.quantities import QUANTITIES, WITHOUT
from gpuaug.sampling.tensors.strength import formula_of
from gpuaug.sampling.tensors.table import columns_of

PAGE = Path(__file__).parents[1] / "docs" / "draws.md"
TABLE = re.compile(r"<!-- (columns|rules|strength): python tests/test_draw_columns.py -->\n.*?<!-- end -->", re.DOTALL)

EXAMPLES: dict[str, Op] = {
    "AugMix": gpuaug.AugMix(mixture_width=1, chain_depth=1),
    "ColorJitter": gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "Cutout": gpuaug.Cutout(16),
    "FixMatchRandAugment": gpuaug.FixMatchRandAugment(1),
    "JPEG": gpuaug.JPEG((5, 95)),
    "OneOf": gpuaug.OneOf([], [gpuaug.RandomInvert()]),
    "RandAugment": gpuaug.RandAugment(1),
    "RandomAdjustSharpness": gpuaug.RandomAdjustSharpness(2.0),
    "RandomAffine": gpuaug.RandomAffine(30, (0.1, 0.1), (0.5, 2.0), (-10, 10, -10, 10)),
    "RandomPosterize": gpuaug.RandomPosterize(4),
    "RandomRotation": gpuaug.RandomRotation(30),
    "SomeOf": gpuaug.SomeOf(1, [], [gpuaug.RandomInvert()]),
    "TimmRandAugment": gpuaug.TimmRandAugment("rand-m9-n1"),
}
"""Ops that cannot be made without arguments, and those of several slots with as few as there are."""


def public_ops() -> dict[str, Op]:
    """An example of each public op that has columns."""
    found = {name: getattr(ops, name) for name in ops.__all__ if name not in ("Op", "leaves")}
    kinds = {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Op)}
    return {name: EXAMPLES.get(name) or kind() for name, kind in kinds.items() if not issubclass(kind, (Wrapper, *WITHOUT))}


def listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def marked(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) if len(names) <= 8 else f"`{names[0]}` to `{names[-1]}`"


def rows(of: Sequence[Column]) -> list[tuple[str, ...]]:
    """A row for each run of columns that are alike: names, unit, neutral values, rule."""
    found: list[tuple[str, ...]] = []
    for (unit, rule), run in groupby(of, key=lambda column: (column.unit, column.rule)):
        alike = list(run)
        neutral = [f"{column.neutral:g}" for column in alike]
        different = len(set(neutral)) > 1
        shown = (
            neutral[0] if not different else ", ".join(neutral) if len(neutral) <= 8 else f"{neutral[0]}, then {neutral[-1]}"
        )
        found.append((marked([column.name for column in alike]), unit, shown, rule))
    return found


def columns_table() -> list[str]:
    lines = ["| op | columns | unit and range | changes nothing | rule |", "|---|---|---|---|---|"]
    lines += [f"| crop | {names} | {unit} | | {rule} |" for names, unit, _, rule in rows(CROP)]
    alike: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for name, op in public_ops().items():
        own = [column for column in columns_of(op) if column != APPLY and not column.name.startswith("1.")]
        if isinstance(op, Choice):
            own = list(columns_of(op))
        alike.setdefault(tuple(rows(own)), []).append(name)
    lines.append(f"| every op but choices and flips | {' | '.join(rows([APPLY])[0])} |")
    for some, names in alike.items():
        lines += [f"| {listed(names)} | {' | '.join(row)} |" for row in some]
    return [*lines, "| an op of yours | each numeric draw of one or two dimensions | as drawn | 0 | difference |"]


def rules_table() -> list[str]:
    lines = ["| rule | r, from a in view i to b in view j | b from a and r | from j to i |", "|---|---|---|---|"]
    return lines + [f"| {name} | {rule.relative} | {rule.inverse} | {rule.opposite} |" for name, rule in RULES.items()]


def strength_table() -> list[str]:
    alike: dict[str, list[str]] = {}
    for name, op in public_ops().items():
        columns = columns_of(op)
        if columns[0].name == "apply":
            words = formula_of(op, columns).words
            counted = [column.name for column in columns if column.counts]
            alike.setdefault(words.format(marked(counted)), []).append(name)
    lines = ["| op | strength |", "|---|---|", "| crop | 1 - share of the image's area that the view shows |"]
    lines += [f"| {listed(names)} | {words} |" for words, names in alike.items()]
    return [*lines, "| an op of yours | 1 where it was applied |"]


TABLES = {"columns": columns_table, "rules": rules_table, "strength": strength_table}


def page(text: str) -> str:
    """The page with its tables."""
    return TABLE.sub(lambda found: "\n".join([found[0].splitlines()[0], *TABLES[found[1]](), "<!-- end -->"]), text)


def test_the_tables_of_the_page_are_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "write them anew: python tests/test_draw_columns.py"
    assert TABLE.findall(text) == list(TABLES)


def test_every_public_op_is_in_the_tables() -> None:
    examples = public_ops()
    assert {"GaussianBlur", "AugMix", "SomeOf"} <= set(examples)
    assert {name for name, op in examples.items() if not isinstance(op, (Choice, Automatic))} == {
        k.__name__ for k in QUANTITIES
    }
    named = [
        set(re.findall(r"\w+", " ".join(row.split("|")[1] for row in table()))) for table in (columns_table, strength_table)
    ]
    assert {name for name, op in examples.items() if list(columns_of(op)) != [APPLY]} <= named[0]
    assert {name for name, op in examples.items() if not isinstance(op, Choice)} <= named[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
