"""gpuaug: one contender a backend. The draws are made inside the timed region, as they are in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

import torch

from gpuaug import Augmenter, DataLoader, Images, Policy, sample
from gpuaug.data.arguments import decoder_of
from gpuaug.data.decode import MAX_PIXELS, DecodeError
from gpuaug.data.pack import Packing, pack

from ..images import RAW, Photos, Raw, Source
from ..measure.result import FUSED
from .contender import BOTH, Contender, Epoch, FilePeer, MakeViews, Setting, anything


def refusal(backend: str) -> Callable[[Policy], str | None]:
    def supports(policy: Policy) -> str | None:
        try:
            Augmenter(policy, backend=backend, device="cpu")
        except (ImportError, ValueError) as error:
            return str(error)
        return None

    return supports


def maker(backend: str, threads: int = 1) -> Callable[[Policy, Photos, Setting], MakeViews]:
    """threads: a multiple of the setting's, taken for the length of a call."""

    def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
        augment = Augmenter(policy, backend=backend, device=setting.device, dtype=setting.dtype)
        images = Images.from_list(photos).to(setting.device)
        index = range(len(photos))
        epochs = count()

        def make() -> torch.Tensor:
            return augment(images, sample(policy, index, seed=setting.seed, epoch=next(epochs)))[0]

        def make_with_threads() -> torch.Tensor:
            torch.set_num_threads(threads * setting.threads)
            try:
                return make()
            finally:
                torch.set_num_threads(setting.threads)

        return make if threads == 1 else make_with_threads

    return prepare


def contender(
    backend: str,
    package: str,
    note: str = "",
    *,
    module: str = "",
    threads: int = 1,
    on_request: bool = False,
    devices: tuple[str, ...] = ("cpu",),
) -> Contender:
    """package: that the backend needs; module: its name where it is imported, if another."""
    return Contender(
        name=f"gpuaug-{backend}" + f"-{threads}x" * (threads > 1),
        modules=(module or package,),
        install=f"pip install {package}",
        distributions=("gpuaug", package),
        regime="uint8 images in one flat buffer (gpuaug.Images)",
        note=note,
        supports=refusal(backend),
        prepare=maker(backend, threads),
        threads=threads,
        same_draws=True,
        on_request=on_request,
        devices=devices,
    )


CONTENDERS = (
    contender("fused", "numba", "memory of views is reused", devices=BOTH),
    contender("fused", "numba", "twice the threads", threads=2),
    contender("kornia", "kornia", devices=BOTH),
    contender("torchvision", "torchvision", "the truth", on_request=True),
    contender("dali", "nvidia-dali-cuda130", module="nvidia.dali", on_request=True),
)


PART = 16
"""Files that a thread decodes in a call."""


def decode_with(name: str) -> Callable[[Sequence[Path], Setting], Callable[[], object]]:
    """name: of the loader's decoder."""

    def prepare(files: Sequence[Path], setting: Setting) -> Callable[[], object]:
        pool, decoder = ThreadPoolExecutor(setting.threads), decoder_of(name, MAX_PIXELS)

        def one(part: Sequence[Path]) -> None:
            for found in decoder([path.read_bytes() for path in part], [str(path) for path in part], None):
                if isinstance(found, DecodeError):
                    raise found

        return lambda: list(pool.map(one, [files[k : k + PART] for k in range(0, len(files), PART)]))

    return prepare


def load(source: Source, policy: Policy, batch: int, setting: Setting) -> Epoch:
    if isinstance(source, Raw):
        packed = Path(mkdtemp(dir=setting.scratch))
        pack(str(source.folder), packed, Packing("raw", RAW), setting.threads, say=lambda text: None)
        source = packed
    loader = DataLoader(
        source,
        policy,
        batch,
        shuffle=True,
        num_workers=setting.threads,
        drop_last=True,
        seed=setting.seed,
        dtype=setting.dtype,
    )

    def epoch() -> Iterator[Sequence[torch.Tensor]]:
        for views, _ in loader:
            yield views if isinstance(views, list) else [views]

    return epoch


FILES = (
    FilePeer(
        name=FUSED,
        modules=("numba",),
        install="pip install numba",
        distributions=("gpuaug", "numba", "pillow", "nvidia-dali-cuda130"),
        regime="gpuaug.DataLoader: files decoded by threads (by DALI where it is installed), views by the fused backend",
        note="",
        supports=refusal("fused"),
        decode=decode_with("auto"),
        load=load,
        takes=(Path, Raw, tuple),
    ),
    FilePeer(
        name="gpuaug-pillow",
        modules=(),
        install="pip install gpuaug",
        distributions=("gpuaug", "pillow"),
        regime="the decoder where DALI is not installed",
        note="",
        supports=anything,
        decode=decode_with("pillow"),
    ),
)
