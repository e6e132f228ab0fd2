"""A digest of every policy's views on every backend: whether two versions of gpuaug make the same views, bit for bit

    python tests/view_digests.py > after.txt
    git worktree add ../before REVISION && PYTHONPATH=../before python tests/view_digests.py > before.txt
    diff before.txt after.txt

It uses public names only, so it also runs on versions with another layout. Compare on one machine, with the same packages.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from inspect import signature

import numpy as np
import torch

import gpuaug
from gpuaug import Images, Policy, View

BACKENDS = ("torchvision", "batched", "kornia", "dali", "fused")
COUNT = 12


def pictures() -> Images:
    """Pictures of many sizes with smooth areas, edges and noise, the same on every machine: the arithmetic is in integers."""
    out = []
    for k in range(COUNT):
        height, width = 40 + 37 * k % 211, 50 + 53 * k % 197
        y, x = np.mgrid[:height, :width]
        planes = [(x * (3 + k) + y * 2) % 256, (x * y // (5 + k)) % 256, (x // 9 + y // 7) % 2 * 200]
        noise = np.random.Philox(key=k).random_raw(height * width * 3).reshape(height, width, 3) % 32
        out.append(((np.stack(planes, axis=-1) + noise) % 256).astype(np.uint8))
    return Images.from_list(out)


def policies() -> Iterator[tuple[str, Policy]]:
    """Every named policy at 48 pixels, then every op by itself after a crop."""
    for name, function in gpuaug.policies.items():
        small = {"local_size": 24} if "local_size" in signature(function).parameters else {}
        yield name, gpuaug.policy(name, size=48, **small)
    crop = gpuaug.RandomResizedCrop(interpolation="bilinear")
    for op in (
        gpuaug.RandomResizedCrop(interpolation="nearest"),
        gpuaug.Resize((48, 48), "bicubic"),
        gpuaug.RandomHorizontalFlip(),
        gpuaug.RandomVerticalFlip(),
        gpuaug.RandomAffine(30, (0.1, 0.2), (0.5, 1.5), 20, fill=(0.1, 0.5, 0.9)),
        gpuaug.RandomRotation(90, "bilinear", p=0.7),
        gpuaug.RandomPerspective(0.5, p=0.8),
        gpuaug.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        gpuaug.RandomGrayscale(0.5),
        gpuaug.RandomSolarize(),
        gpuaug.RandomPosterize(3),
        gpuaug.RandomEqualize(0.8),
        gpuaug.RandomAutocontrast(0.8),
        gpuaug.RandomInvert(),
        gpuaug.GaussianBlur(23),
        gpuaug.GaussianBlur((9, 5), (0.5, 4.0), p=1.0),
        gpuaug.GaussianNoise(p=0.7),
        gpuaug.RandomAdjustSharpness(3.0),
        gpuaug.RandomErasing(1.0, value=(1.0, -2.0, 3.0)),
        gpuaug.RandomErasing(1.0, value="random"),
        gpuaug.Normalize(),
    ):
        yield repr(op), Policy(View(48, op) if hasattr(op, "size") else View(48, crop, op))


def digests(policy: Policy, backend: str, dtype: torch.dtype, layout: torch.memory_format) -> str:
    augment = gpuaug.Augmenter(policy, backend=backend, dtype=dtype, memory_format=layout)
    images = pictures()
    hashed = hashlib.sha256()
    for epoch in range(2):
        draws = gpuaug.sample(policy, range(100, 100 + len(images)), seed=7, epoch=epoch)
        for view in augment(images, draws):
            hashed.update(f"{tuple(view.shape)} {view.stride()} {view.dtype}".encode())
            hashed.update(view.contiguous().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()[:32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", default=BACKENDS, help="names of backends (all)")
    for backend in parser.parse_args().backends:
        for name, policy in policies():
            for dtype in (torch.float32, torch.float16, torch.bfloat16):
                for layout in (torch.contiguous_format, torch.channels_last):
                    try:
                        digest = digests(policy, backend, dtype, layout)
                    except (ValueError, ImportError) as error:
                        digest = f"{type(error).__name__}"
                    print(backend, str(dtype)[6:], str(layout)[6:], digest, name, flush=True)


if __name__ == "__main__":
    main()
