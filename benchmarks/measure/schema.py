"""JSON -> dataclasses, which are its schema: other keys, other types and numbers that are not finite are refused."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

WORDS = {int: "an integer", float: "a finite number", str: "a string", bool: "true or false", list: "a list", dict: "an object"}

hints = cache(get_type_hints)


def read(kind: Any, value: Any, where: str = "file") -> Any:
    """The value as an instance of that type. Raises ValueError that begins with `where`, the path of the key.

    kind: a dataclass, a Literal, tuple[X, ...], dict[str, X], X | None, or a type of WORDS.
    """
    origin, args = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return record(kind, checked(dict, value, where), "" if where == "file" else f"{where}.")
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where}: expected {' or '.join(map(repr, args))}, got {value!r:.60}")
        return value
    if origin is tuple:
        return tuple(read(args[0], one, f"{where}.{k}") for k, one in enumerate(checked(list, value, where)))
    if origin is dict:
        return {name: read(args[1], one, f"{where}.{name}") for name, one in checked(dict, value, where).items()}
    if NoneType in args:
        return None if value is None else read(next(a for a in args if a is not NoneType), value, where)
    return checked(kind, value, where)


def record(kind: Any, value: dict[str, Any], prefix: str) -> Any:
    known = {f.name: f for f in fields(kind)}
    for name in value:
        if name not in known:
            raise ValueError(f"{prefix}{name}: Unexpected key")
    for name, f in known.items():
        if name not in value and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{prefix}{name}: Field required")
    return kind(**{name: read(hints(kind)[name], one, f"{prefix}{name}") for name, one in value.items()})


def checked(kind: Any, value: Any, where: str) -> Any:
    allowed: Any = (int, float) if kind is float else kind
    if isinstance(value, allowed) and (kind is bool or not isinstance(value, bool)) and (kind is not float or isfinite(value)):
        return value
    raise ValueError(f"{where}: expected {WORDS[kind]}, got {value!r:.60}")
