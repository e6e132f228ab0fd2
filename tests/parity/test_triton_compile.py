"""Every Triton kernel compiles for every supported GPU generation, without a GPU, and spills no register."""

import pytest

from gpuaug.backends.fused.cuda.registers import CAPABILITIES, resources, table, variants

VARIANTS = {f"{v.kernel}, {v.name}": v for v in variants()}


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_kernel_compiles_and_spills_nothing(name, capability):
    found = resources(VARIANTS[name], capability)
    assert found.stack == 0, found
    assert found.registers <= 168
    assert found.shared <= 48 * 1024


def test_the_table_has_a_row_for_every_kernel():
    """The tests above have compiled the kernels already."""
    text = table()
    assert all(f"| `{v.kernel}` | {v.name} |" in text for v in VARIANTS.values())
    assert "spilled)" not in text
