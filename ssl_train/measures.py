"""The quality of features: linear classifiers and regressions on them, and measures that need no classes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import gpuaug

Tensor = torch.Tensor
Labelled = tuple[Tensor, Tensor]
"""Features (N, D) and classes (N,) int64."""

PENALTIES = [10.0**k for k in range(1, -8, -1)]
JITTER = gpuaug.ColorJitter(0.8, 0.8, 0.8, 0.2)
"""SimCLR's jitter at full strength (Chen et al. 2020, arXiv 2002.05709, appendix A), on every image."""
FACTORS = ("brightness", "contrast", "saturation")


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


def fit_ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Ridge regression in closed form: weights (D + 1, K), of which the last row is the intercept.

    Minimises the mean over images of |x w + b - y|^2, plus penalty * |w|^2. x: (N, D), y: (N, K), both float64.
    """
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    wide = x.shape[1] > len(x)  # then the system of N equations is the smaller one
    gram = x @ x.T if wide else x.T @ x
    gram.diagonal().add_(penalty * len(x))
    factor = torch.linalg.cholesky(gram)
    w = x.T @ torch.cholesky_solve(y, factor) if wide else torch.cholesky_solve(x.T @ y, factor)
    return torch.cat([w, (y_mean - x_mean @ w)[None]])


def r_squared(w: Tensor, x: Tensor, y: Tensor) -> float:
    """Mean over the columns of y of R^2 for the weights of `fit_ridge`: 1 is exact, 0 no better than the columns' means."""
    error = (x @ w[:-1] + w[-1] - y).square().sum(dim=0)
    return float((1 - error / (y - y.mean(dim=0)).square().sum(dim=0)).mean())


def ridge(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int = 0) -> dict[str, float]:
    """R^2 of ridge regression on standardised features, and the penalty that was chosen; in float64, in closed form.

    Of PENALTIES the one with the best R^2 on a fifth of the training images, which its fit leaves out, is used for a last fit
    on all training images.

    Args:
        train: features (N, D) and what is predicted (N, K) of the training images; N at least 10.
        test: the same of the test images.
        seed: seed of the split.

    Returns:
        `r2`, the mean over the K columns, at most 1, and `penalty`.
    """
    x, queries = standardised(train[0].double(), test[0].double())
    y = train[1].double()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed), device="cpu").to(x.device)
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]
    best = max((r_squared(fit_ridge(x[kept], y[kept], penalty), x[held], y[held]), penalty) for penalty in PENALTIES)[1]
    return {"r2": r_squared(fit_ridge(x, y, best), queries, test[1].double()), "penalty": best}


@torch.no_grad()
def jittered_pairs(
    encode: Callable[[Tensor], Tensor], plain: gpuaug.DataLoader, seed: int, num_workers: int = 1
) -> tuple[Tensor, Tensor]:
    """Features of pairs of a plain and a jittered view, and how the second was jittered.

    Both views have the same crop; only `JITTER` is between them. Its draws follow from the seed and the images' indices.

    Args:
        encode: views (B, 3, H, W) on the loader's device -> features (B, ...).
        plain: a loader of one view without augmentation (`ssl_train.evaluate.plain_loader`), whose images and view are taken.
        seed: seed of the draws.
        num_workers: worker threads of the loader.

    Returns:
        [features of the plain view, features of the jittered view], (N, 2 D) float32; and float64 (N, 4): the logarithms of
        the factors of brightness, contrast and saturation, and the turn of the hue. Both on the loader's device.
    """
    view = plain.policy.views[0]
    at = view.ops.index(view.normalize) if view.normalize else len(view.ops)
    jittered = gpuaug.View(view.size, *view.ops[:at], JITTER, *view.ops[at:])
    more = {"batch_size": 256, "rank": 0, "world_size": 1, "num_workers": num_workers, "device": plain.device}
    loader = gpuaug.DataLoader(plain.dataset, gpuaug.Policy(view, jittered), seed=seed, **more)  # type: ignore[arg-type]
    features, drawn = [], []
    for views, _ in loader:
        features.append(torch.cat([encode(v).flatten(1).float() for v in views], dim=1))
        columns = {name: torch.from_numpy(a).double() for name, a in loader.draws.columns(1).items() if a.dtype.kind == "f"}
        factors = [columns[f"ColorJitter.{name}"].log() for name in FACTORS]
        drawn.append(torch.stack([*factors, columns["ColorJitter.hue"]], dim=1).to(plain.device))
    return torch.cat(features), torch.cat(drawn)


def colour_prediction(
    encode: Callable[[Tensor], Tensor], bank: gpuaug.DataLoader, queries: gpuaug.DataLoader, seed: int = 0, num_workers: int = 1
) -> dict[str, float]:
    """How well the features of a plain and of a colour-jittered view tell how the colours were changed; no classes are needed.

    A task that invariance hurts: features that ignore colour score 0. Ridge regression goes from `jittered_pairs` of the
    training images to their parameters, and is judged on the test images. The same seed gives the same views and split.

    Args:
        encode: as in `jittered_pairs`; in eval mode, such as `model.eval().backbone`.
        bank, queries: loaders of the training and test images without augmentation (`ssl_train.evaluate.plain_loaders`).
        seed: seed of the draws and of the split.
        num_workers: worker threads of the loaders.

    Returns:
        `r2`: the mean over the four parameters, 0 for a guess and 1 if all are known; and the `penalty` that was chosen.
    """
    train, test = (jittered_pairs(encode, loader, seed + k, num_workers) for k, loader in enumerate((bank, queries)))
    return ridge(train, test, seed)


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
