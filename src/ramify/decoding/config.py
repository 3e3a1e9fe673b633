"""Every setting of one generation, validated at birth.

Names and meanings are those of Hugging Face's class of the same name; ours are `nucleus_rule`, `beam_rule`,
`beam_length`, `processors` and the constraints. None always means "unset" and takes the default.
A setting that is unknown, out of range, or could not act beside the others is refused with `ConfigError`; neutral
values (`top_p=1.0`, `num_beams=1`, `early_stopping=True` with one beam) are accepted. Imports no torch.
"""

import dataclasses
import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from ramify.decoding import values
from ramify.decoding.contradictions import find_contradiction
from ramify.decoding.presets import PRESETS
from ramify.errors import ConfigError

__all__ = ["FILTERS", "ORDER", "GenerationConfig", "Strategy"]

Strategy = Literal["greedy", "sampling", "contrastive", "beam", "beam_sampling", "diverse_beam", "forced_beam"]

FILTERS = ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")

# transformers' order (`_get_logits_processor`); `logit_bias`, `presence_penalty` and `frequency_penalty`, which it
# lacks, stand beside their nearest kin, and `constraint` where its prefix_allowed_tokens_fn would stand.
ORDER = (
    "sequence_bias",
    "logit_bias",
    "diversity_penalty",
    "encoder_repetition_penalty",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "no_repeat_ngram_size",
    "bad_words_ids",
    "min_new_tokens",
    "constraint",
    "forced_eos_token_id",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
    "temperature",
    *FILTERS,
)


