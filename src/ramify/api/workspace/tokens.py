"""A completion token by token, as columns: probabilities, ranks, entropies and what else the model could have said."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.shapes import Body, Id, Nats, Shape, finite
from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.engine.requests import TokenLogprob
from ramify.errors import InputError
from ramify.models.base import TextCodec
from ramify.models.detokenizer import StreamDecoder
from ramify.store.records import TokenLogprob as KeptLogprob
from ramify.store.token_columns import TokenColumns, token_columns
from ramify.workbench import scoring
from ramify.workbench.asking import name_of
from ramify.workbench.beginnings import inside
from ramify.workbench.next_tokens import Next, next_after

__all__ = ["CandidatesShape", "TokensShape", "candidates_shape", "kept_shape", "router", "tokens_shape"]

router = APIRouter(tags=["tokens"])

K = Annotated[int, Query(ge=1, le=1000, description="So many likeliest tokens; every EOS comes on top.")]
Search = Annotated[str | None, Query(min_length=1, max_length=200, description="Only tokens whose text contains this.")]


class Processed(Shape):
    """The same after the processors: from these the token was chosen. null: removed."""

    logprob: list[Nats]
    alternative_offsets: list[int]
    alternative_ids: list[int]
    alternative_logprobs: list[Nats]


class TokensShape(Shape):
    """Tokens [start, start + n) of a completion under one model. Alternatives of token i are [offsets[i], offsets[i + 1])."""

    completion_id: int | None = Field(description="null in a session, which is no completion yet.")
    model: str
    fingerprint: str
    start: int
    total: int = Field(description="Tokens of the whole completion under this model.")
    ids: list[int]
    text: list[str] = Field(description="What each token adds to the text; special ones add nothing.")
    logprob: list[Nats] | None
    rank: list[int | None] | None
    entropy: list[float | None] | None
    alternative_offsets: list[int] | None
    alternative_ids: list[int]
    alternative_logprobs: list[Nats]
    processed: Processed | None
    vocabulary: dict[str, str] = Field(description="Every id here, spelt out.")
    special: list[int] = Field(description="Ids that are no text.")
    eos: list[int] = Field(description="Ids that end a completion under this model; empty where it is not loaded.")


class CandidatesShape(Shape):
    """What could stand at a position, likeliest first."""

    position: int
    ids: list[int]
    text: list[str]
    logprob: list[Nats]
    probability: list[float]
    rank: list[int]
    ends: list[bool]
    node: list[int | None] | None = Field(description="In a beam tree: the child that it is already.")
    processed_logprob: list[Nats] | None = Field(description="null: a processor removed it; no list: no processor acts.")
    others: float = Field(description="The probability of all that is not shown.")
    entropy: float | None


class Score(Body):
    model: str | None = None
    alternatives: Annotated[int, Field(ge=0, le=100)] = 5


def tokens_shape(columns: TokenColumns, codec: TextCodec | None, before: Sequence[int] = ()) -> TokensShape:
    """Columns of the store with their texts. before: the ids in front of `start`, whose last character may end here."""
    spelt = (
        columns.pieces if codec is None else {i: codec.literal_bytes[i] for i in columns.pieces if i < len(codec.literal_bytes)}
    )
    return TokensShape(
        completion_id=columns.completion_id,
        model=columns.model,
        fingerprint=columns.fingerprint,
        start=columns.start,
        total=columns.total,
        ids=list(columns.ids),
        text=texts_of(columns.ids, columns.pieces if codec is None else codec.token_bytes, before),
        logprob=None if columns.logprobs is None else finite(columns.logprobs),
        rank=None if columns.ranks is None else [rank or None for rank in columns.ranks],  # 0: a remote did not tell it
        entropy=None if columns.entropies is None else finite(columns.entropies),
        alternative_offsets=columns.offsets,
        alternative_ids=columns.alternative_ids,
        alternative_logprobs=finite(columns.alternative_logprobs),
        processed=None,
        vocabulary={str(i): piece.decode("utf-8", errors="replace") for i, piece in spelt.items()},
        special=sorted(i for i, piece in columns.pieces.items() if not piece or (codec is not None and i in codec.special_ids)),
        eos=[] if codec is None else list(codec.eos_token_ids),
    )


def texts_of(ids: Sequence[int], pieces: "Mapping[int, bytes] | Sequence[bytes]", before: Sequence[int] = ()) -> list[str]:
    """The text that each token adds; a character split over tokens belongs to the one that completes it."""
    decoder = StreamDecoder(_Pieces(pieces))
    for token_id in before[-8:]:
        decoder.feed(token_id)
    found = [decoder.feed(token_id) for token_id in ids]
    if found:
        found[-1] += decoder.flush()
    return found


class _Pieces(Sequence[bytes]):
    """Bytes by id; those that nobody knows add nothing."""

    def __init__(self, pieces: "Mapping[int, bytes] | Sequence[bytes]") -> None:
        self._pieces = pieces

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, token_id):  # type: ignore[no-untyped-def]
        return self._pieces.get(token_id, b"") if isinstance(self._pieces, Mapping) else self._pieces[token_id]


def kept_shape(
    codec: TextCodec,
    model: tuple[str, str],
    *,
    completion_id: int | None,
    start: int,
    total: int,
    ids: Sequence[int],
    texts: Sequence[str],
    measured: Sequence[KeptLogprob],
    processed: Sequence[TokenLogprob] = (),
) -> TokensShape:
    """Tokens that are at hand as values: of a draft that grows, or a session. measured: of the last of `ids`, one each.

    model: its name and fingerprint. processed: the engine's own measures of the same tokens, where they are at hand.
    """
    missing = len(ids) - len(measured)
    offsets, flat = [0] * (missing + 1), list[tuple[int, float]]()
    for token in measured:
        flat += [(i, value) for i, _, value in token.alternatives]
        offsets.append(len(flat))
    after, after_ids = _after(processed)
    known = {*ids, *(i for i, _ in flat), *after_ids}
    nothing: list[None] = [None] * missing
    return TokensShape(
        completion_id=completion_id,
        model=model[0],
        fingerprint=model[1],
        start=start,
        total=total,
        ids=list(ids),
        text=list(texts),
        logprob=[*nothing, *finite(token.logprob for token in measured)] if measured else None,
        rank=[*nothing, *(token.rank for token in measured)] if measured else None,
        entropy=[*nothing, *(token.entropy for token in measured)] if measured else None,
        alternative_offsets=offsets if flat else None,
        alternative_ids=[i for i, _ in flat],
        alternative_logprobs=finite(value for _, value in flat),
        processed=after,
        vocabulary={str(i): codec.literal_bytes[i].decode("utf-8", errors="replace") for i in sorted(known)},
        special=sorted(i for i in known if i in codec.special_ids),
        eos=list(codec.eos_token_ids),
    )


def _after(tokens: Sequence[TokenLogprob]) -> tuple[Processed | None, set[int]]:
    """The processed measures, where every token has them, and the ids in them."""
    measures = [token.processed for token in tokens if token.processed is not None]
    if not tokens or len(measures) < len(tokens):
        return None, set()
    offsets, flat = [0], list[tuple[int, float]]()
    for measure in measures:
        flat += [(each.token_id, each.logprob) for each in measure.alternatives]
        offsets.append(len(flat))
    shape = Processed(
        logprob=finite(measure.logprob for measure in measures),
        alternative_offsets=offsets,
        alternative_ids=[i for i, _ in flat],
        alternative_logprobs=finite(value for _, value in flat),
    )
    return shape, {i for i, _ in flat}


def candidates_shape(position: int, found: Next) -> CandidatesShape:
    return CandidatesShape(
        position=position,
        ids=found.token_ids,
        text=found.texts,
        logprob=finite(found.logprobs),
        probability=found.probabilities,
        rank=found.ranks,
        ends=found.ends,
        node=None,
        processed_logprob=None if found.processed is None else finite(found.processed),
        others=found.others,
        entropy=found.entropy,
    )


# ------------------------------------------------------------ routes


@router.get("/completions/{completion_id}/tokens")
def completion_tokens(
    desk: DeskState,
    completion_id: Id,
    model: Annotated[str | None, Query(description="A model that scored it; the completion's own where none is named.")] = None,
    start: Annotated[int, Query(ge=0, le=2**31)] = 0,
    end: Annotated[int | None, Query(ge=0, le=2**31)] = None,
    alternatives: Annotated[int, Query(ge=0, le=100, description="At most so many of each token.")] = 20,
) -> TokensShape:
    """Its tokens as columns. No model is asked: what nobody measured is null."""
    columns = token_columns(desk.database, completion_id, model, start=start, end=end, alternatives=alternatives)
    before: Sequence[int] = ()
    if start:
        before = token_columns(desk.database, completion_id, model, start=max(0, start - 8), end=start, alternatives=0).ids
    return tokens_shape(columns, _codec(desk, columns), before)


@router.get("/completions/{completion_id}/next")
async def completion_next(
    desk: DeskState,
    completion_id: Id,
    position: Annotated[
        int, Query(ge=0, le=2**31, description="The token that would be replaced; the count of tokens: what follows.")
    ],
    model: str | None = None,
    k: K = 20,
    search: Search = None,
) -> CandidatesShape:
    """What the model could have said there, before and after the processors of the completion's own settings."""

    def looked() -> CandidatesShape:
        record = desk.database.completions.get(completion_id)
        loaded = desk.model_for(record, model)
        ids = scoring.own_ids(desk.database, loaded, record)
        start = inside(desk.database, loaded, record, position, codec=desk.codec_of(record), measures=False)
        also = (ids[position],) if position < len(ids) else ()
        filled = sum(span.end - span.start for span in start.spans if span.origin == "prefill")
        prompt, made = (*start.prompt_ids, *start.ids[:filled]), start.ids[filled:]
        config = (
            GenerationConfig.from_dict(record.config) if record.fingerprint == loaded.info.fingerprint else GenerationConfig()
        )
        if config.max_new_tokens is not None and len(made) >= config.max_new_tokens:
            config = config.replace(max_new_tokens=None)  # to look further than it was allowed to go is no error
        return candidates_shape(position, next_after(loaded, prompt, made, config, k=k, search=search, also=also))

    return await desk.waiting(looked)


@router.post("/completions/{completion_id}/score")
async def score_completion(desk: DeskState, completion_id: Id, body: Score) -> TokensShape:
    """Measure it under any model, and keep the measures beside those of others."""

    def scored() -> TokensShape:
        record = desk.database.completions.get(completion_id)
        if record.finish_reason is None:
            raise InputError(f"completion {completion_id} is a draft that still grows; wait for its end, or cancel it")
        asked = desk.any_model(body.model if body.model is not None else desk.maker_name(record))
        scoring.score(desk.database, asked, record, top=body.alternatives)
        columns = token_columns(desk.database, completion_id, name_of(asked), alternatives=body.alternatives)
        return tokens_shape(columns, asked.codec if isinstance(asked, Model) else None)

    return await desk.waiting(scored)


def _codec(desk: Desk, columns: TokenColumns) -> TextCodec | None:
    """The tokenizer of the model that these are tokens of, where it is loaded."""
    model = desk.models.loaded().get(columns.model)
    return model.codec if model is not None and model.info.fingerprint == columns.fingerprint else None
