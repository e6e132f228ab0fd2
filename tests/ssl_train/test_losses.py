"""NT-Xent against an independent computation and facts that follow from its formula."""

from __future__ import annotations

import math

import pytest
import torch

from ssl_train import nt_xent


def by_hand(z1: list[list[float]], z2: list[list[float]], temperature: float) -> float:
    """Equation 1 of the SimCLR paper, term by term, in Python's own floats."""
    z = z1 + z2
    count = len(z1)

    def similarity(i: int, j: int) -> float:
        dot = sum(a * b for a, b in zip(z[i], z[j], strict=True))
        return dot / math.sqrt(sum(a * a for a in z[i]) * sum(b * b for b in z[j]))

    total = 0.0
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        others = sum(math.exp(similarity(i, k) / temperature) for k in range(2 * count) if k != i)
        total -= math.log(math.exp(similarity(i, j) / temperature) / others)
    return total / (2 * count)


def embeddings(count: int, width: int = 5, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    z1, z2 = torch.randn(2, count, width, generator=generator, dtype=dtype)
    return z1, z2


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_equals_the_formula_term_by_term(temperature: float) -> None:
    z1, z2 = embeddings(6)
    assert float(nt_xent(z1, z2, temperature)) == pytest.approx(by_hand(z1.tolist(), z2.tolist(), temperature), rel=1e-12)


def test_worked_example() -> None:
    """Two images, each with equal views, at right angles: every term is -log(e / (e + 2))."""
    z = torch.eye(2, dtype=torch.float64)
    assert float(nt_xent(z, z, 1.0)) == pytest.approx(math.log((math.e + 2) / math.e), rel=1e-12)


def test_collapse_costs_the_log_of_the_number_of_others() -> None:
    z = torch.ones(8, 5, dtype=torch.float64)
    assert float(nt_xent(z, z, 0.5)) == pytest.approx(math.log(15), rel=1e-12)


def test_order_of_images_and_of_views_and_lengths_do_not_matter() -> None:
    z1, z2 = embeddings(7)
    loss = float(nt_xent(z1, z2, 0.3))
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    assert float(nt_xent(z1[order], z2[order], 0.3)) == pytest.approx(loss, rel=1e-12)
    assert float(nt_xent(z2, z1, 0.3)) == pytest.approx(loss, rel=1e-12)
    assert float(nt_xent(z1 * 7, z2 * 0.1, 0.3)) == pytest.approx(loss, rel=1e-12)
    assert float(nt_xent(z1[order], z2, 0.3)) != pytest.approx(loss, rel=1e-3)  # while partners do


def test_gradient() -> None:
    z1, z2 = (z.requires_grad_() for z in embeddings(4))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.2), (z1, z2))


def test_bfloat16_embeddings_are_compared_in_float32() -> None:
    z1, z2 = embeddings(6, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(z1.bfloat16(), z2.bfloat16(), 0.1)
    assert loss.dtype == torch.float32
    exact = nt_xent(z1.bfloat16().double(), z2.bfloat16().double(), 0.1)
    assert float(loss) == pytest.approx(float(exact), rel=1e-5)