def _setting(default: Any, check: values.Check, allowed: str, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"check": check, "allowed": allowed, "help": help})


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """The settings of one generation.

    Each field's metadata has `help` (one line), `allowed` (its range in words) and `check`; `describe()` gives them as
    rows. Raises ConfigError, whose `.fields` names the settings involved.
    """

    # --- length
    max_new_tokens: int | None = _setting(
        None, values.integer(1), "a whole number >= 1", "Most tokens to generate; unset: until EOS or the window's end."
    )
    min_new_tokens: int = _setting(
        0, values.integer(0), "a whole number >= 0", "EOS is forbidden until so many tokens are generated."
    )
    max_length: int | None = _setting(
        None, values.integer(1), "a whole number >= 1", "Most tokens of prompt and completion together."
    )

    # --- sampling
    do_sample: bool | None = _setting(
        None,
        values.flag,
        "True or False",
        "Sample instead of taking the likeliest; unset: sample when a temperature above 0 or a filter is given.",
    )
    temperature: float | None = _setting(
        None,
        values.number(0),
        "a number >= 0 (0 means greedy)",
        "Divides the logits: below 1 sharpens, above 1 flattens.",
    )
    top_k: int | None = _setting(
        None,
        values.integer(0),
        "a whole number >= 1, or 0 or None for off",
        "Keep the k likeliest tokens and all that tie with the k-th; with penalty_alpha, its candidates.",
    )
    top_p: float | None = _setting(
        None, values.number(0, 1, above=True), "0 < top_p <= 1", "Keep the likeliest tokens up to this mass (nucleus)."
    )
    min_p: float | None = _setting(
        None, values.number(0, 1), "0 <= min_p <= 1", "Drop tokens less likely than this share of the likeliest one."
    )
    typical_p: float | None = _setting(
        None,
        values.number(0, 1, above=True),
        "0 < typical_p <= 1",
        "Keep the tokens whose surprisal is nearest the entropy, up to this mass.",
    )
    eta_cutoff: float | None = _setting(
        None,
        values.number(0, 1, below=True),
        "0 <= eta_cutoff < 1",
        "Drop tokens under a bound that shrinks with the entropy.",
    )
    epsilon_cutoff: float | None = _setting(
        None,
        values.number(0, 1, below=True),
        "0 <= epsilon_cutoff < 1",
        "Drop tokens whose probability is under this.",
    )
    nucleus_rule: Literal["inclusive", "exclusive"] = _setting(
        "inclusive",
        values.one_of("inclusive", "exclusive"),
        '"inclusive" or "exclusive"',
        "Whether top_p keeps the token that crosses the mass (inclusive) or only those within it.",
    )
    seed: int | None = _setting(
        None,
        values.integer(0, 2**63 - 1),
        "a whole number from 0 to 2**63 - 1",
        "Fixes every random draw; unset: one is drawn and reported.",
    )

    # --- penalties and bans
    repetition_penalty: float = _setting(
        1.0,
        values.number(0.001, 1000),
        "a number from 0.001 to 1000",
        "Weaken tokens of prompt and completion (> 1) or favour them.",
    )
    presence_penalty: float = _setting(
        0.0, values.number(-2, 2), "a number from -2 to 2", "Subtracted once from every token already generated."
    )
    frequency_penalty: float = _setting(
        0.0, values.number(-2, 2), "a number from -2 to 2", "Subtracted for each time a token was already generated."
    )
    encoder_repetition_penalty: float = _setting(
        1.0,
        values.number(0.001, 1000),
        "a number from 0.001 to 1000",
        "Favour the prompt's tokens (> 1) or weaken them.",
    )
    no_repeat_ngram_size: int = _setting(
        0,
        values.integer(0),
        "a whole number >= 0 (0 is off)",
        "No n-gram of this size occurs twice, prompt included; an error where that leaves no token.",
    )
    exponential_decay_length_penalty: tuple[int, float] | None = _setting(
        None,
        values.decay,
        "(start, factor): a whole number >= 0 and a number > 0",
        "After `start` generated tokens EOS is favoured by a growing power of `factor`.",
    )
    bad_words_ids: tuple[tuple[int, ...], ...] | None = _setting(
        None,
        values.id_sequences,
        "a non-empty list of non-empty lists of token ids",
        "Token id sequences that are never completed.",
    )
    sequence_bias: tuple[tuple[tuple[int, ...], float], ...] | None = _setting(
        None,
        values.sequence_biases,
        "{(ids, …): bias} or [[[ids, …], bias], …], each sequence once, each bias from -1e6 to 1e6 or -inf",
        "Added to a sequence's last token when the tokens before it are there.",
    )
    logit_bias: Mapping[int, float] | None = _setting(
        None,
        values.biases,
        "{token id: a number from -100 to 100}, not empty",
        "Added to a token's logit at every step (OpenAI's meaning).",
    )
    suppress_tokens: tuple[int, ...] | None = _setting(
        None, values.ids, "a non-empty list of token ids", "Tokens never generated."
    )
    begin_suppress_tokens: tuple[int, ...] | None = _setting(
        None, values.ids, "a non-empty list of token ids", "Tokens never generated first."
    )
    forced_eos_token_id: tuple[int, ...] | None = _setting(
        None, values.ids_or_one, "a token id or a list of them", "The only tokens allowed at the last place."
    )
    guidance_scale: float = _setting(
        1.0,
        values.number(0, 1000),
        "a number from 0 to 1000 (1 is off)",
        "Classifier-free guidance; the unconditional branch starts at the prompt's last token.",
    )

    # --- search
    num_beams: int = _setting(1, values.integer(1), "a whole number >= 1", "Beams kept at every step.")
    num_beam_groups: int = _setting(
        1,
        values.integer(1),
        "a whole number >= 1 that divides num_beams",
        "Groups of beams kept apart from each other.",
    )
    diversity_penalty: float = _setting(
        0.0,
        values.number(0, 1000),
        "a number from 0 to 1000",
        "Subtracted for each earlier group that chose the token at this step.",
    )
    length_penalty: float = _setting(
        1.0,
        values.number(-10, 10),
        "a number from -10 to 10",
        "A finished beam's log-probability is divided by its length to this power.",
    )
    early_stopping: bool | Literal["never"] = _setting(
        False,
        values.one_of(True, False, "never"),
        'True, False or "never"',
        "When beam search may stop, as transformers.",
    )
    beam_rule: Literal["standard", "early_stopped"] = _setting(
        "standard",
        values.one_of("standard", "early_stopped"),
        '"standard" or "early_stopped"',
        "early_stopped: a beam that ends is finished at once; stop when num_beams are finished.",
    )
    beam_length: Literal["generated", "prompt_and_generated"] = _setting(
        "generated",
        values.one_of("generated", "prompt_and_generated"),
        '"generated" or "prompt_and_generated"',
        "What length_penalty counts under beam_rule early_stopped.",
    )
    penalty_alpha: float | None = _setting(
        None,
        values.number(0, 1),
        "0 <= penalty_alpha <= 1",
        "Contrastive search's weight against repetition, with top_k.",
    )
    num_return_sequences: int = _setting(1, values.integer(1), "a whole number >= 1", "How many completions.")

    # --- stopping
    stop_strings: tuple[str, ...] | None = _setting(
        None, values.strings(one=True), "a non-empty string or a list of them", "Texts that end the completion."
    )
    include_stop_str_in_output: bool = _setting(
        False, values.flag, "True or False", "Whether the text keeps the stop string that ended it."
    )
    stop_token_ids: tuple[int, ...] | None = _setting(
        None, values.ids, "a non-empty list of token ids", "Tokens that end the completion with finish_reason `stop`."
    )
    eos_token_id: tuple[int, ...] | None = _setting(
        None, values.ids_or_one, "a token id or a list of them", "End-of-sequence ids in place of the model's."
    )
    ignore_eos: bool = _setting(False, values.flag, "True or False", "An EOS token is a token like any other.")
    max_time: float | None = _setting(None, values.number(0, above=True), "a number > 0 (seconds)", "Stop after so many seconds.")

    # --- constraints
    json_schema: Mapping[str, Any] | bool | str | None = _setting(
        None, values.schema, "a JSON Schema as a dict or as JSON text", "The completion is JSON that fits this schema."
    )
    regex: str | None = _setting(None, values.text, "a non-empty string", "The whole completion matches this regular expression.")
    choices: tuple[str, ...] | None = _setting(
        None, values.strings(one=False), "a non-empty list of non-empty strings", "The completion is one of these."
    )
    grammar: str | None = _setting(
        None, values.text, "a Lark grammar with a rule `start`", "The completion is a sentence of this grammar."
    )
    required_words: tuple[str, ...] | None = _setting(
        None,
        values.strings(one=True),
        "a non-empty string or a list of them",
        "Words and phrases that the completion contains.",
    )
    forbidden_words: tuple[str, ...] | None = _setting(
        None,
        values.strings(one=True),
        "a non-empty string or a list of them",
        "Words and phrases that it never contains, whatever their tokenization.",
    )

    # --- running
    pad_token_id: int | None = _setting(
        None, values.integer(0), "a token id", "Fills the unused positions of a batch; never part of a result."
    )
    bos_token_id: int | None = _setting(None, values.integer(0), "a token id", "What an empty prompt starts from.")
    use_cache: bool = _setting(True, values.flag, "True or False", "False computes every step from the first token.")
    batch_size: int | None = _setting(
        None, values.integer(1), "a whole number >= 1", "Most rows of this request that run together."
    )
    prompt_lookup_num_tokens: int | None = _setting(
        None,
        values.integer(1),
        "a whole number >= 1",
        "Guess up to so many coming tokens from prompt and completion and check them in one pass; it changes no token.",
    )
    processors: tuple[str, ...] | None = _setting(
        None,
        values.strings(one=False),
        "the names of the acting processors, each once",
        "The processors' order; unset: transformers' order.",
    )

    def __post_init__(self) -> None:
        for field in _settings().values():
            given = getattr(self, field.name)
            if given is field.default:
                continue
            if given is None:
                object.__setattr__(self, field.name, field.default)
                continue
            try:
                found = field.metadata["check"](given)
            except (values.UnfitError, TypeError, OverflowError):
                raise ConfigError(
                    f"{field.name} is {_shown(given)}; it must be {field.metadata['allowed']}, or left out",
                    (field.name,),
                ) from None
            object.__setattr__(self, field.name, found)
        contradiction = find_contradiction(self)
        if contradiction is not None:
            raise ConfigError(*contradiction)
        if self.processors is not None:
            _check_order(self.processors, _acting(self))

    # --- what the settings amount to

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn at random: do_sample, or what its absence implies."""
        if self.do_sample is not None:
            return self.do_sample
        if self.penalty_alpha:
            return False
        return bool(self.temperature) or bool(self.filters)

    @property
    def filters(self) -> tuple[str, ...]:
        """The filters that were given and are not neutral, by name; contrastive search's top_k is not one."""
        off: dict[str, tuple[Any, ...]] = {"top_p": (None, 1.0), "typical_p": (None, 1.0)}
        names = tuple(name for name in FILTERS if getattr(self, name) not in off.get(name, (None, 0)))
        return tuple(name for name in names if name != "top_k") if self.penalty_alpha else names

    @property
    def strategy(self) -> Strategy:
        """How the completion is searched for."""
        if self.num_beams > 1 and self.required_words is not None:
            return "forced_beam"
        if self.num_beam_groups > 1:
            return "diverse_beam"
        if self.num_beams > 1:
            return "beam_sampling" if self.samples else "beam"
        if self.beam_rule == "early_stopped":
            return "beam"  # a beam of width one: greedy, with a beam score
        if self.penalty_alpha:
            return "contrastive"
        return "sampling" if self.samples else "greedy"

    @property
    def constrained(self) -> bool:
        """Whether rows carry a constraint's mask. Beams with required words are steered by the search instead."""
        if self.required_words is not None and self.strategy != "forced_beam":
            return True
        names = ("json_schema", "regex", "choices", "grammar", "forbidden_words")
        return any(getattr(self, name) is not None for name in names)

    @property
    def order(self) -> tuple[str, ...]:
        """The processors that act, in the order in which they act."""
        return self.processors if self.processors is not None else _acting(self)

    def budget(self, prompt_tokens: int, context_window: int | None = None) -> int | None:
        """How many tokens may be generated after a prompt of `prompt_tokens`: the tightest of max_new_tokens,
        max_length and the window. Never below 0; None: no bound."""
        bounds = [self.max_new_tokens]
        bounds += [total - prompt_tokens for total in (self.max_length, context_window) if total is not None]
        return (
            max(0, min((bound for bound in bounds if bound is not None), default=0))
            if any(bound is not None for bound in bounds)
            else None
        )

    # --- making one from another

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The one way from JSON to a config; unknown keys are refused with the nearest known one."""
        if not isinstance(fields, Mapping) or not all(isinstance(name, str) for name in fields):
            raise ConfigError(f"the settings are {_shown(fields)}; they must be an object of names and values")
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Only what differs from the defaults, JSON-serialisable; `from_dict` gives an equal config back.

        -inf in sequence_bias becomes the string "-inf", as JSON has no such number.
        """
        found: dict[str, Any] = {}
        for field in _settings().values():
            value = getattr(self, field.name)
            if value != field.default or type(value) is not type(field.default):
                found[field.name] = _plain(value)
        return found

    def replace(self, **fields: Any) -> Self:
        """The same settings with these laid over them, validated anew; None unsets one."""
        _refuse_unknown(fields)
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return type(self)(**{**kept, **fields})

    @classmethod
    def preset(cls, name: str) -> Self:
        """A named config: conservative, balanced, creative, less_repetitive, more_coherent, more_varied, faster."""
        if name not in PRESETS:
            raise ConfigError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
        return cls(**PRESETS[name].fields)

    @classmethod
    def describe(cls) -> list[dict[str, str]]:
        """One row a field, in order: name, type, default, allowed, help."""
        return [
            {
                "name": field.name,
                "type": str(getattr(field.type, "__name__", field.type) if isinstance(field.type, type) else field.type),
                "default": repr(field.default),
                "allowed": field.metadata["allowed"],
                "help": field.metadata["help"],
            }
            for field in dataclasses.fields(cls)
        ]

    @functools.cached_property
    def _fingerprint(self) -> int:
        return hash(json.dumps(self.to_dict(), sort_keys=True))

    def __hash__(self) -> int:
        return self._fingerprint


