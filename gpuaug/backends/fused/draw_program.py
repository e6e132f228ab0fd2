"""Draws of a fused stage, from the seed to the tables in one compiled pass: each op becomes a row of numbers.

`plan.tables` does the same from draws that exist already, such as draws that the caller has changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from ... import ops as op
from ...images import Images
from ...ops import Op, OpDraws, Size, leaves
from ...ops.automatic.ops import Automatic
from ...ops.base import Array
from ...ops.color import ORDERS, PARTS
from ...ops.exact.exponential import EXPONENTIAL
from ...ops.shared import outer_of
from ...sampling import Layout, Slot, ViewDraws, layout, slots
from ...sampling.streams import OWN
from ...sampling.tables import in_region
from .cpu.compilation import FILL_TABLES
from .cpu.kernels import draw
from .cpu.kernels.draw import CHOICE, CROP, ERASING, FLIP, INSTRUCTION, JITTER
from .instructions import ARGUMENTS, IS_BOUNDED, NOTHING
from .lowering import Choices, affine, choices, codes_of, columns_of, lowered
from .plan import FLIPS, Tables, geometry, geometry_length, possible_codes

NUMBERS = 12
"""Numbers of a row: the constant arguments of its instruction, and four that the drawn ones follow from."""


class Rows(NamedTuple):
    """One row for each op of a stage whose effect is drawn or that becomes an instruction.

    Attributes:
        kinds: (R,) CROP, FLIP, JITTER, INSTRUCTION, ERASING or CHOICE of `kernels.draw`.
        columns: (R,) Column of the op's first uniform number.
        at: (R,) Its first instruction in the programs; of a flip 0 for left-right, 1 for top-bottom.
        codes: (R,) Code of an instruction.
        drawn: (R,) Whether an instruction's first argument is drawn.
        keys: (R,) Column of the first word of a noise key; -1 without one.
        wide: (R,) Whether values may lie outside [0, 1] already.
        numbers: (R, NUMBERS) Constants of the row's kind; see `draw_program`, and the kernel that reads them.
        conditions: (R, 2) Begin and end of the row's conditions among those below; all must hold.
        condition_columns: (C,) Column of the uniform number that each condition is about.
        lows: (C,) Lowest value of that number with which the condition holds.
        highs: (C,) Lowest value above with which it no longer holds.
        shares: (M,) Probabilities with which the choices of all rows are taken.
        choice_codes: (M, 2) Their instructions.
        choice_arguments: (M, 2, 8) The arguments of these.
    """

    kinds: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]
    at: npt.NDArray[np.int32]
    codes: npt.NDArray[np.uint8]
    drawn: npt.NDArray[np.bool_]
    keys: npt.NDArray[np.int32]
    wide: npt.NDArray[np.bool_]
    numbers: npt.NDArray[np.float64]
    conditions: npt.NDArray[np.int32]
    condition_columns: npt.NDArray[np.int32]
    lows: npt.NDArray[np.float64]
    highs: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]
    choice_codes: npt.NDArray[np.uint8]
    choice_arguments: npt.NDArray[np.float32]


@dataclass(frozen=True)
class DrawProgram:
    """What the tables of a stage follow from, besides the seed, the sample indices and the images' sizes.

    Attributes:
        geometry: The ops that choose the pixels to read, if none of them is drawn; otherwise the first of `rows` does.
        rows: All that is drawn.
        instructions: Columns of the programs.
        layout: The blocks of four random words that the view uses.
        size, cubic, scale, bias, radius, possible: As in `plan.Tables`.
    """

    geometry: tuple[Op, ...]
    rows: Rows
    instructions: int
    layout: Layout
    size: Size
    cubic: bool
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    radius: int
    possible: frozenset[int]

    def tables(
        self,
        shapes: npt.NDArray[np.int32],
        samples: npt.NDArray[np.int64],
        seed: int,
        epoch: int,
        view: int | npt.NDArray[np.int64],
    ) -> Tables:
        """The tables of a batch.

        shapes: (B, 2), heights and widths of its images. view: what they are drawn as. The others: see `ViewDraws`.
        """
        count = len(shapes)
        views = np.full(count, view, dtype=np.int64)
        if self.geometry:
            _, boxes, _ = geometry(shapes, self.geometry, [{}] * len(self.geometry))
        else:
            boxes = boxes_to_crop(shapes, self.size)
        flips = np.empty((count, 2), dtype=np.bool_)
        codes = np.empty((count, self.instructions), dtype=np.uint8)
        arguments = np.empty((count, self.instructions, ARGUMENTS), dtype=np.float32)
        streams = self.streams()
        words = np.empty((4, streams.shape[1]), dtype=np.uint64)
        key = seed & 0xFFFFFFFF, seed >> 32
        with FILL_TABLES.watched():
            draw.fill_tables(
                self.rows, ORDERS, EXPONENTIAL, key, epoch, streams, views, plain(samples), self.size, words,
                boxes, flips, codes, arguments, arguments.view(np.uint32), 0, count,
            )  # fmt: skip
        return Tables(
            self.size, boxes, flips, self.cubic, codes, arguments, self.scale, self.bias, self.radius, self.possible
        )  # fmt: skip

    def streams(self) -> npt.NDArray[np.uint64]:
        """Where every block of random words comes from, as in `kernels.draw.fill_words`: (3, N).

        N is a multiple of what the widest registers hold at once.
        """
        count, own = len(self.layout.blocks), self.layout.views == OWN
        out = np.zeros((3, -(-count // 8) * 8), dtype=np.uint64)
        out[0, :count], out[1, :count], out[2, :count] = np.where(own, 0, self.layout.views), self.layout.blocks, own
        return out


@lru_cache(maxsize=256)
def draw_program(given: tuple[Op, ...], first: int, stop: int, outer: Op | None = None) -> DrawProgram | None:
    """The program of steps first..stop-1 of a view's ops, a stage that begins with images; None if one has no row.

    outer: the crop, which may be shared, in whose box that of the view lies.
    """
    blocks = layout(given, outer)
    ops, found = tuple(leaves(given))[first:stop], slots(given, keys=blocks.keys)[first:stop]
    n = geometry_length(ops)
    if any(isinstance(o, op.RandomCrop) for o in ops[:n]):
        return None
    size = cast(Size, cast(op.Resize, ops[n - 1]).size)
    cropped = isinstance(ops[0], op.RandomResizedCrop)
    rows: list[tuple[int, int, int, int, bool, int, bool, list[float], Slot]] = []
    tables: list[Choices] = []
    at, wide, radius = 0, False, 0
    scale, bias = np.ones(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
    last = max((k for k, o in enumerate(ops) if not isinstance(o, op.ToDtype)), default=-1)
    for k, (o, slot) in enumerate(zip(ops, found, strict=True)):
        if slot is None:  # no row says when it is applied
            return None
        codes = codes_of(o)
        kind, place, code, drawn, key, numbers = INSTRUCTION, at, NOTHING, False, -1, [0.0] * NUMBERS
        if isinstance(o, op.RandomResizedCrop) and k == 0:
            if outer is not None and first == 0:
                numbers = crop_numbers(*leaves([outer]))
                rows.append((CROP, blocks.outer, 0, NOTHING, False, -1, wide, numbers, Slot(blocks.outer, ())))
            kind, numbers = CROP, crop_numbers(o)
        elif k < n:
            continue
        elif isinstance(o, FLIPS):
            kind, place = FLIP, int(isinstance(o, op.RandomVerticalFlip))
        elif isinstance(o, op.Normalize) and k == last and not slot.conditions:
            scale, bias = affine(o)
            continue
        elif isinstance(o, op.ColorJitter):
            kind = JITTER
            for j, part in enumerate(PARTS):
                numbers[3 * j : 3 * j + 3] = *lowest_and_span(o.limits(part) or (0.0, 0.0)), codes[j]
        elif isinstance(o, Automatic):
            found_choices = choices(o, size)
            if found_choices is None:
                return None
            for j, choice in enumerate(found_choices):
                digits = [number for digit in choice.digits for number in digit]
                first = sum(len(table.shares) for table in tables)
                numbers = [float(first), float(choice.taken), float(len(choice.digits)), *map(float, digits)]
                numbers += [0.0] * (NUMBERS - len(numbers))
                rows.append((CHOICE, slot.column, at + 2 * j, NOTHING, False, -1, wide, numbers, slot))
                tables.append(choice)
            at += len(columns_of(o))
            continue
        elif not codes:
            continue
        elif len(codes) > 1:  # no row writes several instructions
            return None
        else:
            (code,) = codes
            constant = lowered(o, o.draw(np.zeros((1, o.uniforms))), 1, size)[1]
            numbers[:ARGUMENTS] = constant[0, 0].tolist()
            if isinstance(o, op.GaussianBlur):
                drawn, numbers[8:10] = True, lowest_and_span(o.sigma)
                radius = max(radius, *(side // 2 for side in o.kernel))
            elif isinstance(o, op.GaussianNoise):
                key = slot.column
            elif isinstance(o, op.RandomErasing):
                kind, numbers[8:12] = ERASING, [*lowest_and_span(o.scale), *lowest_and_span(logs(o.ratio, -1.0))]
                key = slot.column + o.uniforms - 2 if isinstance(o.value, str) else -1
            elif o.uniforms:  # no row says how its arguments follow from them
                return None
        rows.append((kind, slot.column, place, code, drawn, key, wide, numbers, slot))
        wide = wide or not all(IS_BOUNDED[c] for c in codes)
        at += len(codes)
    return DrawProgram(
        () if cropped else tuple(ops[:n]),
        as_arrays(rows, tables),
        at,
        blocks,
        size,
        getattr(ops[0], "interpolation", "") == "bicubic",
        scale,
        bias,
        radius,
        possible_codes(ops),
    )


def drawn_tables(batch: Images | torch.Tensor, draws: Sequence[OpDraws]) -> Tables | None:
    """The tables of a fused stage, drawn now; None if its draws exist already, or if they are to be made as arrays."""
    if not (isinstance(batch, Images) and isinstance(draws, ViewDraws)) or draws.made:
        return None
    program = program_of(draws)
    if program is None:
        return None
    if draws.frames is None:
        return program.tables(batch.shapes, draws.samples, draws.seed, draws.epoch, draws.drawn_as)
    frames = draws.frames
    found = program.tables(frames[:, 2:4], draws.samples, draws.seed, draws.epoch, draws.drawn_as)
    found.boxes[:, :4] = in_region(found.boxes[:, :4], frames[:, :2], frames[:, 4:])
    return found


def drawn_boxes(draws: Sequence[OpDraws], shapes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32] | None:
    """The boxes (B, 4) of the random crop that is a view's first step, drawn now; None as of `drawn_tables`.

    shapes: (B, 2), heights and widths of the pictures.
    """
    if not isinstance(draws, ViewDraws) or draws.made:
        return None
    program = program_of(draws[:1])
    if program is None:
        return None
    return program.tables(shapes, draws.samples, draws.seed, draws.epoch, draws.drawn_as).boxes[:, :4]


def program_of(draws: ViewDraws) -> DrawProgram | None:
    """The program of a stage's draws; None if one of its steps has no row."""
    views = [view.ops for view in draws.policy.views]
    return draw_program(views[draws.view], draws.steps.start, draws.steps.stop, outer_of(views, draws.view))


