"""What the environment says. Nothing else in the package reads it."""

import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from ramify.errors import InputError

__all__ = ["VARIABLE", "Key", "Settings", "bound_waiting", "child_environment", "engine_environment", "names_ray", "read_key"]

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
"""What the name of an environment variable with a key looks like."""

SPINS = 10_000
"""How often an idle helper looks for work before it sleeps."""


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
    """RAMIFY_PRECISION: "float32", "bfloat16", "float16" or "int8"; None leaves the choice to the backend."""
    threads: int | None = None
    """RAMIFY_THREADS: CPU threads of a forward pass, at least 1; None: as many as torch takes, for a small model one."""
    threads_said: bool = False
    """Whether RAMIFY_THREADS or OMP_NUM_THREADS says how many there are, which then holds for small models too."""
    workspace: str | None = None
    """RAMIFY_WORKSPACE: a workspace's path or URL; None leaves commands with the last one used."""
    base_url: str | None = None
    """RAMIFY_BASE_URL: the server that `Completion` asks; None means this process. Its key is in RAMIFY_API_KEY."""
    openai_base_url: str | None = None
    """OPENAI_BASE_URL: where `openai:NAME` is asked for; None means OpenAI's own address."""
    anthropic_base_url: str | None = None
    """ANTHROPIC_BASE_URL: where `anthropic:NAME` is asked for; None means Anthropic's own address."""

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
            threads_said=threads is not None or "OMP_NUM_THREADS" in given,
            workspace=given.get("RAMIFY_WORKSPACE"),
            base_url=given.get("RAMIFY_BASE_URL"),
            openai_base_url=given.get("OPENAI_BASE_URL"),
            anthropic_base_url=given.get("ANTHROPIC_BASE_URL"),
        )


class Key:
    """A secret that no repr, log or pickle shows. `reveal()` is called where it is sent, and nowhere else."""

    __slots__ = ("_secret", "variable")

    def __init__(self, secret: str, variable: str) -> None:
        self._secret = secret
        self.variable = variable

    def __repr__(self) -> str:
        return f"Key(from {self.variable})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written down; give the name of its variable")

    def reveal(self) -> str:
        return self._secret

    def hide(self, text: str) -> str:
        """A text with the key struck out, should it be in there."""
        return text.replace(self._secret, "***")


def read_key(variable: str, env: Mapping[str, str] = os.environ) -> Key | None:
    """The key in an environment variable, None where it is unset or empty.

    Raises InputError for a key that no header can carry; the message does not show it.
    """
    secret = env.get(variable, "").strip()
    if not secret:
        return None
    if not (secret.isascii() and secret.isprintable()):
        raise InputError(f"{variable} holds a key with characters other than printable ASCII; copy the key anew")
    return Key(secret, variable)


def child_environment(threads: int, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a process of our own is given: this one's environment, but for its processor threads."""
    return {**env, "OMP_NUM_THREADS": str(threads), "RAMIFY_THREADS": str(threads)}


def engine_environment(threads: int, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What an engine on another machine is given: our own settings alone."""
    ours = {name: value for name, value in env.items() if name in ("RAMIFY_HOME", "RAMIFY_DEVICE", "RAMIFY_PRECISION") and value}
    return child_environment(threads, ours)


def bound_waiting(env: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's helpers look for the next loop for some tenths of a millisecond, and then sleep.

    By default libgomp's look for several milliseconds, on a busy machine at the expense of the thread that they wait for. It
    reads this when it is loaded, with torch; where it is there already, or where somebody said how to wait, nothing changes.
    """
    if sys.platform == "linux" and "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & env.keys():
        env["GOMP_SPINCOUNT"] = str(SPINS)


def names_ray(env: Mapping[str, str] = os.environ) -> bool:
    """Whether RAY_ADDRESS says which Ray cluster is meant. Ray reads it itself."""
    return bool(env.get("RAY_ADDRESS"))


def _default_home() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("ramify", appauthor=False))
