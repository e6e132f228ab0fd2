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
"""Images of up to this side get the CIFAR stem, a 3x3 convolution of stride 1 without pooling (SimCLR's appendix B.9)."""


def resnet(name: str, size: int) -> tuple[nn.Module, int]:
    """A ResNet of torchvision without its classifier."""
    net = torchvision.models.get_model(name, weights=None)
    width: int = net.fc.in_features
    net.fc = nn.Identity()
    if size <= SMALL:
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
    return net, width


def narrow_resnet(blocks: int, stride: int, size: int) -> tuple[nn.Module, int]:
    """A ResNet for CPUs: a quarter of ResNet-18's channels (16, 32, 64, 128), and `blocks` blocks per stage.

    stride: stride of the stem for small images; larger images get torchvision's stem.
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
    """torchvision's ViT, under the same names of weights, for images of any multiple of the patch size.

    Position embeddings are resized bicubically, as in DINO's `vision_transformer.py`.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_proj(x)
        rows, columns = x.shape[-2:]
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        encoder = self.encoder
        features: torch.Tensor = encoder.ln(encoder.layers(encoder.dropout(tokens + self.positions(rows, columns))))
        return features[:, 0]

    def positions(self, rows: int, columns: int) -> torch.Tensor:
        """Position embeddings of the class token and of a grid of patches."""
        known: torch.Tensor = self.encoder.pos_embedding
        side = self.image_size // self.patch_size
        if (rows, columns) == (side, side):
            return known
        grid = known[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        grid = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([known[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def vit(layers: int, heads: int, width: int, size: int) -> tuple[nn.Module, int]:
    """A ViT without its classifier; its patches have 4 pixels for small images, 16 for larger ones."""
    patch = 4 if size <= SMALL else 16
    if size % patch:
        raise UserError(f"--size {size}: this backbone needs a multiple of its patch of {patch} pixels")
    net = AnySizeViT(size, patch, layers, heads, width, 4 * width)
    net.heads = nn.Identity()
    return net, width


def timm_model(name: str, size: int) -> tuple[nn.Module, int]:
    """A model of timm, by its name there, without its classifier; its stem is left as it is."""
    try:
        import timm
    except ImportError:
        raise UserError(f"--backbone {name}: not a backbone of ssl_train; for those of timm run `pip install timm`") from None
    if name not in timm.list_models():
        raise UserError(f"--backbone {name}: unknown; choose from {', '.join(BACKBONES)}, or a name in timm.list_models()")
    try:  # transformers have to know the size of the images, and must also take the small views
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
    """A randomly initialised backbone.

    Args:
        name: one of BACKBONES, or any model of timm.
        size: side of the images in pixels.

    Returns:
        The network, which maps images (B, 3, H, W) to features (B, width); and the width.

    Raises:
        UserError: there is no such backbone, or it does not take images of this size.
    """
    return BACKBONES[name](size) if name in BACKBONES else timm_model(name, size)


def normalisation(kind: Norm, width: int) -> list[nn.Module]:
    """The normalisation layer of that kind in a list, which is empty for "none"."""
    if kind == "none":
        return []
    return [nn.BatchNorm1d(width) if kind == "batch" else nn.LayerNorm(width)]


def mlp(width: int, head: Head) -> tuple[nn.Sequential, int]:
    """A head for inputs (B, width), and the width of its output. Linear layers before a normalisation have no bias."""
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
    """Cosines between embeddings and K prototypes, (B, D) -> (B, K).

    Prototypes count as unit vectors, whatever their length. That is the weight normalisation of DINO's last layer; SwAV's code
    rescales its prototypes after each step instead.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__(width, count, bias=False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return F.linear(F.normalize(z, dim=1), F.normalize(self.weight, dim=1))


def grouped(module: nn.Module, views: Sequence[torch.Tensor]) -> torch.Tensor:
    """Apply the module to all views, in one pass for consecutive views of one size. Returns (views * B, ...), in order."""
    sizes = groupby(views, key=lambda view: view.shape[-2:])
    return torch.cat([module(torch.cat(list(run))) for _, run in sizes])


class JointEmbedding(nn.Module):
    """Backbone, projector, predictor and prototypes (or classifier); `model.backbone(x)` gives the features.

    Args:
        name: name of the backbone, see `backbone`.
        size: side of the large views in pixels.
        projector: the head between backbone and loss.
        predictor: the head that predicts the target; None without one.
        outputs: number of scores that the loss compares; 0 if it compares embeddings.
        classes: the scores are those of a classifier rather than cosines with prototypes.
        probe: which layers `forward` returns for the linear probes: "off", "backbone" or "all", see `layers`.

    Attributes:
        backbone: (B, 3, H, W) -> features (B, width).
        width: width of the features.
        projector: features -> embedding.
        embedding: dimension of the embedding.
        predictor: embedding -> prediction; None without one.
        scores: embedding or prediction -> scores; None if the loss compares embeddings.

    Raises:
        UserError: the backbone is unknown, or the predictor's output has another width than the embedding.
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
                raise UserError(f"the predictor has {out} outputs and the projector {self.embedding}; they must be equal")
        self.scores: nn.Module | None = None
        if outputs:
            self.scores = nn.Linear(self.embedding, outputs) if classes else Prototypes(self.embedding, outputs)

    def layers(self, x: torch.Tensor, probe: str = "off") -> tuple[list[torch.Tensor], torch.Tensor]:
        """The features and, for probe="all", the output of each projector layer, (B, width) each; and the embedding."""
        return self.project(self.backbone(x), probe)

    def project(
        self, h: torch.Tensor, probe: str, shift: torch.Tensor | None = None
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """`layers`, from the features h on. shift: added to the output of the projector's first layer."""
        found = [h]
        for k, module in enumerate(self.projector):
            if isinstance(module, nn.Linear) and k and probe == "all":
                found.append(h)
            h = module(h)
            if not k and shift is not None:
                h = h + shift
        return (found if probe != "all" or not len(self.projector) else [*found, h]), h

    def layer_widths(self, probe: str) -> list[int]:
        """Widths of the layers that `layers` returns; none for probe="off"."""
        linear = [m.out_features for m in self.projector if isinstance(m, nn.Linear)]
        return {"off": [], "backbone": [self.width], "all": [self.width, *linear]}[probe]

    def forward(self, views: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """One pass over all views of an image batch.

        Args:
            views: (B, 3, H, W) each. Views of one size share their batch statistics.

        Returns:
            The layers of the first view, without gradient (see `layers`). For each view the embedding z, (B, D). For each view
            the output q: the prediction if there is a predictor, else z; or the scores of either.
        """
        return self.embed(grouped(self.backbone, views), len(views))

    def embed(
        self, h: torch.Tensor, views: int, shift: torch.Tensor | None = None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """`forward`, from the features h (views * B, width) on. shift: as for `project`, (views * B, its width)."""
        layers, z = self.project(h, self.probe, shift)
        q = self.predictor(z) if self.predictor else z
        q = self.scores(q) if self.scores else q
        first = [layer[: len(h) // views].detach() for layer in layers]
        return first, list(z.chunk(views)), list(q.chunk(views))

    def average(self) -> JointEmbedding:
        """A copy for the moving average of this network, without predictor and gradients; `follow` updates it."""
        target = copy.deepcopy(self)
        target.predictor = None
        return target.requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, model: nn.Module, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * model, for all trained weights. Batch statistics stay the target's own."""
    source = dict(model.named_parameters())
    names, weights = zip(*target.named_parameters(), strict=True)
    torch._foreach_lerp_(list(weights), [source[name] for name in names], 1 - momentum)
