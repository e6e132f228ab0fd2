"""What the dataclasses of a result file have in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict


class Record:
    """Where a file is read, unknown keys, other types and numbers that are not finite are refused."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