def boxes_to_crop(shapes: npt.NDArray[np.int32], size: Size) -> npt.NDArray[np.int32]:
    """Boxes (B, 8), as in `Tables`, of whole images (their shapes: (B, 2)), in which crops are then drawn."""
    boxes = np.zeros((len(shapes), 8), dtype=np.int32)
    boxes[:, 2:4], boxes[:, 4:6] = shapes, size
    return boxes


def plain(numbers: Array) -> Array:
    """The same numbers in an array of the one type that the kernel is compiled for: contiguous and writable."""
    return numbers if numbers.flags.c_contiguous and numbers.flags.writeable else numbers.copy()


def warm_up() -> None:
    """Compile the kernel, or load it from the cache, by drawing for one pixel."""
    if not FILL_TABLES.done.is_set():
        program = draw_program((op.Resize((1, 1)),), 0, 1)
        assert program is not None
        program.tables(np.ones((1, 2), dtype=np.int32), np.zeros(1, dtype=np.int64), seed=0, epoch=0, view=0)


def crop_numbers(o: Any) -> list[float]:
    """The numbers of the row of a `RandomResizedCrop`."""
    found = [*lowest_and_span(o.scale), *lowest_and_span(logs(o.ratio)), *o.ratio]
    return found + [0.0] * (NUMBERS - len(found))


