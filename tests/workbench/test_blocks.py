"""Block by block on a model that writes "b\\n\\n" twice and then ends."""

from collections.abc import Iterator

import pytest

from ramify.engine.model import Model
from ramify.errors import InputError, UnsupportedError
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.store.database import Database
from ramify.store.records import SpanRecord
from ramify.workbench.blocks import Blocks

WORDS = ScriptedTokenizer(["a", "b", "c", "\n"])
TABLE = {
    "a": {"b": 0.8, "c": 0.2},
    "ab": {"\n": 1.0},
    "ab\n": {"\n": 1.0},
    "ab\n\n": {"b": 0.6, "c": 0.4},
    "ab\n\nb": {"<eos>": 0.9, "c": 0.1},
    "ab\n\nbc": {"<eos>": 0.9, "a": 0.1},
    "ab\n\nbca": {"<eos>": 1.0},
    "ab\n\nc": {"c": 1.0},
    "ab\n\ncc": {"<eos>": 1.0},
}


@pytest.fixture
def database(where: str) -> Iterator[Database]:
    with Database.open(where) as opened:
        yield opened


@pytest.fixture
def blocks(database: Database) -> Blocks:
    return Blocks(database, Model(ScriptedBackend(TABLE, WORDS)), database.samples.add("a"))


def test_blocks_are_accepted_until_the_model_ends(blocks: Blocks) -> None:
    (first,) = blocks.propose(1)
    assert (first.text, first.ends) == ("b\n\n", False)
    blocks.accept(0)
    (second,) = blocks.propose(1)
    assert (second.text, second.ends) == ("b", True)
    blocks.accept(0)
    with pytest.raises(InputError, match="ended this completion"):
        blocks.propose(1)
    record = blocks.save()
    assert (record.text, record.token_ids, record.finish_reason) == ("b\n\nb", (1, 3, 3, 1, 4), "eos")
    assert record.mean_logprob is not None


def test_a_block_may_be_edited_written_or_taken_back(blocks: Blocks) -> None:
    blocks.propose(1)
    blocks.accept(0, edited="cb\n\n")
    assert (blocks.text, blocks.token_ids) == ("cb\n\n", (2, 1, 3, 3))
    blocks.undo()
    blocks.propose(1)
    blocks.accept(0)
    assert blocks.save().mean_logprob is not None  # what the edit cost is back
    blocks.undo()
    blocks.write("c\n\n")
    record = blocks.save()
    assert (record.text, record.finish_reason, record.truncated) == ("c\n\n", "user", True)
    assert record.spans == (SpanRecord(0, 3, "typed"),)
    blocks.undo()
    with pytest.raises(InputError, match="no block"):
        blocks.undo()


def test_shorter_and_longer_bound_the_tokens(blocks: Blocks) -> None:
    blocks.propose(1)
    blocks.accept(0)
    blocks.propose(1)
    longer = blocks.longer(0, 1)
    assert longer[0].text == "bca"
    assert len(blocks.shorter(0, 1)[0].token_ids) < len(longer[0].token_ids)
    with pytest.raises(InputError, match="no candidate 7"):
        blocks.accept(7)


def test_an_instruction_needs_somebody_to_instruct(blocks: Blocks) -> None:
    with pytest.raises(UnsupportedError, match="raw text"):
        blocks.rewrite("shorter, please")
