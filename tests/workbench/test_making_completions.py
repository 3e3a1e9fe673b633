"""Every way of making a completion, on a model whose every probability is written down."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.errors import InputError
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.store.database import Database
from ramify.store.records import NewCompletion, SampleRecord, SpanRecord
from ramify.workbench import editing, generation
from ramify.workbench.token_by_token import TokenByToken

TABLE = {
    "a": {"b": 0.5, "c": 0.3, "<eos>": 0.2},
    "ab": {"c": 0.9, "<eos>": 0.1},
    "abc": {"<eos>": 1.0},
    "ac": {"a": 0.6, "<eos>": 0.4},
    "aca": {"<eos>": 1.0},
}


@pytest.fixture
def database(where: str) -> Iterator[Database]:
    with Database.open(where) as opened:
        yield opened


@pytest.fixture
def sample(database: Database) -> SampleRecord:
    return database.samples.add("a", title="one")


def model() -> Model:
    return Model(ScriptedBackend(TABLE))


def made(database: Database, sample: SampleRecord, **fields: Any) -> Any:
    return generation.generate(database, model(), sample, GenerationConfig(**fields))[0]


def test_a_generated_completion_says_how_it_was_made(database: Database, sample: SampleRecord) -> None:
    record = made(database, sample)
    assert (record.text, record.token_ids, record.finish_reason, record.truncated) == ("bc", (1, 2, 3), "eos", False)
    assert record.spans == (SpanRecord(0, 3, "sampled"),)
    assert record.model == "scripted"
    (measured,) = database.logprobs.of(record.id)
    assert [round(math.exp(token.logprob), 5) for token in measured.tokens] == [0.5, 0.9, 1.0]


def test_several_at_once_are_one_step_of_the_history(database: Database, sample: SampleRecord) -> None:
    config = GenerationConfig(do_sample=True, seed=5, num_return_sequences=3)
    records = generation.generate(database, model(), sample, config)
    assert [r.seed for r in records] == [5, 6, 7]
    database.history.undo()
    assert database.completions.of(sample.id) == []


def test_a_truncated_completion_goes_on_from_its_own_ids(database: Database, sample: SampleRecord) -> None:
    parent = made(database, sample, max_new_tokens=1)
    assert (parent.text, parent.truncated) == ("b", True)
    (child,) = generation.continue_completion(database, model(), parent, GenerationConfig())
    assert (child.text, child.token_ids, child.finish_reason) == ("bc", (1, 2, 3), "eos")
    assert (child.parent_id, child.branch_position) == (parent.id, 1)
    assert child.spans == (SpanRecord(0, 1, "sampled"), SpanRecord(1, 3, "sampled"))
    (measured,) = database.logprobs.of(child.id)
    assert [round(math.exp(token.logprob), 5) for token in measured.tokens] == [0.5, 0.9, 1.0]
    with pytest.raises(InputError, match="ended by EOS"):
        generation.continue_completion(database, model(), child, GenerationConfig())


def test_a_typed_text_is_tokenized_and_goes_on(database: Database, sample: SampleRecord) -> None:
    parent = editing.write(database, sample, "c", truncated=True)
    (child,) = generation.continue_completion(database, model(), parent, GenerationConfig())
    assert (child.text, child.token_ids) == ("ca", (2, 0, 3))
    assert child.spans == (SpanRecord(0, 1, "typed"), SpanRecord(1, 3, "sampled"))


def test_a_completion_goes_on_and_is_scored_after_its_own_revision_of_the_prompt(
    database: Database, sample: SampleRecord
) -> None:
    parent = made(database, sample, max_new_tokens=1)
    database.samples.revise(sample.id, "ac")
    (child,) = generation.continue_completion(database, model(), parent, GenerationConfig())
    assert (child.text, child.prompt_id) == ("bc", parent.prompt_id)
    assert generation.score(database, model(), child).sum_logprob == pytest.approx(math.log(0.45), abs=1e-4)


def test_an_edit_of_a_truncated_text_is_truncated_unless_its_end_was_typed(database: Database, sample: SampleRecord) -> None:
    parent = made(database, sample, max_new_tokens=2)
    assert (parent.text, parent.truncated) == ("bc", True)
    assert editing.edit(database, parent, "ac", model=model()).truncated
    assert not editing.edit(database, parent, "bca", model=model()).truncated


def test_any_model_can_score_any_completion(database: Database, sample: SampleRecord) -> None:
    record = editing.write(database, sample, "bc", model="somebody else")
    measured = generation.score(database, model(), record)
    assert measured.sum_logprob == pytest.approx(math.log(0.45), abs=1e-4)
    assert [m.model for m in database.logprobs.of(record.id)] == ["scripted"]


def test_a_draft_grows_and_a_cancelled_one_keeps_its_text(database: Database, sample: SampleRecord) -> None:
    whole = generation.Draft(database, model(), sample, GenerationConfig())
    assert "".join(event.text for event in whole.events()) == "bc"
    assert whole.record.draft
    assert whole.save().draft is False
    endless = Model(ScriptedBackend({}, context_window=10**6))
    draft = generation.Draft(database, endless, sample, GenerationConfig(ignore_eos=True, do_sample=True, seed=0), every_tokens=2)
    for i, _ in enumerate(events := draft.events()):
        if i == 4:
            events.close()  # type: ignore[attr-defined]
            break
    kept = database.completions.get(draft.record.id)
    assert (kept.finish_reason, kept.truncated, len(kept.token_ids or ())) == ("cancelled", True, 5)


def test_picked_tokens_are_exactly_the_ids_and_each_pick_is_one_forward_pass_of_one_token(
    database: Database, sample: SampleRecord
) -> None:
    backend = ScriptedBackend(TABLE)
    with TokenByToken(database, Model(backend), sample) as session:
        shown = session.candidates(1)
        assert [(c.text, c.probability, c.ends) for c in shown.shown] == [("b", 0.5, False), ("<eos>", pytest.approx(0.2), True)]
        assert shown.others == pytest.approx(0.3)
        passes, tokens = backend.forward_passes, backend.tokens_computed
        session.pick(2)
        session.candidates()
        assert (backend.forward_passes - passes, backend.tokens_computed - tokens) == (1, 1)
        session.pick(0)
        session.undo()
        assert session.text == "c"
        session.pick(3)
        with pytest.raises(InputError, match="has ended"):
            session.pick(1)
        record = session.save()
    assert (record.text, record.token_ids, record.finish_reason, record.truncated) == ("c", (2, 3), "eos", False)
    assert record.spans == (SpanRecord(0, 2, "picked"),)


HALVES = ["a", "ab", "b", " ", "\n", b"\xf0\x9f", b"\xa6\x94", " a"]
"""Among them the two halves of a hedgehog."""


def halves() -> Model:
    return Model(ScriptedBackend(lambda ids: [-i / 4 for i in range(len(HALVES))] + [-3.0], codec=ScriptedTokenizer(HALVES)))


def test_whitespace_and_halves_of_a_character_are_picked_as_they_are(database: Database, sample: SampleRecord) -> None:
    with TokenByToken(database, halves(), sample) as session:
        offered = {c.token_id: c.text for c in session.candidates(9).shown}
        assert offered == {0: "a", 1: "ab", 2: "b", 3: " ", 4: "\n", 5: "\ufffd", 6: "\ufffd\ufffd", 7: " a", 8: "<eos>"}
        seen = []
        for token_id in (3, 4, 5, 6, 7, 3):
            session.pick(token_id)
            seen.append(session.text)
        assert [text.encode().decode() for text in seen] == seen  # valid at every step
        assert (seen[0], seen[1], seen[3], seen[4], seen[5]) == (" ", " \n", " \n🦔", " \n🦔 a", " \n🦔 a ")
        whole = session.save()
        session.undo()
        session.undo()
        session.undo()
        half = session.save()
    assert (whole.text, whole.token_ids, whole.finish_reason) == (" \n🦔 a ", (3, 4, 5, 6, 7, 3), "user")
    assert (half.text, half.token_ids) == (seen[2], (3, 4, 5))
    (child,) = generation.continue_completion(database, halves(), half, GenerationConfig(max_new_tokens=1, logit_bias={6: 9.0}))
    assert (child.text, child.token_ids) == (" \n🦔", (3, 4, 5, 6))


def test_each_of_many_picks_is_one_forward_pass_of_one_token_and_undo_is_none(database: Database, sample: SampleRecord) -> None:
    backend = ScriptedBackend(everything_follows)
    with TokenByToken(database, Model(backend), sample, prefill="b") as session:
        session.candidates()
        counted = [(backend.forward_passes, backend.tokens_computed)]
        for token_id in (0, 1, 2, 0):
            session.pick(token_id)
            session.candidates()
            counted.append((backend.forward_passes, backend.tokens_computed))
        for _ in range(3):
            session.undo()
            session.candidates(search="a")
        counted.append((backend.forward_passes, backend.tokens_computed))
        session.pick(1)
        session.candidates()
        counted.append((backend.forward_passes, backend.tokens_computed))
        assert session.token_ids == (1, 0, 1)
    steps = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(counted)]
    assert steps == [(1, 1)] * 4 + [(0, 0)] + [(1, 1)]


def test_what_has_ids_is_never_tokenized_again(database: Database, sample: SampleRecord) -> None:
    """The text "ab" would be one token, and was picked as two."""
    config = GenerationConfig(max_new_tokens=1, logit_bias={3: 9.0})
    with TokenByToken(database, halves(), sample) as session:
        session.pick(0)
        session.pick(2)
        picked = session.save()
    assert tuple(halves().codec.encode(picked.text)) == (1,)
    (child,) = generation.continue_completion(database, halves(), picked, config)
    assert child.spans == (SpanRecord(0, 2, "picked"), SpanRecord(2, 3, "sampled"))
    (again,) = generation.continue_completion(database, halves(), child, config)
    assert (again.text, again.token_ids) == ("ab  ", (0, 2, 3, 3))
    assert [token.token_id for token in generation.score(database, halves(), again).tokens] == [0, 2, 3, 3]
    edited = editing.edit(database, again, "ab  b", model=halves())
    assert (edited.token_ids, edited.branch_position) == ((0, 2, 3, 3, 2), 4)
    # Under another model the same text has other ids, made once.
    backend = ScriptedBackend(lambda ids: [0.0, 0.0, -1.0, -9.0], codec=ScriptedTokenizer(["ab", " ", "a"]))
    backend.info = replace(backend.info, name="other", fingerprint="other")
    (grown,) = generation.continue_completion(database, Model(backend), again, GenerationConfig(max_new_tokens=1))
    assert grown.token_ids is not None
    assert grown.token_ids[:3] == (0, 1, 1)
    assert database.tokenizations.of(again.id, "other") == (0, 1, 1)


def test_picking_may_stop_anywhere_and_the_model_may_finish_the_rest(database: Database, sample: SampleRecord) -> None:
    with TokenByToken(database, model(), sample, prefill="c") as session:
        session.type("a")
        stopped = session.save()
        session.finish()
        finished = session.save()
        session.undo()
        assert session.token_ids == (2, 0)
    assert (stopped.text, stopped.finish_reason, stopped.truncated) == ("ca", "user", True)
    assert (finished.text, finished.token_ids, finished.finish_reason) == ("ca", (2, 0, 3), "eos")
    assert finished.spans == (SpanRecord(0, 1, "prefill"), SpanRecord(1, 2, "typed"), SpanRecord(2, 3, "sampled"))


def test_an_edit_keeps_the_ids_and_measures_of_what_it_does_not_touch(database: Database, sample: SampleRecord) -> None:
    parent = made(database, sample)
    child = editing.edit(database, parent, "bac", model=model())
    assert (child.token_ids, child.model, child.finish_reason) == ((1, 0, 2, 3), "scripted", "written")
    assert child.spans == (SpanRecord(0, 1, "sampled"), SpanRecord(1, 2, "typed"), SpanRecord(2, 4, "sampled"))
    (measured,) = database.logprobs.of(child.id)
    assert [token.token_id for token in measured.tokens] == [1]
    with pytest.raises(InputError, match="the same"):
        editing.edit(database, parent, "bc")


CODEC = ScriptedTokenizer(["a", "b", "ab", "ba", "é", "c"])


@given(old=st.text("abcé", max_size=12), new=st.text("abcé", max_size=12))
def test_an_edit_spells_the_new_text_whatever_was_changed(old: str, new: str) -> None:
    ids = (*CODEC.encode(old), *CODEC.eos_token_ids)
    found = editing.edit_of(CODEC, ids, old, new)
    rebuilt = (*ids[: found.kept_start], *found.typed, *ids[len(ids) - found.kept_end :])
    assert CODEC.decode(rebuilt) == new
    if old == new:
        assert found.typed == ()


def everything_follows(ids: Sequence[int]) -> list[float]:
    """Of a, b and c each may follow every text, each text with numbers of its own; EOS hardly ever."""
    return [*(-((7 * sum(ids) + 3 * len(ids) + i) % 5) / 2 for i in range(3)), -20.0]


def test_measuring_an_edit_starts_at_the_edit_and_says_what_measuring_all_of_it_says(
    database: Database, sample: SampleRecord
) -> None:
    config = GenerationConfig(do_sample=True, seed=2, max_new_tokens=40, ignore_eos=True)
    backend = ScriptedBackend(everything_follows)
    writer = Model(backend)
    parent = generation.generate(database, writer, sample, config)[0]
    assert parent.token_ids is not None
    assert parent.text[36:] == "aaac"
    text = parent.text[:36] + "bab" + parent.text[37:]
    child = editing.edit(database, parent, text, model=writer)
    assert (child.branch_position, child.token_ids) == (36, (*parent.token_ids[:36], 1, 0, 1, *parent.token_ids[37:]))

    before, known = backend.tokens_computed, database.logprobs.get(child.id, "scripted").tokens
    measured = generation.score(database, writer, child)
    # Prompt and the 36 known tokens are remembered, but for the last of them, whose answer measures the first typed one; of the
    # six from the edit on the last is not computed, since nothing follows it.
    assert backend.tokens_computed - before == 1 + 5
    assert (measured.start, tuple(measured.tokens[:36])) == (0, tuple(known))
    fresh = database.completions.add(
        sample.id, NewCompletion(text=text, model="x", finish_reason="written", token_ids=child.token_ids)
    )
    assert [(t.token_id, t.logprob, t.rank, t.alternatives) for t in measured.tokens] == [
        (t.token_id, t.logprob, t.rank, t.alternatives)
        for t in generation.score(database, Model(ScriptedBackend(everything_follows)), fresh).tokens
    ]
    assert database.completions.get(child.id).mean_logprob == pytest.approx(measured.sum_logprob / 42, abs=1e-6)


def test_measuring_an_edit_starts_at_its_beginning_where_the_known_measures_do_not_serve(
    database: Database, sample: SampleRecord
) -> None:
    config = GenerationConfig(do_sample=True, seed=2, max_new_tokens=10, ignore_eos=True)
    writer = Model(ScriptedBackend(everything_follows))
    parent = generation.generate(database, writer, sample, config)[0]
    child = editing.edit(database, parent, parent.text[:8] + "abba", model=writer)
    database.logprobs.drop_alternatives([child.id])
    assert [len(token.alternatives) for token in generation.score(database, writer, child, top=3).tokens] == [3] * 12
