"""gpuaug: one contender a backend. The draws are part of the timed region, as they are of training."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

import torch

from gpuaug import Augmenter, DataLoader, Images, Policy, sample
from gpuaug.data.packing.pack import Format, Packing, pack

from ..images import Photos
from ..measure.result import FUSED, REPLAYED
from ..sources import RAW_EDGE, Cold, Large, Raw, Remote, Source, Yuv
from .contender import BOTH, Contender, Epoch, MakeViews, Setting, epochs
from .decoders import fastest, in_parts


def refusal(backend: str) -> Callable[[Policy], str | None]:
    def supports(policy: Policy) -> str | None:
        try:
            Augmenter(policy, backend=backend, device="cpu")
        except (ImportError, ValueError) as error:
            return str(error)
        return None

    return supports


def maker(backend: str, threads: int = 1) -> Callable[[Policy, Photos, Setting], MakeViews]:
    """threads: factor on the setting's threads, for the length of a call."""

    def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
        augment = Augmenter(policy, backend=backend, device=setting.device, dtype=setting.dtype)
        images = Images.from_list(photos).to(setting.device)
        index = range(len(photos))
        epoch = count()

        def make() -> torch.Tensor:
            return augment(images, sample(policy, index, seed=setting.seed, epoch=next(epoch)))[0]

        def make_with_threads() -> torch.Tensor:
            torch.set_num_threads(threads * setting.threads)
            try:
                return make()
            finally:
                torch.set_num_threads(setting.threads)

        return make if threads == 1 else make_with_threads

    return prepare


def contender(backend: str, package: str, module: str = "", threads: int = 1, **more: Any) -> Contender:
    """A backend as a contender. package: what the backend needs; module: its name for `import`, if that differs."""
    return Contender(
        name=f"gpuaug-{backend}" + f"-{threads}x" * (threads > 1),
        modules=(module or package,),
        distributions=(package, "gpuaug"),
        regime="uint8 images in one flat buffer (gpuaug.Images)",
        supports=refusal(backend),
        prepare=maker(backend, threads),
        threads=threads,
        same_draws=True,
        **more,
    )


def replayed(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    """Replay the kernels of the first epoch's draws: all that is left for the GPU when a loader draws ahead."""
    from gpuaug.backends.fused import cuda, plan

    images, steps = Images.from_list(photos).to(setting.device), policy.views[0].steps
    tables = plan.tables(images, steps, sample(policy, range(len(photos)), seed=setting.seed).tables[0])
    recorded = cuda.Recorded(images, steps, tables, setting.dtype, torch.contiguous_format)

    def make() -> torch.Tensor:
        recorded.graph.replay()
        return recorded.view

    return make


CONTENDERS = (
    contender("fused", "numba", note="memory of views is reused", devices=BOTH),
    contender("fused", "numba", note="twice the threads", threads=2),
    Contender(
        name=REPLAYED,
        modules=("triton",),
        distributions=("triton", "gpuaug"),
        regime="uint8 images in one flat buffer (gpuaug.Images)",
        note="the kernels alone, as a CUDA graph: no draws, no launches",
        supports=refusal("fused"),
        prepare=replayed,
        devices=("cuda",),
        probe=maker("fused"),
    ),
    contender("batched", "torch", devices=BOTH),
    contender("kornia", "kornia", on_request=True, devices=BOTH),
    contender("torchvision", "torchvision", note="the truth", on_request=True),
    contender("dali", "nvidia-dali-cuda130", module="nvidia.dali", on_request=True, devices=BOTH),
)


@cache
def packed(folder: Path, format: Format, setting: Setting) -> Path:
    """Pack the folder's images, RAW_EDGE x RAW_EDGE, as the command `gpuaug pack` does."""
    out = Path(mkdtemp(dir=setting.scratch))
    pack(str(folder), out, Packing(format, RAW_EDGE), setting.threads, say=lambda line: None)
    return out


def load(source: Source, policy: Policy, batch: int, setting: Setting, scaled: Literal["auto", False] = False) -> Epoch:
    cuda = setting.device == "cuda"

    def epochs_of(given: Any) -> Epoch:
        loader = DataLoader(
            given,
            policy,
            batch,
            shuffle=True,
            num_workers=setting.threads,
            drop_last=True,
            seed=setting.seed,
            device=setting.device,
            dtype=setting.dtype,
            memory_format=torch.channels_last if cuda else torch.contiguous_format,
            scaled=scaled,
        )
        return epochs(loader, lambda views: views if isinstance(views, list) else [views])

    if isinstance(source, Cold):
        return lambda: epochs_of(source.packed)()  # a loader that stayed would keep the pages that it has mapped
    if isinstance(source, Remote):
        return epochs_of([f"s3://{name}" for name in source.names])
    if isinstance(source, (Raw, Yuv)):
        return epochs_of(packed(source.folder, "raw" if isinstance(source, Raw) else "yuv", setting))
    return epochs_of(source.folder if isinstance(source, Large) else source)


FILES = Contender(
    name=FUSED,
    modules=("numba",),
    distributions=("numba", "gpuaug", "pillow", "nvidia-dali-cuda130"),
    regime="gpuaug.DataLoader: files decoded by threads (by its own choice of decoder), views by the fused backend",
    supports=refusal("fused"),
    devices=BOTH,
    decode=in_parts(fastest),
    load=load,
    takes=(Path, Raw, Yuv, Cold, Large, Remote, tuple),
)

SCALED = Contender(
    name="gpuaug-scaled",
    modules=("numba",),
    distributions=FILES.distributions,
    regime='gpuaug.DataLoader(scaled="auto"): libjpeg decodes at a half, a quarter or an eighth where the views need no more',
    note="its pixels are not those of a full decode; docs/data.md says how far they are",
    supports=refusal("fused"),
    load=partial(load, scaled="auto"),
    takes=(Large,),
)
