"""What a run is to do, as data: one YAML file, or flags laid over it. Everything is checked before anything is loaded.

method: dpo
model: tiny
workspace: stories.ramify        # or rows: [pairs.jsonl]
facets: [noir]
name: tiny-noir
lora: {rank: 8}
train: {epochs: 3, learning_rate: 1.0e-4}
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ramify.errors import InputError
from ramify.exchange.templates import ExportTemplate, template
from ramify.store.secrets import without_password
from ramify.training.config import TrainConfig
from ramify.training.fitting import Overlong, Unusable
from ramify.training.gathering import Learning
from ramify.training.keeping import KeepConfig
from ramify.training.models import LoraConfig
from ramify.training.objectives import PreferenceConfig

__all__ = ["METHODS", "Method", "TrainingPlan", "laid_over", "plan_from", "read_data", "read_plan"]

Method = Literal["sft", "dpo", "kto"]
METHODS = get_args(Method)
Precision = Literal["float32", "bfloat16"]

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "sft": {"learning_rate": 1e-4, "epochs": 3},
    "dpo": {"learning_rate": 1e-5, "epochs": 1},
    "kto": {"learning_rate": 1e-5, "epochs": 1},
}
"""Where neither file nor flags say it. An adapter, which has fewer weights to move, learns ten times as fast."""
TRAIN: Mapping[str, Any] = {
    "optimizer": "adamw", "batch_size": 8, "weight_decay": 0.0, "warmup_steps": 0, "log_every": 1, "validate_every": 50,
    "save_every": 50, "matrix_learning_rate": 2e-3,
}  # fmt: skip
SELECT = tuple(f.name for f in fields(ExportTemplate) if f.name not in ("kind", "form", "file_type", "facets", "max_tokens"))
"""What of an export's template says which rows there are."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """One run. Rows come from the workspace's facets, or from files."""

    method: Method
    model: str | None = None
    """None: the first facet's target model; of files tiny."""
    out: str
    """The folder of the result, with its checkpoint, log and manifest."""
    workspace: str | None = None
    facets: tuple[str, ...] = ()
    """NAME, NAME=COUNT or NAME=SHARE%, in order. None at all: every completion (sft)."""
    rows: tuple[str, ...] = ()
    validation_rows: tuple[str, ...] = ()
    """Files of rows that are measured and never learned."""
    name: str | None = None
    """Under which the result enters the registry; None: it does not."""
    replace_name: bool = False
    target_of: str | None = None
    """The facet whose target model the result becomes."""
    lora: LoraConfig | None = None
    merge: bool = False
    """Keep the adapter's effect in the weights, in place of an adapter."""
    learn: Learning = field(default_factory=Learning)
    select: Mapping[str, Any] = field(default_factory=dict)
    """Settings of an export's template: truncated, archived, good_rating, per_sample, validation, seed …"""
    keep: KeepConfig | None = None
    """What the model used to say is learned beside the rows, so that the rest of it stays."""
    overlong: Overlong = "refuse"
    unusable: Unusable = "refuse"
    train: TrainConfig
    preference: PreferenceConfig = field(default_factory=PreferenceConfig)
    save_as: Precision = "float32"
    device: str | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method is {self.method!r}; it must be one of {', '.join(METHODS)}")
        if self.save_as not in get_args(Precision):
            raise InputError(f"save_as is {self.save_as!r}; it must be one of {', '.join(get_args(Precision))}")
        if self.rows and (self.workspace or self.facets):
            raise InputError("rows and a workspace are given; train on files or on a workspace's facets")
        if not self.rows and not self.workspace:
            raise InputError("there is nothing to train on; give a workspace with facets, or rows: files")
        if self.rows and self.select:
            raise InputError(f"select ({', '.join(self.select)}) is of a workspace's completions; of files every row is taken")
        self._check_preference()
        if self.target_of is not None and (self.name is None or self.workspace is None):
            raise InputError(f"target_of is {self.target_of!r}; the result becomes a facet's target under a name, in a workspace")
        if self.merge and self.lora is None:
            raise InputError("merge is of an adapter, and no lora is given")
        self.template()

    def _check_preference(self) -> None:
        """What a method does not read must not be given."""
        weights, pairs = ("desirable_weight", "undesirable_weight"), ("loss", "sft", "reference")
        unread = {"sft": ("beta", *pairs, *weights), "dpo": weights, "kto": pairs}[self.method]
        plain = PreferenceConfig()
        for name in unread:
            if getattr(self.preference, name) != getattr(plain, name):
                raise InputError(f"preference.{name} is {getattr(self.preference, name)!r}, and {self.method} does not read it")

    def template(self) -> ExportTemplate:
        """Which rows of the workspace. Raises InputError for a setting that no template has."""
        unknown = sorted(set(self.select) - set(SELECT))
        if unknown:
            raise InputError(f"select has no {unknown[0]!r}; it has {', '.join(SELECT)}")
        if not self.workspace:
            return ExportTemplate(kind="sft")
        return template({"kind": self.method, "facets": [_share(each) for each in self.facets], **self.select})

    def to_data(self) -> dict[str, Any]:
        """As YAML or JSON has it; `plan_from(to_data())` is this plan again, but for a password in the workspace's URL."""
        data: dict[str, Any] = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        if self.workspace and "://" in self.workspace:
            data["workspace"] = without_password(self.workspace)
        if self.train.batch_size is not None:
            data["train"].pop("tokens_per_step")
        if self.train.optimizer != "muon":
            data["train"].pop("matrix_learning_rate")
        return data


