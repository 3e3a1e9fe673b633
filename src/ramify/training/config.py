"""How to train: a frozen configuration, checked when it is made."""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from ramify.errors import InputError

__all__ = ["Optimizer", "Schedule", "TrainConfig"]

Schedule = Literal["constant", "linear", "cosine"]
Optimizer = Literal["adamw", "muon"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A run ends after `max_steps`, after `max_seconds`, or after `epochs`; the schedule is laid over the first that is given.

    A step learns from `batch_size` rows `accumulation` times (on each of several devices), or from about `tokens_per_step`
    tokens; every learned token of a step weighs the same.
    """

    max_steps: int | None = None
    max_seconds: float | None = None
    epochs: float | None = None
    """How often every row is read."""
    batch_size: int | None = None
    """Rows in one pass through the model; None: as many as `tokens_per_step` holds."""
    tokens_per_step: int = 8192
    accumulation: int = 1
    """Passes whose gradients are added before the weights move."""
    shuffle: bool = True
    packing: bool = False
    """Lay the rows of a pass behind one another without padding; none sees its neighbours. A prompt of several is read once."""
    together: bool = False
    """Rows of one prompt come behind one another, so that packing finds them in one pass."""
    checkpointing: bool = False
    """Keep no activations but between layers and compute them again on the way back: much less memory, a third more work."""
    optimizer: Optimizer = "muon"
    """adamw for everything; muon: for the hidden layers' matrices, adamw for the rest."""
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 6e-3
    """Muon's."""
    betas: tuple[float, float] | None = None
    """AdamW's; None: (0.9, 0.999), beside Muon (0.9, 0.95)."""
    eps: float | None = None
    """AdamW's; None: 1e-8, beside Muon 1e-10."""
    weight_decay: float = 0.05
    warmup_steps: int = 50
    schedule: Schedule = "linear"
    clip_norm: float = 1.0
    max_length: int = 512
    """The context window of training, in tokens."""
    seed: int = 0
    bf16: bool = False
    compile: bool = False
    log_every: int = 20
    validate_every: int | None = None
    """Steps; None goes by `validate_every_s`."""
    validate_every_s: float = 300.0
    save_every: int | None = None
    """Steps; None goes by `save_every_s`."""
    save_every_s: float = 180.0
    patience: int | None = None
    """End after so many validations without a better loss, and keep the best weights; None: never."""

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_seconds is None and self.epochs is None:
            raise InputError("neither max_steps nor max_seconds nor epochs is given; one of them must say when training ends")
        positive = (
            *("max_steps", "max_seconds", "epochs", "batch_size", "tokens_per_step", "accumulation", "learning_rate"),
            *("matrix_learning_rate", "clip_norm", "max_length", "log_every", "validate_every", "save_every", "patience"),
        )
        for name in positive:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; it must be more than 0")
        for name in ("weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.together and not self.packing:
            raise InputError("together is of packing, which alone gains by it; give packing too")
        _one_of("schedule", self.schedule, get_args(Schedule))
        _one_of("optimizer", self.optimizer, get_args(Optimizer))

    @classmethod
    def of(cls, **given: Any) -> "TrainConfig":
        """From names and values, as a YAML file has them. Raises InputError for a name that is none."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise InputError(f"training has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}")
        if given.get("betas") is not None:
            given["betas"] = tuple(given["betas"])
        try:
            return cls(**given)
        except TypeError as error:
            raise InputError(f"the settings cannot be used: {error}") from None


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; it must be {' or '.join([', '.join(allowed[:-1]), allowed[-1]])}")
