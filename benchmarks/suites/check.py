"""Whether a contender does what the truth does, which is checked before it is timed.

There are two checks. A probe compares each op alone, with fixed parameters, pixel by pixel. The whole policy is compared as a
distribution: mean, contrast and detail of its views.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from gpuaug import Policy, View
from gpuaug import ops as op
from gpuaug.ops.color import PARTS

from ..images import Photos
from ..peers.contender import Contender, MakeViews, Setting
from ..peers.gpuaug import maker
from ..workloads import Workload, one_view

PROBE_BOUND = 2 / 255
"""Mean absolute difference from the truth that a probe may show, where white is 1: that of rounding to 8 bits twice."""

FILTERS, DETAIL_BOUND = ("resize", "blur", "sharpness"), 0.05
"""Probes that mix neighbouring pixels, and the relative difference from the truth that the detail of their views may have."""

SAME_DRAWS_BOUND, STEPS = 1.5 / 255, 1e-4
"""Largest difference from the truth that a contender with the truth's own draws may show, and the share of values that may
differ by more: those where rounding decides on which side of a step they are, as in posterize, equalize or a nearest pixel.
"""

FEATURES = {"mean": 0.02, "std": 0.02, "detail": 0.1}
"""Feature of a view -> how far its mean over views may be off, relative to the truth's, beyond four standard errors."""

WITHOUT_DRAWS: dict[type[op.Op], str] = {
    op.RandomHorizontalFlip: "flip",
    op.RandomGrayscale: "gray",
    op.RandomSolarize: "solarize",
    op.RandomPosterize: "posterize",
    op.RandomInvert: "invert",
    op.RandomEqualize: "equalize",
    op.RandomAutocontrast: "autocontrast",
    op.RandomAdjustSharpness: "sharpness",
}
"""Ops that draw nothing but whether they are applied -> the name of their probe."""

PROBE_PHOTOS = 4
VIEWS = 64
"""Least number of views for the distribution."""


@dataclass(frozen=True)
class Truth:
    """What the backend `torchvision` makes of a workload: its first batch, the features of its views, and the probes."""

    first: torch.Tensor
    features: torch.Tensor
    probes: dict[str, torch.Tensor]


def probes(policy: Policy, image: tuple[int, int]) -> dict[str, Policy]:
    """Policies without randomness: the whole image resized, or its centre cut out, then one op with fixed parameters."""
    view = policy.views[0]
    height, width = image
    start = next((o for o in view.ops if isinstance(o, (op.RandomResizedCrop, op.CenterCrop))), None)
    if start is None:
        return {}
    if isinstance(start, op.RandomResizedCrop):
        start = replace(start, scale=(1.0, 1.0), ratio=(width / height, width / height))
    ends = [o for o in view.ops if isinstance(o, op.Normalize)]
    first = "resize" if isinstance(start, op.RandomResizedCrop) else "crop"
    found = {first: Policy(View(view.size, start, *ends))}
    for o in view.ops:
        found.update({name: Policy(View(view.size, start, fixed, *ends)) for name, fixed in fixed_forms(o).items()})
    return found


def fixed_forms(o: op.Op) -> dict[str, op.Op]:
    if isinstance(o, op.ColorJitter):
        highest: dict[str, Any] = {part: (found[1], found[1]) for part in PARTS if (found := o.limits(part))}
        return {part: replace(op.ColorJitter(), **{part: factor}) for part, factor in highest.items()}
    if isinstance(o, op.GaussianBlur):
        return {"blur": replace(o, sigma=(o.sigma[1],) * 2, p=1.0)}
    if isinstance(o, op.RandomAffine):
        ends = {"degrees": o.degrees, "scale": o.scale, "shear": o.shear}
        fixed: dict[str, Any] = {name: highest_of(limits) for name, limits in ends.items()}
        return {"affine": replace(o, translate=None, p=1.0, **fixed)}
    if isinstance(o, op.RandomRotation):
        fixed = {"degrees": highest_of(o.degrees)}
        return {"rotation": replace(o, p=1.0, **fixed)}
    if isinstance(o, op.JPEG):
        quality: Any = o.quality
        return {"jpeg": replace(o, quality=quality[0], p=1.0)}
    always: dict[str, Any] = {"p": 1.0}
    return {WITHOUT_DRAWS[type(o)]: replace(o, **always)} if type(o) in WITHOUT_DRAWS else {}


def highest_of(limits: Any) -> tuple[float, ...] | None:
    """Ranges (low, high, low, high ...) that are their upper ends alone."""
    return None if limits is None else tuple(high for high in limits[1::2] for _ in range(2))


