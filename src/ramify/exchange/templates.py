"""What goes into a training set, as data: kind, form, facets, thresholds, shares, split. Checked when it is made."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from ramify.errors import InputError, NotFoundError
from ramify.exchange.formats import alpaca, axolotl, chatml, hh, llama_factory, openai, sharegpt, trl
from ramify.store.filters import parse

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = [
    "FORMS",
    "KINDS",
    "ExportTemplate",
    "FacetShare",
    "delete_template",
    "named_template",
    "save_template",
    "saved_templates",
    "template",
]

KINDS = ("sft", "dpo", "kto", "reward", "prompts", "stepwise")
WRITERS: Mapping[str, Any] = {
    "trl": trl.rows,
    "sharegpt": sharegpt.rows,
    "openai": openai.rows,
    "alpaca": alpaca.rows,
    "llama-factory": llama_factory.rows,
    "axolotl": axolotl.rows,
    "chatml": chatml.rows,
    "hh": hh.rows,
}
FORMS: Mapping[str, tuple[str, ...]] = {
    "trl": KINDS,
    "sharegpt": ("sft", "dpo", "kto", "reward"),
    "openai": ("sft", "dpo", "reward"),
    "alpaca": ("sft", "dpo", "kto", "reward"),
    "llama-factory": ("sft", "dpo", "kto", "reward"),
    "axolotl": ("sft", "dpo", "kto", "reward"),
    "chatml": ("sft",),
    "hh": ("dpo", "reward"),
}
"""Which kinds each form can say."""

FILE_TYPES = ("jsonl", "json", "parquet")
ORDERS = ("oldest", "newest", "random")
PROMPTS = ("as-is", "as-user", "raw", "messages")
SETTING = "export_templates"
"""The workspace's setting that holds templates by name."""


@dataclass(frozen=True, kw_only=True)
class FacetShare:
    """A facet's part in a training set."""

    name: str
    count: int | None = None
    """At most so many samples."""
    share: float | None = None
    """Or this share of those that can go out, at least one."""
    order: str = "oldest"
    """Which come first, and in which order they stand: oldest, newest, or random by the template's seed."""

    def __post_init__(self) -> None:
        if self.count is not None and self.share is not None:
            raise InputError(f"the facet {self.name!r} has a count and a share; give one of them")
        if self.count is not None and self.count < 1:
            raise InputError(f"the count of {self.name!r} is {self.count}; it must be at least 1")
        if self.share is not None and not 0 < self.share <= 1:
            raise InputError(f"the share of {self.name!r} is {self.share}; it must be above 0 and at most 1")
        if self.order not in ORDERS:
            raise InputError(f"the order is {self.order!r}; it must be one of {', '.join(ORDERS)}")


