"""From files or arrays to views: sources, decoders and the DataLoader.

source --bytes--> decode --Images--> device --> Augmenter --> bounded queue --> (views, target)
"""

from .dali_pipeline import dali_pipeline
from .decoders.dali import DaliDecoder
from .decoders.pillow import DecodeError, decode
from .engine.stats import Stats
from .loader import DataLoader
from .sources.archives.shards import ShardSource
from .sources.archives.zipped import ZipSource
from .sources.arrays import ArraySource
from .sources.dataset import DatasetSource
from .sources.folder import FolderSource
from .sources.huggingface import HuggingFaceSource
from .sources.mixture import Mixture, MixtureSource
from .sources.packed import PackedSource
from .sources.remote.retries import RemoteError
from .sources.streams.dataset import DatasetStream
from .sources.streams.huggingface import HuggingFaceStream
from .sources.streams.webdataset import WebDatasetStream

__all__ = [
    "ArraySource",
    "DaliDecoder",
    "DataLoader",
    "DatasetSource",
    "DatasetStream",
    "DecodeError",
    "FolderSource",
    "HuggingFaceSource",
    "HuggingFaceStream",
    "Mixture",
    "MixtureSource",
    "PackedSource",
    "RemoteError",
    "ShardSource",
    "Stats",
    "WebDatasetStream",
    "ZipSource",
    "dali_pipeline",
    "decode",
]
