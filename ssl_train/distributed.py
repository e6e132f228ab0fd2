"""The processes that torchrun or srun started, and what they exchange. In a single process everything here is a no-op.

Every rank computes the loss of the *whole* batch from the gathered embeddings. DistributedDataParallel then averages the
gradients of the ranks. `gather` therefore multiplies its gradient by the number of ranks, so that the average is the gradient
of that loss.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from .errors import ElsewhereError, UserError
from .interrupts import Stopped
from .launch import launch
from .meeting import meet

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")

WAIT = timedelta(hours=1)
"""How long the other ranks wait while rank 0 evaluates."""


def start(device: str) -> str:
    """Join the processes that torchrun or srun started, if any: by NCCL on CUDA, by gloo elsewhere.

    Returns the device to use; of several GPUs, the one with the number of this process on its machine. Raises UserError if
    there is no such GPU, or if the other processes do not appear.
    """
    if device == "auto" and torch.cuda.is_available():
        device = "cuda"
    if active():  # a program that calls us has made the group
        local = os.environ.get("LOCAL_RANK")
        return device if local is None else own_device(device, int(local))
    started = launch()
    if started is None:
        return device
    device = own_device(device, started.local)
    backend = "nccl" if device.startswith("cuda:") else "gloo"
    own = torch.device(device) if backend == "nccl" else None  # NCCL would else guess the GPU from the rank
    dist.init_process_group(
        backend, store=meet(started), rank=started.rank, world_size=started.world, timeout=WAIT, device_id=own
    )
    return device


def own_device(device: str, local: int) -> str:
    """The GPU with this process's number, which becomes the current one; any other device stays as it is."""
    visible = torch.cuda.device_count()
    if not (device.startswith("cuda") and visible):
        return device
    if visible == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        local = 0  # with srun --gpus-per-task=1 each process sees only its own GPU
    if local >= visible:
        raise UserError(
            f"--device {device}: process {local} of this machine has no GPU of its own, {visible} are visible; "
            "start one process per GPU"
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def stop() -> None:
    """Leave the group at the end of a run; all ranks call this."""
    if active():
        dist.destroy_process_group()


def active() -> bool:
    """Whether there is a group of processes."""
    return dist.is_available() and dist.is_initialized()


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if active() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if active() else 0


def barrier() -> None:
    if active():
        dist.barrier()


class Gather(torch.autograd.Function):
    """The forward and backward pass of `gather`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0][rank() :: world()] * world()


def gather(x: torch.Tensor) -> torch.Tensor:
    """Collect (B, ...) from each rank into (B * ranks, ...) on all of them. Gradients flow back to the rank of each sample.

    The order is that of a single process with the whole batch: DistributedSampler gives rank r every ranks-th sample.
    """
    if world() == 1:
        return x
    gathered: torch.Tensor = Gather.apply(x)
    return gathered


def mean(x: torch.Tensor) -> torch.Tensor:
    """Mean over the ranks, without gradients. x is not changed."""
    if world() == 1:
        return x
    total = x.clone()
    dist.all_reduce(total)
    return total / world()


def largest(number: int) -> int:
    """The largest number of any rank."""
    if world() == 1:
        return number
    seen = torch.tensor(number, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(seen, dist.ReduceOp.MAX)
    return int(seen)


def on_rank_0(work: Callable[[], T]) -> T:
    """Do the work on rank 0 only, and return its result on every rank. If it raises there, every rank raises."""
    if world() == 1:
        return work()
    said: list[Any] = [None, None, 0]  # the result, the text of the error, the number of the signal
    failure: BaseException | None = None
    if rank() == 0:
        try:
            said[0] = work()
        except Stopped as stop:
            failure, said[2] = stop, stop.args[0]
        except BaseException as error:
            failure, said[1] = error, str(error) or type(error).__name__
    dist.broadcast_object_list(said, src=0)
    if failure:
        raise failure
    if said[2]:
        raise Stopped(said[2])
    if said[1] is not None:
        raise ElsewhereError(said[1])
    found: T = said[0]
    return found


def on_all_ranks(work: Callable[[], T]) -> T:
    """Do the work on every rank. If it raises UserError on any, all raise, and the first of those prints the message."""
    if world() == 1:
        return work()
    failure = None
    try:
        found = work()
    except UserError as error:
        failure = error
    texts: list[str | None] = [None] * world()
    own = str(failure) if failure and not isinstance(failure, ElsewhereError) else None  # an ElsewhereError has been reported
    dist.all_gather_object(texts, own)
    if failure and (own is None or texts.index(own) == rank()):
        raise failure
    for text in texts:
        if text is not None:
            raise ElsewhereError(text)
    return found


def once_per_machine(work: Callable[[], T]) -> T:
    """Do the work on every rank, first on one process per machine; for files that are made once on each machine."""
    if world() == 1:
        return work()
    names = [name for name in ("LOCAL_RANK", "SLURM_LOCALID") if name in os.environ]
    first = int(os.environ[names[0]]) == 0 if names else rank() == 0
    found = on_all_ranks(lambda: work() if first else None)
    return on_all_ranks(lambda: work() if found is None else found)


class Sum(torch.autograd.Function):
    """Sum over the ranks, with gradients."""

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
    """BatchNorm over the batches of all ranks, of equal sizes, in plain operations: torch's SyncBatchNorm needs a GPU."""

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
    """Let BatchNorm use the batches of all ranks: torch's SyncBatchNorm on CUDA, `GatheredBatchNorm` elsewhere."""
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
