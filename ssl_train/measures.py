"""The quality of features: linear classifiers on them, and measures that need no classes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

Tensor = torch.Tensor
Labelled = tuple[Tensor, Tensor]
"""Features (N, D) and classes (N,) int64."""

PENALTIES = [10.0**k for k in range(1, -8, -1)]


def standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Standardise both by the mean and standard deviation of each coordinate of `train` (a deviation of 0 counts as 1)."""
    mean, deviation = train.mean(dim=0), train.std(dim=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    return (train - mean) / deviation, (test - mean) / deviation


def fit_logistic(x: Tensor, y: Tensor, classes: int, penalty: float, start: Tensor | None = None) -> Tensor:
    """Multinomial logistic regression by L-BFGS: weights (D + 1, C), of which the last row is the bias.

    Minimises mean cross entropy + penalty / 2 * |weights without bias|^2. start: initial weights; None starts from zeros.
    """
    x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    w = (x.new_zeros(x.shape[1], classes) if start is None else start.clone()).requires_grad_()
    optimizer = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ w, y) + penalty / 2 * w[:-1].square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return w.detach()


def accuracy(w: Tensor, x: Tensor, y: Tensor) -> float:
    """Share of the features x that the weights of `fit_logistic` give the right class, 0 to 1."""
    return float((((x @ w[:-1]) + w[-1]).argmax(dim=1) == y).double().mean())


def logistic(train: Labelled, test: Labelled, seed: int = 0) -> dict[str, float]:
    """Accuracy of logistic regression on standardised features, and the penalty that was chosen.

    Nine penalties from 10 to 1e-7 are tried, each starting from the solution for the next larger one. The penalty with the best
    accuracy on a fifth of the training images, which these fits leave out, is used for a last fit on all training images.
    """
    x, queries = standardised(train[0], test[0])
    y, classes = train[1], int(torch.cat([train[1], test[1]]).max()) + 1
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed), device="cpu").to(x.device)
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]
    found: list[tuple[float, float]] = []
    w = None
    for penalty in PENALTIES:
        w = fit_logistic(x[kept], y[kept], classes, penalty, w)
        found.append((accuracy(w, x[held], y[held]), penalty))
    best = max(found)[1]
    return {"accuracy": accuracy(fit_logistic(x, y, classes, best), queries, test[1]), "penalty": best}


def linear_probe(train: Labelled, test: Labelled, epochs: int = 100, seed: int = 0) -> float:
    """Accuracy of a linear classifier on standardised features, trained by SGD: momentum 0.9, batches of 256, rate 0.1 to 0."""
    x, queries = standardised(train[0], test[0])
    classes = int(torch.cat([train[1], test[1]]).max()) + 1
    generator = torch.Generator().manual_seed(seed)
    classifier = nn.Linear(x.shape[1], classes).to(x)
    nn.init.zeros_(classifier.weight)
    nn.init.zeros_(classifier.bias)
    optimizer = torch.optim.SGD(classifier.parameters(), 0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(x), generator=generator, device="cpu").to(x.device), 256):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(classifier(x[batch]), train[1][batch]))
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        return float((classifier(queries).argmax(dim=1) == test[1]).double().mean())


def rankme(z: Tensor) -> float:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 1): the smooth rank of z (N, D), in 1..min(N, D).

    It is exp of the entropy of p = singular values / their sum + 1e-7. The paper uses 25,600 images.
    """
    values = torch.linalg.svdvals(z.double())
    p = values / values.sum() + 1e-7
    return float((-(p * p.log()).sum()).exp())


def alignment(x: Tensor, y: Tensor) -> float:
    """Mean squared distance of the normalised features of two views, (N, D) each (Wang and Isola 2020, arXiv 2005.10242)."""
    return float((F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(dim=1).mean())


def uniformity(x: Tensor, t: float = 2.0) -> float:
    """Log of the mean over all pairs of exp(-t * squared distance) between normalised features (Wang and Isola 2020).

    x: (N, D). Lower is more uniform; 0 if everything has collapsed.
    """
    x = F.normalize(x.double(), dim=1)
    total = 0.0
    for k, chunk in enumerate(torch.split(x, 1024)):
        similarity = chunk @ x[k * 1024 :].T
        total += float(torch.exp(2 * t * (similarity - 1)).triu(diagonal=1).sum())
    return math.log(total / (len(x) * (len(x) - 1) / 2))