@dataclass(frozen=True, kw_only=True)
class ExportTemplate:
    """What goes out, and how it is written. What is None is the facet's own."""

    kind: str
    form: str = "trl"
    file_type: str | None = None
    """None goes by the ending of the file's name."""
    facets: tuple[FacetShare, ...] = ()
    """In order: a sample goes out under the first that has something of it. None at all: every completion (sft, prompts)."""
    filter: Mapping[str, Any] | None = None
    """Only completions that match this filter of the library, in JSON form; of prompts, only samples."""
    good_rating: int | None = None
    bad_rating: int | None = None
    min_logprob: float | None = None
    mean_logprob: float | None = None
    p10_logprob: float | None = None
    percentile: float | None = None
    """Only completions whose mean logprob is not among the lowest so many per cent of those that the target measured."""
    target_model: str | None = None
    on_policy: bool = False
    """Only completions that the target model made, to the last token."""
    per_sample: int | None = None
    """At most so many rows a sample; None: one completion (sft), every pair, every label."""
    margin: int = 1
    """How far apart the ratings of a pair must be that nobody compared."""
    truncated: bool = False
    archived: bool = False
    prompts: str = "as-is"
    """as-is: all raw or all messages; as-user: a raw prompt becomes a user's turn; raw, messages: only those."""
    max_tokens: int | None = None
    """Prompt and completion together, by the target's tokenizer; longer ones stay."""
    seed: int = 0
    validation: float = 0.0
    """The share of prompts in the validation file; no prompt is in both."""

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, KINDS)
        _one_of("form", self.form, tuple(FORMS))
        _one_of("prompts", self.prompts, PROMPTS)
        if self.file_type is not None:
            _one_of("file_type", self.file_type, FILE_TYPES)
        if self.kind not in FORMS[self.form]:
            able = ", ".join(form for form, kinds in FORMS.items() if self.kind in kinds)
            raise InputError(f"{self.form} has no form for {self.kind}; these have one: {able}")
        if not self.facets and self.kind not in ("sft", "prompts"):
            raise InputError(f"{self.kind} is made of judgements; name the facet under which they are (--facet)")
        names = [facet.name for facet in self.facets]
        if len(set(names)) != len(names):
            raise InputError("a facet is named twice; a sample goes out under the first anyway")
        for name in ("good_rating", "bad_rating"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 10:
                raise InputError(f"{name} is {value}; it must be from 0 to 10")
        for name in ("min_logprob", "mean_logprob", "p10_logprob"):
            value = getattr(self, name)
            if value is not None and value > 0:
                raise InputError(f"{name} is {value}; it must be at most 0 (nats a token)")
        if self.percentile is not None and not 0 <= self.percentile < 100:
            raise InputError(f"percentile is {self.percentile}; it must be from 0 to below 100")
        for name in ("per_sample", "max_tokens", "margin"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        if self.filter is not None:
            parse(self.filter)
        if not 0 <= self.validation < 1:
            raise InputError(f"validation is {self.validation}; it must be from 0 to below 1")

    def to_data(self) -> dict[str, Any]:
        """As JSON; template(to_data()) is this template again."""
        data = {name: value for name, value in asdict(self).items() if value != _DEFAULTS.get(name, object())}
        if self.facets:
            data["facets"] = [
                {name: value for name, value in asdict(facet).items() if value not in (None, "oldest")} for facet in self.facets
            ]
        return data


_DEFAULTS = {field.name: field.default for field in fields(ExportTemplate)}


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


def template(data: Mapping[str, Any]) -> ExportTemplate:
    """From its JSON form. Raises InputError for an unknown name or a value that cannot be."""
    unknown = sorted(set(data) - set(_DEFAULTS))
    if unknown:
        raise InputError(f"a template has no {unknown[0]!r}; it has {', '.join(_DEFAULTS)}")
    if "kind" not in data:
        raise InputError(f"the template has no kind; it is one of {', '.join(KINDS)}")
    given = dict(data)
    shares = []
    for each in given.pop("facets", ()):
        about = {"name": each} if isinstance(each, str) else dict(each)
        odd = sorted(set(about) - {"name", "count", "share", "order"})
        if odd or "name" not in about:
            raise InputError(
                f"a facet of a template has a name, and count or share, and order; not {odd[0] if odd else 'none'!r}"
            )
        shares.append(FacetShare(**about))
    try:
        return ExportTemplate(facets=tuple(shares), **given)
    except TypeError as error:
        raise InputError(f"the template cannot be used: {error}") from None


def named_template(database: "Database", name: str, changes: Mapping[str, Any]) -> ExportTemplate:
    """A kind's template, or a saved one, with some of it changed (in JSON form). Raises InputError, NotFoundError."""
    if name in KINDS:
        return template({"kind": name, **changes})
    known = saved_templates(database)
    if name not in known:
        raise NotFoundError(
            f"there is no template {name!r}; there are the kinds {', '.join(KINDS)}, and saved ones: {', '.join(known) or 'none'}"
        )
    return template({**known[name].to_data(), **changes})


def saved_templates(database: "Database") -> dict[str, ExportTemplate]:
    """By name."""
    return {name: template(data) for name, data in (database.settings.get(SETTING) or {}).items()}


def save_template(database: "Database", name: str, kept: ExportTemplate) -> None:
    """Keep it in the workspace, in place of an earlier one of that name. Raises InputError for a name that is a kind's."""
    if not name.strip() or name in KINDS or name.startswith("@"):
        raise InputError(f"{name!r} is no name for a template; kinds are called so ({', '.join(KINDS)})")
    known = database.settings.get(SETTING) or {}
    database.settings.set(SETTING, {**known, name: json.loads(json.dumps(kept.to_data()))})


def delete_template(database: "Database", name: str) -> None:
    """Raises NotFoundError."""
    known = database.settings.get(SETTING) or {}
    if name not in known:
        raise NotFoundError(f"there is no template {name!r}; there are {', '.join(known) or 'none yet'}")
    database.settings.set(SETTING, {each: data for each, data in known.items() if each != name} or None)
