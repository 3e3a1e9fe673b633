"""Models and what each can do, the workspace's settings, and the settings of a generation as data."""

import dataclasses
from typing import Literal

from fastapi import APIRouter
from pydantic import Field, JsonValue

from ramify.api.errors import error_of
from ramify.api.workspace.desk import DeskState
from ramify.api.workspace.shapes import Body, Config, Items, RowId, Shape
from ramify.decoding.config import ORDER, GenerationConfig
from ramify.decoding.presets import PRESETS
from ramify.engine.model import Model
from ramify.errors import RamifyError
from ramify.models import cards
from ramify.models.cards import Can, Cards
from ramify.models.endpoints import Endpoint
from ramify.models.registry import Entry, Registry
from ramify.models.remote import Remote
from ramify.settings import Settings
from ramify.workbench import remote_writing
from ramify.workbench.asking import ALTERNATIVES
from ramify.workbench.beginnings import after_prompt

__all__ = ["router"]

router = APIRouter(tags=["models"])


class Abilities(Shape):
    """true, or a sentence that says why not."""

    generate: Can
    prefill: Can
    logprobs: Can
    score: Can
    tokens: Can = Field(description="Token by token.")
    beams: Can
    blocks: Can


class FindingShape(Shape):
    """What one question to an endpoint showed."""

    name: str
    verdict: cards.Verdict
    because: str


class CardShape(Shape):
    """What an endpoint was measured to do (`ramify models probe`)."""

    probed_at: str
    server: str | None
    findings: list[FindingShape]
    top_logprobs: int | None
    logprobs_are: Literal["raw", "processed"] | None
    prompt_price: float | None = Field(description="US dollars a token.")
    completion_price: float | None


class ModelShape(Shape):
    name: str
    kind: Literal["local", "remote"]
    note: str
    loaded: bool
    context_window: int | None
    fingerprint: str | None
    architecture: str | None
    device: str | None
    precision: str | None
    chat: bool | None = Field(description="Whether it takes messages; null where it is not loaded.")
    eos: list[int]
    can: Abilities
    card: CardShape | None = Field(default=None, description="Of a remote model that was probed.")


class NamedModel(Body):
    name: str


class SettingsShape(Shape):
    target_model: str | None = Field(description="Of facets that name none; null: tiny.")


class SettingsChange(Body):
    target_model: str | None


class FieldShape(Shape):
    """A field of a generation's config."""

    name: str
    type: str
    default: JsonValue
    allowed: str
    help: str


class PresetShape(Shape):
    name: str
    help: str
    config: dict[str, JsonValue]


class ConfigShape(Shape):
    fields: list[FieldShape]
    presets: list[PresetShape]
    processors: list[str] = Field(description="In the order in which they act.")


class CheckConfig(Body):
    config: Config
    model: str | None = None
    facet: str | None = None
    sample: RowId | None = Field(default=None, description="Whose prompt is counted; then the model is loaded.")
    prefill: str | None = None


class Wrong(Shape):
    message: str
    param: str | None = Field(description="The setting that is to blame, where one is.")
    code: str | None


class CheckedConfig(Shape):
    """With an error, all the rest is null."""

    error: Wrong | None = None
    config: dict[str, JsonValue] | None = Field(default=None, description="What differs from the defaults.")
    strategy: str | None = None
    processors: list[str] | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    context_window: int | None = None


# ------------------------------------------------------------ models


@router.get("/models")
def models(desk: DeskState) -> Items[ModelShape]:
    """Every model that this server has, and the remote ones that it knows, and what each can do."""
    loaded = desk.models.loaded()
    known = {entry.name: entry for entry in Registry().list()}
    local = list(desk.models.names())
    remote = [entry for entry in known.values() if entry.endpoint is not None and entry.name not in local]
    return Items(
        items=[
            *(_local(name, known.get(name), loaded.get(name)) for name in local),
            *(_remote(entry, entry.endpoint) for entry in remote if entry.endpoint is not None),
        ]
    )


@router.post("/models/load")
async def load(desk: DeskState, body: NamedModel) -> ModelShape:
    """Load a model, so that the first request does not wait for it."""

    def loaded() -> ModelShape:
        model = desk.models.get(body.name)
        return _local(body.name, next((e for e in Registry().list() if e.name == body.name), None), model)

    return await desk.waiting(loaded)


