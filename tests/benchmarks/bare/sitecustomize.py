"""What Python runs first where this folder is on PYTHONPATH: a machine without some packages, or with a GPU that fails.

BLOCKED: packages that cannot be imported, separated by commas. FAILING_CUDA: a file. torch then says that there is a CUDA
device, and every other function of torch.cuda that gpuaug calls raises, and adds its name to that file.
"""

import os
import sys
from importlib.abc import MetaPathFinder


class Blocked(MetaPathFinder):
    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if any(f"{name}.".startswith(f"{blocked}.") for blocked in self.names):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def failing(name):
    def call(*given, **options):
        with open(os.environ["FAILING_CUDA"], "a") as said:  # noqa: PTH123
            said.write(f"{name}\n")
        raise RuntimeError(f"CUDA error: an illegal memory access was encountered in {name}")

    return call


if "BLOCKED" in os.environ:
    sys.meta_path.insert(0, Blocked(os.environ["BLOCKED"].split(",")))
if "FAILING_CUDA" in os.environ:
    import torch

    for name in ("Event", "Stream", "current_device", "current_stream", "device_count", "empty_cache", "get_device_capability",
                 "get_device_name", "get_device_properties", "mem_get_info", "set_device", "set_sync_debug_mode", "stream",
                 "synchronize", "_lazy_init"):  # fmt: skip
        setattr(torch.cuda, name, failing(name))
    torch.cuda.is_available = lambda: True
