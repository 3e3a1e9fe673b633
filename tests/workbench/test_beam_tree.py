"""The beam tree by hand: grow, look, decide, save, come back."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.model import Model
from ramify.errors import InputError, NotFoundError
from ramify.models.scripted import ScriptedBackend
from ramify.store.database import Database
from ramify.store.records import SpanRecord
from ramify.workbench.beam_tree import BeamTree
from ramify.workbench.beam_tree_deciding import Deciding
from workbench.growing import PROMPT, PROMPT_IDS, grown, state, tree_in

slowly = settings(deadline=None, derandomize=True, max_examples=12)

TABLE = {
    "a": {"b": 0.5, "c": 0.3, "a": 0.2},
    "ab": {"c": 0.75, "<eos>": 0.25},
    "abc": {"<eos>": 1.0},
    "ac": {"a": 1.0},
    "aca": {"b": 0.6, "<eos>": 0.4},
}
A, B, C, EOS = range(4)


@pytest.fixture
def database(where: str) -> Any:
    with Database.open(where) as opened:
        yield opened


@pytest.fixture
def tree(database: Database) -> BeamTree:
    model = Model(ScriptedBackend(TABLE))
    return BeamTree.start(database, model, database.samples.add(prompt="a").id)


def test_the_likeliest_tokens_branch_and_each_goes_on_greedily(tree: BeamTree) -> None:
    ends = tree.beam_out(width=2, depth=3)
    assert [tree.path(end) for end in ends] == [(B, C, EOS), (C, A, B)]
    assert [tree.text(end) for end in ends] == ["bc", "cab"]
    assert [end.ended for end in ends] == [True, False]
    assert [end.sum_logprob for end in ends] == pytest.approx([math.log(0.375), math.log(0.18)])
    assert [end.min_logprob for end in ends] == pytest.approx([math.log(0.5), math.log(0.3)])


def test_each_step_is_one_forward_pass_of_one_token_a_branch(tree: BeamTree) -> None:
    engine = tree.model.engine
    tree.beam_out(width=3, depth=3)
    assert (engine.forward_passes, engine.computed_tokens) == (3, 1 + 3 + 3)
    tree.beam_out(width=3, depth=3)
    assert engine.forward_passes == 3
    tree.candidates(tree.find((C, A, B)))
    assert (engine.forward_passes, engine.computed_tokens) == (4, 8)


def test_picked_tokens_branch_wherever_one_points(tree: BeamTree) -> None:
    tree.beam_out(width=1, depth=2)
    (end,) = tree.beam_out(tree.find((B,)), tokens=[EOS])
    assert tree.path(end) == (B, EOS)
    assert (end.origin, end.ended, end.rank) == ("picked", True, 2)
    (end,) = tree.beam_out(tokens=[A], depth=2)
    assert [node.origin for node in tree.database.beams.path(end.id)] == ["picked", "sampled"]


def test_the_same_continuation_found_twice_is_one_path(tree: BeamTree) -> None:
    tree.beam_out(width=2, depth=3)
    before = tree.nodes()
    tree.beam_out(tokens=[B], depth=3)
    tree.beam_out(tree.find((B,)), width=1, depth=2)
    tree.search(num_beams=2, max_new_tokens=3)
    assert [node.id for node in tree.nodes()][: len(before)] == [node.id for node in before]
    assert len({(node.parent_id, node.token_id) for node in tree.nodes()}) == len(tree.nodes())


def test_a_spread_tree_branches_at_every_step(tree: BeamTree) -> None:
    ends = tree.beam_out(width=2, depth=2, spread=2)
    assert [tree.path(end) for end in ends] == [(B, C), (B, EOS), (C, A)]


def test_candidates_are_ranked_named_and_leave_the_others_mass(tree: BeamTree) -> None:
    tree.beam_out(tokens=[C])
    shown = tree.candidates(k=2)
    assert [(t.text, t.rank, t.ends) for t in shown] == [("b", 1, False), ("c", 2, False)]
    assert [t.probability for t in shown] == pytest.approx([0.5, 0.3])
    assert shown.others == pytest.approx(0.2)
    assert shown.entropy == pytest.approx(-sum(p * math.log(p) for p in (0.5, 0.3, 0.2)))
    found = tree.find((C,))
    assert found is not None
    assert [t.node_id for t in shown] == [None, found.id]
    assert [(t.text, t.ends) for t in tree.candidates(tree.beam_out(tokens=[B])[0])] == [("c", False), ("<eos>", True)]


def test_looking_is_no_step_of_the_history_and_what_was_seen_stays(tree: BeamTree) -> None:
    (end,) = tree.beam_out(tokens=[B])
    steps = tree.database.history.list()
    tree.pin(end)
    tree.database.history.undo()
    engine = tree.model.engine
    seen = tree.candidates(end)
    assert tree.database.history.list()[1:] == steps
    # What was undone can still be redone, and nothing that was seen is forgotten.
    passes = engine.forward_passes
    tree.database.history.redo()
    assert tree.node(end).pinned
    tree.database.history.undo()
    tree.database.history.undo()
    assert tree.find((B,)) is None
    tree.database.history.redo()
    found = tree.find((B,))
    assert found is not None
    assert found.next_entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    tree.close()
    again = BeamTree(tree.database, tree.model, tree.id)
    assert again.candidates(found) == seen
    assert again.candidates(found).entropy == seen.entropy
    assert engine.forward_passes == passes


def test_a_tree_is_read_marked_and_saved_without_its_model(tree: BeamTree) -> None:
    tree.beam_out(width=2, depth=3)
    bare = Deciding(tree.database, tree.id)
    assert [ranked.text for ranked in bare.ranked()] == [ranked.text for ranked in tree.ranked()] == ["bc", "cab"]
    made = bare.save(bare.ranked()[0].node)
    kept = tree.database.logprobs.get(made.id, "scripted").tokens
    assert [[alternative[1] for alternative in token.alternatives] for token in kept] == [[b"b", b"c", b"a"], [b"c", b""], [b""]]
    assert [token.token_bytes for token in kept] == [b"b", b"c", b""]
    assert (made.text, made.finish_reason) == ("bc", "eos")


def test_a_workspace_that_cannot_be_written_can_be_looked_at(tree: BeamTree, where: str) -> None:
    (end,) = tree.beam_out(tokens=[B])
    seen = tree.candidates(end)
    with Database.open(where, read_only=True) as readable:
        again = BeamTree.start(readable, tree.model, tree.record.sample_id)
        assert again.candidates(end) == seen
        assert again.candidates(end, search="c").shown[0].text == "c"
        assert again.candidates(again.root).shown[0].text == "b"


def test_candidates_are_searched_by_text_beyond_what_a_node_keeps(database: Database) -> None:
    model = Model(ScriptedBackend(TABLE))
    tree = BeamTree.start(database, model, database.samples.add(prompt="a").id, cached=1)
    assert [t.text for t in tree.candidates(k=10)] == ["b", "c", "a"]
    tree.close()
    assert [(t.text, t.rank) for t in tree.candidates(k=10, search="a")] == [("a", 3)]


def test_a_closed_tree_gives_its_memory_back_and_what_it_knows_needs_no_model(tree: BeamTree) -> None:
    engine = tree.model.engine
    tree.candidates()
    tree.beam_out(width=3, depth=3)
    tree.search(num_beams=2, max_new_tokens=3)
    assert engine.backend.size_bytes() > 0
    tree.close()
    tree.model.on_engine(lambda: None).result()
    assert engine.backend.size_bytes() == 0
    passes = engine.forward_passes
    again = BeamTree(tree.database, tree.model, tree.id)
    assert len(again.candidates().shown) == 3
    again.beam_out(width=3, depth=3)
    again.ranked("entropy")
    again.save(again.leaves()[0])
    assert engine.forward_passes == passes
    again.candidates(again.find((C, A, B)))
    assert engine.forward_passes == passes + 2  # the prompt and the path


def test_pruned_branches_leave_and_resumed_ones_come_back(tree: BeamTree) -> None:
    tree.beam_out(width=2, depth=3)
    whole = [r.text for r in tree.ranked()]
    assert whole == ["bc", "cab"]
    tree.prune(tree.find((B,)))
    assert [r.text for r in tree.ranked()] == ["cab"]
    assert [r.text for r in tree.ranked(pruned=True)] == whole
    assert tree.resume(tree.find((B, C, EOS))) == 1
    assert [r.text for r in tree.ranked()] == whole


def test_pinned_leaves_stand_first(tree: BeamTree) -> None:
    _, worse = tree.beam_out(width=2, depth=3)
    assert tree.pin(worse) == 1
    assert tree.bookmark(worse) == 1
    assert [r.text for r in tree.ranked()] == ["cab", "bc"]
    assert [r.text for r in tree.ranked(pinned_first=False)] == ["bc", "cab"]
    assert tree.pin(worse, on=False) == 1


def test_leaves_are_ranked_by_sum_mean_minimum_and_entropy(tree: BeamTree) -> None:
    tree.beam_out(width=1, depth=1)
    tree.beam_out(tokens=[C], depth=3)
    assert [r.text for r in tree.ranked("cumulative")] == ["b", "cab"]
    assert [r.text for r in tree.ranked("mean")] == ["cab", "b"]
    assert [r.text for r in tree.ranked("minimum")] == ["b", "cab"]
    assert [r.text for r in tree.ranked("entropy")] == ["cab", "b"]
    with pytest.raises(InputError, match="ranked by cumulative, mean, minimum or entropy"):
        tree.ranked("best")  # type: ignore[arg-type]


def test_a_path_is_saved_with_its_very_tokens_their_origins_and_logprobs(database: Database) -> None:
    model = Model(ScriptedBackend(TABLE))
    tree = BeamTree.start(database, model, database.samples.add(prompt="a").id, prefill="b")
    (end,) = tree.beam_out(tokens=[C], depth=2)
    made = tree.save(end)
    assert (made.text, made.generated_text) == ("bc", "c")
    assert made.token_ids == (B, C, EOS)
    assert made.spans == (SpanRecord(0, 1, "prefill"), SpanRecord(1, 2, "picked"), SpanRecord(2, 3, "sampled"))
    assert (made.finish_reason, made.truncated, made.model) == ("eos", False, "scripted")
    kept = database.logprobs.get(made.id, "scripted")
    scored = model.score("ab", (C, EOS), top=10)
    assert kept.start == 1
    assert [(t.token_id, t.logprob, t.rank) for t in kept.tokens] == [
        (t.token_id, pytest.approx(t.logprob, abs=1e-6), t.rank) for t in scored.logprobs
    ]
    assert [t.entropy for t in kept.tokens] == pytest.approx([t.entropy for t in scored.logprobs], abs=2e-6)
    assert tree.save(end.id) == made
    assert tree.node(end).completion_id == made.id


def test_a_path_without_an_end_is_saved_as_stopped_by_its_user(tree: BeamTree) -> None:
    (end,) = tree.beam_out(width=1, depth=2)
    made = tree.save(end)
    assert (made.text, made.finish_reason, made.truncated) == ("bc", "user", True)


def test_a_kept_branch_is_preferred_over_its_siblings(tree: BeamTree) -> None:
    tree.beam_out(width=2, depth=3)
    better, worse = tree.find((C,)), tree.find((B,))
    (implied,) = tree.keep(better, prefer=True)
    texts = {record.id: record.text for record in tree.database.completions.of(tree.record.sample_id)}
    assert (texts[implied.better_id], texts[implied.worse_id], implied.shared_tokens) == ("cab", "bc", 0)
    (again,) = tree.prune(worse, prefer=True)
    assert again == implied
    assert tree.keep(better) == []


def test_the_model_finishes_a_branch(tree: BeamTree) -> None:
    (node,) = tree.beam_out(tokens=[B])
    (end,) = tree.continue_(node)
    assert tree.path(end) == (B, C, EOS)
    assert end.ended
    assert [n.origin for n in tree.database.beams.path(end.id)] == ["picked", "sampled", "sampled"]
    with pytest.raises(InputError, match="is an EOS"):
        tree.beam_out(end, width=1)


def test_a_path_is_replayed_step_by_step(tree: BeamTree) -> None:
    _, end = tree.beam_out(width=2, depth=3)
    scenes = tree.replay(end)
    assert [(s.text, s.place, [x.token_id for x in s.siblings]) for s in scenes] == [("c", 2, [B]), ("ca", 2, []), ("cab", 2, [])]
    assert [token_id for token_id, _ in scenes[0].candidates] == [B, C, A]


def test_leaves_that_read_alike_are_found(database: Database) -> None:
    from ramify.models.scripted import ScriptedTokenizer

    model = Model(ScriptedBackend({}, ScriptedTokenizer(("a", "b", "ab"))))
    tree = BeamTree.start(database, model, database.samples.add(prompt="a").id)
    ends = tree.beam_out(tokens=[0, 2])
    (twin,) = tree.beam_out(ends[0], tokens=[1])
    assert tree.same_text() == [(ends[1].id, twin.id)]


def test_a_tree_belongs_to_its_model_and_its_prefill(tree: BeamTree) -> None:
    other = Model(ScriptedBackend(TABLE))
    object.__setattr__(other.info, "fingerprint", "another")
    with pytest.raises(InputError, match="was grown by scripted"):
        BeamTree(tree.database, other, tree.id)
    with pytest.raises(InputError, match="another prefill"):
        BeamTree.start(tree.database, tree.model, tree.record.sample_id, prefill="b")
    with pytest.raises(NotFoundError, match="has no node 99"):
        tree.node(99)
    with pytest.raises(InputError, match="not both"):
        tree.beam_out(width=1, tokens=[1])
    with pytest.raises(InputError, match="more than 4096"):
        tree.beam_out(width=2, depth=20, spread=2)
    with pytest.raises(InputError, match="token id 9"):
        tree.beam_out(tokens=[9])


@slowly
@given(st.integers(2, 5), st.integers(0, 1000), st.integers(1, 4), st.integers(1, 5), st.integers(1, 2), st.integers(1, 8))
def test_cumulative_logprobs_are_the_scorers(words: int, seed: int, width: int, depth: int, spread: int, cached: int) -> None:
    with grown(words, seed, cached=cached) as (tree, _):
        tree.beam_out(width=width, depth=min(depth, 3 if spread == 2 else 5), spread=spread)
        tree.search(num_beams=2, max_new_tokens=4)
        for node in tree.nodes()[1:]:
            scored = tree.model.score(PROMPT, tree.path(node))
            assert node.sum_logprob == pytest.approx(scored.logprob, abs=1e-5)
            assert node.min_logprob == pytest.approx(min(t.logprob for t in scored.logprobs), abs=1e-6)
            last = scored.logprobs[-1]
            assert (node.rank, node.entropy) == (last.rank, pytest.approx(last.entropy, abs=1e-5))


@slowly
@given(st.integers(0, 1000), st.lists(st.integers(0, 6), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_closing_and_reopening_gives_the_same_tree_and_undo_each_earlier_one(seed: int, moves: list[int], random: Any) -> None:
    with grown(3, seed, cached=2) as (tree, _):
        states = [state(tree)]
        for move in moves:
            node = random.choice([n for n in tree.nodes() if not n.ended])
            before = tree.database.history.list(limit=1)[0].id
            act(tree, node, move)
            made = tree.database.history.list(limit=1)[0].id - before
            assert made <= 1
            if made:
                states.append(state(tree))
        again = BeamTree(tree.database, tree.model, tree.id)
        assert state(again) == states[-1]
        assert [again.path(n) for n in again.nodes()] == [tree.path(n) for n in tree.nodes()]
        for earlier in reversed(states[:-1]):
            tree.database.history.undo()
            assert state(tree) == earlier
        for later in states[1:]:
            tree.database.history.redo()
            assert state(tree) == later


def act(tree: BeamTree, node: Any, move: int) -> None:
    if move == 0:
        tree.beam_out(node, width=2, depth=2)
    elif move == 1:
        tree.pin(node, on=not node.pinned)
    elif move == 2 and node.parent_id is not None:
        tree.prune(node)
    elif move == 3:
        tree.resume(*[n for n in tree.nodes(pruned=True) if n.pruned])
    elif move == 4:
        tree.search(num_beams=2, max_new_tokens=3, at=node)
    elif move == 5:
        tree.candidates(node)
    elif move == 6 and node.parent_id is not None:
        tree.save(node)


def test_a_tree_of_a_real_models_chat_prompt(database: Database, load: Any) -> None:
    model = load("llama")
    sample = database.samples.add(prompt=[{"role": "user", "content": "Tell me of the sea"}])
    with BeamTree.start(database, model, sample.id, prefill="Once") as tree:
        prompt_ids, prefill_ids = model.ids_of(sample.prompt, "Once")
        assert tree.prompt_ids == prompt_ids
        passes = model.engine.forward_passes
        tree.beam_out(width=4, depth=5)
        assert model.engine.forward_passes - passes == 5
        for leaf in tree.leaves():
            scored = model.score(tree.prompt_ids, tree.path(leaf))
            assert leaf.sum_logprob == pytest.approx(scored.logprob, abs=1e-4)
        best = tree.ranked()[0]
        made = tree.save(best.node)
        assert made.token_ids == (*prefill_ids, *tree.path(best.node))
        assert made.text == model.codec.decode(made.token_ids)


def test_the_prompt_ids_are_those_of_the_day_the_tree_was_begun(database: Database) -> None:
    with grown() as (tree, _):
        assert tree.prompt_ids == PROMPT_IDS
    model = Model(ScriptedBackend(TABLE))
    first = tree_in(database, model)
    assert BeamTree(database, model, first.id).prompt_ids == PROMPT_IDS
