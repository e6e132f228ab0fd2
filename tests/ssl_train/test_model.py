"""Shapes and sizes of the networks, and which stem they have."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from ssl_train import BACKBONES, METHODS, Head, JointEmbedding, backbone
from ssl_train.errors import UserError
from ssl_train.model import Prototypes, follow, grouped

WIDTHS = {"resnet10_quarter": 128, "resnet18_quarter": 128, "resnet18": 512, "resnet34": 512, "resnet50": 2048}
TRANSFORMERS = {"vit_nano": 64, "vit_tiny": 192, "vit_small": 384}
SIMCLR = METHODS["simclr"].large.projector


def test_every_backbone_is_tested() -> None:
    assert set(WIDTHS) | set(TRANSFORMERS) == set(BACKBONES)


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize(("size", "before_the_last_pool"), [(32, 4), (96, 3)])
def test_features_and_stem(name: str, size: int, before_the_last_pool: int) -> None:
    """The CIFAR stem keeps the resolution (32 / 8 = 4 at the end), or halves it; the other takes a quarter (96 / 32 = 3)."""
    if (name, size) == ("resnet10_quarter", 32):
        before_the_last_pool = 2
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


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_are_torchvisions_and_take_other_sizes(name: str) -> None:
    net, width = backbone(name, 32)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert net.eval()(x).shape == (2, width) == (2, TRANSFORMERS[name])
        assert torch.equal(net(x), VisionTransformer.forward(net, x))
        assert net(x[:, :, :16, :24]).shape == (2, width)
        known = net.positions(8, 8)
        assert torch.equal(known, net.encoder.pos_embedding)
        torch.testing.assert_close(net.positions(4, 4)[:, 0], known[:, 0])


def test_any_model_of_timm() -> None:
    for name in ("resnet10t", "vit_tiny_patch16_224"):
        net, width = backbone(name, 32)
        with torch.no_grad():
            assert net.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, width)
    with pytest.raises(UserError, match="--backbone resnet19: unknown"):
        backbone("resnet19", 32)


def test_views_of_one_size_pass_together_and_come_back_in_order() -> None:
    calls = []

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(x.shape)
            return x.mean(dim=(1, 2, 3))[:, None]

    views = [torch.full((2, 3, side, side), float(k)) for k, side in enumerate((8, 8, 4, 4, 4))]
    assert grouped(Mean(), views).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [tuple(shape[:1]) + tuple(shape[2:]) for shape in calls] == [(4, 8, 8), (6, 4, 4)]


def test_prototypes_compare_directions() -> None:
    layer = Prototypes(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 3.0]]))
    z = torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.1, 0.0]])
    torch.testing.assert_close(layer(z), torch.tensor([[1.0, 0.0], [0.0, 0.5**0.5]]))


def test_the_moving_average_moves_by_one_minus_the_momentum() -> None:
    torch.manual_seed(0)
    model = JointEmbedding("resnet18_quarter", 16, SIMCLR, Head(2, 8, 128))
    target = model.average()
    before = [w.clone() for w in target.parameters()]
    with torch.no_grad():
        for w in model.parameters():
            w.add_(1.0)
    follow(target, model, 0.9)
    for w, old in zip(target.parameters(), before, strict=True):
        torch.testing.assert_close(w, old + 0.1)
