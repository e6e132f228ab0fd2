"""The model reads compiled kernels, counts what they issue, and writes predictions that are called so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import triton
import triton.language as tl

from benchmarks.__main__ import main
from benchmarks.model import counts, predict, sass, source
from benchmarks.workloads import CORE, perfect_bytes
from gpuaug.backends.fused.cuda.registers import compiled, variants

HERE = str(Path(__file__).resolve())
PAGE = Path(__file__).parents[2] / "docs" / "fused-cuda.md"
PAIR = [w for w in CORE if w.name in ("strong-256", "cheap-256")]


@triton.jit
def looped(numbers, out, n, SIZE: tl.constexpr):  # noqa: N803
    at = tl.arange(0, SIZE)
    total = tl.zeros([SIZE], tl.float32)
    k = 0
    while k < n:
        total += tl.load(numbers + k * SIZE + at)
        k += 1
    tl.store(out + at, total)


def launch_of(trips: int) -> dict[str, Any]:
    """A launch of `looped` by one warp, as if it had been traced."""
    _, loops, _ = source.parsed(HERE)
    first = looped.fn.__code__.co_firstlineno
    lines = {
        f"{HERE}:{line}": float(trips) if loops[line] and loops[line][0] != line else 1.0 for line in loops if line > first
    }
    return {
        "module": __name__,
        "kernel": "looped",
        "types": {"numbers": "float32", "out": "float32"},
        "numbers": {"n": 1000},
        "constants": {"SIZE": 32},
        "options": {"num_warps": 1},
        "lines": lines,
    }


@pytest.mark.parametrize("trips", [0, 1, 4, 7, 30])
def test_a_loop_counts_once_a_trip_however_it_is_unrolled(trips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sass, "OURS", HERE)
    kinds = counts.issued(launch_of(trips), 90)[0]
    assert kinds["global load"] == pytest.approx(trips)
    assert kinds["global store"] == 1
    assert kinds["float"] >= trips  # an addition for each load


def test_blocks_and_loops_of_a_kernel() -> None:
    variant = next(v for v in variants(90) if v.kernel == "next_pass")
    text = sass.disassembled(compiled(variant, 90).asm["cubin"])
    blocks = sass.blocks_of(text)
    assert sum(block.size for block in blocks) == len(
        re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?!NOP)\S", text, flags=re.MULTILINE)
    )
    loops = sass.loops_of(blocks)
    assert loops
    assert all(set(loop.back) <= loop.body and loop.head in loop.body for loop in loops)
    assert all(loop.head in blocks[k].targets for loop in loops for k in loop.back)
    assert all(0 <= target < len(blocks) for block in blocks for target in block.targets)


@pytest.fixture(scope="module")
def found() -> list[predict.Cost]:
    return predict.costs(PAIR, 90, draws=4)


def test_what_a_view_moves(found: list[predict.Cost]) -> None:
    for cost in found:
        pixels = 224 * 224
        assert cost.pixels == pixels
        written = 6 * pixels  # the view itself; a pass over scratch would add to it
        assert written <= cost.kernels[0].bytes <= 1.1 * perfect_bytes(cost.workload, 2)
        for kernel in cost.kernels[:1]:
            assert kernel.kinds["global store"] >= pixels * 6 / 16, "a thread stores 16 bytes at most"
            assert 20 < sum(kernel.kinds.values()) / pixels < 2000
    strong, cheap = found
    for device in predict.DEVICES:
        assert strong.seconds(device) > cheap.seconds(device)
        assert 0 < cheap.share(device) < 1


def test_planes_of_colours_are_half_the_bytes_and_more_instructions(found: list[predict.Cost]) -> None:
    (cheap,) = predict.costs([found[1].workload], 90, draws=4)  # of the same crops
    (planes,) = predict.costs([found[1].workload], 90, draws=4, yuv=True)
    saved = 1.5 * 256 * 256  # of a whole image; crops read a part of it
    assert 0.2 * saved < cheap.kernels[0].bytes - planes.kernels[0].bytes < 1.1 * saved
    assert 1.2 < planes.kernels[0].kinds["alu"] / cheap.kernels[0].kinds["alu"] < 4
    assert planes.kernels[0].kinds["global store"] == pytest.approx(cheap.kernels[0].kinds["global store"])


def test_tables_have_the_goals_beside_the_figures(found: list[predict.Cost]) -> None:
    devices = [d for d in predict.DEVICES if d.capability == 90]
    head, *rows = predict.view_rows(found, devices)
    assert [row[0] for row in rows] == [w.name for w in PAIR for _ in devices]
    assert {row[head.index("goal")] for row in rows} == {"30%", "60%"}
    assert rows[0][-1] == "2"
    assert float(rows[0][-2]) == pytest.approx(found[0].seconds(devices[0]) / found[1].seconds(devices[0]), abs=0.06)
    head, *rows = predict.kernel_rows(found, devices)
    assert all(len(row) == len(head) for row in rows)
    assert len(rows) == sum(len(cost.kernels) for cost in found)


def test_the_page_has_what_the_command_writes(found: list[predict.Cost], tmp_path: Path) -> None:
    devices = [d for d in predict.DEVICES if d.capability == 90]
    made = predict.section(found, devices, 4)
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{predict.BEGIN.format(90)}\nold\n{predict.END}\n\nafter\n")
    for _ in range(2):  # the second time changes nothing
        page.write_text(predict.replaced(page, predict.BEGIN.format(90), made))
        assert page.read_text() == f"before\n\n{made}\n\nafter\n"
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(predict.BEGIN.format(90))
    there = rest.partition(predict.END)[0]
    for pattern in (r"^#.*$", r"^\| workload .*$", r"^Predicted, not measured"):
        assert re.findall(pattern, there, flags=re.MULTILINE) == re.findall(pattern, made, flags=re.MULTILINE), pattern
    assert "Predicted" in re.findall(r"^#.*$", there, flags=re.MULTILINE)[0]
    assert re.findall(r"^\| ([a-z]+[-\w]*) \| H100", there, flags=re.MULTILINE) == [w.name for w in CORE]


def test_the_command_names_a_wrong_option(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["model", "--workload", "weak-256"]) == 2
    assert "must be one of strong-256, cheap-256" in capsys.readouterr().err
    assert main(["model", "--draws", "0"]) == 2
    assert "--draws must be at least 1, got 0" in capsys.readouterr().err
    page = tmp_path / "page.md"
    page.write_text("no section")
    assert main(["model", "--write", str(page)]) == 2
    assert "the page needs a line" in capsys.readouterr().err
    assert main(["model", "--yuv", "--write", str(PAGE)]) == 2
    assert "--write replaces a section about RGB images" in capsys.readouterr().err


def test_the_command_prints_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "--device", "sm_80", "--draws", "2", "--workload", "cifar", "--blocks"]) == 0
    out = capsys.readouterr().out
    assert "Predicted, not measured" in out
    assert "A100" in out
    assert re.search(r"block 0: 1\.00 x \d+ ", out)
    assert max(map(len, out[out.index("\nworkload") :].splitlines())) <= 100
