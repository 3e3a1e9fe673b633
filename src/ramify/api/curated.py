"""`name@facet`: the completion that was approved for exactly this prompt, else the facet's target model; the miss is noted."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ramify.api.parts import Kept
from ramify.api.state import Server
from ramify.decoding.stopping import FinishReason
from ramify.errors import InputError, ModelNotFoundError, NotFoundError, RamifyError
from ramify.models.chat import check_messages
from ramify.store.records import CompletionRecord
from ramify.workbench.workspace import Workspace

__all__ = ["Choice", "choose", "curated_names"]

log = logging.getLogger(__name__)

Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Choice:
    """Who answers: a model, and for each prompt the completion that is given instead of a new one, or None."""

    model: str
    kept: tuple[Kept | None, ...]


def choose(server: Server, name: str | None, prompts: Sequence[Prompt]) -> Choice:
    """Who answers a request for `name`; reads the workspace, so it is no call for the event loop.

    Raises ModelNotFoundError for a model or facet that is not there, InputError for prompts of token ids under a facet.
    """
    base, at, facet = (name or server.models.default).rpartition("@")
    if not at or server.workspace is None or (name in server.models.names()):
        server.models.check(name or server.models.default)
        return Choice(name or server.models.default, (None,) * len(prompts))
    workspace = server.workspace
    if base:
        server.models.check(base)
    try:
        effective = workspace.facets.effective(facet)
    except NotFoundError as error:
        raise ModelNotFoundError(f"the model {name!r} is not served here: {error}") from None
    model = effective.target_model
    if effective.sources["target_model"] == "default":
        model = base or server.models.default
    kept = tuple(_approved(workspace, facet, prompt) for prompt in prompts)
    if None in kept:
        server.models.check(model)
    elif not server.models.serves(model):  # which only counts tokens where everything is approved
        model = base or server.models.default
    return Choice(model, kept)


def curated_names(server: Server) -> list[str]:
    """The names that the workspace's facets give."""
    if server.workspace is None:
        return []
    return [f"{server.models.default}@{facet.name}" for facet in server.workspace.facets.list()]


def _approved(workspace: Workspace, facet: str, asked: Prompt) -> Kept | None:
    prompt = _matchable(asked)
    for sample in (each for each in workspace.samples.find(prompt) if not each.archived):
        for each in workspace.facets.chain(facet):
            found = workspace.judgements.approved(sample.id, each.name)
            if found is not None:
                record = workspace.completions.get(found)
                if not record.archived and _answers(workspace, record, prompt):
                    return _kept(record)
    try:
        workspace.database.unanswered.add(facet, prompt)
    except RamifyError as error:  # whoever asked gets an answer all the same
        log.warning("a request could not be queued for facet %r: %s", facet, error)
    return None


def _matchable(asked: Prompt) -> Any:
    if isinstance(asked, str):
        return asked
    if asked and isinstance(asked[0], Mapping):
        return tuple(check_messages(asked))
    raise InputError("a prompt of token ids cannot be looked up under a facet; give it as text, or name the model alone")


def _answers(workspace: Workspace, record: CompletionRecord, prompt: Any) -> bool:
    """Whether the completion belongs to the revision that has exactly this prompt."""
    revisions = {each.id: each.prompt for each in workspace.samples.revisions(record.sample_id)}
    return bool(revisions.get(record.prompt_id) == prompt)


def _kept(record: CompletionRecord) -> Kept:
    reason: FinishReason = "length" if record.truncated else "eos"
    return Kept(text=record.text, finish_reason=reason, token_ids=record.token_ids, fingerprint=record.fingerprint)
