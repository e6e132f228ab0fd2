"""FFCV: a loader with a file format of its own; its ops are crop, flip, cutout, mix-up and normalize."""

from __future__ import annotations

from gpuaug.policy import Policy

from ..files import FilePeer


def lacking(policy: Policy) -> str | None:
    return "has no jitter, gray or blur, and reads only files written in its own format"


FILES = FilePeer(
    name="ffcv",
    modules=("ffcv",),
    install="conda install ffcv -c conda-forge -c pytorch",
    distributions=("ffcv",),
    regime="its own .beton files",
    note="",
    supports=lacking,
)
