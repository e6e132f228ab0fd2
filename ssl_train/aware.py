"""Augmentation-aware methods (`--aware`): a network that learns how its views were made, together with any method.

All read the draws of a step (ssl_train/vectors.py) and change what is trained, not what is kept: the features of a run come
from `model.backbone` alone.

- AugSelf (Lee et al. 2021, arXiv 2111.09613; hankook/AugSelf: `trainers.py`, `models.py`, `transforms.py`) predicts from the
  features of two views how their parameters differ.
- CASSLE (Przewiezlikowski et al. 2023, arXiv 2306.06082; gmum/CASSLE: `cond_utils.py`, `trainers_cond.py`, README) shows the
  parameters of each view to the projector.
- EquiMod (Devillers and Lefort 2023, arXiv 2211.01244; ADevillers/EquiMod, branches SimCLR+EquiMod and BYOL+EquiMod:
  `src/model.py`, `src/main.py`, `src/loss.py`) predicts from the image without augmentation, and a view's parameters, where
  the view's embedding lies.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import gpuaug

from . import distributed
from .errors import UserError
from .losses import nt_xent, widen
from .methods import Head
from .model import JointEmbedding, grouped, mlp
from .options import ResolvedSettings
from .vectors import Vectors, differences

Tensor = torch.Tensor

TEMPERATURE = 0.2
"""Softmax temperature of EquiMod's loss (`temperature_y` in all of its scripts)."""


