"""What a job is to do, as one value: kept with the job as JSON, and read back by whoever goes on with it."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from ramify.errors import InputError

__all__ = ["MOST_RUNTIME_S", "MOST_WORKERS", "RUNNERS", "JobSpec", "Shape"]

Shape = Literal["content", "openai", "openai-batch", "rows"]
"""What rows look like: document 002's prompts; OpenAI requests; the lines of an OpenAI batch file; records of one's own."""

RUNNERS = ("local", "ray")
MOST_WORKERS, MOST_RUNTIME_S = 64, 172_800


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job. Raises InputError at birth for what no job can be."""

    model: str
    output_path: str
    """A path, or any URL that fsspec opens."""
    input_path: str | None = None
    """None: the rows were given with the job."""
    shape: Shape | None = None
    """None: the input says, when it is opened."""
    prompt_column: str | None = None
    """Of plain rows; None: messages, prompt or text, whichever is there first."""
    error_path: str | None = None
    """Where an OpenAI batch puts the rows that failed; None: beside its output."""
    checkpoint_path: str | None = None
    """A folder or URL of weights, in place of the model's own."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a GenerationConfig, for all rows that say nothing else."""
    logprobs: bool = False
    seed: int = field(default_factory=lambda: secrets.randbits(31))
    """Row i draws from seed + i."""
    seeded: bool = False
    """Whether somebody chose the seed; only then is a remote model given one."""
    data_parallelism: int = 1
    """How many processes are wished for."""
    runner: Literal["local", "ray"] = "local"
    """Whether they are processes of this machine, or actors of a Ray cluster."""
    max_runtime_sec: int = 86_400
    tool: Mapping[str, Any] | None = None
    """A ToolConfig's fields."""
    overwrite: bool = False
    """Whether a file at output_path may be replaced."""
    serves: bool = False
    """Whether a server made it and works at it."""
    apart: bool = False
    """Whether the server's job has processes with models of their own, in place of the model that the server has in memory."""
    prices: tuple[float, float] | None = None
    """Of a million prompt tokens, and of a million completion tokens."""
    timeout_s: float = 600.0
    """The longest silence of a remote model."""
    how: Mapping[str, Any] = field(default_factory=dict)
    """How the model is loaded: device, precision, adapter, …"""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the door through which it came wants to remember: an OpenAI batch's file, endpoint and metadata."""

    def __post_init__(self) -> None:
        if self.prices is not None:
            if min(self.prices) < 0:
                raise InputError(f"prices are {self.prices[0]} and {self.prices[1]}; a price must be at least 0")
            object.__setattr__(self, "prices", (float(self.prices[0]), float(self.prices[1])))
        _whole("data_parallelism", self.data_parallelism, 1, MOST_WORKERS)
        _whole("max_runtime_sec", self.max_runtime_sec, 1, MOST_RUNTIME_S)
        _whole("seed", self.seed, 0, 2**63 - 1)
        if self.shape not in (*get_args(Shape), None):
            raise InputError(f"shape is {self.shape!r}; it must be one of {', '.join(get_args(Shape))}, or None")
        if self.runner not in RUNNERS:
            raise InputError(f"runner is {self.runner!r}; it must be one of {', '.join(RUNNERS)}")
        if self.tool is not None and self.shape not in (None, "content", "rows"):
            raise InputError(f"a tool runs with document 002's prompts and plain rows; {self.shape} rows cannot have one")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "JobSpec":
        """Raises InputError where a newer Ramify wrote what this one does not know."""
        unknown = set(kept) - {each.name for each in fields(cls)}
        if unknown:
            raise InputError(f"the job says {sorted(unknown)[0]!r}, which this version does not know; use a newer Ramify")
        return cls(**kept)

    def row_seed(self, number: int) -> int:
        """Of row `number`, which then does not depend on who works at it, or when."""
        return (self.seed + number) % 2**63


def _whole(name: str, given: Any, least: int, most: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
        raise InputError(f"{name} is {given!r}; it must be a whole number from {least} to {most}")
