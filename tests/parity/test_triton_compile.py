"""Every Triton kernel compiles for every supported GPU generation, without a GPU, and spills no register."""

import re
import struct

import pytest

from gpuaug.backends.fused.cuda.registers import CAPABILITIES, compiled, resources, table, variants

VARIANTS = {f"{v.kernel}, {v.name}, sm_{c}": (v, c) for c in CAPABILITIES for v in variants(c)}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_kernel_compiles_and_spills_nothing(name):
    found = resources(*VARIANTS[name])
    assert found.stack == 0, found
    assert found.registers <= (168 if "bfloat16" in name else 208)
    assert found.shared <= 48 * 1024


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_draws_are_compiled_to_exact_operations(capability):
    """Each operation on float64 rounds as IEEE 754 says: none is fused with another, approximate, or left out."""
    ptx = compiled(next(v for v in variants(capability) if v.kernel == "draw_records"), capability).asm["ptx"]
    names = set(re.findall(r"^\s+(?:@%\w+ )?([a-z.\d]+\.f64)\s", ptx, re.MULTILINE))
    arithmetic = {name for name in names if name.split(".")[0] not in ("ld", "st", "mov", "selp", "setp", "cvt")}
    assert arithmetic == {"add.rn.f64", "sub.rn.f64", "mul.rn.f64", "div.rn.f64", "sqrt.rn.f64", "min.f64"}
    rounding = int.from_bytes(struct.pack(">d", 1.5 * 2**52), "big")
    assert f"0d{rounding:016X}" in ptx  # the number whose addition rounds to whole numbers
    assert not re.search(r"\b(fma|approx|div\.full)\b", ptx)


def test_the_table_has_a_row_for_every_kernel():
    """The tests above have compiled the kernels already."""
    text = table()
    assert all(f"| `{v.kernel}` | {v.name} |" in text for v, _ in VARIANTS.values())
    assert "spilled)" not in text
