"""What a decoding lab is to try: prompts, and experiments with their settings; document 004's own, or one from a file."""

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ramify.decoding.config import GenerationConfig
from ramify.errors import ConfigError, InputError
from ramify.prompts import HEDGEHOG, PAYMENT

__all__ = ["PAYMENT_SCHEMA", "PLANS", "SAMPLES", "Experiment", "LabPrompt", "Plan", "document_004"]

PAYMENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "contractor": {"type": "string"},
        "sum": {"type": "number"},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    },
    "required": ["contractor", "sum", "currency"],
    "additionalProperties": False,
}
"""What document 004's second prompt asks for: {"contractor": name, "sum": decimal, "currency": currency code}."""


@dataclass(frozen=True, kw_only=True)
class LabPrompt:
    """A prompt of the lab. json_schema: its answers are judged as JSON of this schema."""

    title: str
    prompt: str | Sequence[Mapping[str, Any]]
    json_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Settings to try. Sampling is repeated with seeds one apart; prompts: titles it is for, all when empty."""

    title: str
    settings: Mapping[str, Any]
    repeats: int = 1
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every experiment on every prompt. Raises ConfigError, naming the experiment, for settings that cannot be honoured."""

    name: str
    prompts: tuple[LabPrompt, ...]
    experiments: tuple[Experiment, ...]
    max_new_tokens: int = 1000
    """Where an experiment says nothing; the model's window may leave less."""
    seed: int = 1
    configs: tuple[GenerationConfig, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        for what, titles in (
            ("prompts", [prompt.title for prompt in self.prompts]),
            ("experiments", [experiment.title for experiment in self.experiments]),
        ):
            if not titles or len(set(titles)) != len(titles):
                raise InputError(f"the plan's {what} are {titles}; there must be at least one, each with a title of its own")
        found = []
        for experiment in self.experiments:
            if experiment.repeats < 1:
                raise InputError(
                    f"experiment {experiment.title!r} has repeats={experiment.repeats}; it must be a whole number >= 1"
                )
            unknown = [title for title in experiment.prompts if title not in {prompt.title for prompt in self.prompts}]
            if unknown:
                raise InputError(f"experiment {experiment.title!r} is for the prompts {unknown}, which the plan does not have")
            try:
                config = GenerationConfig.from_dict({"max_new_tokens": self.max_new_tokens, **experiment.settings})
            except ConfigError as error:
                raise ConfigError(f"experiment {experiment.title!r}: {error}", error.fields) from None
            if config.num_return_sequences > 1:
                raise ConfigError(
                    f"experiment {experiment.title!r}: num_return_sequences is given; give repeats instead",
                    ("num_return_sequences",),
                )
            found.append(config if config.seed is not None else config.replace(seed=self.seed))
        object.__setattr__(self, "configs", tuple(found))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """A plan from JSON: name, prompts, experiments, max_new_tokens, seed. Unknown keys are refused."""
        given = dict(_known(content, {field.name for field in dataclasses.fields(cls) if field.init}, "the plan"))
        kinds: dict[str, Any] = {"prompts": LabPrompt, "experiments": Experiment}
        for name, kind in kinds.items():
            if not isinstance(given.get(name), Sequence) or isinstance(given.get(name), str):
                raise InputError(f"the plan has no list of {name}")
            keys = {one.name for one in dataclasses.fields(kind)}
            rows = [_known(row, keys, f"{name}[{place}]") for place, row in enumerate(given[name])]
            made = []
            for place, row in enumerate(rows):
                try:
                    made.append(kind(**{k: tuple(v) if k == "prompts" else v for k, v in row.items()}))
                except TypeError as error:
                    raise InputError(f"{name}[{place}] is {row}; it must have {', '.join(sorted(keys))} ({error})") from None
            given[name] = tuple(made)
        return cls(**{"name": "plan", **given})

    def to_dict(self) -> dict[str, Any]:
        """As JSON, from which `from_dict` makes the same plan."""
        return {
            "name": self.name,
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
            "prompts": [
                {
                    "title": prompt.title,
                    "prompt": prompt.prompt if isinstance(prompt.prompt, str) else [dict(each) for each in prompt.prompt],
                    "json_schema": None if prompt.json_schema is None else dict(prompt.json_schema),
                }
                for prompt in self.prompts
            ],
            "experiments": [
                {
                    "title": experiment.title,
                    "settings": dict(experiment.settings),
                    "repeats": experiment.repeats,
                    "prompts": list(experiment.prompts),
                }
                for experiment in self.experiments
            ],
        }

    def replaced(self, **changes: Any) -> "Plan":
        """The same plan with other prompts, seed or length; experiments for prompts that are gone are left out."""
        titles = {prompt.title for prompt in changes.get("prompts", self.prompts)}
        kept = []
        for experiment in self.experiments:
            still = tuple(title for title in experiment.prompts if title in titles)
            if still or not experiment.prompts:
                kept.append(dataclasses.replace(experiment, prompts=still))
        return dataclasses.replace(self, **{"experiments": tuple(kept), **changes})


SAMPLES = 5
"""How often a plan of `PLANS` repeats sampling where nothing is said."""


def document_004(samples: int = SAMPLES) -> Plan:
    """Document 004's experiments, and every other strategy beside them. samples: how often each sampling is repeated."""
    nucleus = [
        Experiment(
            title=f"nucleus T={temperature:g} p={p:g}, {rule}",
            settings={"do_sample": True, "temperature": temperature, "top_p": p, "nucleus_rule": rule},
        )
        for temperature, p in ((1.0, 0.9), (1.0, 0.15), (0.5, 0.9), (0.5, 0.15))
        for rule in ("exclusive", "inclusive")
    ]
    beams = []
    for width, penalty in ((1, 1.0), (4, 1.0), (4, 0.5), (4, 2.0), (8, 1.0)):
        # As document 004's code has it: length counts prompt and completion; one beam has no length to rank by.
        early = {"beam_rule": "early_stopped"} | ({"beam_length": "prompt_and_generated"} if width > 1 else {})
        for name, rule in (("early-stopped", early), ("standard", {"early_stopping": True})):
            settings = {"num_beams": width, "length_penalty": penalty, **rule}
            beams.append(Experiment(title=f"beams ({width}, {penalty:g}), {name}", settings=settings))
    sampled: dict[str, dict[str, Any]] = {
        "top-k 50": {"do_sample": True, "top_k": 50},
        "min-p 0.1": {"do_sample": True, "min_p": 0.1},
        "typical 0.9": {"do_sample": True, "typical_p": 0.9},
        "epsilon 0.0003": {"do_sample": True, "epsilon_cutoff": 3e-4},
        "eta 0.0003": {"do_sample": True, "eta_cutoff": 3e-4},
        "balanced: T=0.8 k=50 p=0.9": {"do_sample": True, "temperature": 0.8, "top_k": 50, "top_p": 0.9},
        "guidance 1.5": {"guidance_scale": 1.5},
        "repetition penalty 1.2": {"repetition_penalty": 1.2},
        "no 3-gram twice": {"no_repeat_ngram_size": 3},
        "contrastive 0.6, k=4": {"penalty_alpha": 0.6, "top_k": 4},
        "beam sampling, 4": {"num_beams": 4, "do_sample": True, "early_stopping": True},
        "diverse beams, 4 in 2 groups": {
            "num_beams": 4,
            "num_beam_groups": 2,
            "diversity_penalty": 0.5,
            "early_stopping": True,
        },
    }
    return Plan(
        name="document-004",
        prompts=(
            LabPrompt(title="Story", prompt=HEDGEHOG),
            LabPrompt(title="Payment", prompt=PAYMENT, json_schema=PAYMENT_SCHEMA),
        ),
        experiments=(
            Experiment(title="greedy", settings={"do_sample": False}, repeats=3),
            Experiment(title="sampling", settings={"do_sample": True}, repeats=samples),
            *(
                Experiment(title=f"temperature {value:g}", settings={"do_sample": True, "temperature": value})
                for value in (0.001, 0.1, 0.5, 1.0, 10.0)
            ),
            *nucleus,
            *beams,
            *(Experiment(title=title, settings=settings) for title, settings in sampled.items()),
            Experiment(
                title="forced word, 4 beams",
                settings={"num_beams": 4, "required_words": ["friend"], "early_stopping": True},
                prompts=("Story",),
            ),
            Experiment(title="greedy under the schema", settings={"json_schema": PAYMENT_SCHEMA}, prompts=("Payment",)),
        ),
    )


PLANS = {"document-004": document_004}
"""Plans by name."""


def _known(content: Any, keys: set[str], what: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise InputError(
            f"{what} is {json.dumps(content, default=str)[:100]}; it must be an object with {', '.join(sorted(keys))}"
        )
    for name in content:
        if name not in keys:
            near = difflib.get_close_matches(str(name), keys, n=1)
            raise InputError(f"{what} has {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"it may have {sorted(keys)}"))
    return content
