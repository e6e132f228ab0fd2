"""From a step's outputs to its loss: which pairs of views are compared, and the state (queue, centre) some losses keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from . import distributed, losses

Tensor = torch.Tensor


class Memory(nn.Module):
    """What a loss remembers between steps, part of the checkpoint: a queue of unit vectors (K, D), or (views, K, D), and a
    centre (outputs,)."""

    queue: Tensor
    centre: Tensor

    def __init__(self, queue: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.register_buffer("queue", F.normalize(torch.randn(queue), dim=-1))
        self.register_buffer("centre", torch.zeros(outputs))

    @torch.no_grad()
    def push(self, keys: Tensor, step: int) -> None:
        """Replace the oldest keys; the queue's length is a multiple of theirs, so the step says where."""
        count = keys.shape[-2]
        start = step * count % self.queue.shape[-2]
        self.queue[..., start : start + count, :] = F.normalize(keys.float(), dim=-1)


@dataclass
class Step:
    """One step's outputs for this rank's images, (B, D) a view, by the view's place in the policy.

    q: of the network: predictions, or scores. k: of the target branch, of the large views; z: the embeddings behind k, and
    prototypes: what scores them. same: q and k are the same tensors. queue_age: steps since the queue began, below 0 before.
    weights: (B,) for the images' terms.
    """

    q: dict[int, Tensor]
    k: dict[int, Tensor]
    z: dict[int, Tensor]
    prototypes: nn.Module | None
    target: Tensor
    memory: Memory
    step: int
    queue_age: int
    seed: int
    temperature: float
    target_temperature: float
    same: bool
    loss_weight: float = 0.0
    negatives: int | None = None
    weights: Tensor | None = None

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(view, target view), each view with every other one that is a target."""
        return [(i, j) for j in self.k for i in self.q if i != j]

    @property
    def once(self) -> list[tuple[int, int]]:
        """For losses that do not tell a pair's two sides apart: each pair once, where both branches are the same."""
        return [(i, j) for i, j in self.pairs if i > j or not (self.same and i in self.k)]

    def whole(self) -> tuple[dict[int, Tensor], dict[int, Tensor], Tensor | None]:
        """q, k and weights of every rank's images."""
        q = {i: distributed.gather(x) for i, x in self.q.items()}
        k = q if self.same and q.keys() == self.k.keys() else {j: distributed.gather(x) for j, x in self.k.items()}
        return q, k, None if self.weights is None else distributed.gather(self.weights)

    def generator(self) -> torch.Generator:
        """Random numbers that are a function of seed and step, the same on every rank and after a restart."""
        return torch.Generator().manual_seed((self.seed << 32) + self.step)


def average(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).mean()


def nt_xent(s: Step) -> Tensor:
    """NT-Xent, both ways. With a target branch of its own, anchors are the network's and all keys the target's."""
    q, k, w = s.whole()
    return average(
        [losses.info_nce(q[i], k[j], s.temperature, own=k.get(i), negatives=s.negatives, weights=w) for i, j in s.pairs]
    )


def info_nce(s: Step) -> Tensor:
    """MoCo v3's sum over both directions, times 2 T; over more views, their mean times 2."""
    q, k, w = s.whole()
    terms = [losses.info_nce(q[i], k[j], s.temperature, negatives=s.negatives, weights=w) for i, j in s.pairs]
    return 4 * s.temperature * average(terms)


def moco_v2(s: Step) -> Tensor:
    """Keys join the queue after they have been compared with it."""
    queue = s.memory.queue.clone()  # which backward needs as it was
    loss = average([losses.moco_v2(s.q[i], s.k[j], queue, s.temperature, s.weights) for i, j in s.pairs])
    s.memory.push(distributed.gather(s.k[max(s.k)].detach()), s.step)
    return loss


def nnclr(s: Step) -> Tensor:
    """The nearest earlier embeddings of one view must find the other view's predictions."""
    q, k, w = s.whole()
    terms = [losses.info_nce(losses.nearest(k[j], s.memory.queue), q[i], s.temperature, weights=w) for i, j in s.pairs]
    loss = average(terms)
    s.memory.push(k[min(k)].detach(), s.step)
    return loss


def cosine(s: Step) -> Tensor:
    return average([losses.cosine(s.q[i], s.k[j], s.weights) for i, j in s.pairs])


def swav(s: Step) -> Tensor:
    """Codes are balanced over all ranks' images, of each global view by itself, and over its queue as soon as that is full.

    Queued embeddings are scored anew, by the prototypes of this step.
    """
    assert s.prototypes
    scores = {j: distributed.gather(k.detach()) for j, k in s.k.items()}
    batch, length = len(next(iter(scores.values()))), s.memory.queue.shape[-2]
    codes = {}
    for j, queue in zip(scores, s.memory.queue, strict=True):
        full = length and s.queue_age * batch >= length
        earlier = s.prototypes(queue).detach() if full else scores[j][:0]
        everyone = losses.sinkhorn(torch.cat([earlier, scores[j]]))[-batch:]
        codes[j] = everyone[distributed.rank() :: distributed.world()]
    if length and s.queue_age >= 0:
        s.memory.push(torch.stack([distributed.gather(z.detach()) for z in s.z.values()]), s.step)
    return average([losses.swav(s.q[i], codes[j], s.temperature, s.weights) for i, j in s.pairs])


