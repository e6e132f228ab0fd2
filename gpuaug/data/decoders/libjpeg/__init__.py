"""Decoding by the libjpeg-turbo that Pillow's wheel brings, called directly, and only where the views read."""

from .decoder import LibjpegDecoder
from .library import missing

__all__ = ["LibjpegDecoder", "missing"]
