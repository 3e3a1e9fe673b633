"""Where a model's name would lie, if it is a path."""

import os
from pathlib import Path

from ramify.errors import ModelNotFoundError

__all__ = ["place_of"]

SHOWN_CHARACTERS = 80


def place_of(name: str) -> Path:
    """The path, `~` resolved, whether or not something is there. Raises ModelNotFoundError for a name that no file can have."""
    path = Path(os.path.expanduser(name))
    try:
        path.exists()
    except OSError as error:
        shown = name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…"
        raise ModelNotFoundError(f"no model can be at {shown!r}: {error.strerror}; see `ramify models list`") from None
    return path
