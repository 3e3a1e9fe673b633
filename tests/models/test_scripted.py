"""The scripted model says what is written, and counts what it is asked."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import InputError
from ramify.models.base import Backend, Extension, TextCodec
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer, ScriptedTrunk


def test_a_table_gives_the_probabilities_that_it_says() -> None:
    model = ScriptedBackend({"a": {"b": 0.75, "<eos>": 0.25}, ("a", 1): {2: 1.0}}, ScriptedTokenizer(padding=1))
    branch = model.root()
    said = model.extend([Extension(branch, [0, 1, 2], 3)])
    quarter = 1 / 4
    assert said.starts == (0, 3)
    torch.testing.assert_close(
        said[0].softmax(-1),
        torch.tensor([[0, 0.75, 0, 0.25, 0], [0, 0, 1, 0, 0], [quarter, quarter, quarter, quarter, 0]]),
    )


def test_a_function_sees_the_whole_history_of_each_branch() -> None:
    seen: list[tuple[int, ...]] = []

    def script(ids: tuple[int, ...]) -> list[float]:
        seen.append(ids)
        return [float(i) for i in range(4)]

    model = ScriptedBackend(script)
    first, second = model.root(), model.root()
    said = model.extend([Extension(first, [0, 1]), Extension(second, [2], 0)])
    model.extend([Extension(second, [1, 1], 2), Extension(first, [2], 1, hidden=True)])
    assert seen == [(0, 1), (2, 1), (2, 1, 1), (0, 1, 2)]
    assert said.starts == (0, 1, 1)
    assert said.logits.tolist() == [[0, 1, 2, 3]]
    assert (model.forward_passes, model.tokens_computed) == (2, 6)


def test_hidden_states_are_alike_for_equal_tokens_only() -> None:
    model = ScriptedBackend()
    said = model.extend([Extension(model.root(), [0, 1, 0], 3, hidden=True)])
    (states,) = said.hidden
    assert states is not None
    assert (states @ states.T).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_a_fork_computes_nothing_and_shares_what_is_before_it() -> None:
    model = ScriptedBackend()
    trunk = model.root()
    model.extend([Extension(trunk, [0, 1, 2])])
    branches = [model.fork(trunk), model.fork(trunk, 1), model.fork(trunk, 0)]
    assert [branch.ids for branch in branches] == [(0, 1, 2), (0,), ()]
    assert (model.size_bytes(), model.forward_passes) == (24, 1)
    model.extend([Extension(branch, [1]) for branch in branches])
    assert [branch.ids for branch in branches] == [(0, 1, 2, 1), (0, 1), (1,)]
    assert model.size_bytes() == 48
    with pytest.raises(ValueError, match="cannot fork at token 4 of a branch of 3"):
        model.fork(trunk, 4)


@given(st.lists(st.tuples(st.sampled_from(["extend", "fork", "free"]), st.integers(0, 99), st.integers(0, 99)), max_size=40))
def test_whatever_is_grown_and_freed_no_byte_remains(steps: list[tuple[str, int, int]]) -> None:
    model = ScriptedBackend()
    live: list[tuple[ScriptedTrunk, tuple[int, ...]]] = [(model.root(), ())]
    for action, which, what in steps:
        branch, ids = live[which % len(live)]
        if action == "extend":
            model.extend([Extension(branch, [what % 3])])
            live[which % len(live)] = (branch, (*ids, what % 3))
        elif action == "fork":
            at = what % (len(ids) + 1)
            live.append((model.fork(branch, at), ids[:at]))
        elif len(live) > 1:
            model.free(branch)
            del live[which % len(live)]
        assert [branch.ids for branch, _ in live] == [ids for _, ids in live]
        assert [branch.length for branch, _ in live] == [len(ids) for _, ids in live]
    for branch, _ in live:
        model.free(branch)
    assert model.size_bytes() == 0


def test_what_cannot_be_asked_is_refused() -> None:
    model = ScriptedBackend()
    branch = model.root()
    with pytest.raises(ValueError, match="appears twice"):
        model.extend([Extension(branch, [0]), Extension(branch, [1])])
    with pytest.raises(ValueError, match="2 positions are wanted of 1 tokens"):
        model.extend([Extension(branch, [0], 2)])


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ({"": {"a": 0.5}}, "the probabilities after '' sum to 0.5"),
        ({"": {"a": 1.5, "b": -0.5}}, "they must not be negative and sum to 1"),
        ({"": {"ab": 1.0}}, "'ab' is 2 tokens of the scripted vocabulary"),
        ({"": {"z": 1.0}}, "'z' does not begin with any word"),
    ],
)
def test_a_table_that_is_none_is_refused(table: Any, error: str) -> None:
    with pytest.raises(InputError, match=error):
        ScriptedBackend(table)


def test_the_tokenizer_takes_the_longest_word() -> None:
    codec = ScriptedTokenizer(["a", "ab", "b", " "], bos="<bos>", padding=2)
    assert codec.encode("aba b<eos>", special=True) == [5, 1, 0, 3, 2, 4]
    assert codec.encode_rendered("ab<eos>") == [1, 4]
    assert (codec.decode([5, 1, 0, 4]), codec.decode([5, 1, 4], keep_special=True)) == ("aba", "<bos>ab<eos>")
    assert (codec.vocab_size, codec.size, codec.eos_token_ids, codec.bos_token_id) == (8, 6, (4,), 5)
    assert codec.exists.tolist() == [True] * 6 + [False] * 2
    with pytest.raises(InputError, match="'<eos>' does not begin with any word"):
        codec.encode("<eos>")
    with pytest.raises(InputError, match="must differ and not be empty"):
        ScriptedTokenizer(["a", "a"])


@given(st.text())
def test_a_vocabulary_of_bytes_spells_every_text(text: str) -> None:
    codec = ScriptedTokenizer.of_bytes()
    assert codec.encode(text) == list(text.encode())
    assert codec.decode(codec.encode(text)) == text


def test_constraints_work_on_a_scripted_vocabulary() -> None:
    import llguidance
    import llguidance.numpy

    codec = ScriptedTokenizer(["a", "b", "ab", "c"], padding=3)
    matcher = llguidance.LLMatcher(codec.llguidance, llguidance.LLMatcher.grammar_from_regex("a(b|c)"))
    mask = llguidance.numpy.allocate_token_bitmask(1, codec.vocab_size)

    def allowed() -> list[int]:
        llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")[: codec.vocab_size]
        return np.flatnonzero(bits).tolist()

    assert allowed() == [0, 2]
    assert matcher.consume_token(0)
    assert allowed() == [1, 3]
    assert matcher.consume_token(3)
    assert allowed() == list(codec.eos_token_ids)


def test_it_is_a_backend_and_a_codec() -> None:
    model = ScriptedBackend(context_window=9)
    backend: Backend = model
    codec: TextCodec = model.codec
    assert (backend.info.vocab_size, backend.info.context_window, backend.info.eos_token_ids) == (4, 9, (3,))
    assert codec.token_bytes == (b"a", b"b", b"c", b"")
    assert math.isclose(float(backend.extend([Extension(backend.root(), [0])])[0].softmax(-1)[0, 3]), 0.25)
