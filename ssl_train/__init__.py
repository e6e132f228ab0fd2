"""Self-supervised pretraining on gpuaug's views: `python -m ssl_train --help`, or in Python `ssl_train.train.train`."""

from .criteria import CRITERIA
from .losses import nt_xent
from .methods import METHODS, Head, Method
from .model import BACKBONES, JointEmbedding, backbone
from .options import Settings

__all__ = ["BACKBONES", "CRITERIA", "Head", "JointEmbedding", "METHODS", "Method", "Settings", "backbone", "nt_xent"]