def _local(name: str, entry: Entry | None, model: Model | None) -> ModelShape:
    info = None if model is None else model.info
    return ModelShape(
        name=name,
        kind="local",
        note=entry.note if entry is not None else "",
        loaded=model is not None,
        context_window=None if info is None else info.context_window,
        fingerprint=None if info is None else info.fingerprint,
        architecture=None if info is None else info.architecture,
        device=None if info is None else info.device,
        precision=None if info is None else info.dtype,
        chat=None if model is None else model.chat is not None,
        eos=[] if info is None else list(info.eos_token_ids),
        can=Abilities(generate=True, prefill=True, logprobs=True, score=True, tokens=True, beams=True, blocks=True),
    )


def _remote(entry: Entry, endpoint: Endpoint) -> ModelShape:
    settings = Settings.load()
    settled = endpoint.settle(settings)
    card = Cards(settings).of(settled, entry.target.split(":", 1)[1])
    can = cards.abilities(settled, card)
    hidden = "it is behind an endpoint, which shows no distribution and takes no token by hand"
    return ModelShape(
        name=entry.name,
        kind="remote",
        note=entry.note,
        loaded=False,
        context_window=None if card is None else card.context_window,
        fingerprint=None,
        architecture=None,
        device=None,
        precision=None,
        chat=None if card is None or card.verdict("chat") == "unclear" else card.honours("chat"),
        eos=[],
        can=Abilities(
            generate=True,
            prefill=can.prefill,
            logprobs=can.logprobs,
            score=can.score,
            tokens=hidden,
            beams=hidden,
            blocks=hidden,
        ),
        card=None if card is None else _card(card),
    )


def _card(card: cards.Card) -> CardShape:
    return CardShape(
        probed_at=card.probed_at,
        server=card.server,
        findings=[
            FindingShape(name=name, verdict=finding.verdict, because=finding.because) for name, finding in card.findings.items()
        ],
        top_logprobs=card.top_logprobs,
        logprobs_are=card.logprobs_are,
        prompt_price=card.prompt_price,
        completion_price=card.completion_price,
    )


# ------------------------------------------------------------ settings


@router.get("/settings")
def settings(desk: DeskState) -> SettingsShape:
    """The workspace's own settings; they travel with the file."""
    return SettingsShape(target_model=desk.database.settings.get("target_model"))


@router.patch("/settings")
def change_settings(desk: DeskState, body: SettingsChange) -> SettingsShape:
    """Set the target model of facets that name none."""
    if body.target_model is not None:
        desk.models.check(body.target_model)
    desk.database.settings.set("target_model", body.target_model)
    return settings(desk)


# ------------------------------------------------------------ the settings of a generation


@router.get("/config")
def config() -> ConfigShape:
    """Every field of a config with its range and meaning, the presets, and the order of the processors."""
    defaults = {field.name: field.default for field in dataclasses.fields(GenerationConfig)}
    return ConfigShape(
        fields=[
            FieldShape(
                name=row["name"], type=row["type"], default=_json(defaults[row["name"]]), allowed=row["allowed"], help=row["help"]
            )
            for row in GenerationConfig.describe()
        ],
        presets=[PresetShape(name=name, help=each.help, config=each.fields) for name, each in PRESETS.items()],
        processors=list(ORDER),
    )


@router.post("/config/check")
async def check_config(desk: DeskState, body: CheckConfig) -> CheckedConfig:
    """Whether a generation under these settings would be accepted; nothing is made. What would be a 400 there is `error` here."""

    def checked() -> CheckedConfig:
        found = GenerationConfig.from_dict(body.config)
        if body.facet is not None:
            desk.database.facets.get(body.facet)
        name = desk.target(body.model, body.facet)
        tokens = window = None
        if body.sample is not None:
            model, sample = desk.any_model(body.model, body.facet), desk.database.samples.get(body.sample)
            if isinstance(model, Remote):
                remote_writing.check(model, sample.prompt, found, body.prefill, ALTERNATIVES)
            else:
                start = after_prompt(model, sample, body.prefill)
                model.request_of_ids((*start.prompt_ids, *start.ids), start.ids, found)
                tokens, window = len(start.prompt_ids) + len(start.ids), model.info.context_window
        return CheckedConfig(
            config=found.to_dict(),
            strategy=found.strategy,
            processors=list(found.order),
            model=name,
            prompt_tokens=tokens,
            context_window=window,
        )

    try:
        return await desk.waiting(checked)
    except RamifyError as raised:
        wrong = error_of(raised)
        if wrong.status != 400:
            raise
        return CheckedConfig(error=Wrong(message=str(wrong), param=wrong.param, code=wrong.code))


def _json(value: object) -> JsonValue:
    if isinstance(value, tuple | list):
        return [_json(each) for each in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
