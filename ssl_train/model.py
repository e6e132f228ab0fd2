"""Backbones and the joint-embedding network: images -> features -> embeddings -> predictions or scores."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import torch
import torch.nn.functional as F  # noqa: N812
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.vision_transformer import VisionTransformer

from .errors import UserError
from .methods import Head, Norm

SMALL = 64
"""Images up to this size get the CIFAR stem, a 3x3 convolution of stride 1 without pooling (SimCLR's appendix B.9)."""


def resnet(name: str, size: int) -> tuple[nn.Module, int]:
    """One of torchvision's ResNets without its classifier."""
    net = torchvision.models.get_model(name, weights=None)
    width: int = net.fc.in_features
    net.fc = nn.Identity()
    if size <= SMALL:
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
    return net, width


def narrow_resnet(blocks: int, stride: int, size: int) -> tuple[nn.Module, int]:
    """A ResNet with a quarter of ResNet-18's channels (16, 32, 64, 128) and `blocks` blocks a stage, for CPUs.

    stride: of the stem for small images; larger ones have torchvision's stem.
    """
    stem: list[nn.Module] = (
        [nn.Conv2d(3, 16, 3, stride, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
        if size <= SMALL
        else [nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    )
    layers: list[nn.Module] = []
    width = 16
    for out in (16, 32, 64, 128):
        step = out // width
        shortcut = nn.Sequential(nn.Conv2d(width, out, 1, step, bias=False), nn.BatchNorm2d(out)) if step > 1 else None
        layers += [BasicBlock(width, out, step, shortcut), *(BasicBlock(out, out) for _ in range(blocks - 1))]
        width = out
    net = nn.Sequential(*stem, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net, width


class AnySizeViT(VisionTransformer):  # type: ignore[misc]
    """torchvision's ViT, its weights by the same names, for images of any multiple of the patch: position embeddings are
    resized bicubically, as in DINO's `vision_transformer.py`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_proj(x)
        rows, columns = x.shape[-2:]
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        encoder = self.encoder
        features: torch.Tensor = encoder.ln(encoder.layers(encoder.dropout(tokens + self.positions(rows, columns))))
        return features[:, 0]

    def positions(self, rows: int, columns: int) -> torch.Tensor:
        known: torch.Tensor = self.encoder.pos_embedding
        side = self.image_size // self.patch_size
        if (rows, columns) == (side, side):
            return known
        grid = known[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        grid = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([known[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def vit(layers: int, heads: int, width: int, size: int) -> tuple[nn.Module, int]:
    """A ViT without its classifier; patches of 4 pixels for small images, else of 16."""
    patch = 4 if size <= SMALL else 16
    if size % patch:
        raise UserError(f"--size {size}: this backbone needs a multiple of its patch of {patch} pixels")
    net = AnySizeViT(size, patch, layers, heads, width, 4 * width)
    net.heads = nn.Identity()
    return net, width


def timm_model(name: str, size: int) -> tuple[nn.Module, int]:
    """A model of timm's, by its name there, without its classifier; its stem is left as it is."""
    try:
        import timm
    except ImportError:
        raise UserError(f"--backbone {name}: no backbone of ours; those of timm need `pip install timm`") from None
    if name not in timm.list_models():
        raise UserError(f"--backbone {name}: unknown; there are {', '.join(BACKBONES)}, and what timm.list_models() gives")
    try:  # transformers are told the size of the images, and must take other crops too
        net = timm.create_model(name, num_classes=0, img_size=size, dynamic_img_size=True)
    except TypeError:
        net = timm.create_model(name, num_classes=0)
    width: int = net.num_features
    return net, width


BACKBONES: dict[str, Callable[[int], tuple[nn.Module, int]]] = {
    "resnet18_quarter": partial(narrow_resnet, 2, 1),
    "resnet10_quarter": partial(narrow_resnet, 1, 2),
    **{name: partial(resnet, name) for name in ("resnet18", "resnet34", "resnet50")},
    "vit_nano": partial(vit, 2, 2, 64),
    "vit_tiny": partial(vit, 12, 3, 192),
    "vit_small": partial(vit, 12, 6, 384),
}


def backbone(name: str, size: int) -> tuple[nn.Module, int]:
    """A randomly initialised backbone for images of this size, and the width of its features (B, width).

    name: one of BACKBONES, or any model of timm's. Raises UserError where there is none.
    """
    return BACKBONES[name](size) if name in BACKBONES else timm_model(name, size)


def normalisation(kind: Norm, width: int) -> list[nn.Module]:
    if kind == "none":
        return []
    return [nn.BatchNorm1d(width) if kind == "batch" else nn.LayerNorm(width)]


def mlp(width: int, head: Head) -> tuple[nn.Sequential, int]:
    """A head that takes (B, width), and the width of what it gives. Linear layers before a normalisation have no bias."""
    if not head.layers:
        return nn.Sequential(), width
    hidden = head.hidden or width
    parts: list[nn.Module] = []
    for k in range(head.layers - 1):
        norm = normalisation(head.norm, hidden)
        parts += [nn.Linear(hidden if k else width, hidden, bias=not norm), *norm]
        parts.append(nn.GELU() if head.gelu else nn.ReLU(inplace=True))
    last = [] if head.last == "none" else normalisation(head.norm, head.out)
    for module in last:
        if head.last == "scale":
            module.bias.requires_grad_(False)
        elif head.last == "plain":
            module.requires_grad_(False)
    parts += [nn.Linear(hidden if head.layers > 1 else width, head.out, bias=not last), *last]
    return nn.Sequential(*parts), head.out


class Prototypes(nn.Linear):
    """Cosines between embeddings and K prototypes, (B, D) -> (B, K). Prototypes count as unit vectors whatever their length:
    the weight normalisation of DINO's last layer, and instead of SwAV's rescaling after each step."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__(width, count, bias=False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return F.linear(F.normalize(z, dim=1), F.normalize(self.weight, dim=1))


def grouped(module: nn.Module, views: Sequence[torch.Tensor]) -> torch.Tensor:
    """The module on all views, one pass for each run of views of one size; (views * B, ...) in order."""
    sizes = groupby(views, key=lambda view: view.shape[-2:])
    return torch.cat([module(torch.cat(list(run))) for _, run in sizes])


class JointEmbedding(nn.Module):
    """Backbone, projector, predictor, prototypes (or classifier); `model.backbone(x)` gives the features.

    outputs: how many scores the loss compares; 0 where it compares embeddings. classes: whether these are classes rather than
    prototypes. probe: "off", "backbone", "all", see `layers`. Parts that a method lacks are None.
    """

    def __init__(
        self,
        name: str,
        size: int,
        projector: Head,
        predictor: Head | None = None,
        outputs: int = 0,
        classes: bool = False,
        probe: str = "off",
    ) -> None:
        super().__init__()
        self.probe = probe
        self.backbone, self.width = backbone(name, size)
        self.projector, self.embedding = mlp(self.width, projector)
        self.predictor = None
        if predictor:
            self.predictor, out = mlp(self.embedding, predictor)
            if out != self.embedding:
                raise UserError(f"the predictor gives {out} numbers and the projector {self.embedding}; they must agree")
        self.scores: nn.Module | None = None
        if outputs:
            self.scores = nn.Linear(self.embedding, outputs) if classes else Prototypes(self.embedding, outputs)

    def layers(self, x: torch.Tensor, probe: str = "off") -> tuple[list[torch.Tensor], torch.Tensor]:
        """Features and, for probe="all", what each of the projector's layers gives: (B, width) each; then the embedding."""
        return self.project(self.backbone(x), probe)

    def project(self, h: torch.Tensor, probe: str) -> tuple[list[torch.Tensor], torch.Tensor]:
        found = [h]
        for k, module in enumerate(self.projector):
            if isinstance(module, nn.Linear) and k and probe == "all":
                found.append(h)
            h = module(h)
        return (found if probe != "all" or not len(self.projector) else [*found, h]), h

    def layer_widths(self, probe: str) -> list[int]:
        """Widths of what `layers` gives; none for probe="off"."""
        linear = [m.out_features for m in self.projector if isinstance(m, nn.Linear)]
        return {"off": [], "backbone": [self.width], "all": [self.width, *linear]}[probe]

    def forward(self, views: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """views: (B, 3, H, W) each; batch statistics are of all views of one size together.

        Returns what the layers give for the first view, without gradient (see `layers`); and for each view the embedding z and
        the prediction q: the predictor's output, or z itself, or the scores of either.
        """
        layers, z = self.project(grouped(self.backbone, views), self.probe)
        q = self.predictor(z) if self.predictor else z
        q = self.scores(q) if self.scores else q
        first = [layer[: len(views[0])].detach() for layer in layers]
        return first, list(z.chunk(len(views))), list(q.chunk(len(views)))

    def average(self) -> JointEmbedding:
        """A copy to be the moving average of this network: no predictor, no gradients; `follow` moves it."""
        target = copy.deepcopy(self)
        target.predictor = None
        return target.requires_grad_(False)


@torch.no_grad()
def follow(target: JointEmbedding, model: JointEmbedding, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * model, for all trained weights; statistics are the target's own."""
    source = dict(model.named_parameters())
    names, weights = zip(*target.named_parameters(), strict=True)
    torch._foreach_lerp_(list(weights), [source[name] for name in names], 1 - momentum)
