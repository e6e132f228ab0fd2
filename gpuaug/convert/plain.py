"""Policies as plain data, and back: dicts, lists, strings and numbers, which JSON and other formats hold.

An op, a view or a policy is `{class name: {argument: value}}`, with the arguments that it has stored, such as

    {"View": {"size": [32, 32], "ops": [{"RandomResizedCrop": {...}}, {"RandomHorizontalFlip": {"p": 0.5}}], "repeat": 1}}

A tuple is a list, a torch dtype {"dtype": "float16"}, and a float that is not finite {"float": "inf"}. Reading looks each class
up by its name among gpuaug's own and those that the caller names. Nothing is imported or evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch

from .. import ops as library
from ..policy import Policy, ScheduledPolicy, View
from ..schedules import Schedule, changes, schedules_in, steps
from ..schedules.values import MOST, Cosine, Linear, Ramp, Steps

__all__ = ["policy_from_dict", "policy_to_dict"]


def policy_to_dict(policy: Policy) -> dict[str, Any]:
    """A policy as plain data, which `policy_from_dict` reads.

    Args:
        policy: The policy. The fields of its ops may hold numbers, strings, None, torch dtypes, dataclasses, and tuples of
            these; a list comes back as a tuple.

    Raises:
        TypeError: A field holds something else; the message names op and field.
    """
    found: dict[str, Any] = plain(policy, "policy")
    return found


def policy_from_dict(data: Any, ops: Mapping[str, type] | None = None) -> Policy:
    """The policy that `policy_to_dict` has written.

    Args:
        data: What `policy_to_dict` returned; JSON keeps all of it.
        ops: Name -> class of ops of your own, such as {"Mine": Mine}.

    Raises:
        ValueError: `data` is no such dict, an op is unknown, or it has another argument or value than this version allows.
        TypeError: An op refuses its arguments.
    """
    made = built(data, {**known(), **(ops or {})}, "policy")
    if not isinstance(made, Policy):
        raise ValueError(f"policy: must be a Policy, got {shown(data)}")
    return made


def known() -> dict[str, type]:
    """gpuaug's classes by name: ops, views, policies, and whatever dataclass of `gpuaug.ops` an op may hold."""
    classes = (value for value in vars(library).values() if isinstance(value, type) and is_dataclass(value))
    return {kind.__name__: kind for kind in (*classes, View, Policy, ScheduledPolicy, Linear, Cosine, Steps)}


def as_steps(policy: ScheduledPolicy) -> Schedule:
    """The schedule of policies behind one, also where it is a function with schedules among its arguments.

    Raises TypeError for a function whose arguments change over more epochs than can be listed.
    """
    if isinstance(policy.make, Schedule):
        return policy.make
    if any(isinstance(one, Ramp) and one.epochs >= MOST for one in schedules_in(policy.arguments)):
        raise TypeError(
            f"{policy!r}: a function's schedule over {MOST} epochs or more cannot be written as plain data; put the schedule "
            "into the arguments of the ops"
        )
    found: Schedule = steps({epoch: policy.made(epoch) for epoch in changes(policy.arguments)})
    return found


def scheduled_policy(make: Any) -> ScheduledPolicy:
    if not isinstance(make, Schedule):  # a function could do anything
        raise ValueError(f"ScheduledPolicy: make must be a schedule of policies, got {shown(make)}")
    return ScheduledPolicy(make)


def steps_of(epochs: Any, values: Any) -> Any:
    if not (isinstance(epochs, tuple) and isinstance(values, tuple) and len(epochs) == len(values)):
        raise ValueError(f"Steps: epochs and values must be lists of one length, got {shown(epochs)} and {shown(values)}")
    return steps(dict(zip(epochs, values, strict=True)))


MAKERS: dict[type, tuple[tuple[str, ...], Callable[..., Any]]] = {
    ScheduledPolicy: (("make",), scheduled_policy),
    Steps: (("epochs", "values"), steps_of),
}
"""Class that is not made by its fields' names -> the names of its arguments, all needed, and what makes it of them."""


def plain(value: Any, where: str) -> Any:
    """A value of a field as plain data. where: its place, for errors."""
    if isinstance(value, ScheduledPolicy):
        return {"ScheduledPolicy": {"make": plain(as_steps(value), where)}}
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value).__name__
        own = {f.name: plain(getattr(value, f.name), f"{kind}.{f.name}") for f in fields(value) if f.init}
        return {kind: own}
    if isinstance(value, (tuple, list)):
        return [plain(item, where) for item in value]
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{where}: a {type(value).__name__} cannot be written as plain data; use numbers, strings, and tuples of them"
    )


def built(data: Any, classes: Mapping[str, type], where: str) -> Any:
    """The value that `plain` has written. where: its place, for errors."""
    if isinstance(data, list):
        return tuple(built(item, classes, where) for item in data)
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise ValueError(f"{where}: must be {{class name: arguments}}, got {shown(data)}")
    ((name, own),) = data.items()
    if name == "dtype" and isinstance(found := getattr(torch, str(own), None), torch.dtype):
        return found
    if name == "float" and own in ("inf", "-inf", "nan"):
        return float(own)
    if name not in classes:
        raise ValueError(f"{where}: unknown op {name!r}; if it is your own, give its class: ops={{{name!r}: ...}}")
    kind: Any = classes[name]
    if not isinstance(own, dict):
        raise ValueError(f"{where}: the arguments of {name} must be a dict, got {shown(own)}")
    names, needed, make = signature(kind)
    if unknown := sorted(own.keys() - set(names)):
        raise ValueError(f"{name}: this version has no argument {unknown[0]!r}; it has {', '.join(names) or 'none'}")
    if missing := [key for key in needed if key not in own]:
        raise ValueError(f"{name}: the argument {missing[0]!r} is missing")
    return make(**{key: built(value, classes, f"{name}.{key}") for key, value in own.items()})


def signature(kind: Any) -> tuple[Sequence[str], Sequence[str], Callable[..., Any]]:
    """The arguments of a class, those that are needed, and what makes it of them."""
    if kind in MAKERS:
        names, make = MAKERS[kind]
        return names, names, make
    own = [f for f in fields(kind) if f.init]
    needed = [f.name for f in own if f.default is MISSING and f.default_factory is MISSING]
    return [f.name for f in own], needed, kind


def shown(value: Any) -> str:
    """A value in an error, cut to a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
