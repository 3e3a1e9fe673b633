"""Whole completions: generated, and continued from their own tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.errors import InputError, RamifyError
from ramify.models.remote import Remote
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, NewCompletion, Prompt, SampleRecord, SpanRecord, TokenLogprob
from ramify.workbench import remote_writing
from ramify.workbench.asking import ALTERNATIVES, AnyModel, Asked, ask, name_of, question
from ramify.workbench.conversion import kept_result
from ramify.workbench.drafts import Draft, draft
from ramify.workbench.scoring import own_ids, prompt_of, score
from ramify.workbench.spans import in_characters, in_tokens

if TYPE_CHECKING:
    from ramify.models.base import TextCodec

__all__ = ["ALTERNATIVES", "Draft", "continue_completion", "draft", "generate", "generate_by", "score"]


def generate(
    database: Database,
    model: AnyModel | Sequence[AnyModel],
    sample: SampleRecord,
    config: GenerationConfig,
    *,
    prefill: str | None = None,
    alternatives: int | None = ALTERNATIVES,
) -> list[CompletionRecord]:
    """Completions of the sample's current prompt; those of one model are kept together as one step of the history.

    Several models work at once, and none begins before all have accepted the request. Where one fails, those of the others are
    kept, and then its error is raised; `generate_by` tells of both.
    """
    models = [model] if isinstance(model, Model | Remote) else list(model)
    found, errors = list[CompletionRecord](), list[RamifyError]()
    for _, made in generate_by(database, models, sample, config, prefill=prefill, alternatives=alternatives):
        if isinstance(made, RamifyError):
            errors.append(made)
        else:
            found += made
    if errors:
        raise errors[0]
    return found


def generate_by(
    database: Database,
    models: Sequence[AnyModel],
    sample: SampleRecord,
    config: GenerationConfig,
    *,
    prefill: str | None = None,
    alternatives: int | None = ALTERNATIVES,
) -> Iterator[tuple[AnyModel, list[CompletionRecord] | RamifyError]]:
    """The same model by model, in their order: what each made, as soon as it is kept, or why it failed.

    Who stops listening cancels the rest. Raises what any model refuses, before one begins.
    """
    asked = ask([question(each, sample.prompt, config, prefill=prefill, alternatives=alternatives) for each in models])
    try:
        for each, answer in zip(models, asked, strict=True):
            try:
                made = answer.completions()
            except RamifyError as error:
                yield each, error
                continue
            with database.action("generate", name_of(each)):
                kept = [database.completions.add(sample.id, new, prompt_id=sample.prompt_id) for new in made]
            yield each, kept
    except BaseException:
        for answer in asked:
            answer.cancel()
        raise


def continue_completion(
    database: Database,
    model: AnyModel,
    parent: CompletionRecord,
    config: GenerationConfig,
    *,
    codec: "Callable[[], TextCodec] | None" = None,
    alternatives: int | None = ALTERNATIVES,
) -> list[CompletionRecord]:
    """Go on where a truncated completion ends, from its own token ids; the child remembers its parent and where it left it.

    Ids of another model, and text that never had ids, are tokenized once for this one, and those ids are kept. A remote goes on
    from the text: `codec` is then that of the parent's model, asked for only where the origin of its parts needs it.
    Raises InputError for one that EOS ended, UnsupportedError for a remote that cannot.
    """
    if parent.finish_reason == "eos":
        raise InputError(
            f"completion {parent.id} was ended by EOS, so there is nothing to continue; edit it, or branch from a token"
        )
    prompt = prompt_of(database, parent)
    if isinstance(model, Remote):
        new = _continued_by_remote(model, parent, prompt, config, codec, alternatives)
        return _children(database, parent, new)
    before = own_ids(database, model, parent)
    same = parent.token_ids is not None and before == parent.token_ids
    prompt_ids, _ = model.ids_of(prompt)
    request = model.request_of_ids((*prompt_ids, *before), before, config, logprobs=alternatives)
    if same:
        spans = list(parent.spans)
    else:
        kept = in_characters(parent, codec or (lambda: model.codec))
        spans = in_tokens(model.codec, before, parent.text, kept)
    measured = _measured_before(database, model, parent) if same else ()
    children = []
    for result in model.result(request):
        grown = [*spans, SpanRecord(len(before), len(result.token_ids), "sampled")]
        children.append(
            kept_result(
                result,
                spans=[span for span in grown if span.end > span.start],
                generated_start=parent.generated_start,
                parent_id=parent.id,
                branch_position=len(before),
                logprobs_before=measured,
            )
        )
    return _children(database, parent, children)


def _continued_by_remote(
    remote: Remote,
    parent: CompletionRecord,
    prompt: Prompt,
    config: GenerationConfig,
    codec: "Callable[[], TextCodec] | None",
    alternatives: int | None,
) -> list[NewCompletion]:
    remote_writing.continuing(remote, parent, prompt, config)
    if codec is None:
        raise InputError(f"completion {parent.id} is continued by a remote; give the codec of its model")
    spans = in_characters(parent, codec)
    future = remote_writing.begin(remote, prompt, config, parent.text, alternatives)
    about = {"parent_id": parent.id, "generated_start": parent.generated_start}
    answer = Asked(
        future,
        future.cancel,
        lambda made: [remote_writing.kept_remote(remote, config, each, before=spans, **about) for each in made],
    )
    return answer.completions()


def _children(database: Database, parent: CompletionRecord, made: Sequence[NewCompletion]) -> list[CompletionRecord]:
    with database.action("continue", str(parent.id)):
        return [database.completions.add(parent.sample_id, new, prompt_id=parent.prompt_id) for new in made]


def _measured_before(database: Database, model: Model, parent: CompletionRecord) -> Sequence[TokenLogprob]:
    """The parent's own measures, where they reach its end."""
    for record in database.logprobs.of(parent.id):
        ends = record.start + len(record.tokens)
        if record.fingerprint == model.info.fingerprint and ends == len(parent.token_ids or ()):
            return record.tokens
    return ()
