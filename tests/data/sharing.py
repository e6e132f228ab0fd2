"""A policy whose views share draws, and whose small views are nested in the large one."""

import gpuaug
from gpuaug import Nested, Policy, RandomResizedCrop, Shared, View

JITTER, CROP = gpuaug.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8), Shared(RandomResizedCrop(scale=(0.3, 0.6)), "crop")
SHARING = Policy(
    View(32, CROP, Shared(JITTER, "jitter"), gpuaug.Normalize()),
    View(24, Nested(RandomResizedCrop(scale=(0.1, 0.9), interpolation="bicubic"), 0), Shared(JITTER, "jitter"), repeat=2),
    View(48, CROP, gpuaug.Normalize()),
)
