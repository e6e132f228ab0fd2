"""Shapes and sizes of the networks, and which stem they have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssl_train import BACKBONES, METHODS, JointEmbedding, backbone

WIDTHS = {"resnet18_quarter": 128, "resnet18": 512, "resnet34": 512, "resnet50": 2048}
TRANSFORMERS = {"vit_nano": 64, "vit_tiny": 192, "vit_small": 384}
SIMCLR = METHODS["simclr"].small.projector


def test_every_backbone_is_tested() -> None:
    assert set(WIDTHS) | set(TRANSFORMERS) == set(BACKBONES)


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize(("size", "before_the_last_pool"), [(32, 4), (96, 3)])
def test_features_and_stem(name: str, size: int, before_the_last_pool: int) -> None:
    """The CIFAR stem keeps the resolution (32 / 8 = 4 at the end), the other one takes a quarter of it (96 / 32 = 3)."""
    net, width = backbone(name, size)
    seen = []
    pool = next(m for m in net.modules() if isinstance(m, nn.AdaptiveAvgPool2d))
    pool.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[-2:]))
    with torch.no_grad():
        out = net.eval()(torch.zeros(1, 3, size, size))
    assert out.shape == (1, width) == (1, WIDTHS[name])
    assert seen == [(before_the_last_pool, before_the_last_pool)]


def test_a_quarter_of_the_channels_has_about_a_sixteenth_of_the_weights() -> None:
    narrow, full = (sum(p.numel() for p in backbone(name, 32)[0].parameters()) for name in ("resnet18_quarter", "resnet18"))
    assert 15.5 < full / narrow < 16.5


def test_views_are_normalized_as_one_batch_and_come_back_in_order() -> None:
    torch.manual_seed(0)
    model = JointEmbedding("resnet18_quarter", 16, SIMCLR)
    views = list(torch.randn(2, 4, 3, 16, 16))
    _, k, z = model(views)
    assert all(torch.equal(a, b) for a, b in zip(k, z, strict=True))
    assert [x.shape for x in z] == [(4, 128), (4, 128)]
    both = model.projector(model.backbone(torch.cat(views)))
    assert torch.allclose(torch.cat(z), both, atol=1e-5)
    assert not torch.allclose(z[0], model(views[:1])[2][0], atol=1e-2)


def test_the_projector_ends_with_batchnorm_without_a_trained_bias() -> None:
    *_, linear, norm = JointEmbedding("resnet18_quarter", 16, SIMCLR).projector
    assert (linear.in_features, linear.out_features, linear.bias) == (128, 128, None)
    assert norm.weight.requires_grad
    assert not norm.bias.requires_grad
