"""Applying draws of a mix: one pass over the views without a copy of the partners, and soft labels of the targets.

All forms compute torch.lerp(partner, view, lambda). On the CPU a call takes one row of the batch, and the result is written to
pooled memory, since fresh memory costs four times as much as mixing does. On other devices two calls take the whole batch, and
nothing waits for the device.
"""

from __future__ import annotations

import numpy as np
import torch

from ..backends.batched.rows import send
from ..memory import uninitialised
from .draws import MixDraws, Numbers, Rows, pairs


def mix_view(view: torch.Tensor, draws: MixDraws) -> torch.Tensor:
    """A view (B, C, H, W) mixed, as a new tensor of the same dtype and memory format."""
    size = (int(view.shape[2]), int(view.shape[3]))
    boxes, blend = draws.boxes(size), np.where(draws.cut, 1.0, draws.lam)
    if view.requires_grad and torch.is_grad_enabled():  # `out=` has no gradient
        return torch.lerp(view[send(view.device, draws.partner)[0]], view, pixel_weights(view, draws, boxes, blend))
    if view.device.type == "cpu":
        return mix_rows(view, draws.partner, boxes, blend)
    return mix_batch(view, draws.partner, pixel_weights(view, draws, boxes, blend))


def mix_rows(view: torch.Tensor, partner: Rows, boxes: Rows, blend: Numbers) -> torch.Tensor:
    """Row by row, on the CPU. blend: (B,) share of the row itself outside of its box."""
    channels_last = not view.is_contiguous() and view.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    out = uninitialised(tuple(view.shape), view.dtype, layout)
    for row, (other, (x1, y1, x2, y2), share) in enumerate(zip(partner.tolist(), boxes.tolist(), blend.tolist(), strict=True)):
        if share == 1:
            out[row] = view[row]
        else:
            torch.lerp(view[other], view[row], share, out=out[row])
        if x1 < x2 and y1 < y2:
            out[row, :, y1:y2, x1:x2] = view[other, :, y1:y2, x1:x2]
    return out


def pixel_weights(view: torch.Tensor, draws: MixDraws, boxes: Rows, blend: Numbers) -> torch.Tensor:
    """The weight of the row itself: (B, 1, 1, 1), or (B, 1, H, W) if a row has a box, where it is 0; in the view's dtype."""
    sent, box = send(view.device, blend.astype(np.float32), boxes.astype(np.int32))
    share = sent.to(view.dtype).view(-1, 1, 1, 1)
    if not draws.cut.any():
        return share
    x1, y1, x2, y2 = box.view(-1, 4, 1, 1).unbind(1)
    y, x = (torch.arange(n, dtype=torch.int32, device=view.device) for n in view.shape[2:])
    inside = (x1 <= x) & (x < x2) & (y1 <= y[:, None]) & (y[:, None] < y2)
    return torch.where(inside[:, None], 0, share)


def mix_batch(view: torch.Tensor, partner: Rows, weight: torch.Tensor) -> torch.Tensor:
    """The whole batch by two calls, of even and of odd rows, or, with partners other than `pairs`, by a copy of them."""
    if not np.array_equal(partner, pairs(len(view))):
        return torch.lerp(view.index_select(0, send(view.device, partner)[0]), view, weight)
    out = torch.empty_like(view)
    even = len(view) - len(view) % 2
    for row in (0, 1) if even else ():
        mine, other = slice(row, even, 2), slice(1 - row, even, 2)
        torch.lerp(view[other], view[mine], weight[mine], out=out[mine])
    if len(view) % 2:
        torch.lerp(view[max(even - 1, 0)], view[even], weight[even], out=out[even])
    return out


def soft_labels(targets: torch.Tensor, classes: int, partner: Rows, weights: Numbers) -> torch.Tensor:
    """One-hot rows, weighted: float32 (B, classes). targets: (B,) integers. weights: (B,), each row's share of its own."""
    shares = np.stack([weights, 1.0 - weights], axis=1).astype(np.float32)
    rows, share = send(targets.device, partner, shares)
    own = targets.long()[:, None]
    other = own[rows]
    labels = torch.zeros(len(targets), classes, dtype=torch.float32, device=targets.device)
    labels.scatter_(1, other, share[:, 1:])
    # Not scatter_add_, whose order of additions varies on CUDA; a row's two classes may be the same.
    return labels.scatter_(1, own, share[:, :1] + torch.where(own == other, share[:, 1:], 0.0))