class AugSelf(nn.Module):
    """An MLP for each group of parameters, with three layers of width 512 and BatchNorm, as published.

    Published results use the groups crop and colour; the paper's further ones, flip and blur, are learned as well where the
    policy has them.

    Args:
        width: width of the features.
        groups: name of a group -> its number of outputs.
    """

    def __init__(self, width: int, groups: dict[str, int]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: mlp(2 * width, Head(3, 512, count))[0] for name, count in groups.items()})

    def forward(self, features: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Predictions for the pairs of views, and then for the same pairs the other way round: group -> (2 * pairs * B, n).

        features: (B, width) of each view.
        """
        ordered = [*pairs, *((j, i) for i, j in pairs)]
        x = torch.cat([torch.cat([features[i], features[j]], dim=1) for i, j in ordered])
        return {name: head(x) for name, head in self.heads.items()}


def augself_loss(predicted: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
    """The sum over the groups of the loss of each (`trainers.py`, `SSObjective`).

    It is the mean squared error of tanh(prediction), and the cross entropy of sigmoid(prediction) for flips.

    Args:
        predicted: group -> (N, n), any number.
        wanted: group -> (N, n): see `ssl_train.vectors.differences`.
    """
    p = {name: widen(x) for name, x in predicted.items()}
    terms = [
        F.binary_cross_entropy_with_logits(p[name], y) if name == "flip" else F.mse_loss(torch.tanh(p[name]), y)
        for name, y in wanted.items()
    ]
    return torch.stack(terms).sum()


class Cassle(nn.Module):
    """What the parameters of a view add to the output of the projector's first layer.

    The parameters pass through six layers of width 64 with BatchNorm, and join the features at the input of the projector:
    the published variant of README, `--aug-treatment mlp --aug-nn-depth 6 --aug-nn-width 64 --aug-inj-type proj-cat`. The
    projector's first layer is linear, so its weights for the parameters can stand here, and the projector stays as it is.
    All parameters are shown, without the authors' change of the mean colour (`color_diff`), which is no draw.

    Args:
        columns: number of parameters.
        width: width of the features.
        out: width of the projector's first layer.
    """

    def __init__(self, columns: int, width: int, out: int) -> None:
        super().__init__()
        self.embed, hidden = mlp(columns, Head(6, 64, 64, last="full"))
        self.join = nn.Linear(hidden, out, bias=False)
        bound = 1 / math.sqrt(width + hidden)  # as torch initialises a layer for both inputs together
        nn.init.uniform_(self.join.weight, -bound, bound)

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, columns) -> (N, out)."""
        return self.join(self.embed(vectors))  # type: ignore[no-any-return]


class EquiMod(nn.Module):
    """A projector of its own, an embedding of the parameters, and the layer that predicts a view's embedding from both.

    As published: projector 3 layers to 128, without a trained scale at the end; parameters 1 layer to 128; predictor 1 layer;
    BatchNorm after each. The projector's hidden layers, published as wide as those of the method's projector, follow
    --projector-hidden.

    Args:
        columns: number of parameters.
        width: width of the features.
        hidden: width of the projector's hidden layers; 0 is that of the features.
    """

    def __init__(self, columns: int, width: int, hidden: int, out: int = 128) -> None:
        super().__init__()
        self.projector = mlp(width, Head(3, hidden, out, last="plain"))[0]
        self.embed = mlp(columns, Head(1, 0, out, last="full"))[0]
        self.predictor = mlp(2 * out, Head(1, 0, out, last="plain"))[0]

    def forward(self, plain: Tensor, features: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of the views, and what they are predicted to be, (views * B, out) each.

        plain: features (B, width) without augmentation. features: (views * B, width). vectors: (views * B, columns).
        """
        y = self.projector(torch.cat([plain, features]))
        first, seen = y[: len(plain)], y[len(plain) :]
        start = first.repeat(len(seen) // len(first), 1)
        return seen, self.predictor(torch.cat([start, self.embed(vectors)], dim=1))


def equimod_loss(seen: Tensor, predicted: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """NT-Xent between embeddings of views and their predictions, (N, D) each: the pair must find each other among all 2N.

    N counts the views of all images and ranks, so the other views of an image are among the negatives, as published.
    """
    return nt_xent(distributed.gather(seen), distributed.gather(predicted), temperature)


Learner = AugSelf | Cassle | EquiMod


class Given(NamedTuple):
    """What a network is given besides the views that it sees.

    Attributes:
        vectors: (views, B, D), see `Vectors`; None without --aware.
        plain: (B, 3, H, W) without augmentation, for EquiMod.
        others: features (B, width) of the views that only the target network sees, for AugSelf.
        pairs: pairs of large views among those seen and then the others, for AugSelf.
    """

    vectors: Tensor | None = None
    plain: Tensor | None = None
    others: Sequence[Tensor] = ()
    pairs: Sequence[tuple[int, int]] = ()


NOTHING = Given()
Found = dict[str, Tensor]
"""What the part that learns from draws has made: AugSelf's predictions by group, EquiMod's `seen` and `predicted`; or features.
"""


class Network(nn.Module):
    """A joint-embedding network, and the part that learns from draws, if any.

    keep: whether `forward` returns the features (views * B, width) as `features`, instead of what the head has made.
    """

    def __init__(self, model: JointEmbedding, head: Learner | None = None, keep: bool = False) -> None:
        super().__init__()
        self.model, self.head, self.keep = model, head, keep

    def forward(
        self, views: Sequence[Tensor], given: Given = NOTHING
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], Found]:
        """See `JointEmbedding.forward`, with one more result: what the head has made.

        The plain view shares the batch statistics of the large views, as in EquiMod's code.
        """
        model, head = self.model, self.head
        plain = [] if given.plain is None else [given.plain]
        h = grouped(model.backbone, [*plain, *views])
        start, h = h[: len(plain) * len(views[0])], h[len(plain) * len(views[0]) :]
        shift = head(given.vectors.flatten(0, 1)) if isinstance(head, Cassle) and given.vectors is not None else None
        layers, z, q = model.embed(h, len(views), shift)
        found: Found = {}
        if isinstance(head, AugSelf) and given.pairs:
            found = head([*h.chunk(len(views)), *given.others], given.pairs)
        if isinstance(head, EquiMod) and given.plain is not None and given.vectors is not None:
            large = sum(view.shape == given.plain.shape for view in views)
            vectors = given.vectors[:large].flatten(0, 1)
            found["seen"], found["predicted"] = head(start, h[: len(vectors)], vectors)
        return layers, z, q, {"features": h} if self.keep else found

    def average(self) -> Network:
        """A copy for the moving average, see `JointEmbedding.average`. It has only a head that its projector needs."""
        head = copy.deepcopy(self.head).requires_grad_(False) if isinstance(self.head, Cassle) else None
        return Network(self.model.average(), head, keep=isinstance(self.head, AugSelf))


class Aware:
    """What a run learns from its draws: the head of its network, what that is given, and its loss. Nothing with --aware off.

    Args:
        s: settings of the run.
        policy: the policy of the views to train on, large ones first.
        device: where the views are.

    Raises:
        UserError: the policy draws nothing that could be learned from.
    """

    def __init__(self, s: ResolvedSettings, policy: gpuaug.Policy, device: torch.device) -> None:
        self.kind, self.hidden, self.device = s.aware, s.projector_hidden, device
        if self.kind == "off":
            return
        self.vectors = Vectors(policy, s.aware)
        self.groups = self.vectors.groups()
        if s.aware == "augself" and not self.groups:
            raise UserError(f"--aware augself: the policy {policy.name} has no random crop, flip, colour jitter or blur")
        large = [k for k, view in enumerate(policy.views) if view.size == policy.views[0].size]
        self.pairs = list(combinations(large, 2))

    def head(self, model: JointEmbedding) -> Learner | None:
        """The head for a network, newly initialised, on the device, with batch statistics over all ranks."""
        if self.kind == "off":
            return None
        columns = len(self.vectors.names)
        made: Learner
        if self.kind == "augself":
            made = AugSelf(model.width, {name: len(places) for name, places in self.groups.items()})
        elif self.kind == "equimod":
            made = EquiMod(columns, model.width, self.hidden)
        else:
            first = model.projector[0]
            assert isinstance(first, nn.Linear)
            made = Cassle(columns, model.width, first.out_features)
        return distributed.synchronised(made.to(self.device), self.device)

    def given(
        self,
        drawn: gpuaug.Draws | None,
        views: Sequence[int],
        plain: Tensor | None = None,
        others: dict[int, Tensor] | None = None,
    ) -> Given:
        """What a network is given that sees these views.

        drawn: the draws, None with --aware off. plain: the view without augmentation, if EquiMod is trained. others: features
        of the views that only the target network sees, if AugSelf is trained.
        """
        if drawn is None:
            return NOTHING
        if self.kind == "augself" and others is not None:
            place = {view: k for k, view in enumerate([*views, *others])}
            return Given(others=list(others.values()), pairs=[(place[i], place[j]) for i, j in self.pairs])
        if self.kind == "cassle" or plain is not None:
            return Given(self.vectors(drawn, views, self.device), plain)
        return NOTHING

    def loss(self, found: Found, drawn: gpuaug.Draws) -> Tensor:
        """What is added to the method's loss, before it is multiplied with --aware-weight. found: from `Network.forward`."""
        if self.kind == "equimod":
            return equimod_loss(found["seen"], found["predicted"])
        ordered = [*self.pairs, *((j, i) for i, j in self.pairs)]
        views = sorted({view for pair in self.pairs for view in pair})
        vectors = dict(zip(views, self.vectors(drawn, views, self.device), strict=True))
        one, other = (torch.cat([vectors[pair[k]] for pair in ordered]) for k in (0, 1))
        return augself_loss(found, differences(one, other, self.groups))