def lowest_and_span(limits: Sequence[float]) -> list[float]:
    """A range as `ops.base.between` computes with it."""
    return [limits[0], limits[1] - limits[0]]


def logs(ratio: tuple[float, float], sign: float = 1.0) -> list[float]:
    return [sign * math.log(r) for r in ratio]


def as_arrays(rows: Sequence[tuple[int, int, int, int, bool, int, bool, list[float], Slot]], tables: Sequence[Choices]) -> Rows:
    ends = np.cumsum([0, *(len(row[-1].conditions) for row in rows)]).astype(np.int32)
    conditions = [condition for row in rows for condition in row[-1].conditions]
    kinds, columns, at, codes, drawn, keys, wide, numbers, _ = zip(*rows, strict=True) if rows else ([],) * 9
    return Rows(
        np.array(kinds, dtype=np.int32),
        np.array(columns, dtype=np.int32),
        np.array(at, dtype=np.int32),
        np.array(codes, dtype=np.uint8),
        np.array(drawn, dtype=np.bool_),
        np.array(keys, dtype=np.int32),
        np.array(wide, dtype=np.bool_),
        np.array(numbers, dtype=np.float64).reshape(-1, NUMBERS),
        np.stack([ends[:-1], ends[1:]], axis=1),
        np.array([c[0] for c in conditions], dtype=np.int32),
        np.array([c[1] for c in conditions], dtype=np.float64),
        np.array([c[2] for c in conditions], dtype=np.float64),
        np.concatenate([np.zeros(0), *(table.shares for table in tables)]),
        np.concatenate([np.zeros((0, 2), np.uint8), *(table.codes for table in tables)]),
        np.concatenate([np.zeros((0, 2, ARGUMENTS), np.float32), *(table.arguments for table in tables)]),
    )
