"""The engine on a model whose every probability is written down."""

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.errors import ConfigError, EngineError, InputError, PromptTooLongError
from ramify.models.base import Extension, Outputs
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer

TABLE = {
    "a": {"b": 0.5, "c": 0.3, "<eos>": 0.2},
    "ab": {"c": 0.9, "<eos>": 0.1},
    "abc": {"<eos>": 1.0},
    "ac": {"a": 0.6, "<eos>": 0.4},
    "aca": {"<eos>": 1.0},
}


def model(table: Any = None, **options: Any) -> Model:
    return Model(ScriptedBackend(TABLE if table is None else table, **options))


def test_greedy_takes_the_likeliest_token_until_eos() -> None:
    result = model().complete("a", logprobs=3)
    assert (result.text, result.finish_reason, result.truncated) == ("bc", "eos", False)
    assert result.token_ids == (1, 2, 3)
    assert result.logprobs is not None
    assert [round(math.exp(t.logprob), 6) for t in result.logprobs] == [0.5, 0.9, 1.0]
    first = result.logprobs[0]
    assert [(a.text, round(math.exp(a.logprob), 6)) for a in first.alternatives] == [("b", 0.5), ("c", 0.3), ("", 0.2)]
    assert first.rank == 1
    assert first.entropy == pytest.approx(-(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2)), abs=1e-6)


def test_logprobs_stand_before_and_after_the_processors() -> None:
    result = model().complete("a", logprobs=2, logit_bias={2: 100.0}, max_new_tokens=1)
    assert result.logprobs is not None
    (token,) = result.logprobs
    assert (token.token_id, token.raw.rank, round(math.exp(token.raw.logprob), 6)) == (2, 2, 0.3)
    assert token.processed is not None
    assert (token.processed.rank, round(token.processed.logprob, 6)) == (1, 0.0)


def test_a_completion_cut_by_length_is_truncated() -> None:
    result = model().complete("a", max_new_tokens=1)
    assert (result.text, result.finish_reason, result.truncated) == ("b", "length", True)


def test_a_prompt_that_fits_ends_with_the_window() -> None:
    # "a" four times, then anything: four tokens of prompt leave room for two.
    result = model({}, context_window=6).complete("aaaa", ignore_eos=True)
    assert (len(result.token_ids), result.finish_reason) == (2, "length")


def test_a_prompt_that_leaves_no_room_is_refused_with_both_numbers() -> None:
    with pytest.raises(PromptTooLongError, match=r"has 6 tokens.*window holds 6") as caught:
        model({}, context_window=6).complete("aaaaaa")
    assert (caught.value.tokens, caught.value.context_window) == (6, 6)


def test_an_empty_prompt_starts_from_bos_and_is_refused_without_one() -> None:
    with pytest.raises(InputError, match="no BOS"):
        model().complete("")
    with_bos = model({("<bos>",): {"c": 1.0}}, codec=ScriptedTokenizer(bos="<bos>"))
    assert with_bos.complete("", max_new_tokens=1).text == "c"


def test_a_prefill_is_part_of_the_text_and_marked() -> None:
    result = model().complete("a", prefill="b")
    assert (result.text, result.generated_text) == ("bc", "c")
    assert result.token_ids == (1, 2, 3)
    assert [(s.start, s.end, s.origin) for s in result.spans] == [(0, 1, "prefill"), (1, 3, "sampled")]
    assert result.prompt_token_ids == (0,)
    assert result.generated_token_ids == (2, 3)


def test_a_stop_string_cuts_the_text_and_keeps_the_ids() -> None:
    table = {"a": {"b": 1.0}, "ab": {"c": 1.0}, "abc": {"a": 1.0}}
    result = model(table).complete("a", stop_strings=["ca"])
    assert (result.text, result.token_ids, result.finish_reason, result.stop_string) == ("b", (1, 2, 0), "stop", "ca")
    kept = model(table).complete("a", stop_strings=["ca"], include_stop_str_in_output=True)
    assert kept.text == "bca"
    by_id = model(table).complete("a", stop_token_ids=[2])
    assert (by_id.text, by_id.finish_reason, by_id.stop_string) == ("bc", "stop", "c")


