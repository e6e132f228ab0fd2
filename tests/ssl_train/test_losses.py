"""Losses on pairs of embeddings against independent computations, and facts that follow from their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from ssl_train import losses, nt_xent

Tensor = torch.Tensor


def by_hand(z1: list[list[float]], z2: list[list[float]], temperature: float) -> float:
    """Equation 1 of the SimCLR paper, term by term, in Python's own floats."""
    z = z1 + z2
    count = len(z1)
    total = 0.0
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        others = sum(math.exp(similarity(z[i], z[k]) / temperature) for k in range(2 * count) if k != i)
        total -= math.log(math.exp(similarity(z[i], z[j]) / temperature) / others)
    return total / (2 * count)


def similarity(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def embeddings(count: int, width: int = 5, dtype: torch.dtype = torch.float64, views: int = 2) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(views, count, width, generator=generator, dtype=torch.float64).to(dtype))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_equals_the_formula_term_by_term(temperature: float) -> None:
    z1, z2 = embeddings(6)
    assert float(nt_xent(z1, z2, temperature)) == pytest.approx(by_hand(z1.tolist(), z2.tolist(), temperature), rel=1e-12)


def test_nt_xent_worked_example() -> None:
    """Two images, each with equal views, at right angles: every term is -log(e / (e + 2))."""
    z = torch.eye(2, dtype=torch.float64)
    assert float(nt_xent(z, z, 1.0)) == pytest.approx(math.log((math.e + 2) / math.e), rel=1e-12)


def test_collapse_costs_the_log_of_the_number_of_candidates() -> None:
    z = torch.ones(8, 5, dtype=torch.float64)
    queue = torch.full((11, 5), 5**-0.5, dtype=torch.float64)
    assert float(nt_xent(z, z, 0.5)) == pytest.approx(math.log(15), rel=1e-12)
    assert float(losses.info_nce(z, z, 0.5)) == pytest.approx(math.log(8), rel=1e-12)
    assert float(losses.moco_v2(z, z, queue, 0.5)) == pytest.approx(math.log(12), rel=1e-12)
    assert float(nt_xent(z, z, 0.5, negatives=1)) == pytest.approx(math.log(2), rel=1e-12)
    assert float(losses.cosine(z, z)) == pytest.approx(-1)


def test_one_negative_is_the_next_image_and_all_of_them_are_info_nce() -> None:
    q, k = embeddings(5)
    terms = []
    for i in range(5):
        right, wrong = (math.exp(similarity(q[i].tolist(), k[j].tolist()) / 0.3) for j in (i, (i + 1) % 5))
        terms.append(-math.log(right / (right + wrong)))
    assert float(losses.info_nce(q, k, 0.3, negatives=1)) == pytest.approx(sum(terms) / 5, rel=1e-12)
    assert float(losses.info_nce(q, k, 0.3, negatives=4)) == pytest.approx(float(losses.info_nce(q, k, 0.3)), rel=1e-12)


def test_info_nce_equals_the_formula_term_by_term() -> None:
    q, k = embeddings(6)
    total = 0.0
    for i in range(6):
        each = [math.exp(similarity(q[i].tolist(), k[j].tolist()) / 0.2) for j in range(6)]
        total -= math.log(each[i] / sum(each))
    assert float(losses.info_nce(q, k, 0.2)) == pytest.approx(total / 6, rel=1e-12)


def test_moco_v2_equals_the_formula_term_by_term() -> None:
    q, k, n = embeddings(6, views=3)
    total = 0.0
    for a, b in zip(q.tolist(), k.tolist(), strict=True):
        right = math.exp(similarity(a, b) / 0.2)
        total -= math.log(right / (right + sum(math.exp(similarity(a, c) / 0.2) for c in n.tolist())))
    queue = (n / n.norm(dim=1, keepdim=True)).requires_grad_()
    loss = losses.moco_v2(q, k, queue, 0.2)
    assert float(loss) == pytest.approx(total / 6, rel=1e-12)
    assert not loss.requires_grad  # none reaches the queue


