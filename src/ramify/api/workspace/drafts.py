"""Drafts: completions that stream into the workspace, several at once, and stay drafts until they are saved."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from ramify.api.workspace.completions import CompletionShape, completion_shape, completion_shapes
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.shapes import Body, Config, Id, Items, RowId
from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.errors import InputError
from ramify.models.remote import Remote
from ramify.store.records import CompletionRecord, SampleRecord
from ramify.workbench import generation
from ramify.workbench.asking import ALTERNATIVES
from ramify.workbench.beginnings import Beginning, after_prompt, inside
from ramify.workbench.remote_drafting import remote_runs

__all__ = ["Count", "router", "start_drafts"]

router = APIRouter(tags=["drafts"])

Count = Annotated[int, Field(ge=1, le=64, description="So many of each model.")]


class NewDrafts(Body):
    models: Annotated[list[str], Field(max_length=16)] | None = Field(default=None, description="null: the facet's target model.")
    facet: str | None = None
    prefill: str | None = None
    n: Count = 1
    config: Config = Field(default_factory=dict)


class Continue(Body):
    model: str | None = Field(default=None, description="null: the one that made it.")
    n: Count = 1
    config: Config = Field(default_factory=dict)


class BranchOff(Body):
    position: RowId = Field(description="The first token that is not kept.")
    token_ids: Annotated[list[RowId], Field(min_length=1, max_length=1000)] | None = None
    text: str | None = None
    model: str | None = None
    n: Count = 1
    config: Config = Field(default_factory=dict)


def start_drafts(
    desk: Desk,
    made: Sequence[tuple[Model, Beginning]],
    config: dict[str, Any],
    n: int,
    remote: Sequence[tuple[Remote, SampleRecord, str | None]] = (),
) -> Items[CompletionShape]:
    """Begin drafts under each of the models. All are checked before the first begins; nothing is half done."""
    settings = GenerationConfig.from_dict(config)
    names = [*(model.info.name for model, _ in made), *(each.name for each, _, _ in remote)]
    with desk.database.action("draft", ", ".join(names)):
        ready = [desk.drafting.prepare(model, beginning, settings, n=n) for model, beginning in made]
        runs = [
            run
            for each, sample, prefill in remote
            for run in remote_runs(desk.database, each, sample, settings, prefill=prefill, n=n, alternatives=ALTERNATIVES)
        ]
        desk.drafting.expect(runs)
    started = [draft for each in ready for draft in desk.drafting.begin(each)] + desk.drafting.begin_remote(runs)
    return Items(items=completion_shapes(desk, desk.database.completions.get_many(started)))


@router.post("/samples/{sample_id}/drafts", status_code=201)
async def generate(desk: DeskState, sample_id: Id, body: NewDrafts) -> Items[CompletionShape]:
    """Begin completions of a sample, several of several models at once. They come at once; their tokens come as events."""

    def begun() -> Items[CompletionShape]:
        sample = desk.database.samples.get(sample_id)
        names: list[str | None] = list(dict.fromkeys(body.models)) if body.models else [None]
        models = [desk.any_model(name, body.facet) for name in names]
        here = [model for model in models if not isinstance(model, Remote)]
        made = [(model, after_prompt(model, sample, body.prefill)) for model in here]
        remote = [(model, sample, body.prefill) for model in models if isinstance(model, Remote)]
        return start_drafts(desk, made, body.config, body.n, remote)

    return await desk.waiting(begun)


@router.post("/completions/{completion_id}/continue", status_code=201)
async def continue_completion(desk: DeskState, completion_id: Id, body: Continue) -> Items[CompletionShape]:
    """Go on where a truncated completion ends, from its own token ids. A remote goes on from the text, and comes whole."""

    def begun() -> Items[CompletionShape]:
        parent = _whole(desk, completion_id)
        model = desk.any_model(body.model if body.model is not None else desk.maker_name(parent))
        if isinstance(model, Remote):
            return _continued_far(desk, model, parent, body)
        start = inside(desk.database, model, parent, codec=desk.codec_of(parent))
        return start_drafts(desk, [(model, start)], body.config, body.n)

    return await desk.waiting(begun)


@router.post("/completions/{completion_id}/branch", status_code=201)
async def branch_off(desk: DeskState, completion_id: Id, body: BranchOff) -> Items[CompletionShape]:
    """Keep the first tokens, take these, and let the model go on. The completion stays as it is, as a sibling."""
    if body.token_ids is not None and body.text is not None:
        raise InputError("give token_ids (picked) or text (typed), not both")

    def begun() -> Items[CompletionShape]:
        parent = _whole(desk, completion_id)
        model = desk.model_for(parent, body.model)
        start = inside(
            desk.database,
            model,
            parent,
            body.position,
            picked=body.token_ids or (),
            typed=body.text or "",
            codec=desk.codec_of(parent),
        )
        if start.ids and start.ids[-1] in model.info.eos_token_ids:
            raise InputError(
                "the token taken is an EOS, so nothing comes after it; pick it in a session, which saves it as the end"
            )
        return start_drafts(desk, [(model, start)], body.config, body.n)

    return await desk.waiting(begun)


@router.get("/drafts")
def list_drafts(desk: DeskState, sample: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None) -> Items[CompletionShape]:
    """The drafts of the workspace (of one sample), oldest first: those that grow and those that wait to be saved or discarded."""
    records = desk.database.search.all_completion_ids({"field": "draft", "op": "is", "value": True}, archived=None, hidden=None)
    found = desk.database.completions.get_many(records)
    return Items(items=completion_shapes(desk, [each for each in found if sample in (None, each.sample_id)]))


@router.post("/drafts/{draft_id}/cancel")
async def cancel_draft(desk: DeskState, draft_id: Id) -> CompletionShape:
    """Stop it; what was written is kept. Results of one search stop together."""
    record = await desk.waiting(desk.drafting.cancel, draft_id)
    return await desk.waiting(completion_shape, desk, record)


@router.post("/drafts/{draft_id}/save")
def save_draft(desk: DeskState, draft_id: Id) -> CompletionShape:
    """Make it a completion like any other."""
    return completion_shape(desk, desk.drafting.save(draft_id))


@router.delete("/drafts/{draft_id}", status_code=204)
async def discard_draft(desk: DeskState, draft_id: Id) -> Response:
    """Stop it and delete it; an undo brings it back."""
    await desk.waiting(desk.drafting.discard, draft_id)
    return Response(status_code=204)


def _continued_far(desk: Desk, model: Remote, parent: CompletionRecord, body: Continue) -> Items[CompletionShape]:
    config = GenerationConfig.from_dict(body.config)
    config = config.replace(num_return_sequences=max(body.n, config.num_return_sequences))
    made = generation.continue_completion(desk.database, model, parent, config, codec=desk.codec_of(parent))
    return Items(items=completion_shapes(desk, made))


def _whole(desk: Desk, completion_id: int) -> CompletionRecord:
    record = desk.database.completions.get(completion_id)
    if record.finish_reason is None and desk.drafting.is_running(completion_id):
        raise InputError(f"completion {completion_id} is a draft that still grows; wait for its end, or cancel it")
    return record
