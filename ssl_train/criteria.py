"""From the outputs of a step to its loss: which views are compared, and what some losses remember between steps."""

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
    """What a loss remembers between steps; part of the checkpoint.

    queue: earlier embeddings as unit vectors, (K, D), or (views, K, D) with a queue for each view. centre: (outputs,), DINO's.
    """

    queue: Tensor
    centre: Tensor

    def __init__(self, queue: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.register_buffer("queue", F.normalize(torch.randn(queue, device="cpu"), dim=-1))
        self.register_buffer("centre", torch.zeros(outputs, device="cpu"))

    @torch.no_grad()
    def push(self, keys: Tensor, step: int) -> None:
        """Replace the oldest keys. The queue is a whole number of batches long, so the step tells which keys are the oldest."""
        count = keys.shape[-2]
        start = step * count % self.queue.shape[-2]
        self.queue[..., start : start + count, :] = F.normalize(keys.float(), dim=-1)


@dataclass
class Step:
    """The outputs of one step for the images of this rank: what a loss is computed from.

    Attributes:
        q: outputs of the trained network, (B, D) for each view by its index in the policy: predictions, or scores.
        k: outputs of the target branch, (B, D) for each large view that is a target.
        z: the embeddings that k was computed from; k itself unless there are prototypes.
        prototypes: maps embeddings to scores; None without prototypes.
        target: classes (B,) int64, or the images' indices if there are no labels.
        memory: queue and centre, which the loss updates.
        step: number of this step, from 0.
        queue_age: steps since SwAV's queue began; below 0 before that.
        seed: seed of the run.
        temperature: softmax temperature of the loss.
        target_temperature: softmax temperature of the targets at this step.
        same: q and k are the same tensors, so a pair of views need only be compared once.
        loss_weight: weight of the second term; 0 takes the loss's own default.
        negatives: number of negatives per view; None takes all.
        weights: (B,) weights of the images' terms; None weighs all alike.
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
        """All pairs (view, target view) of different views."""
        return [(i, j) for j in self.k for i in self.q if i != j]

    @property
    def once(self) -> list[tuple[int, int]]:
        """`pairs` for losses that are symmetric in the two views: if both branches are the same, each pair comes only once."""
        return [(i, j) for i, j in self.pairs if i > j or not (self.same and i in self.k)]

    def whole(self) -> tuple[dict[int, Tensor], dict[int, Tensor], Tensor | None]:
        """q, k and weights of the images of all ranks."""
        q = {i: distributed.gather(x) for i, x in self.q.items()}
        k = q if self.same and q.keys() == self.k.keys() else {j: distributed.gather(x) for j, x in self.k.items()}
        return q, k, None if self.weights is None else distributed.gather(self.weights)

    def generator(self) -> torch.Generator:
        """A generator seeded by the run's seed and the step: the same numbers on every rank and after a restart."""
        return torch.Generator().manual_seed((self.seed << 32) + self.step)


def average(terms: list[Tensor]) -> Tensor:
    """Mean of scalar losses."""
    return torch.stack(terms).mean()


def nt_xent(s: Step) -> Tensor:
    """NT-Xent in both directions. Queries come from the trained network.

    With a target network, the keys and the negatives of the query's own view come from that network.
    """
    q, k, w = s.whole()
    return average(
        [losses.info_nce(q[i], k[j], s.temperature, own=k.get(i), negatives=s.negatives, weights=w) for i, j in s.pairs]
    )


def info_nce(s: Step) -> Tensor:
    """MoCo v3: 2 T times the sum of both directions; with more than two views, 4 T times the mean over all pairs."""
    q, k, w = s.whole()
    terms = [losses.info_nce(q[i], k[j], s.temperature, negatives=s.negatives, weights=w) for i, j in s.pairs]
    return 4 * s.temperature * average(terms)


def moco_v2(s: Step) -> Tensor:
    """MoCo v2. The keys join the queue after they have been compared with it."""
    queue = s.memory.queue.clone()  # backward needs it as it is now
    loss = average([losses.moco_v2(s.q[i], s.k[j], queue, s.temperature, s.weights) for i, j in s.pairs])
    s.memory.push(distributed.gather(s.k[max(s.k)].detach()), s.step)
    return loss


def nnclr(s: Step) -> Tensor:
    """NNCLR: the nearest earlier embedding of one view must find the prediction of the other."""
    q, k, w = s.whole()
    terms = [losses.info_nce(losses.nearest(k[j], s.memory.queue), q[i], s.temperature, weights=w) for i, j in s.pairs]
    loss = average(terms)
    s.memory.push(k[min(k)].detach(), s.step)
    return loss


def cosine(s: Step) -> Tensor:
    """BYOL and SimSiam: each prediction must point where the other view's embedding points."""
    return average([losses.cosine(s.q[i], s.k[j], s.weights) for i, j in s.pairs])


def swav(s: Step) -> Tensor:
    """SwAV. The codes of each global view are balanced over the images of all ranks, and over the view's queue once it is full.

    Queued embeddings are scored again in each step, by the prototypes of that step.
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
    """DINO. Targets are centred by the centre before this step, which then moves a tenth of the way to the batch's mean."""
    terms = [losses.dino(s.q[i], s.k[j], s.memory.centre, s.temperature, s.target_temperature, s.weights) for i, j in s.pairs]
    batch = torch.cat([x.detach().float() for x in s.k.values()]).mean(dim=0)
    s.memory.centre.lerp_(distributed.mean(batch), 0.1)
    return average(terms)


def barlow_twins(s: Step) -> Tensor:
    """Barlow Twins, with the paper's weight of the second term unless the recipe has its own."""
    q, k, _ = s.whole()
    return average([losses.barlow_twins(q[i], k[j], s.loss_weight or 0.0051) for i, j in s.once])


def vicreg(s: Step) -> Tensor:
    """VICReg on the images of all ranks."""
    q, k, w = s.whole()
    return average([losses.vicreg(q[i], k[j], weights=w) for i, j in s.once])


def w_mse(s: Step) -> Tensor:
    """W-MSE. Pieces of twice the embedding's dimension have an invertible covariance; that of a smaller batch is shrunk."""
    q, k, w = s.whole()
    count, width = next(iter(q.values())).shape
    order = torch.randperm(count, generator=s.generator(), device="cpu").to(s.target.device)
    piece = WHITENED_PER_DIM * width
    epsilon = 0.0 if count >= piece else 0.1
    return average([losses.w_mse(q[i], k[j], order, piece, epsilon, w) for i, j in s.once])


def lejepa(s: Step) -> Tensor:
    """LeJEPA with 256 new random directions each step; views that are not targets count as local."""
    q, k, _ = s.whole()
    ordered = [q[i] for i in sorted(q, key=lambda i: (i not in k, i))]
    directions = torch.randn(ordered[0].shape[1], 256, generator=s.generator(), device="cpu").to(ordered[0].device)
    return losses.lejepa(ordered, len(k), directions, s.loss_weight or 0.05)


def cross_entropy(s: Step) -> Tensor:
    """Supervised training on the labels."""
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