@functools.cache
def _settings() -> Mapping[str, "dataclasses.Field[Any]"]:
    """The fields by name; the library looks for them anew each time it is asked."""
    return {field.name: field for field in dataclasses.fields(GenerationConfig)}


def _acting(config: GenerationConfig) -> tuple[str, ...]:
    neutral = _settings()
    names = []
    for name in ORDER:
        if name == "constraint":
            acts = config.constrained
        elif name in FILTERS:
            acts = config.samples and name in config.filters
        elif name == "temperature":
            acts = config.samples and config.temperature not in (None, 1.0)
        elif name == "exponential_decay_length_penalty":
            decay = config.exponential_decay_length_penalty
            acts = decay is not None and decay[1] != 1.0
        else:
            acts = getattr(config, name) != neutral[name].default
        if acts:
            names.append(name)
    return tuple(names)


def _check_order(given: Sequence[str], acting: Sequence[str]) -> None:
    missing = [name for name in acting if name not in given]
    extra = [name for name in given if name not in acting]
    if missing or extra:
        parts = []
        if extra:
            parts.append(f"it names {', '.join(extra)}, which {'does' if len(extra) == 1 else 'do'} not act here")
        if missing:
            parts.append(f"it leaves out {', '.join(missing)}")
        raise ConfigError(
            f"processors is {list(given)}; {' and '.join(parts)}. "
            f"Give each acting processor once, in the order you want: {list(acting)}",
            ("processors",),
        )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return "-inf" if value == float("-inf") else value


def _shown(value: Any) -> str:
    found = repr(value)
    return found if len(found) <= 200 else found[:200] + "…"


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    known = _settings()
    for name, value in fields.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            raise ConfigError(
                f"{name}={_shown(value)} is not a setting; "
                + (f"did you mean {near[0]}?" if near else f"the settings are {', '.join(known)}"),
                (str(name),),
            )


def _refusing(initialise: Any) -> Any:
    @functools.wraps(initialise)
    def checked(self: GenerationConfig, *positional: Any, **fields: Any) -> None:
        if positional:
            raise ConfigError(f"settings are given by name; {_shown(positional[0])} has none")
        _refuse_unknown(fields)
        initialise(self, **fields)

    return checked


# A dataclass would answer an unknown keyword with a bare TypeError.
setattr(GenerationConfig, "__init__", _refusing(GenerationConfig.__init__))  # noqa: B010
