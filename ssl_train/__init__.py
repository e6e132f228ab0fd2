"""Joint-embedding self-supervised training on gpuaug's views: `python -m ssl_train --help`."""

from .losses import nt_xent
from .methods import METHODS, Method
from .model import BACKBONES, JointEmbedding, backbone
from .run import Run
from .settings import Settings
from .train import train

__all__ = ["BACKBONES", "JointEmbedding", "METHODS", "Method", "Run", "Settings", "backbone", "nt_xent", "train"]
