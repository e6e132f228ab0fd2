"""Every loss that Lightly has too, against Lightly's, on the same random embeddings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from lightly import loss as theirs
from test_losses import embeddings

from ssl_train import losses

Z1, Z2 = (z.float() for z in embeddings(16, 6))


def test_nt_xent() -> None:
    assert float(losses.nt_xent(Z1, Z2, 0.3)) == pytest.approx(float(theirs.NTXentLoss(0.3)(Z1, Z2)), rel=1e-5)


def test_moco_v2() -> None:
    loss = theirs.NTXentLoss(0.3, memory_bank_size=(8, 6))
    torch.manual_seed(0)
    queue = F.normalize(torch.randn(8, 6), dim=1)
    loss.memory_bank.bank = queue.clone()
    loss.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
    key = Z2.clone().requires_grad_()  # Lightly takes the queue for the view that needs a gradient
    found = loss(key, Z1).item()
    assert losses.moco_v2(key, Z1, queue, 0.3).item() == pytest.approx(found, rel=1e-5)


def test_cosine() -> None:
    assert float(losses.cosine(Z1, Z2)) == pytest.approx(float(theirs.NegativeCosineSimilarity()(Z1, Z2)), rel=1e-5)


def test_swav() -> None:
    scores = [F.normalize(z, dim=1) for z in (Z1, Z2)]
    expected = theirs.SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)(scores, [])
    ours = [losses.swav(scores[i], losses.sinkhorn(scores[1 - i]), 0.1) for i in (0, 1)]
    assert float(sum(ours)) / 2 == pytest.approx(float(expected), rel=1e-4)


def test_dino() -> None:
    loss = theirs.DINOLoss(output_dim=6, warmup_teacher_temp=0.04, teacher_temp=0.04, student_temp=0.1)
    expected = loss([Z1, Z2], [Z1, Z2], epoch=0)
    ours = [losses.dino(a, b, torch.zeros(6), 0.1, 0.04) for a, b in ((Z1, Z2), (Z2, Z1))]
    assert float(sum(ours)) / 2 == pytest.approx(float(expected), rel=1e-5)


def test_barlow_twins() -> None:
    expected = theirs.BarlowTwinsLoss(lambda_param=0.0051)(Z1, Z2)
    assert float(losses.barlow_twins(Z1, Z2)) == pytest.approx(float(expected), rel=1e-4)


def test_vicreg() -> None:
    expected = theirs.VICRegLoss()(Z1, Z2)
    assert float(losses.vicreg(Z1, Z2)) == pytest.approx(float(expected), rel=1e-4)


def test_w_mse() -> None:
    white = theirs.wmse_loss.Whitening2d(num_features=6, track_running_stats=False)
    torch.testing.assert_close(losses.whiten(Z1), white(Z1), rtol=1e-4, atol=1e-5)


def test_sigreg() -> None:
    loss = theirs.SIGReg(num_vectors=32)
    torch.manual_seed(5)
    expected = loss(Z1)
    torch.manual_seed(5)
    assert float(losses.sigreg(Z1, torch.randn(6, 32))) == pytest.approx(float(expected), rel=1e-4)
