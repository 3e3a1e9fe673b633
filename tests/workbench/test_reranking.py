"""Searches inside a tree, and the tree ranked again without the model: held to fresh searches by the engine."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.decoding.config import GenerationConfig
from ramify.errors import ConfigError, InputError
from ramify.workbench.beam_tree import BeamTree
from workbench.growing import PROMPT, grown, tree_in

slowly = settings(deadline=None, derandomize=True, max_examples=12)
EOS = 4  # of the trees of four words

SEARCHES = st.fixed_dictionaries(
    {"num_beams": st.integers(2, 4), "max_new_tokens": st.integers(1, 4), "num_return_sequences": st.integers(1, 2)},
    optional={
        "early_stopping": st.sampled_from([True, False, "never"]),
        "length_penalty": st.sampled_from([-0.5, 0.0, 1.0, 2.0]),
        "beam_rule": st.just("early_stopped"),
    },
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "repetition_penalty": st.sampled_from([0.7, 1.5]),
        "presence_penalty": st.sampled_from([-1.0, 1.0]),
        "frequency_penalty": st.sampled_from([0.5, 2.0]),
        "encoder_repetition_penalty": st.sampled_from([0.8, 1.3]),
        "no_repeat_ngram_size": st.integers(1, 2),
        "min_new_tokens": st.integers(1, 3),
        "suppress_tokens": st.sampled_from([[0], [1, 3]]),
        "begin_suppress_tokens": st.just([2]),
        "bad_words_ids": st.sampled_from([[[0, 1]], [[2], [1, 1]]]),
        "logit_bias": st.sampled_from([{3: 2.0}, {0: -3.0, EOS: 1.0}]),
        "sequence_bias": st.just([[[0, 2], 1.5]]),
        "exponential_decay_length_penalty": st.sampled_from([(1, 1.5), (0, 0.5)]),
        "forced_eos_token_id": st.just(EOS),
        "stop_strings": st.sampled_from(["ab", "d"]),
        "stop_token_ids": st.just([2]),
        "ignore_eos": st.just(True),
    },
)


def shown(results: Any) -> list[Any]:
    return [(r.generated_token_ids, r.finish_reason, r.beam_score, r.text) for r in results]


def fitting(fields: dict[str, Any]) -> GenerationConfig | None:
    """The config, where these settings do not contradict each other."""
    if fields["num_return_sequences"] > fields["num_beams"]:
        return None
    if fields.get("beam_rule") and "early_stopping" in fields:
        return None
    try:
        return GenerationConfig(**fields)
    except ConfigError:
        return None


@slowly
@given(st.integers(0, 1000), SEARCHES, RULES)
def test_a_search_in_the_tree_is_the_engines(seed: int, search: dict[str, Any], rules: dict[str, Any]) -> None:
    config = fitting(search | rules)
    if config is None:
        return
    with grown(4, seed) as (tree, _):
        outcome = tree.search(config)
        assert shown(outcome.results) == shown(tree.model.completions(PROMPT, config))
        for result in outcome.results:
            assert tree.find(result.generated_token_ids) is not None


@slowly
@given(st.integers(0, 1000), SEARCHES, RULES, RULES, st.sampled_from([1, 2, 3, 4, 5]))
def test_a_tree_ranked_again_equals_a_fresh_search_or_says_that_it_cannot(
    seed: int, search: dict[str, Any], first: dict[str, Any], then: dict[str, Any], cached: int
) -> None:
    before, after = fitting(search | first), fitting(search | then)
    if before is None or after is None:
        return
    with grown(4, seed, cached=cached) as (tree, _):
        tree.search(before)
        passes = tree.model.engine.forward_passes
        outcome = tree.rerank(after)
        assert tree.model.engine.forward_passes == passes
        # However little the tree knows, looking where it says so decides it in the end, and never otherwise.
        for _ in range(200):
            if outcome.decided:
                break
            assert outcome.results == ()
            assert tree.cover(outcome) == len(outcome.unknown)
            outcome = tree.rerank(after)
        assert outcome.decided
        assert shown(outcome.results) == shown(tree.model.completions(PROMPT, after))


@slowly
@given(st.integers(0, 1000), st.integers(2, 3), RULES)
def test_a_tree_grown_by_hand_comes_to_the_same_search(seed: int, beams: int, rules: dict[str, Any]) -> None:
    config = fitting({"num_beams": beams, "max_new_tokens": 3, "num_return_sequences": 1} | rules)
    if config is None:
        return
    with grown(4, seed, cached=5) as (tree, _):
        tree.beam_out(width=5, depth=3, spread=2)
        tree.beam_out(width=3, depth=3, spread=3)
        passes = tree.model.engine.forward_passes
        outcome = tree.rerank(config)
        assert tree.model.engine.forward_passes == passes
        for _ in range(200):
            if outcome.decided:
                break
            assert tree.cover(outcome) == len(outcome.unknown)
            outcome = tree.rerank(config)
        assert shown(outcome.results) == shown(tree.model.completions(PROMPT, config))


@slowly
@given(st.integers(0, 1000), st.integers(0, 99), st.sampled_from([{}, {"temperature": 0.7}, {"top_k": 2}, {"top_p": 0.8}]))
def test_beam_sampling_is_replayed_where_every_token_is_known(seed: int, draw: int, filters: dict[str, Any]) -> None:
    config = GenerationConfig(num_beams=3, max_new_tokens=3, do_sample=True, seed=draw, **filters)
    with grown(4, seed) as (tree, _):
        fresh = tree.search(config)
        assert shown(fresh.results) == shown(tree.model.completions(PROMPT, config))
        assert shown(tree.rerank(config).results) == shown(fresh.results)
    with grown(4, seed, cached=2) as (tree, _):
        again = tree.rerank(config)
        assert not again.decided
        for _ in range(20):
            if not again.decided:
                tree.cover(again)
                again = tree.rerank(config)
        assert shown(again.results) == shown(fresh.results)


@slowly
@given(st.integers(0, 1000), st.floats(0.1, 3.0))
def test_diverse_beams_run_and_replay_in_the_tree(seed: int, penalty: float) -> None:
    config = GenerationConfig(num_beams=4, num_beam_groups=2, diversity_penalty=penalty, max_new_tokens=3, num_return_sequences=3)
    with grown(4, seed) as (tree, _):
        fresh = tree.search(config)
        assert shown(fresh.results) == shown(tree.model.completions(PROMPT, config))
        assert shown(tree.rerank(config).results) == shown(fresh.results)


@slowly
@given(st.integers(0, 1000), st.integers(2, 4), RULES)
def test_every_verdict_follows_from_the_numbers(seed: int, beams: int, rules: dict[str, Any]) -> None:
    config = fitting({"num_beams": beams, "max_new_tokens": 3, "num_return_sequences": 1} | rules)
    if config is None:
        return
    with grown(4, seed, cached=5) as (tree, _):
        tree.beam_out(width=5, depth=3, spread=2)
        tree.beam_out(width=3, depth=3, spread=3)
        outcome = tree.rerank(config)
        results = set(outcome.paths)
        for node_id, verdict in tree.verdicts(outcome).items():
            path = tree.path(node_id)
            assert 0 <= verdict.step <= len(path)
            assert (verdict.state == "best") == (path in results)
            if verdict.state == "crowded":
                # As many were better as there are beams.
                assert verdict.score is not None
                assert len(verdict.rivals) >= beams
                assert all(score > verdict.score for _, score in verdict.rivals)
            if verdict.state == "removed":
                assert verdict.processor in config.order
            assert verdict.reason


@pytest.mark.parametrize("cached", [1, 2, 5])
@pytest.mark.parametrize("fields", [{"regex": "(ac|bd)*a"}, {"choices": ["cab", "cad", "da"]}, {"forbidden_words": ["a"]}])
def test_constraints_hold_in_a_tree_ranked_again(cached: int, fields: dict[str, Any]) -> None:
    config = GenerationConfig(num_beams=3, max_new_tokens=5, num_return_sequences=2, **fields)
    with grown(4, 11, cached=cached) as (tree, _):
        tree.search(num_beams=3, max_new_tokens=5)
        outcome = tree.rerank(config)
        for _ in range(100):
            if not outcome.decided:
                tree.cover(outcome)
                outcome = tree.rerank(config)
        fresh = tree.model.completions(PROMPT, config)
        assert shown(outcome.results) == shown(fresh)
        assert shown(tree.search(config).results) == shown(fresh)


def test_a_dead_beam_says_which_processor_or_which_rivals() -> None:
    with grown(4, 7) as (tree, _):
        tree.beam_out(width=5, depth=1)
        outcome = tree.search(num_beams=2, max_new_tokens=2, suppress_tokens=[1])
        removed = tree.why(outcome, (1, 0))
        assert (removed.state, removed.step, removed.processor, removed.dead) == ("removed", 1, "suppress_tokens", True)
        assert removed.reason == "token 1 was removed by suppress_tokens"
        crowded = tree.why(outcome, (3,))
        assert crowded.state == "crowded"
        assert crowded.reason.startswith("crowded out at token 1 with -")
        first = tree.candidates()
        logprobs = {t.token_id: t.logprob for t in first}
        assert crowded.score == pytest.approx(logprobs[3])
        assert [rival for rival, _ in crowded.rivals] == [(0,), (2,)]
        assert tree.why(outcome, (4,)).rivals[:2] == crowded.rivals
        assert tree.why(outcome, outcome.paths[0]).state == "best"


def test_beams_that_a_search_gave_up_say_why_and_a_later_search_revives_them() -> None:
    with grown(4, 3) as (tree, _):
        outcome = tree.search(num_beams=3, max_new_tokens=4)
        dead = [node for node in tree.nodes() if node.dead_reason is not None]
        assert dead
        for node in dead:
            assert node.dead_reason is not None
            assert node.dead_reason.startswith("crowded out at token")
            assert tree.path(node) not in outcome.paths
        tree.search(num_beams=8, max_new_tokens=4, num_return_sequences=8)
        alive = {node.id for node in tree.nodes() if node.dead_reason is None}
        assert {node.id for node in dead} & alive


def test_a_search_begins_at_any_node_and_the_prompt_reaches_to_it() -> None:
    with grown(4, 7) as (tree, _):
        (node,) = tree.beam_out(tokens=[2], depth=1)
        outcome = tree.search(num_beams=2, max_new_tokens=3, at=node, repetition_penalty=1.3)
        fresh = tree.model.completions((0, 1, 2), num_beams=2, max_new_tokens=3, repetition_penalty=1.3)
        assert shown(outcome.results) == shown(fresh)
        assert tree.node(outcome.nodes[outcome.paths[0]]).parent_id is not None
        assert shown(tree.rerank(outcome.config, at=node).results) == shown(fresh)
        with pytest.raises(InputError, match="not below node"):
            tree.why(outcome, tree.root)


def test_a_search_that_a_tree_cannot_run_is_refused_by_name() -> None:
    with grown() as (tree, _):
        with pytest.raises(ConfigError, match="the settings ask for greedy"):
            tree.search(max_new_tokens=3)
        with pytest.raises(ConfigError, match="the settings ask for sampling"):
            tree.rerank(temperature=0.5)


SAMPLING = st.fixed_dictionaries(
    {"temperature": st.sampled_from([0.3, 0.8, 1.7])},
    optional={
        "top_k": st.integers(1, 4),
        "top_p": st.sampled_from([0.5, 0.9]),
        "min_p": st.sampled_from([0.1, 0.4]),
        "epsilon_cutoff": st.sampled_from([0.05, 0.2]),
        "eta_cutoff": st.sampled_from([0.05, 0.2]),
        "typical_p": st.just(0.7),
        "repetition_penalty": st.sampled_from([0.7, 1.5]),
        "presence_penalty": st.just(1.0),
        "suppress_tokens": st.just([1]),
        "logit_bias": st.just({3: 2.0}),
    },
)


@slowly
@given(st.integers(0, 1000), SAMPLING, st.integers(1, 8))
def test_bounds_under_other_rules_hold_the_truth(seed: int, rules: dict[str, Any], cached: int) -> None:
    config = GenerationConfig(max_new_tokens=3, **rules)
    with grown(7, seed, cached=cached) as (tree, _):
        tree.beam_out(width=3, depth=3, spread=2)
        found = tree.under(config)
        pipeline = tree.model.engine.pipeline(tree._request((), config, {}))
        for node in tree.nodes()[1:]:
            path, rescored = tree.path(node), found[node.id]
            truth, removed = 0.0, False
            for at in range(len(path)):
                with tree.model.branch((*tree.prompt_ids, *path[:at])) as branch:
                    row = rules_row(tree, config, path[:at])
                    processed = torch.log_softmax(pipeline(branch.logits().unsqueeze(0), [row]), dim=-1)
                value = float(processed[0, path[at]])
                truth, removed = truth + value, removed or value == -math.inf
            assert rescored.total.low - 1e-4 <= truth <= rescored.total.high + 1e-4
            assert not rescored.unreachable or removed
            if cached == 8 and "repetition_penalty" not in rules:
                assert not rescored.unknown
                assert rescored.unreachable == removed


def rules_row(tree: BeamTree, config: GenerationConfig, path: Any) -> Any:
    from ramify.decoding.pipeline import Row

    return Row(prompt_ids=tree.prompt_ids, generated_ids=list(path), limit=config.max_new_tokens)


def test_a_good_branch_that_sampling_never_reaches_is_found() -> None:
    # The first token is outside the nucleus, and everything after it is certain.
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from ramify.engine.model import Model
    from ramify.models.scripted import ScriptedBackend
    from ramify.store.database import Database

    table = {
        "ab": {"a": 0.55, "b": 0.35, "c": 0.1},
        "aba": {"a": 0.3, "b": 0.3, "c": 0.4},
        "abac": {"<eos>": 0.3, "a": 0.7},
        "abc": {"b": 1.0},
        "abcb": {"<eos>": 1.0},
    }
    with TemporaryDirectory() as folder, Database.open(Path(folder) / "w.ramify") as database:
        tree = tree_in(database, Model(ScriptedBackend(table)))
        tree.beam_out(width=1, depth=3)
        assert tree.find_unlikely(top_p=0.8) == []
        (found,) = tree.find_unlikely(top_p=0.8, explore=1, depth=3)[:1]
        assert (found.text, found.beats) == ("cb", 0.0)
        assert found.value == pytest.approx(math.log(0.1) / 3)
        assert found.removed == ((0, "top_p", pytest.approx(math.log(0.1))),)
        cumulative = {u.text: u.beats for u in tree.find_unlikely(top_p=0.8, by="cumulative")}
        assert cumulative["cb"] == 0.0
        assert tree.find_unlikely(top_p=0.8, at_least=-0.5) == []


def test_the_real_models_search_in_the_tree_is_the_engines(load: Any, tmp_path: Any) -> None:
    from ramify.store.database import Database

    model = load("llama")
    with Database.open(tmp_path / "w.ramify") as database:
        sample = database.samples.add(prompt="Once upon a time")
        with BeamTree.start(database, model, sample.id, cached=8) as tree:
            fields: dict[str, Any] = {"num_beams": 4, "max_new_tokens": 12, "num_return_sequences": 3, "length_penalty": 0.8}
            outcome = tree.search(**fields)
            fresh = model.completions("Once upon a time", **fields)
            assert [r.generated_token_ids for r in outcome.results] == [r.generated_token_ids for r in fresh]
            assert [r.beam_score for r in outcome.results] == pytest.approx([r.beam_score for r in fresh], abs=1e-5)
            passes = model.engine.forward_passes
            again = tree.rerank(**fields)
            assert model.engine.forward_passes == passes
            assert again.paths == outcome.paths
            assert [r.beam_score for r in again.results] == pytest.approx([r.beam_score for r in fresh], abs=1e-5)
            fields["repetition_penalty"] = 1.05
            stricter = tree.rerank(**fields)
            for _ in range(100):
                if not stricter.decided:
                    tree.cover(stricter)
                    stricter = tree.rerank(**fields)
            fresh = model.completions("Once upon a time", **fields)
            assert stricter.paths == tuple(result.generated_token_ids for result in fresh)