def test_cosine_worked_example_and_byols_distance() -> None:
    p = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
    z = torch.tensor([[5.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert float(losses.cosine(p, z)) == pytest.approx(-0.3)  # cosines 3/5 and 0
    unit = [x / x.norm(dim=1, keepdim=True) for x in (p, z)]
    assert float((unit[0] - unit[1]).square().sum(dim=1).mean()) == pytest.approx(2 + 2 * float(losses.cosine(p, z)))


def test_nearest_is_the_one_with_the_largest_cosine() -> None:
    queue = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    z = torch.tensor([[0.1, 9.0], [-5.0, 1.0], [2.0, 1.9]], requires_grad=True)
    found = losses.nearest(z, queue)
    assert torch.equal(found, queue[[1, 2, 0]])
    assert not found.requires_grad


def test_cross_entropy_worked_example() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]], dtype=torch.float64)
    assert float(losses.cross_entropy(logits, torch.tensor([0, 1]))) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


PAIRS = {
    "nt_xent": lambda a, b: nt_xent(a, b, 0.3),
    "info_nce": lambda a, b: losses.info_nce(a, b, 0.3),
    "moco_v2": lambda a, b: losses.moco_v2(a, b, torch.eye(5, dtype=a.dtype), 0.3),
    "nnclr": lambda a, b: losses.info_nce(losses.nearest(a, torch.eye(5, dtype=a.dtype)), b, 0.3),
    "cosine": losses.cosine,
}


@pytest.mark.parametrize("name", PAIRS)
def test_order_of_images_and_lengths_do_not_matter_and_partners_do(name: str) -> None:
    loss = PAIRS[name]
    z1, z2 = embeddings(7)
    before = float(loss(z1, z2))
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    assert float(loss(z1[order], z2[order])) == pytest.approx(before, rel=1e-12)
    assert float(loss(z1 * 7, z2 * 0.1)) == pytest.approx(before, rel=1e-12)
    assert float(loss(z1[order], z2)) != pytest.approx(before, rel=1e-3)


def test_nt_xent_is_symmetric() -> None:
    z1, z2 = embeddings(7)
    assert float(nt_xent(z2, z1, 0.3)) == pytest.approx(float(nt_xent(z1, z2, 0.3)), rel=1e-12)


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "nnclr"])
def test_gradients_of_pair_losses(name: str) -> None:
    z1, z2 = (z.requires_grad_() for z in embeddings(4))
    assert torch.autograd.gradcheck(PAIRS[name], (z1, z2))


def test_weights_multiply_the_terms_of_their_images() -> None:
    """The loss is linear in them; ones change nothing, and the weight of one image alone gives its own term."""
    z1, z2 = embeddings(4)
    queue = torch.eye(5, dtype=torch.float64)
    for loss in (
        lambda w: nt_xent(z1, z2, 0.3, weights=w),
        lambda w: losses.moco_v2(z1, z2, queue, 0.3, w),
        lambda w: losses.cosine(z1, z2, w),
        lambda w: losses.w_mse(z1[:, :2], z2[:, :2], torch.tensor([2, 0, 3, 1]), 4, weights=w),
    ):
        singles = [float(loss(4 * torch.eye(4, dtype=torch.float64)[i])) for i in range(4)]
        assert (
            float(loss(None))
            == pytest.approx(float(loss(torch.ones(4, dtype=torch.float64))))
            == pytest.approx(sum(singles) / 4)
        )
    cosines = torch.nn.functional.cosine_similarity(z1, z2, dim=1)
    assert float(losses.cosine(z1, z2, torch.tensor([0.0, 4.0, 0.0, 0.0]))) == pytest.approx(-float(cosines[1]))


def test_bfloat16_embeddings_are_compared_in_float32() -> None:
    z1, z2 = embeddings(6, dtype=torch.bfloat16)
    queue = torch.eye(5)
    cases = [
        (lambda a, b, q: nt_xent(a, b, 0.1)),
        (lambda a, b, q: losses.moco_v2(a, b, q, 0.1)),
        (lambda a, b, q: losses.swav(a, losses.sinkhorn(b), 0.1)),
        (lambda a, b, q: losses.dino(a, b, q[0], 0.1, 0.04)),
        (lambda a, b, q: losses.barlow_twins(a, b)),
        (lambda a, b, q: losses.vicreg(a, b)),
        (lambda a, b, q: losses.lejepa([a, b], 2, q)),
    ]
    for loss in cases:
        with torch.autocast("cpu", torch.bfloat16):
            found = loss(z1, z2, queue)
        assert found.dtype == torch.float32
        assert float(found) == pytest.approx(float(loss(z1.double(), z2.double(), queue.double())), rel=1e-4)
