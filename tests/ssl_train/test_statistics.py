"""Losses on clusters and on batch statistics against independent computations in NumPy, and their values in collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from test_losses import embeddings

from ssl_train import losses


def test_sinkhorn_balances() -> None:
    """Rows sum to 1 after any number of iterations; columns to N / K after many; and the order of the rows is kept."""
    scores = embeddings(12, 4)[0] / 10
    for iterations in (1, 3, 200):
        q = losses.sinkhorn(scores, 0.05, iterations)
        torch.testing.assert_close(q.sum(dim=1), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(q.sum(dim=0), torch.full((4,), 3.0, dtype=torch.float64))
    three = losses.sinkhorn(scores)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses.sinkhorn(scores[order]), three[order])


def test_sinkhorn_follows_its_steps_in_numpy_and_does_not_overflow() -> None:
    scores = embeddings(6, 3)[0].numpy() / 10
    q = np.exp(scores / 0.05)
    for _ in range(3):
        q = q / q.sum(axis=0, keepdims=True)
        q = q / q.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(losses.sinkhorn(torch.from_numpy(scores)).numpy(), q, rtol=1e-12)
    assert losses.sinkhorn(1000 * torch.from_numpy(scores)).isfinite().all()


def test_equal_scores_are_shared_equally_and_cost_log_k() -> None:
    scores = torch.zeros(6, 4, dtype=torch.float64)
    codes = losses.sinkhorn(scores)
    torch.testing.assert_close(codes, torch.full_like(codes, 0.25))
    assert float(losses.swav(scores, codes)) == pytest.approx(math.log(4))
    assert float(losses.dino(scores, scores, torch.zeros(4, dtype=torch.float64))) == pytest.approx(math.log(4))


def test_swav_worked_example() -> None:
    """One image, two prototypes: code (3/4, 1/4), scores T log 3 and 0, so probabilities 3/4 and 1/4: the entropy of them."""
    scores = torch.tensor([[0.1 * math.log(3), 0.0]], dtype=torch.float64)
    codes = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    expected = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert float(losses.swav(scores, codes, 0.1)) == pytest.approx(expected, rel=1e-12)


def test_dino_worked_example() -> None:
    """The centre takes 1 off the first score, which leaves the teacher with (log 3, 0) * Tt / Tt."""
    teacher = torch.tensor([[1 + 0.04 * math.log(3), 0.0]], dtype=torch.float64, requires_grad=True)
    student = torch.tensor([[0.0, 0.1 * math.log(4)]], dtype=torch.float64, requires_grad=True)
    loss = losses.dino(student, teacher, torch.tensor([1.0, 0.0], dtype=torch.float64), 0.1, 0.04)
    assert loss.item() == pytest.approx(-0.75 * math.log(1 / 5) - 0.25 * math.log(4 / 5), rel=1e-12)
    loss.backward()
    assert teacher.grad is None
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.tensor([[0.2 - 0.75, 0.8 - 0.25]], dtype=torch.float64) / 0.1)


def test_barlow_twins_equals_numpy() -> None:
    z1, z2 = embeddings(9, 4)
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (z1.numpy(), z2.numpy()))
    c = a.T @ b / 9
    expected = ((1 - np.diag(c)) ** 2).sum() + 0.0051 * (c**2 - np.diag(np.diag(c) ** 2)).sum()
    assert float(losses.barlow_twins(z1, z2)) == pytest.approx(expected, rel=1e-10)


def test_barlow_twins_at_its_two_extremes() -> None:
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert float(losses.barlow_twins(z, z)) == pytest.approx(0, abs=1e-9)
    assert float(losses.barlow_twins(torch.ones(4, 7), torch.ones(4, 7))) == pytest.approx(7)


def test_vicreg_equals_numpy() -> None:
    z1, z2 = (z * 0.7 for z in embeddings(9, 4))
    expected = 25 * ((z1 - z2).numpy() ** 2).mean()
    for z in (z1.numpy(), z2.numpy()):
        expected += 25 * np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean() / 2
        c = np.cov(z.T)
        expected += (c**2 - np.diag(np.diag(c) ** 2)).sum() / 4
    assert float(losses.vicreg(z1, z2)) == pytest.approx(expected, rel=1e-12)


def test_vicreg_in_collapse_costs_its_variance_term() -> None:
    assert float(losses.vicreg(torch.ones(6, 3), torch.ones(6, 3))) == pytest.approx(25 * 0.99)


def test_whitened_has_the_identity_as_covariance() -> None:
    z = embeddings(40, 6)[0] @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 3
    white = losses.whiten(z)
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(torch.cov(white.T), torch.eye(6, dtype=torch.float64))


def test_w_mse_whitens_piece_by_piece_and_leaves_an_incomplete_one_out() -> None:
    z1, z2 = embeddings(11, 2)
    order = torch.tensor([10, 3, 7, 0, 1, 9, 2, 8, 4, 5, 6])
    terms = []
    for piece in (order[:5], order[5:10]):
        v1, v2 = (losses.whiten(z[piece]) for z in (z1, z2))
        terms += [float((a / a.norm() - b / b.norm()).square().sum()) for a, b in zip(v1, v2, strict=True)]
    assert float(losses.w_mse(z1, z2, order, 5)) == pytest.approx(sum(terms) / 10, rel=1e-12)
    assert float(losses.w_mse(z1, z1, order, 5)) == pytest.approx(0, abs=1e-12)
    with pytest.raises(torch.linalg.LinAlgError):
        losses.w_mse(torch.ones(8, 4), torch.ones(8, 4), torch.arange(8), 8)


def epps_pulley(x: np.ndarray) -> float:
    """The statistic with its integral by adaptive quadrature."""

    def integrand(t: float) -> float:
        return float(abs(np.exp(1j * t * x).mean() - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2))

    return len(x) * quad(integrand, -3, 3)[0]


def test_sigreg_equals_the_integral_of_its_definition() -> None:
    z = embeddings(30, 3)[0] * 1.3 + 0.2
    directions = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    unit = (directions / directions.norm(dim=0)).numpy()
    exact = np.mean([epps_pulley(z.numpy() @ a) for a in unit.T])
    assert float(losses.sigreg(z, directions, knots=2001)) == pytest.approx(exact, rel=1e-6)
    assert float(losses.sigreg(z, directions)) == pytest.approx(exact, rel=2e-2)


def test_sigreg_tells_a_normal_from_a_collapse_whatever_the_number_of_samples() -> None:
    generator = torch.Generator().manual_seed(3)
    directions = torch.randn(8, 64, generator=generator)
    small, large = (float(losses.sigreg(torch.randn(n, 8, generator=generator), directions)) for n in (200, 3200))
    assert 0.5 < small / large < 2
    collapsed = [float(losses.sigreg(torch.zeros(n, 8), directions)) for n in (200, 3200)]
    assert collapsed[1] == pytest.approx(16 * collapsed[0], rel=1e-4)
    assert collapsed[0] > 50 * small


def test_lejepa_is_the_distance_from_the_large_views_mean_and_sigreg() -> None:
    z = embeddings(6, 3, views=4)
    directions = torch.eye(3, dtype=torch.float64)
    centre = (z[0] + z[1]) / 2
    spread = sum(float((view - centre).square().mean()) for view in z) / 4
    shape = sum(float(losses.sigreg(view, directions)) for view in z) / 4
    assert float(losses.lejepa(z, 2, directions, 0.05)) == pytest.approx(0.95 * spread + 0.05 * shape, rel=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: losses.swav(a, losses.sinkhorn(b.detach()), 0.3),
        lambda a, b: losses.dino(a, b.detach(), b.detach().mean(dim=0), 0.3, 0.1),
        losses.barlow_twins,
        losses.vicreg,
        lambda a, b: losses.w_mse(a, b, torch.arange(8), 8),
        lambda a, b: losses.lejepa([a, b], 2, torch.eye(3, dtype=torch.float64)),
    ],
    ids=["swav", "dino", "barlow_twins", "vicreg", "w_mse", "lejepa"],
)
def test_gradients_and_the_order_of_images(loss: object) -> None:
    assert callable(loss)
    z1, z2 = embeddings(8, 3)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4, 7])
    assert float(loss(z1[order], z2[order])) == pytest.approx(float(loss(z1, z2)), rel=1e-10)
    assert torch.autograd.gradcheck(lambda a: loss(a, z2), z1.requires_grad_())
