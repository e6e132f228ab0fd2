"""A loader at the place where another one was."""

from typing import Any

import gpuaug


def restored(state: dict[str, Any] | None, *args: Any, **options: Any) -> gpuaug.DataLoader:
    """A loader of these arguments at a saved state; at the start where there is none."""
    loader = gpuaug.DataLoader(*args, **options)
    if state is not None:
        loader.load_state_dict(state)
    return loader
