"""Every Triton kernel compiles for every supported GPU generation, without a GPU, and spills no register."""

import pytest

from gpuaug.backends.fused.cuda.registers import CAPABILITIES, resources, table, variants

VARIANTS = {f"{v.kernel}, {v.name}, sm_{c}": (v, c) for c in CAPABILITIES for v in variants(c)}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_kernel_compiles_and_spills_nothing(name):
    found = resources(*VARIANTS[name])
    assert found.stack == 0, found
    assert found.registers <= (168 if "bfloat16" in name else 208)
    assert found.shared <= 48 * 1024


def test_the_table_has_a_row_for_every_kernel():
    """The tests above have compiled the kernels already."""
    text = table()
    assert all(f"| `{v.kernel}` | {v.name} |" in text for v, _ in VARIANTS.values())
    assert "spilled)" not in text
