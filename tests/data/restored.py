"""A loader that goes on from the saved state of another one."""

from typing import Any

import gpuaug


def restored(state: dict[str, Any] | None, *args: Any, **options: Any) -> gpuaug.DataLoader:
    """A loader with these arguments at a saved state, or at the start if there is no state."""
    loader = gpuaug.DataLoader(*args, **options)
    if state is not None:
        loader.load_state_dict(state)
    return loader
