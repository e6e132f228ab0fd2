"""Shards for an S3 server, and what their samples should be."""

import io

import numpy as np
import torch
from PIL import Image
from tars import tar

import gpuaug
from benchmarks.object_store import BUCKET
from gpuaug.data import ShardSource

SHARDS, EACH = 3, 16
SAMPLES = SHARDS * EACH

URL = f"s3://{BUCKET}/t-{{0..{SHARDS - 1}}}.tar"

POLICY = gpuaug.Policy(gpuaug.View(8, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip(), repeat=2))

FILL = 70_000
"""Bytes of another member in each sample, so that the pictures are too far apart to be requested as one."""


def fill(root, name="t", shards=SHARDS, seed=0):
    """Write shards, and return the local source of them."""
    rng = np.random.default_rng(seed)
    for k in range(shards):
        members = []
        for i in range(k * EACH, (k + 1) * EACH):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (*rng.integers(8, 30, 2), 3), dtype=np.uint8)).save(file, "png")
            members += [(f"{i:04}.png", file.getvalue()), (f"{i:04}.cls", b"%d" % (i % 7)), (f"{i:04}.bin", bytes(FILL))]
        tar(root / f"{name}-{k}.tar", members)
    return ShardSource(f"{root}/{name}-{{0..{shards - 1}}}.tar")


def views_of(loader, views):
    """Sample -> the bytes of its views, of the batch delivered last."""
    return {int(i): b"".join(v[k].numpy().tobytes() for v in views) for k, i in enumerate(loader.index)}


def epoch_of(source, epoch=0):
    """Sample -> (its views, its target) in an epoch, read from a local disk without workers."""
    loader = gpuaug.DataLoader(source, POLICY, 16, shuffle=True, seed=9)
    loader.set_epoch(epoch)
    found = {}
    for views, target in loader:
        found |= {i: (row, int(target[k])) for k, (i, row) in enumerate(views_of(loader, views).items())}
    assert isinstance(target, torch.Tensor)
    return found
