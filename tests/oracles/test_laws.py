"""Laws of the engine that need no second implementation: each compares the engine with itself, asked in another way."""

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models_made_here import OTHERS, PAD
from oracles import reference

Load = Callable[[str], Any]
Fields = dict[str, Any]

MODELS = ["llama", "gpt2", "tiny"]
WINDOWED = ["mistral", "gemma2"]

slowly = settings(deadline=None, derandomize=True, max_examples=12)
models = st.sampled_from(MODELS)
any_model = st.sampled_from([*MODELS, "qwen2", "mistral", "gemma2", "mamba", "bloom"])

WORDS = (
    "Once upon",
    " a time",
    " Sonic",
    " the",
    " sea",
    "é😀",
    " привет",
    "\n",
    "{",
    '"to": ',
    "x",
    "<|im_start|>",
    "你好",
    " ",
)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map("".join)
# Short stop strings, so that they do occur: letters, a space, a part of a character's neighbours.
stops = st.lists(st.sampled_from(["e", "a", " ", "th", "j", "\x10", "o", "Son", "é", "😀"]), min_size=1, max_size=3, unique=True)


@st.composite
def fields(draw: st.DrawFn, beams: bool = True) -> Fields:
    """Settings that can act together, of every strategy, with a seed."""
    found: Fields = {"max_new_tokens": draw(st.integers(1, 14)), "seed": draw(st.integers(0, 10_000))}
    ways = ["greedy", "sampling", "contrastive", "constrained"] + (["beam", "beam_sampling", "diverse"] if beams else [])
    way = draw(st.sampled_from(ways))
    if way in ("sampling", "beam_sampling"):
        found["temperature"] = draw(st.sampled_from([0.5, 1.0, 1.8]))
        found |= draw(
            st.sampled_from([{}, {"top_k": 30}, {"top_p": 0.8}, {"min_p": 0.05}, {"typical_p": 0.7}, {"top_k": 50, "top_p": 0.9}])
        )
    if way in ("beam", "beam_sampling"):
        found["num_beams"] = draw(st.integers(2, 4))
        found["length_penalty"] = draw(st.sampled_from([0.5, 1.0, 2.0]))
        found["early_stopping"] = draw(st.sampled_from([True, False, "never"]))
    if way == "diverse":
        found |= {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": draw(st.sampled_from([0.5, 2.0]))}
    if way == "constrained":
        found["max_new_tokens"] += 16
        found |= draw(st.sampled_from([{}, {"temperature": 1.5}] + ([{"num_beams": 3}] if beams else [])))
        found |= draw(
            st.sampled_from(
                [
                    {"regex": "( ?(sea|Sonic|é😀)){1,3}"},
                    {"choices": ["😀 привет", "the end"]},
                    {"json_schema": {"type": "integer"}},
                    {"forbidden_words": ["e", " the", "\x10"]},
                    {"required_words": ["sea"]},
                ]
            )
        )
        return found
    if way == "contrastive":
        found |= {"penalty_alpha": draw(st.sampled_from([0.3, 0.6])), "top_k": draw(st.integers(2, 5))}
    extras = {
        "repetition_penalty": st.sampled_from([0.8, 1.4]),
        "presence_penalty": st.sampled_from([-1.0, 1.0]),
        "frequency_penalty": st.sampled_from([-0.5, 0.7]),
        "no_repeat_ngram_size": st.integers(1, 3),
        "min_new_tokens": st.integers(1, found["max_new_tokens"]),
        "stop_strings": stops,
        "logit_bias": st.just({70: 4.0, 71: -4.0}),
        "encoder_repetition_penalty": st.sampled_from([0.8, 1.3]),
        "begin_suppress_tokens": st.just([80, 81, 82]),
    }
    for name in draw(st.lists(st.sampled_from(sorted(extras)), max_size=3, unique=True)):
        found[name] = draw(extras[name])
    return found


class Near(float):
    """A score, equal to another one up to the rounding of float32 sums."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isclose(self, other, abs_tol=1e-4)

    def __hash__(self) -> int:
        return 0


def essence(result: Any) -> tuple[Any, ...]:
    """What must be the same when the same thing is asked in another way."""
    return (
        result.text,
        result.generated_text,
        result.token_ids,
        result.prompt_token_ids,
        result.finish_reason,
        result.stop_string,
        result.seed,
        None if result.beam_score is None else Near(result.beam_score),
        result.spans,
    )


def essences(results: Any) -> list[tuple[Any, ...]]:
    return [essence(result) for result in results]


# --- stream equals whole


@slowly
@given(any_model, texts, fields(), st.sampled_from([None, "", " Sonic", "é😀"]), st.integers(1, 3))
def test_a_stream_equals_the_whole(load: Load, name: str, prompt: str, given_fields: Fields, prefill: str | None, n: int) -> None:
    model = load(name)
    most = 1 if "penalty_alpha" in given_fields else given_fields.get("num_beams", n)  # contrastive search makes one
    asked = given_fields | {"num_return_sequences": min(n, most)}
    whole = model.completions(prompt, prefill=prefill, logprobs=2, **asked)
    events = list(model.stream(prompt, prefill=prefill, logprobs=2, **asked))
    assert {event.index for event in events} == set(range(len(whole)))
    for i, result in enumerate(whole):
        mine = [event for event in events if event.index == i]
        assert "".join(event.text for event in mine) == result.generated_text
        assert tuple(token for event in mine for token in event.token_ids) == result.generated_token_ids
        assert [event.finish_reason for event in mine] == [None] * (len(mine) - 1) + [result.finish_reason]
        assert [event.result is None for event in mine] == [True] * (len(mine) - 1) + [False]
        assert essence(mine[-1].result) == essence(result)
        streamed = [said for event in mine for said in event.logprobs]
        assert [said.token_id for said in streamed] == [said.token_id for said in result.logprobs]
        assert [said.logprob for said in streamed] == pytest.approx([said.logprob for said in result.logprobs], abs=1e-4)
    if prefill:
        assert all(result.text == prefill + result.generated_text for result in whole)


@pytest.mark.parametrize("name", MODELS)
def test_a_stream_never_shows_half_a_character_nor_the_beginning_of_a_stop_string(load: Load, name: str) -> None:
    model, said = load(name), "Naïve 😀😀 café — привет, 你好 end of it"
    events = list(model.stream("Once upon", choices=[said], max_new_tokens=200))
    assert "".join(event.text for event in events) == said
    assert [event.text for event in events if "\N{REPLACEMENT CHARACTER}" in event.text] == []
    assert len([event for event in events if event.text]) > 5
    for stop, cut in (
        ("😀", "Naïve "),
        ("привет, 你好 e", "Naïve 😀😀 café — "),
        ("café — привек", said),
        ("d of it", said[:-7]),
    ):
        for include in (False, True):
            extra = {"stop_strings": [stop], "include_stop_str_in_output": include}
            events = list(model.stream("Once upon", choices=[said], max_new_tokens=200, **extra))
            met = cut != said
            shown = cut + (stop if include and met else "")
            assert "".join(event.text for event in events) == shown
            result = events[-1].result
            assert (result.text, result.finish_reason, result.stop_string) == (
                (shown, "stop", stop) if met else (said, "eos", None)
            )


# --- a row alone equals the row in any batch


@settings(slowly, max_examples=6)
@given(any_model, st.lists(st.tuples(texts, fields()), min_size=16, max_size=16))
def test_sixteen_requests_of_any_kind_at_once_equal_each_alone(load: Load, name: str, asked: list[tuple[str, Fields]]) -> None:
    model = load(name)

    async def at_once() -> list[Any]:
        return list(await asyncio.gather(*(model.acompletions(prompt, **each) for prompt, each in asked)))

    together = asyncio.run(at_once())
    alone = [model.completions(prompt, **each) for prompt, each in asked]
    assert [essences(results) for results in together] == [essences(results) for results in alone]


@slowly
@given(any_model, st.lists(texts, min_size=1, max_size=9), fields())
def test_rows_of_a_batch_equal_themselves_alone(load: Load, name: str, prompts: list[str], each: Fields) -> None:
    model = load(name)
    batch = model.batch(prompts, **each)
    assert len(batch) == len(prompts)
    for prompt, results in zip(prompts, batch, strict=True):
        alone = model.completions(prompt, **each | {"seed": results[0].seed})
        assert essences(results) == essences(alone)


@slowly
@given(any_model, texts, fields(beams=False), st.integers(2, 8))
def test_each_of_n_completions_is_reproduced_alone_by_its_own_seed(
    load: Load, name: str, prompt: str, each: Fields, n: int
) -> None:
    assume("penalty_alpha" not in each)  # contrastive search makes one
    model = load(name)
    several = model.completions(prompt, n=n, **each)
    assert [result.seed for result in several] == [each["seed"] + i for i in range(n)]
    for result in several:
        assert essence(model.complete(prompt, **each | {"seed": result.seed})) == essence(result)


@pytest.mark.parametrize("name", [*MODELS, "qwen2", "mistral"])
def test_the_size_of_a_batch_changes_no_row(load: Load, name: str) -> None:
    prompts = ["Once upon a time", "e", "One day Sonic wanted to see the sea. He walked", "The end", " привет"]
    asked = {"temperature": 1.3, "max_new_tokens": 12, "seed": 9, "num_return_sequences": 2}
    whole = [essences(results) for results in load(name).batch(prompts, **asked)]
    for size in (1, 2, 3, 16):
        assert [essences(results) for results in load(name).batch(prompts, batch_size=size, **asked)] == whole


# --- cached equals uncached


@slowly
@given(any_model, texts, texts, fields())
def test_cached_equals_uncached(load: Load, name: str, prompt: str, more: str, each: Fields) -> None:
    model = load(name)
    first = model.completions(prompt, **each)
    again = model.completions(prompt, **each)
    fresh = model.completions(prompt, **each | {"use_cache": False})
    assert essences(again) == essences(first)
    assert [essence(result) for result in fresh] == essences(first)
    longer = model.completions(prompt + more, **each)
    assert essences(longer) == essences(model.completions(prompt + more, **each | {"use_cache": False}))


@pytest.mark.parametrize("name", MODELS)
def test_a_second_request_computes_only_what_the_first_did_not(load: Load, name: str) -> None:
    text = "One day Sonic wanted to see the old grey oak. He walked and walked until he met a hungry cat, who said"
    prompt = list(load(name).complete(text, max_new_tokens=1).prompt_token_ids)
    again = load(name).complete(prompt, max_new_tokens=1)
    assert again.cached_tokens == len(prompt) - 1, "the last token is computed again for its logits, or its logits are kept"
    assert load(name).complete(prompt, max_new_tokens=1, use_cache=False).cached_tokens == 0


# --- a fork equals a recomputation


@slowly
@given(st.sampled_from([*MODELS, "mistral", "gemma2", "mamba", "bloom"]), st.data())
def test_a_tree_of_forks_equals_recomputation_whatever_is_extended_and_freed(load: Load, name: str, data: st.DataObject) -> None:
    model = load(name)
    ids = st.lists(st.integers(5, 299), min_size=1, max_size=9)
    start, first = data.draw(st.integers(5, 299)), data.draw(ids)
    living = [(model.branch([start]).extend(first), list(first))]
    for _ in range(data.draw(st.integers(4, 14))):
        branch, held = living[data.draw(st.integers(0, len(living) - 1))]
        match data.draw(st.sampled_from(["extend", "look", "fork", "fork at", "free"])):
            case "extend":
                more = data.draw(ids)
                branch.extend(more)
                held.extend(more)
            case "look":
                branch.logits()
            case "fork":
                living.append((branch.fork(), list(held)))
            case "fork at":
                at = data.draw(st.integers(0, len(held)))
                living.append((branch.fork(at=at), held[:at]))
            case _ if len(living) > 1:
                branch.free()
                living = [pair for pair in living if pair[0] is not branch]
    for branch, held in living:
        assert list(branch.token_ids) == held
        fresh = model.branch([start, *held])
        torch.testing.assert_close(branch.logits(), fresh.logits(), atol=2e-4, rtol=0)
        theirs = reference.logits(name, [start, *held])[-1].float().to(branch.logits().device)
        torch.testing.assert_close(branch.logits(), theirs, atol=2e-4, rtol=0)
        fresh.free()
        branch.free()


@pytest.mark.parametrize("name", [*MODELS, *WINDOWED, "mamba", "qwen2"])
def test_a_fork_at_any_token_completes_as_its_prefix_does(load: Load, name: str) -> None:
    model = load(name)
    prompt = list(model.complete("One day Sonic wanted to see the sea. He", max_new_tokens=1).prompt_token_ids)
    trunk = model.branch(prompt[:1]).extend(prompt[1:])
    before = trunk.logits()
    ways: list[dict[str, Any]] = [{"max_new_tokens": 5}, {"max_new_tokens": 4, "num_beams": 3}, {"temperature": 1.5, "seed": 1}]
    for at in range(len(prompt)):
        twig = trunk.fork(at=at)
        each = {"max_new_tokens": 5} | ways[at % 3]
        alone = model.complete(prompt[: at + 1], use_cache=False, **each)
        assert twig.complete(**each).generated_token_ids == alone.generated_token_ids
        twig.free()
    assert list(trunk.token_ids) == prompt[1:]
    torch.testing.assert_close(trunk.logits(), before, atol=0, rtol=0)
    trunk.free()


# --- seeds


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_text_and_another_seed_another(load: Load, name: str) -> None:
    def said(seed: int | None) -> Any:
        return load(name).complete("Once upon a time", temperature=1.5, max_new_tokens=20, seed=seed, ignore_eos=True)

    assert [essence(said(seed)) for seed in range(5)] == [essence(said(seed)) for seed in range(5)]
    assert len({said(seed).token_ids for seed in range(5)}) == 5
    drawn = said(None)
    assert essence(said(drawn.seed)) == essence(drawn)
    assert len({said(None).seed for _ in range(5)}) == 5


@slowly
@given(models, texts, fields())
def test_beams_and_samples_repeat_under_their_seed(load: Load, name: str, prompt: str, each: Fields) -> None:
    assert essences(load(name).completions(prompt, **each)) == essences(load(name).completions(prompt, **each))


# --- bytes and text


def cut(text: str, strings: list[str]) -> str:
    """The text before the match that ends first, the longest of those."""
    ends = [(at + len(string), at) for string in strings if (at := text.find(string)) >= 0]
    return text[: min(ends)[1]] if ends else text


@slowly
@given(any_model, texts, fields())
def test_joined_token_bytes_equal_the_text(load: Load, name: str, prompt: str, each: Fields) -> None:
    for result in load(name).completions(prompt, logprobs=0, **each):
        assert tuple(said.token_id for said in result.logprobs) == result.generated_token_ids
        whole = b"".join(said.token_bytes for said in result.logprobs).decode("utf-8", errors="replace")
        assert result.generated_text == cut(whole, each.get("stop_strings", []))
        assert (result.finish_reason == "stop") == (cut(whole, each.get("stop_strings", [])) != whole)
        assert result.truncated == (result.finish_reason != "eos")


@slowly
@given(any_model, texts, st.sampled_from([" Sonic", "é", "😀 привет", "<|im_start|>", " ", "\n\n"]), fields())
def test_a_prefill_is_continued_as_if_its_tokens_ended_the_prompt(
    load: Load, name: str, prompt: str, prefill: str, each: Fields
) -> None:
    model = load(name)
    started = model.complete(prompt, prefill=prefill, **each)
    assert started.text == prefill + started.generated_text
    assert next((span.start, span.origin) for span in started.spans) == (0, "prefill")
    ids = [*started.prompt_token_ids, *started.prefill_token_ids]
    assert model.complete(ids, **each).generated_token_ids == started.generated_token_ids


# --- distributions


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "mistral", *OTHERS])
def test_probabilities_sum_to_one_and_ids_beyond_the_tokenizer_have_none(load: Load, name: str) -> None:
    model = load(name)
    for text in reference.PROMPTS:
        branch = model.branch(text)
        probabilities = branch.probabilities()
        assert probabilities.shape == (model.info.vocab_size,)
        assert float(probabilities.double().sum()) == pytest.approx(1.0, abs=1e-6)
        assert probabilities[model.info.tokenizer_size :].tolist() == [0.0] * (model.info.vocab_size - model.info.tokenizer_size)
        assert float(probabilities.min()) >= 0.0
        torch.testing.assert_close(branch.logits().double().softmax(-1).float(), probabilities.float(), atol=1e-6, rtol=0)
        best = branch.candidates(5)
        assert [one.token_id for one in best] == probabilities.topk(5).indices.tolist()
        branch.free()


@slowly
@given(any_model, texts, st.integers(0, 1000), st.integers(1, 10))
def test_scoring_a_completion_gives_the_logprobs_of_its_generation(
    load: Load, name: str, prompt: str, seed: int, new: int
) -> None:
    model = load(name)
    result = model.complete(prompt, temperature=1.0, seed=seed, max_new_tokens=new, logprobs=3)
    scored = model.score(prompt, list(result.generated_token_ids), top=3)
    assert scored.token_ids == result.generated_token_ids
    for mine, theirs in zip(scored.logprobs, result.logprobs, strict=True):
        assert (mine.token_id, mine.token_bytes, mine.rank) == (theirs.token_id, theirs.token_bytes, theirs.rank)
        assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-4)
        assert mine.entropy == pytest.approx(theirs.entropy, abs=1e-4)
        assert theirs.processed.logprob == pytest.approx(theirs.logprob, abs=1e-5)


@slowly
@given(any_model, texts, fields())
def test_measures_of_a_token_are_those_of_the_branch_before_it(load: Load, name: str, prompt: str, each: Fields) -> None:
    model = load(name)
    result = model.completions(prompt, logprobs=4, **each)[0]
    branch = model.branch(list(result.prompt_token_ids))
    for said in result.logprobs:
        p = branch.probabilities().double()
        chosen = float(p[said.token_id])
        assert said.logprob == pytest.approx(math.log(chosen), abs=1e-3)
        # Neighbours closer than rounding may change places between two computations.
        assert int((p > chosen * 1.0005).sum()) + 1 <= said.rank <= int((p > chosen * 0.9995).sum())
        kept = p[p > 0]
        assert said.entropy == pytest.approx(float(-(kept * kept.log()).sum()), abs=1e-3)
        assert len(said.alternatives) == 4
        values = [float(p[one.token_id]) for one in said.alternatives]
        assert values == pytest.approx(p.topk(4).values.tolist(), rel=1e-3)
        assert [math.exp(one.logprob) for one in said.alternatives] == pytest.approx(values, rel=1e-3)
        branch.extend([said.token_id])
    branch.free()


# --- many at once


def test_requests_from_many_threads_equal_the_same_alone(load: Load) -> None:
    model = load("llama")
    ways: list[Fields] = [{}, {"temperature": 1.2, "seed": 4}, {"num_beams": 3}, {"penalty_alpha": 0.6, "top_k": 4}]
    asked = [(text, {"max_new_tokens": 10, "seed": 0} | way) for text in reference.PROMPTS for way in ways]
    alone = [essence(model.complete(text, **way)) for text, way in asked]
    barrier = threading.Barrier(8)

    def ask(worker: int) -> list[tuple[int, tuple[Any, ...]]]:
        barrier.wait()
        turn = [(i + 3 * worker) % len(asked) for i in range(len(asked))]
        return [(i, essence(model.complete(asked[i][0], **asked[i][1]))) for i in turn]

    with ThreadPoolExecutor(8) as pool:
        for answers in pool.map(ask, range(8)):
            assert [answer for _, answer in sorted(answers, key=lambda pair: pair[0])] == alone


def test_streams_side_by_side_do_not_disturb_each_other_when_one_is_cancelled(load: Load) -> None:
    model = load("gpt2")
    asked = [{"seed": seed, "temperature": 1.3, "max_new_tokens": 24, "ignore_eos": True} for seed in range(5)]
    alone = [essence(model.complete("Once upon a time", **each)) for each in asked]
    streams = [model.stream("Once upon a time", **each) for each in asked]
    last: list[Any] = [None] * len(streams)
    for step in range(200):
        for i, stream in enumerate(streams):
            if i == 2 and step == 4:
                stream.close()
            event = next(stream, None)
            last[i] = event or last[i]
    assert last[2].result is None
    assert [essence(last[i].result) for i in (0, 1, 3, 4)] == [alone[i] for i in (0, 1, 3, 4)]
    assert essence(model.complete("Once upon a time", **asked[2])) == alone[2]


@slowly
@given(models, st.lists(st.tuples(texts, fields(), st.integers(0, 6)), min_size=3, max_size=6))
def test_cancelling_some_streams_leaves_the_others_as_they_are_alone(
    load: Load, name: str, asked: list[tuple[str, Fields, int]]
) -> None:
    model = load(name)
    streams = [model.stream(prompt, **each) for prompt, each, _ in asked]
    finished: list[Any] = []
    for (prompt, each, patience), stream in zip(asked, streams, strict=True):
        if patience < 3:
            for _ in range(patience):
                next(stream, None)
            stream.close()
        else:
            finished.append((prompt, each, [event.result for event in stream if event.result is not None]))
    for prompt, each, results in finished:
        assert essences(results) == essences(model.completions(prompt, **each))


def test_a_coroutine_answers_as_the_function_of_the_same_name(load: Load) -> None:
    model, asked = load("llama"), {"temperature": 0.9, "seed": 3, "max_new_tokens": 9}

    async def ask() -> tuple[Any, ...]:
        text = "".join([event.text async for event in model.astream("One day Sonic", **asked)])
        return (
            essence(await model.acomplete("One day Sonic", **asked)),
            essences(await model.acompletions("One day Sonic", n=3, **asked)),
            [essences(each) for each in await model.abatch(["One day", "The end"], **asked)],
            (await model.ascore("One day", " Sonic")).token_ids,
            text,
        )

    assert asyncio.run(ask()) == (
        essence(model.complete("One day Sonic", **asked)),
        essences(model.completions("One day Sonic", n=3, **asked)),
        [essences(each) for each in model.batch(["One day", "The end"], **asked)],
        model.score("One day", " Sonic").token_ids,
        model.complete("One day Sonic", **asked).generated_text,
    )


def test_padding_never_reaches_a_result(load: Load) -> None:
    short, long = load("llama").batch(["e", "One day Sonic wanted to see the sea."], max_new_tokens=8, suppress_tokens=[PAD])
    assert PAD not in [*short[0].token_ids, *long[0].token_ids, *short[0].prompt_token_ids, *long[0].prompt_token_ids]
