"""Measuring a completion under any model."""

from collections.abc import Callable, Coroutine
from typing import Any

from ramify.engine.model import Model
from ramify.engine.tasks import Handle
from ramify.errors import RemoteError, UnsupportedError
from ramify.models.remote import Remote
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, LogprobsRecord, Prompt, TokenLogprob
from ramify.workbench import remote_writing
from ramify.workbench.asking import ALTERNATIVES, AnyModel, fingerprint_of, name_of
from ramify.workbench.conversion import kept_logprobs

__all__ = ["own_ids", "prompt_of", "remote_measures", "score", "start_measuring"]


def score(database: Database, model: AnyModel, completion: CompletionRecord, *, top: int = ALTERNATIVES) -> LogprobsRecord:
    """Measure a completion under a model, which need not be its own, and keep the measures beside those of others.

    Measuring starts where the model's measures end: of an edited completion it has those up to the edit.
    Raises UnsupportedError for a remote that cannot score a given text, or messages.
    """
    prompt = prompt_of(database, completion)
    if isinstance(model, Remote):
        tokens = model.wait(remote_measures(model, completion, prompt, top)())
    else:
        _, measured = start_measuring(database, model, completion, prompt, top)
        tokens = measured()
    return database.logprobs.put(completion.id, name_of(model), fingerprint_of(model), tokens, start=0)


def start_measuring(
    database: Database, model: Model, completion: CompletionRecord, prompt: Prompt, top: int
) -> tuple[Handle, Callable[[], tuple[TokenLogprob, ...]]]:
    """Queue the measuring of a completion. Returns its handle, and what waits for it and gives the measures of all tokens."""
    ids = own_ids(database, model, completion, keep=False)  # the measures keep them
    known = _known(database, model, completion, ids, top)
    handle = model.submit_score(prompt, ids, top, start=len(known))
    return handle, lambda: (*known, *kept_logprobs(handle.future.result().logprobs))


def _known(
    database: Database, model: Model, completion: CompletionRecord, ids: tuple[int, ...], top: int
) -> tuple[TokenLogprob, ...]:
    """The measures of the first tokens under this model, with at least `top` alternatives; none where it has measured all of
    them: who asks again wants them measured again."""
    if completion.token_ids != ids:
        return ()
    enough = min(top, int(model.codec.exists.sum()))
    for record in database.logprobs.of(completion.id):
        mine = record.fingerprint == model.info.fingerprint and record.start == 0
        if mine and len(record.tokens) < len(ids) and all(len(token.alternatives) >= enough for token in record.tokens):
            return tuple(record.tokens)
    return ()


def remote_measures(
    remote: Remote, completion: CompletionRecord, prompt: Prompt, top: int
) -> Callable[[], Coroutine[Any, Any, tuple[TokenLogprob, ...]]]:
    """What asks an endpoint to measure a completion's text. Raises UnsupportedError here, RemoteError when it is awaited."""
    if not isinstance(prompt, str):
        raise UnsupportedError(
            f"{remote.name} cannot score an answer to messages, only a text after a raw prompt; score with a local model"
        )
    remote.check_score(prompt, completion.text, top=top)

    async def ask() -> tuple[TokenLogprob, ...]:
        tokens = remote_writing.measures(await remote.ascore(prompt, completion.text, top=top))
        if tokens is None:
            raise RemoteError(
                f"{remote.where} left tokens of completion {completion.id} without a logprob; it cannot be scored there"
            )
        return tokens

    return ask


def prompt_of(database: Database, completion: CompletionRecord) -> Prompt:
    """The revision of the prompt that the completion answers."""
    return next(p.prompt for p in database.samples.revisions(completion.sample_id) if p.id == completion.prompt_id)


def own_ids(database: Database, model: Model, completion: CompletionRecord, *, keep: bool = True) -> tuple[int, ...]:
    """The completion's ids for this model: its own where this model made it, else those its text was given for it, once.

    keep: whether new ones are written down here, or by who asks.
    """
    if completion.token_ids is not None and completion.fingerprint == model.info.fingerprint:
        return completion.token_ids
    kept = database.tokenizations.of(completion.id, model.info.fingerprint)
    if kept is None:
        kept = tuple(model.codec.encode(completion.text))
        if keep and completion.finish_reason is not None:  # a draft's text may still grow
            database.tokenizations.keep(completion.id, model.info.name, model.info.fingerprint, kept)
    return kept