def test_held_back_text_is_shown_when_the_completion_ends_otherwise() -> None:
    table = {"a": {"b": 1.0}, "ab": {"c": 1.0}, "abc": {"<eos>": 1.0}}
    events = list(model(table).stream("a", stop_strings=["ca"]))
    assert [e.text for e in events] == ["b", "", "c"]
    assert events[-1].result is not None
    assert events[-1].result.text == "bc"


def test_eos_can_be_ignored_or_replaced() -> None:
    assert model().complete("a", ignore_eos=True, max_new_tokens=4).token_ids[:3] == (1, 2, 3)
    assert model().complete("a", eos_token_id=1).finish_reason == "eos"


def test_each_of_n_completions_is_reproduced_alone_by_its_own_seed() -> None:
    several = model({}).completions("a", n=5, do_sample=True, seed=40, max_new_tokens=6)
    assert [r.seed for r in several] == [40, 41, 42, 43, 44]
    for result in several:
        alone = model({}).complete("a", do_sample=True, seed=result.seed, max_new_tokens=6)
        assert alone.token_ids == result.token_ids


def test_batch_size_bounds_the_rows_that_run_together() -> None:
    backend = ScriptedBackend({})
    widest = 0
    extend = backend.extend

    def watch(rows: Sequence[Extension]) -> Outputs:
        nonlocal widest
        widest = max(widest, len(rows))
        return extend(rows)

    backend.extend = watch  # type: ignore[method-assign]
    results = Model(backend).completions("a", n=7, do_sample=True, seed=1, max_new_tokens=4, ignore_eos=True, batch_size=3)
    assert (len(results), widest) == (7, 3)


def test_a_batch_gives_one_list_a_prompt_in_order() -> None:
    results = model().batch(["a", "ab", "ac"], max_new_tokens=1, num_return_sequences=1)
    assert [[r.text for r in each] for each in results] == [["b"], ["c"], ["a"]]
    with pytest.raises(InputError, match="prompt 1"):
        model(context_window=4).batch(["a", "aaaaaaaa"])


def test_a_search_that_fails_ends_alone_and_a_forward_pass_that_fails_ends_all_that_ran() -> None:
    backend = ScriptedBackend({})
    extend = backend.extend
    broken = threading.Event()

    def fail(rows: Sequence[Extension]) -> Outputs:
        if broken.is_set():
            raise RuntimeError("no memory")
        return extend(rows)

    backend.extend = fail  # type: ignore[method-assign]
    ours = Model(backend)
    broken.set()
    with pytest.raises(EngineError, match="no memory"):
        ours.complete("a", max_new_tokens=3)
    with pytest.raises(EngineError, match="no memory"):
        list(ours.stream("a", max_new_tokens=3))
    broken.clear()
    assert ours.complete("a", max_new_tokens=3, ignore_eos=True).finish_reason == "length"
    ours.on_engine(ours.engine.tree.clear).result()
    assert backend.size_bytes() == 0


def test_a_request_that_cannot_begin_is_told_and_the_next_one_runs() -> None:
    ours = model()
    generate = ours.engine.generate
    ours.engine.generate = lambda *_: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(EngineError, match="division by zero"):
        ours.complete("a")
    ours.engine.generate = generate  # type: ignore[method-assign]
    assert ours.complete("a").text == "bc"


def test_cancelling_ends_with_the_text_so_far_and_frees_at_once() -> None:
    backend = ScriptedBackend({}, context_window=10**6)
    ours = Model(backend)
    stream = ours.stream("a", ignore_eos=True, do_sample=True, seed=0)
    for _ in range(5):
        next(stream)
    stream.close()
    for _ in range(200):
        if ours.engine.counters()["running"] == 0:
            break
        ours.on_engine(lambda: None).result()
    assert ours.engine.counters()["running"] == 0

    handle = ours.submit(ours.request("a", ignore_eos=True, do_sample=True, seed=0))
    handle.cancel()
    (result,) = handle.future.result()
    assert (result.finish_reason, result.truncated) == ("cancelled", True)


def test_a_time_limit_ends_with_time() -> None:
    ours = model({}, context_window=10**6)
    assert ours.complete("a", ignore_eos=True, max_time=0.05).finish_reason == "time"
    assert ours.complete("a", ignore_eos=True, max_time=0.05, num_beams=2).finish_reason == "time"