def _share(facet: str) -> dict[str, Any]:
    name, _, much = facet.rpartition("=") if "=" in facet else (facet, "", "")
    try:
        if much.endswith("%"):
            return {"name": name, "share": float(much[:-1]) / 100}
        return {"name": name, "count": int(much)} if much else {"name": name}
    except ValueError:
        raise InputError(f"{facet!r} is no facet with a count or share; write NAME, NAME=40 or NAME=25%") from None


def plan_from(data: Mapping[str, Any]) -> TrainingPlan:
    """From names and values. Raises InputError for what no plan has."""
    known = {each.name for each in fields(TrainingPlan)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise InputError(f"a training plan has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    method = str(given.get("method"))
    if method not in METHODS:
        raise InputError(f"method is {given.get('method')!r}; it must be one of {', '.join(METHODS)}")
    if not given.get("out"):
        raise InputError("out is missing: the folder for the result")
    for name in ("train", "select"):
        if not isinstance(given.get(name) or {}, Mapping):
            raise InputError(f"{name} is {given[name]!r}; it must be an object")
    settings = dict(given.pop("train", None) or {})
    lora, keep = given.pop("lora", None), given.pop("keep", None)
    given["keep"] = None if keep is None or keep is False else _made(KeepConfig, "keep", {} if keep is True else keep)
    given["lora"] = None if lora is None or lora is False else _made(LoraConfig, "lora", {} if lora is True else lora)
    defaults: dict[str, Any] = {**TRAIN, **DEFAULTS[method]}
    if given["lora"] is not None:
        defaults["learning_rate"] *= 10
    if any(settings.get(name) is not None for name in ("max_steps", "max_seconds", "epochs")):
        defaults.pop("epochs")
    if settings.get("tokens_per_step") is not None:
        defaults.pop("batch_size")
        if settings.get("batch_size") is not None:
            raise InputError("batch_size and tokens_per_step are given; count rows or tokens")
    if settings.get("matrix_learning_rate") is not None and settings.get("optimizer") != "muon":
        raise InputError("matrix_learning_rate is Muon's; give optimizer: muon, or leave it out")
    if settings.get("optimizer") == "muon":
        defaults |= {"weight_decay": 0.05, "warmup_steps": 50}
    settings = {key: value for key, value in settings.items() if value is not None}
    given["train"] = TrainConfig.of(**{**defaults, **settings})
    given["learn"] = _made(Learning, "learn", given.get("learn") or {})
    given["preference"] = _made(PreferenceConfig, "preference", given.get("preference") or {})
    given["select"] = dict(given.get("select") or {})
    try:
        return TrainingPlan(**given)
    except TypeError as error:
        raise InputError(f"the training plan cannot be used: {error}") from None


def _made(kind: Any, where: str, data: Any) -> Any:
    if isinstance(data, kind):
        return data
    if not isinstance(data, Mapping):
        raise InputError(f"{where} is {data!r}; it must be an object")
    known = {each.name for each in fields(kind)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise InputError(f"{where} has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


def read_data(path: str | Path) -> dict[str, Any]:
    """What a YAML file says of a plan, unchecked. Raises InputError for what is no YAML object."""
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} holds a {type(data).__name__}; a training plan is an object")
    return data


def read_plan(path: str | Path, **over: Any) -> TrainingPlan:
    """A plan from a YAML file, with values laid over it (those of an object one by one). Raises InputError."""
    return plan_from(laid_over(read_data(path), over))


def laid_over(data: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` before `data`; where both have an object, value by value."""
    found = dict(data)
    for key, value in over.items():
        before = found.get(key)
        found[key] = {**before, **value} if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return found
