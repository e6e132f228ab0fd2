"""Several processes under torchrun: who this one is, and what they tell each other. Alone, everything here is a no-op.

Every rank computes the loss of the *whole* batch from gathered embeddings; DistributedDataParallel then averages
gradients, so `gather` multiplies its own by the number of ranks, and the sum is the gradient of that one loss.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

M = TypeVar("M", bound=nn.Module)

WAIT = timedelta(hours=1)
"""How long ranks wait for rank 0 while it evaluates."""


def start(device: str) -> str:
    """Join torchrun's group, if there is one: NCCL on CUDA, gloo elsewhere. Returns this rank's device."""
    if "WORLD_SIZE" not in os.environ:
        return device
    if device.startswith("cuda"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=WAIT)
    return device


def stop() -> None:
    """Leave the group, all together; for the end of a run."""
    if active():
        dist.destroy_process_group()


def active() -> bool:
    return dist.is_available() and dist.is_initialized()


def world() -> int:
    return dist.get_world_size() if active() else 1


def rank() -> int:
    return dist.get_rank() if active() else 0


def barrier() -> None:
    if active():
        dist.barrier()


class Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0][rank() :: world()] * world()


def gather(x: torch.Tensor) -> torch.Tensor:
    """(B, ...) of each rank -> (B * ranks, ...) on all, in the order of one process with the whole batch (rank r has every
    ranks-th sample, as DistributedSampler gives them). Gradients flow back to the rank they belong to."""
    if world() == 1:
        return x
    gathered: torch.Tensor = Gather.apply(x)
    return gathered


def mean(x: torch.Tensor) -> torch.Tensor:
    """Mean over the ranks, without gradients; x itself is not changed."""
    if world() == 1:
        return x
    total = x.clone()
    dist.all_reduce(total)
    return total / world()


def any_rank(flag: bool) -> bool:
    """Whether it is so on any rank."""
    if world() == 1:
        return flag
    seen = torch.tensor(float(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(seen)
    return bool(seen)


class Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


class GatheredBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over all ranks' batches, of equal sizes, in plain operations: torch's SyncBatchNorm runs on GPUs only."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        pass

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        axes = [0, *range(2, input.ndim)]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        x = input.float()
        mu: torch.Tensor = Sum.apply(x.mean(dim=axes)) / world()
        centred = x - mu.view(shape)
        var: torch.Tensor = Sum.apply(centred.square().mean(dim=axes)) / world()
        with torch.no_grad():
            count = x.numel() // x.shape[1] * world()
            step = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mu, step)
            self.running_var.lerp_(var * (count / (count - 1)), step)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
        out = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)


def synchronised(model: M, device: torch.device) -> M:
    """The model with the batch statistics of all ranks: torch's SyncBatchNorm on CUDA, `GatheredBatchNorm` elsewhere."""
    if world() == 1:
        return model
    if device.type == "cuda":
        converted: M = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                norm = GatheredBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
                norm.load_state_dict(child.state_dict())
                for (_, new), (_, old) in zip(norm.named_parameters(), child.named_parameters(), strict=True):
                    new.requires_grad_(old.requires_grad)
                setattr(parent, name, norm)
    return model