def test_a_closed_model_says_so() -> None:
    with model() as ours:
        ours.complete("a")
    with pytest.raises(EngineError, match="closed"):
        ours.complete("a")


def test_settings_are_laid_over_the_configuration_and_unknown_ones_refused() -> None:
    config = GenerationConfig(max_new_tokens=2)
    assert len(model().complete("a", config).token_ids) == 2
    assert len(model().complete("a", config, max_new_tokens=1).token_ids) == 1
    with pytest.raises(ConfigError, match="max_tokens"):
        model().complete("a", config, max_tokens=3)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (5, "int"),
        ([1.5], "whole numbers"),
        ([99], "99"),
        ([-1], "-1"),
        ([{"role": "user", "content": "x"}], "chat template"),
        (None, "NoneType"),
    ],
)
def test_a_prompt_that_is_none_is_refused(prompt: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        model().complete(prompt)


def test_asyncio_gives_what_threads_give() -> None:
    ours = model()

    async def everything() -> None:
        assert (await ours.acomplete("a")).token_ids == ours.complete("a").token_ids
        several = await ours.acompletions("a", n=2, do_sample=True, seed=3)
        assert [r.token_ids for r in several] == [r.token_ids for r in ours.completions("a", n=2, do_sample=True, seed=3)]
        assert [[r.text for r in each] for each in await ours.abatch(["a", "ac"])] == [["bc"], ["a"]]
        assert "".join([e.text async for e in ours.astream("a")]) == "bc"
        assert (await ours.ascore("a", "bc")).logprob == pytest.approx(ours.score("a", "bc").logprob)
        branch = ours.branch("a").extend(2)
        assert (await branch.alogits()).tolist() == branch.logits().tolist()
        assert (await branch.aprobabilities()).tolist() == branch.probabilities().tolist()
        assert await branch.acandidates(1) == branch.candidates(1)
        assert (await branch.acomplete()).token_ids == branch.complete().token_ids == (2, 0, 3)

    asyncio.run(everything())


def test_scoring_measures_each_token_after_those_before_it() -> None:
    scored = model().score("a", "bc", top=1)
    assert [round(math.exp(t.logprob), 6) for t in scored.logprobs] == [0.5, 0.9]
    assert scored.logprob == pytest.approx(math.log(0.45))
    assert scored.mean_logprob == pytest.approx(math.log(0.45) / 2)
    assert model().score("a", "").logprobs == ()


def test_a_branch_shows_its_distribution_and_each_pick_is_one_token() -> None:
    backend = ScriptedBackend(TABLE)
    branch = Model(backend).branch("a")
    assert branch.probabilities().tolist() == pytest.approx([0.0, 0.5, 0.3, 0.2])
    assert [(c.text, round(math.exp(c.logprob), 6)) for c in branch.candidates(2)] == [("b", 0.5), ("c", 0.3)]
    passes, tokens = backend.forward_passes, backend.tokens_computed
    branch.extend(1).logits()
    assert (backend.forward_passes - passes, backend.tokens_computed - tokens) == (1, 1)
    assert (branch.text, branch.token_ids) == ("b", (1,))
    other = branch.fork(at=0).extend(2)
    assert other.probabilities().tolist() == pytest.approx([0.6, 0.0, 0.0, 0.4])
    finished = other.complete()
    assert (finished.text, finished.finish_reason) == ("ca", "eos")
    assert [(s.start, s.end, s.origin) for s in finished.spans] == [(0, 1, "picked"), (1, 3, "sampled")]
    with pytest.raises(InputError, match="0 to 1"):
        branch.fork(at=2)


def test_a_task_of_asyncio_that_is_cancelled_does_not_disturb_the_others(load: Callable[[str], Any]) -> None:
    model = load("tiny")
    alone = model.complete("Once upon a time", max_new_tokens=30).text

    async def story() -> str:
        staying = asyncio.create_task(model.acomplete("Once upon a time", max_new_tokens=30))
        leaving = [asyncio.create_task(model.acomplete("The cat", max_new_tokens=500, ignore_eos=True)) for _ in range(3)]
        events = model.astream("A dog", max_new_tokens=500, ignore_eos=True)
        await anext(events)
        for task in leaving:
            task.cancel()
        await events.aclose()
        assert all(isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*leaving, return_exceptions=True))
        return (await staying).text

    assert asyncio.run(story()) == alone