def pixels(views: torch.Tensor, policy: Policy) -> torch.Tensor:
    """Views with Normalize undone, so that white is 1."""
    normalize = policy.views[0].normalize
    if normalize is None:
        return views
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normalize.mean, normalize.std))
    return views * std + mean


def features(views: torch.Tensor, policy: Policy) -> torch.Tensor:
    """(B, 3): each view's mean, its standard deviation, and its detail."""
    x = pixels(views.cpu().float(), policy)
    return torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3)), detail(x)], dim=1)


def detail(x: torch.Tensor) -> torch.Tensor:
    """(B,) the mean absolute difference between neighbours in a row, which a filter changes most."""
    return x.diff(dim=3).abs().mean((1, 2, 3))


def gather(make: MakeViews, policy: Policy, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first batch, on the CPU, and the features of at least VIEWS views."""
    first = make().to("cpu", copy=True)
    rows = [features(first, policy)]
    while batch * len(rows) < VIEWS:
        rows.append(features(make(), policy))
    return first, torch.cat(rows)


def truth(workload: Workload, photos: Photos, setting: Setting) -> Truth:
    policy = one_view(workload.policy)
    prepare, setting = maker("torchvision"), replace(setting, dtype=torch.float32, device="cpu")
    few = probe_photos(workload, photos)
    expected = {name: pixels(prepare(p, few, setting)(), p) for name, p in probes(policy, workload.image).items()}
    return Truth(*gather(prepare(policy, photos, setting), policy, workload.batch), expected)


def probe_photos(workload: Workload, photos: Photos) -> Photos:
    """Photographs of the size that the probes are made for."""
    return [photo for photo in photos if photo.shape[:2] == workload.image][:PROBE_PHOTOS]


def deviations(
    contender: Contender, make: MakeViews, workload: Workload, photos: Photos, setting: Setting, true: Truth
) -> list[str]:
    """Describe where a contender differs from the truth by more than the bounds above.

    make: not called before, so that its first batch has the first draws. Raises ValueError if its views have another shape
    or dtype, or are not finite.
    """
    policy = one_view(workload.policy)
    first, rows = gather(make, policy, workload.batch)
    if first.shape != true.first.shape or first.dtype not in (torch.float32, setting.dtype):
        raise ValueError(f"made {first.dtype} {tuple(first.shape)}, expected float32 {tuple(true.first.shape)}")
    if not bool(first.isfinite().all()):
        raise ValueError("made values that are not finite")
    found = [contender.differs[type(o)] for o in policy.views[0].ops if type(o) in contender.differs]
    if contender.same_draws:
        apart = (pixels(first.float(), policy) - pixels(true.first, policy)).abs().flatten()
        off = float(apart.topk(int(STEPS * len(apart)) + 1).values[-1])
        found += [f"same draws {off:.3f} off"] if off > SAME_DRAWS_BOUND else []
    found += probe_deviations(contender, probes(policy, workload.image), probe_photos(workload, photos), setting, true.probes)
    return found + feature_deviations(rows, true.features)


def probe_deviations(
    contender: Contender, policies: dict[str, Policy], photos: Photos, setting: Setting, true: dict[str, torch.Tensor]
) -> list[str]:
    found = []
    inherited = 0.0  # the difference that resize or crop alone makes, which every other probe includes
    for name, probe in policies.items():
        try:
            views = pixels((contender.probe or contender.prepare)(probe, photos, setting)().cpu().float(), probe)
            off = float((views - true[name]).abs().mean())
        except Exception as error:  # a library may raise anything
            found.append(f"{name} alone fails ({type(error).__name__})")
            continue
        more = float(detail(views).mean() / detail(true[name]).mean()) - 1 if name in FILTERS else 0.0
        if not (off - inherited <= PROBE_BOUND and abs(more) <= DETAIL_BOUND):
            found.append(f"{name} {off:.3f} off" + (f" (detail {more:+.0%})" if abs(more) > DETAIL_BOUND else ""))
        inherited = off if name in ("resize", "crop") else inherited
    return found


def feature_deviations(rows: torch.Tensor, true: torch.Tensor) -> list[str]:
    """rows, true: features of views of the same photographs in the same order, so that their variety cancels."""
    if len(rows) < 2:
        return []
    noise = (rows - true).std(0) / len(rows) ** 0.5
    found = []
    for k, (name, bound) in enumerate(FEATURES.items()):
        mine, theirs = float(rows[:, k].mean()), float(true[:, k].mean())
        if abs(mine - theirs) > bound * theirs + 4 * float(noise[k]):
            found.append(f"{name} {mine / theirs - 1:+.0%}")
    return found
