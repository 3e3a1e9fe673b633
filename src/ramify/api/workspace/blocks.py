"""Block by block: the model proposes paragraphs, a person accepts, edits, or asks for others."""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from ramify.api.workspace.completions import CompletionShape, completion_shape
from ramify.api.workspace.desk import Desk, DeskState, Held, OpenBlocks
from ramify.api.workspace.shapes import Body, Config, Id, Shape
from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError, StaleError
from ramify.workbench.blocks import BORDER

__all__ = ["router"]

router = APIRouter(tags=["block by block"])

OURS = {"num_return_sequences", "stop_strings", "include_stop_str_in_output"}

Version = Annotated[str | None, Field(description="What the caller saw; another tab's step since then is refused with 409.")]
Index = Annotated[int, Field(ge=0, le=63)]


class NewBlocks(Body):
    model: str | None = None
    facet: str | None = None
    border: str = Field(default=BORDER, min_length=1, max_length=100, description="What stands between two blocks.")


class Like(Body):
    index: Index
    length: Literal["shorter", "longer"]


class Propose(Body):
    n: Annotated[int, Field(ge=1, le=64)] = 3
    config: Config = Field(default_factory=dict, description="Sampling, where it says nothing and n is above 1.")
    instruction: str = Field(default="", description="Goes to the model with the last user message, and is not kept in it.")
    like: Like | None = Field(default=None, description="Shorter or longer than a proposed one.")
    version: Version = None


class Accept(Body):
    index: Index
    edited: str | None = None
    version: Version = None


class Write(Body):
    text: Annotated[str, Field(min_length=1)]
    version: Version = None


class TakeBack(Body):
    version: Version = None


class BlockShape(Shape):
    text: str
    origins: list[str] = Field(description="sampled, typed, or both.")


class ProposedShape(Shape):
    text: str
    tokens: int
    ends: bool = Field(description="The model ended the whole completion with it.")
    mean_logprob: float | None


class BlocksShape(Shape):
    key: str
    version: str
    sample_id: int
    model: str
    border: str
    text: str = Field(description="What was accepted so far.")
    blocks: list[BlockShape]
    proposed: list[ProposedShape]
    ended: bool


@router.post("/samples/{sample_id}/blocks", status_code=201)
async def start_blocks(desk: DeskState, sample_id: Id, body: NewBlocks) -> BlocksShape:
    """Begin to write a completion paragraph by paragraph."""

    def started() -> BlocksShape:
        desk.database.samples.get(sample_id)
        return _shape(desk.new_blocks(sample_id, desk.model(body.model, body.facet), body.border))

    return await desk.waiting(started)


@router.get("/blocks/{key}")
def get_blocks(desk: DeskState, key: str) -> BlocksShape:
    """A completion in the making, as it is."""
    with desk.blocks.using(key) as held:
        return _shape(held)


@router.post("/blocks/{key}/propose")
async def propose(desk: DeskState, key: str, body: Propose) -> BlocksShape:
    """Candidates for the next block, in place of those proposed before."""

    def proposed() -> BlocksShape:
        taken = sorted(OURS & set(body.config))
        if taken:
            raise InputError(f"{taken[0]} is not for a config here: n says how many, and the border is what stops a block")
        config = GenerationConfig.from_dict(body.config)
        if body.n > 1 and config.strategy == "greedy" and "do_sample" not in body.config:
            config = config.replace(do_sample=True)  # candidates that are all the same are no choice
        with _using(desk, key, body.version) as held:
            made = held.thing
            if body.like is None:
                made.propose(body.n, config, instruction=body.instruction)
            elif body.instruction:
                raise InputError("give an instruction, or like, not both")
            elif body.like.length == "shorter":
                made.shorter(body.like.index, body.n, config)
            else:
                made.longer(body.like.index, body.n, config)
            return _shape(held)

    return await desk.waiting(proposed)


@router.post("/blocks/{key}/accept")
def accept(desk: DeskState, key: str, body: Accept) -> BlocksShape:
    """Take a candidate, as it is or edited; tokens that the edit leaves keep their ids."""
    with _using(desk, key, body.version) as held:
        held.thing.accept(body.index, edited=body.edited)
        return _shape(held)


@router.post("/blocks/{key}/write")
def write(desk: DeskState, key: str, body: Write) -> BlocksShape:
    """A block of one's own; the border that follows it is part of the text."""
    with _using(desk, key, body.version) as held:
        held.thing.write(body.text)
        return _shape(held)


@router.post("/blocks/{key}/undo")
def take_back(desk: DeskState, key: str, body: TakeBack) -> BlocksShape:
    """Take the last block back."""
    with _using(desk, key, body.version) as held:
        held.thing.undo()
        return _shape(held)


@router.post("/blocks/{key}/save", status_code=201)
def save(desk: DeskState, key: str) -> CompletionShape:
    """Keep it as a completion: truncated unless the model ended it."""
    with desk.blocks.using(key) as held:
        return completion_shape(desk, held.thing.save())


@router.delete("/blocks/{key}", status_code=204)
def drop(desk: DeskState, key: str) -> Response:
    """Leave it."""
    desk.blocks.drop(key)
    return Response(status_code=204)


@contextlib.contextmanager
def _using(desk: Desk, key: str, version: str | None) -> Iterator[Held[OpenBlocks]]:
    with desk.blocks.using(key) as held:
        found = _version(held.thing)
        if version is not None and version != found:
            raise StaleError(f"the blocks have version {found}, and {version} was seen; somebody took a step. Read them again")
        yield held


def _version(made: OpenBlocks) -> str:
    state = (made.token_ids, [block.token_ids for block in made.proposed], made.ended)
    return hashlib.sha256(repr(state).encode()).hexdigest()[:12]


def _shape(held: Held[OpenBlocks]) -> BlocksShape:
    made = held.thing
    return BlocksShape(
        key=held.key,
        version=_version(made),
        sample_id=held.sample_id,
        model=made.model_name,
        border=made.border,
        text=made.text,
        blocks=[BlockShape(text=text, origins=list(origins)) for text, origins in made.accepted],
        proposed=[
            ProposedShape(
                text=block.text,
                tokens=len(block.token_ids),
                ends=block.ends,
                mean_logprob=sum(t.logprob for t in block.logprobs) / len(block.logprobs) if block.logprobs else None,
            )
            for block in made.proposed
        ],
        ended=made.ended,
    )
