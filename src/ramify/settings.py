"""What the environment says. Nothing else in the package reads it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ramify.errors import InputError

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where Ramify keeps its data, and what to take where nothing was said."""

    home: Path
    """RAMIFY_HOME: the data folder.

    By default the user's own, as the operating system has it. It need not exist yet.
    """
    device: str | None = None
    """RAMIFY_DEVICE: "cpu", "cuda", "cuda:1", "mps"; None leaves the choice to the backend."""
    precision: str | None = None
    """RAMIFY_PRECISION: "float32", "bfloat16" or "float16"; None leaves the choice to the backend."""
    threads: int | None = None
    """RAMIFY_THREADS: CPU threads of a forward pass, at least 1; None leaves the choice to torch."""
    workspace: str | None = None
    """RAMIFY_WORKSPACE: a workspace's path or URL; None leaves commands with the last one used."""

    @classmethod
    def load(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment. Empty values count as absent. Raises InputError for a value that cannot be used."""
        given = {key: value for key, value in env.items() if value.strip()}
        threads = given.get("RAMIFY_THREADS")
        if threads is not None and not (threads.isascii() and threads.isdigit() and int(threads) >= 1):
            raise InputError(f"RAMIFY_THREADS is {threads!r}; it must be a whole number of at least 1")
        home = given.get("RAMIFY_HOME")
        return cls(
            home=_default_home() if home is None else Path(home).expanduser().absolute(),
            device=given.get("RAMIFY_DEVICE"),
            precision=given.get("RAMIFY_PRECISION"),
            threads=None if threads is None else int(threads),
            workspace=given.get("RAMIFY_WORKSPACE"),
        )


def _default_home() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("ramify", appauthor=False))