def dino(s: Step) -> Tensor:
    """The centre is that before this step, and moves by a tenth afterwards."""
    terms = [losses.dino(s.q[i], s.k[j], s.memory.centre, s.temperature, s.target_temperature, s.weights) for i, j in s.pairs]
    batch = torch.cat([x.detach().float() for x in s.k.values()]).mean(dim=0)
    s.memory.centre.lerp_(distributed.mean(batch), 0.1)
    return average(terms)


def barlow_twins(s: Step) -> Tensor:
    q, k, _ = s.whole()
    return average([losses.barlow_twins(q[i], k[j], s.loss_weight or 0.0051) for i, j in s.once])


def vicreg(s: Step) -> Tensor:
    q, k, w = s.whole()
    return average([losses.vicreg(q[i], k[j], weights=w) for i, j in s.once])


def w_mse(s: Step) -> Tensor:
    """Whitens pieces of twice the embedding's dimension, whose covariance is invertible; in a smaller batch it is shrunk."""
    q, k, w = s.whole()
    count, width = next(iter(q.values())).shape
    order = torch.randperm(count, generator=s.generator()).to(s.target.device)
    piece = WHITENED_PER_DIM * width
    epsilon = 0.0 if count >= piece else 0.1
    return average([losses.w_mse(q[i], k[j], order, piece, epsilon, w) for i, j in s.once])


def lejepa(s: Step) -> Tensor:
    """All views against 256 directions drawn anew each step; views that are no target count as local."""
    q, k, _ = s.whole()
    ordered = [q[i] for i in sorted(q, key=lambda i: (i not in k, i))]
    directions = torch.randn(ordered[0].shape[1], 256, generator=s.generator()).to(ordered[0].device)
    return losses.lejepa(ordered, len(k), directions, s.loss_weight or 0.05)


def cross_entropy(s: Step) -> Tensor:
    return average([losses.cross_entropy(q, s.target) for q in s.q.values()])


@dataclass(frozen=True)
class Queue:
    """Earlier embeddings that a loss keeps.

    Attributes:
        length: number of embeddings, as published.
        share: largest part of the training images that the queue may hold, 0 to 1; a twelfth keeps the published 4,096 (MoCo
            v2) and 3,840 (SwAV) for the 50,000 images of CIFAR-10.
        least_batches: smallest length in batches; 0 if the loss also works without a queue.
        per_view: each global view has a queue of its own, instead of one for all.
    """

    length: int
    share: float
    least_batches: int = 1
    per_view: bool = False


@dataclass(frozen=True)
class Criterion:
    """A loss, and all that the rest of the trainer has to know about it.

    Attributes:
        loss: maps a step's outputs to the loss, a scalar.
        outputs: what the loss compares: embeddings, scores against prototypes, or scores of classes.
        weighted: the loss is a mean over images, so that images can have weights.
        negatives: the number of negatives can be chosen.
        queue: the queue of earlier embeddings, None without one.
        batch_per_dim: images per embedding dimension that a batch needs, or the features collapse; 0 for no such need.
        cause: why the loss may become infinite besides a high learning rate; appended to the error message.
    """

    loss: Callable[[Step], Tensor]
    outputs: Literal["embeddings", "prototypes", "classes"] = "embeddings"
    weighted: bool = True
    negatives: bool = False
    queue: Queue | None = None
    batch_per_dim: int = 0
    cause: str = ""


WHITENED_PER_DIM = 2
"""Images that W-MSE whitens together, per dimension of the embedding."""

SQUARES = ", and this loss grows with the embeddings' squares"
CRITERIA = {
    "nt_xent": Criterion(nt_xent, negatives=True),
    "info_nce": Criterion(info_nce, negatives=True),
    "moco_v2": Criterion(moco_v2, queue=Queue(65_536, 1 / 12)),
    "nnclr": Criterion(nnclr, queue=Queue(98_304, 1.0)),
    "cosine": Criterion(cosine),
    "swav": Criterion(swav, "prototypes", queue=Queue(3840, 1 / 12, least_batches=0, per_view=True)),
    "dino": Criterion(dino, "prototypes"),
    "barlow_twins": Criterion(barlow_twins, weighted=False),
    "vicreg": Criterion(vicreg, cause=SQUARES),
    "w_mse": Criterion(
        w_mse,
        batch_per_dim=WHITENED_PER_DIM,
        cause=", or --projector-dim is above half of --batch-size, so that the covariance is singular",
    ),
    "lejepa": Criterion(lejepa, weighted=False, cause=SQUARES),
    "cross_entropy": Criterion(cross_entropy, "classes", weighted=False),
}
