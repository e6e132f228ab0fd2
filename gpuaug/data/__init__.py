"""Where views come from: sources, decoding and the DataLoader.

source --bytes--> decode --Images--> device --> Augmenter --> bounded queue --> (views, target)
"""

from .decode import DecodeError, decode
from .folder import FolderSource
from .huggingface import HuggingFaceSource
from .loader import DataLoader
from .packed import PackedSource
from .shards import ShardSource
from .source import ArraySource, DatasetSource
from .stats import Stats

__all__ = [
    "ArraySource",
    "DataLoader",
    "DatasetSource",
    "DecodeError",
    "FolderSource",
    "HuggingFaceSource",
    "PackedSource",
    "ShardSource",
    "Stats",
    "decode",
]
