"""Our engine answers as transformers 5's `generate` does, token for token, in float32, on small random models."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from models_made_here import EOS, IM_END, MAIN, OTHERS, TEXT, TOKENIZER_SIZE
from oracles import reference
from oracles.reference import MORE_PROMPTS, PROMPTS, encode, how_near, long_prompts, short_prompts

Load = Callable[[str], Any]
STOPS = (True, False, "never")
PENALTIES = (0.5, 1.0, 2.0)
# Prompts on which beams end early, late and in different places: the rules have something to decide. See the test that says so.
CONTENTIOUS = {
    "llama": (MORE_PROMPTS[5], MORE_PROMPTS[0]),
    "qwen2": (MORE_PROMPTS[0], MORE_PROMPTS[1]),
    "gpt2": (MORE_PROMPTS[3], MORE_PROMPTS[1]),
    "mistral": (PROMPTS[0], PROMPTS[1]),
}
RULES = [(stop, penalty) for stop in STOPS for penalty in PENALTIES]


def assert_equal(load: Load, name: str, prompt: list[int], **fields: Any) -> None:
    """All returned sequences have the same ids in the same order, and beams the same scores to 1e-4."""
    theirs = reference.generate(name, prompt, **fields)
    ours = load(name).completions(prompt, **fields)
    assert len(ours) == len(theirs)
    for mine, said in zip(ours, theirs, strict=True):
        ids = list(mine.generated_token_ids)
        assert ids == said.ids, how_near(name, prompt, ids, said.ids)
        if said.score is None:
            assert mine.beam_score is None
        else:
            assert mine.beam_score == pytest.approx(said.score, abs=1e-4)


def in_turn(values: Iterable[Any], first: int = 0) -> list[Any]:
    """Every value with every model; the fast tests take each value with one model, the models in turn from `first` on."""
    return [
        pytest.param(value, name, marks=() if i % len(MAIN) == j else pytest.mark.slow)
        for i, value in enumerate(values, first)
        for j, name in enumerate(MAIN)
    ]


def a_few(first: int) -> list[Any]:
    """All models; the fast tests take every other one, from the first of these on."""
    return [pytest.param(name, marks=() if i % 2 == first else pytest.mark.slow) for i, name in enumerate(MAIN)]


@pytest.mark.parametrize("name", MAIN + OTHERS)
def test_greedy_equals_transformers(load: Load, name: str) -> None:
    for text in PROMPTS:
        assert_equal(load, name, encode(name, text), max_new_tokens=24)


@pytest.mark.parametrize(("rule", "name"), in_turn(RULES))
def test_four_beams_equal_transformers_under_every_stopping_rule_and_length_penalty(
    load: Load, name: str, rule: tuple[bool | str, float]
) -> None:
    stop, penalty = rule
    for text, returned in zip(CONTENTIOUS[name], (4, 1), strict=True):
        fields = {"early_stopping": stop, "length_penalty": penalty, "num_return_sequences": returned}
        assert_equal(load, name, encode(name, text), num_beams=4, max_new_tokens=16, **fields)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAIN)
def test_the_stopping_rules_and_length_penalties_differ_on_the_prompts_above(name: str) -> None:
    for text in CONTENTIOUS[name]:
        found = set()
        for stop, penalty in RULES:
            fields = {"early_stopping": stop, "length_penalty": penalty, "num_return_sequences": 4}
            said = reference.generate(name, encode(name, text), num_beams=4, max_new_tokens=16, **fields)
            found.add(tuple(tuple(one.ids) for one in said))
        assert len(found) >= 4


@pytest.mark.parametrize(("beams", "name"), in_turn(range(1, 9)))
def test_any_number_of_beams_equals_transformers(load: Load, name: str, beams: int) -> None:
    # With one beam there is nothing to stop early or to compare: those fields are left out.
    for turn in range(3 if beams > 1 else 1):
        stop, penalty = RULES[(4 * turn + beams) % len(RULES)]
        prompt = encode(name, PROMPTS[(beams + turn) % len(PROMPTS)])
        rule = {"early_stopping": stop, "length_penalty": penalty} if beams > 1 else {}
        returned = min(beams, 1 + turn)
        assert_equal(load, name, prompt, num_beams=beams, num_return_sequences=returned, max_new_tokens=14, **rule)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAIN)
@pytest.mark.parametrize("beams", range(2, 9))
@pytest.mark.parametrize(("stop", "penalty"), RULES)
def test_every_combination_of_beams_equals_transformers(
    load: Load, name: str, beams: int, stop: bool | str, penalty: float
) -> None:
    for text in (*PROMPTS, *CONTENTIOUS[name]):
        fields = {"early_stopping": stop, "length_penalty": penalty, "num_return_sequences": beams}
        assert_equal(load, name, encode(name, text), num_beams=beams, max_new_tokens=20, **fields)


@pytest.mark.parametrize("name", OTHERS)
def test_beams_of_other_architectures_equal_transformers(load: Load, name: str) -> None:
    for text, (stop, penalty) in zip(PROMPTS[1:4], ((True, 1.0), (False, 0.5), ("never", 2.0)), strict=True):
        fields = {"early_stopping": stop, "length_penalty": penalty, "num_return_sequences": 2}
        assert_equal(load, name, encode(name, text), num_beams=3, max_new_tokens=14, **fields)


# Fields that shape the distribution or the length; `{word}` stands for the ids of a word in the model's own tokenizer.
SHAPES: dict[str, dict[str, Any]] = {
    "min_new_tokens": {"min_new_tokens": 12},
    "min_new_tokens equal to the most": {"min_new_tokens": 18, "max_new_tokens": 18},
    "one token": {"max_new_tokens": 1},
    "max_length": {"max_length": 33},
    "repetition_penalty": {"repetition_penalty": 1.7},
    "a repetition_penalty below one": {"repetition_penalty": 0.8},
    "no_repeat_ngram_size 1": {"no_repeat_ngram_size": 1},
    "no_repeat_ngram_size 2": {"no_repeat_ngram_size": 2, "repetition_penalty": 0.7},
    "no_repeat_ngram_size 3": {"no_repeat_ngram_size": 3, "repetition_penalty": 0.7},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.5},
    "an encoder_repetition_penalty below one": {"encoder_repetition_penalty": 0.6},
    "suppress_tokens": {"suppress_tokens": [*range(20, 150)]},
    "begin_suppress_tokens": {"begin_suppress_tokens": [*range(5, 200)]},
    "forced_eos_token_id": {"forced_eos_token_id": EOS, "max_new_tokens": 7},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": (4, 1.3)},
    "several EOS ids": {"eos_token_id": [EOS, IM_END, *range(60, 110)]},
    "all at once": {
        "min_new_tokens": 5,
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2,
        "encoder_repetition_penalty": 1.2,
        "suppress_tokens": [*range(20, 60)],
        "begin_suppress_tokens": [*range(60, 90)],
        "exponential_decay_length_penalty": (6, 1.1),
        "forced_eos_token_id": EOS,
        "bad_words_ids": [[90], [91, 92]],
        "sequence_bias": [[[100], 2.0], [[101, 102], -3.0]],
    },
}


@pytest.mark.parametrize(("shape", "name"), in_turn(SHAPES))
def test_fields_that_shape_greedy_search_equal_transformers(load: Load, name: str, shape: str) -> None:
    for prompt in long_prompts(name, 2) + short_prompts(name, 2):
        fields = {"max_new_tokens": 18} | SHAPES[shape]
        if "max_length" in fields:
            fields = {"max_length": len(prompt) + 9}
        assert_equal(load, name, prompt, **fields)


@pytest.mark.parametrize(("shape", "name"), in_turn(SHAPES, 2))
def test_fields_that_shape_beams_equal_transformers(load: Load, name: str, shape: str) -> None:
    prompts = long_prompts(name, 1) + short_prompts(name, 2)
    for prompt, (stop, penalty) in zip(prompts, ((True, 1.0), (False, 2.0), ("never", 0.5)), strict=True):
        fields = {"max_new_tokens": 12, "early_stopping": stop, "length_penalty": penalty} | SHAPES[shape]
        if "max_length" in fields:
            fields["max_length"] = len(prompt) + 9
            del fields["max_new_tokens"]
        assert_equal(load, name, prompt, num_beams=3, num_return_sequences=3, **fields)


def greedy(name: str, prompt: list[int], new: int = 24) -> list[int]:
    return reference.generate(name, prompt, max_new_tokens=new)[0].ids


@pytest.mark.parametrize(("beams", "name"), in_turn([1, 4]))
def test_bad_words_equal_transformers_for_one_and_several_tokens_and_across_the_prompt(load: Load, name: str, beams: int) -> None:
    for prompt in long_prompts(name, 3):
        free = greedy(name, prompt, 6)
        for words in ([free[:1]], [free[:2]], [[prompt[-1], free[0]]], [free[:3], free[1:2], [7, 8, 9]]):
            assert_equal(load, name, prompt, num_beams=beams, bad_words_ids=words, max_new_tokens=10)


@pytest.mark.parametrize(("beams", "name"), in_turn([1, 4]))
def test_sequence_bias_equals_transformers(load: Load, name: str, beams: int) -> None:
    for prompt in long_prompts(name, 3):
        free = greedy(name, prompt, 6)
        liked = [[[50], 3.5], [[50, 51], 6.0], [[50, 51, 52], 9.0], [free[:1], -4.0], [[*prompt[-2:], 60], 2.5]]
        assert_equal(load, name, prompt, num_beams=beams, sequence_bias=liked, max_new_tokens=12)


@pytest.mark.parametrize(("scale", "name"), in_turn([1.5, 3.0, 0.5]))
def test_guidance_equals_transformers(load: Load, name: str, scale: float) -> None:
    for prompt in long_prompts(name, 3):
        assert_equal(load, name, prompt, guidance_scale=scale, max_new_tokens=14)


def stop_strings(name: str, prompt: list[int]) -> list[list[str]]:
    """Stop strings cut out of what greedy search says: within a token, across borders, and one that never comes."""
    free = greedy(name, prompt)
    said = reference.tokenizer(name).decode(free, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    clean = [piece for piece in said.split("\N{REPLACEMENT CHARACTER}") if piece]
    longest = max(clean, key=len, default="e")
    middle = len(longest) // 2
    return [
        [longest[middle]],
        [longest[middle - 1 : middle + 2]],
        [longest],
        ["never said", longest[-2:]],
        ["never said"],
    ]


@pytest.mark.parametrize("name", a_few(0))
def test_stop_strings_end_greedy_search_at_transformers_token(load: Load, name: str) -> None:
    for prompt in long_prompts(name, 4):
        for strings in stop_strings(name, prompt):
            assert_equal(load, name, prompt, stop_strings=strings, max_new_tokens=24)


@pytest.mark.parametrize("name", a_few(1))
def test_stop_strings_end_beams_as_transformers_does(load: Load, name: str) -> None:
    for prompt in long_prompts(name, 3):
        for strings in stop_strings(name, prompt)[:2]:
            fields = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 14}
            assert_equal(load, name, prompt, stop_strings=strings, **fields)


@pytest.mark.parametrize("name", MAIN + OTHERS)
def test_rows_of_a_batch_of_different_lengths_each_equal_transformers_alone(load: Load, name: str) -> None:
    prompts = [encode(name, text) for text in (*PROMPTS, "e", "One day Sonic wanted")]
    for fields in ({"max_new_tokens": 16}, {"max_new_tokens": 12, "num_beams": 3}):
        ours = load(name).batch(prompts, **fields)
        for prompt, (mine,) in zip(prompts, ours, strict=True):
            (said,) = reference.generate(name, prompt, **fields)
            ids = list(mine.generated_token_ids)
            assert ids == said.ids, how_near(name, prompt, ids, said.ids)


@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_a_prompt_of_several_pieces_equals_transformers_alone_and_beside_short_ones(load: Load, name: str) -> None:
    long = encode(name, " ".join(TEXT) * 5)[:1100]
    assert len(long) == 1100
    prompts = [long, encode(name, PROMPTS[2]), long[:600], long[:513], long[:512], encode(name, PROMPTS[0])]
    for fields in ({"max_new_tokens": 12}, {"max_new_tokens": 8, "num_beams": 3}):
        for prompt, (mine,) in zip(prompts, load(name).batch(prompts, **fields), strict=True):
            (said,) = reference.generate(name, prompt, **fields)
            ids = list(mine.generated_token_ids)
            assert ids == said.ids, how_near(name, prompt, ids, said.ids)


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "llama"])
def test_the_end_of_the_window_ends_a_completion_as_max_length_does(load: Load, name: str) -> None:
    window = load(name).info.context_window
    prompt = (encode(name, " ".join(TEXT)) * 9)[: window - 7]
    ways: tuple[dict[str, Any], ...] = ({}, {"num_beams": 3})
    for fields in ways:
        fields = {**fields, "suppress_tokens": [EOS, IM_END]}
        (said,) = reference.generate(name, prompt, max_length=window, **fields)
        for asked in ({}, {"max_new_tokens": 100}, {"max_length": window + 50}):
            mine = load(name).complete(prompt, **asked, **fields)
            assert (list(mine.generated_token_ids), mine.finish_reason) == (said.ids, "length")
            assert len(mine.generated_token_ids) == 7


@pytest.mark.parametrize("fields", [{"num_beams": 1}, {"num_beams": 4}, {"num_beams": 6, "length_penalty": 2.0}])
def test_the_embedded_model_equals_transformers(load: Load, fields: dict[str, Any]) -> None:
    for text in PROMPTS:
        assert_equal(load, "tiny", encode("tiny", text), max_new_tokens=20, **fields)


@pytest.mark.parametrize("name", MAIN + OTHERS)
def test_scored_text_has_transformers_logprobs(load: Load, name: str) -> None:
    prompt, completion = encode(name, PROMPTS[2]), encode(name, " a little hedgehog named Sonic who saw the sea 😀")
    scored = load(name).score(prompt, completion, top=5)
    theirs = reference.logits(name, [*prompt, *completion])[len(prompt) - 1 : -1].log_softmax(-1)
    assert list(scored.token_ids) == completion
    for row, token, mine in zip(theirs, completion, scored.logprobs, strict=True):
        assert mine.token_id == token
        assert mine.logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert mine.rank == 1 + int((row > row[token]).sum())
        kept = row[row > -1e6]
        assert mine.entropy == pytest.approx(float(-(kept.exp() * kept).sum()), abs=1e-4)
        best = row.topk(5)
        assert [a.token_id for a in mine.alternatives] == best.indices.tolist()
        assert [a.logprob for a in mine.alternatives] == pytest.approx(best.values.tolist(), abs=1e-4)


@pytest.mark.parametrize("name", MAIN)
def test_logprobs_after_processors_are_those_of_transformers_processors(load: Load, name: str) -> None:
    from transformers import generation

    prompt = encode(name, PROMPTS[2])
    processors = generation.LogitsProcessorList(
        [
            generation.RepetitionPenaltyLogitsProcessor(1.2),
            generation.TemperatureLogitsWarper(0.8),
            generation.TopKLogitsWarper(40),
            generation.TopPLogitsWarper(0.9),
            generation.MinPLogitsWarper(0.02),
        ]
    )
    fields = {"repetition_penalty": 1.2, "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.02}
    mine = load(name).complete(prompt, logprobs=3, max_new_tokens=12, do_sample=True, seed=5, **fields)
    assert mine.finish_reason in ("eos", "length")
    ids = list(mine.generated_token_ids)
    raw = reference.logits(name, [*prompt, *ids]).float()
    for i, (token, said) in enumerate(zip(ids, mine.logprobs, strict=True)):
        at = len(prompt) + i
        shaped = processors(torch.tensor([[*prompt, *ids[:i]]]), raw[at - 1 : at].clone())[0].log_softmax(-1)
        assert said.logprob == pytest.approx(float(raw[at - 1].log_softmax(-1)[token]), abs=1e-4)
        assert said.processed.logprob == pytest.approx(float(shaped[token]), abs=1e-4)
        assert said.processed.rank == 1 + int((shaped > shaped[token]).sum())
        kept = shaped[shaped.isfinite()]
        assert said.processed.entropy == pytest.approx(float(-(kept.exp() * kept).sum()), abs=1e-4)


def test_padded_ids_tempt_transformers_and_are_never_generated_here(load: Load) -> None:
    prompt = encode("qwen2", PROMPTS[2])
    unmasked = torch.nn.functional.linear(
        reference.model("qwen2").model(torch.tensor([prompt])).last_hidden_state[0, -1],
        reference.model("qwen2").lm_head.weight,
    )
    assert int(unmasked.argmax()) >= TOKENIZER_SIZE, "the model made here no longer tempts; the test below would prove nothing"
    qwen2 = load("qwen2")
    results = qwen2.completions(prompt, n=8, temperature=3.0, max_new_tokens=24, seed=0, ignore_eos=True)
    assert len(results) == 8
    assert max(max(result.generated_token_ids) for result in results) < TOKENIZER_SIZE


def test_a_raw_prompt_of_text_is_the_prompt_transformers_sees(load: Load) -> None:
    for name in MAIN + OTHERS:
        for text in (*PROMPTS, "<|im_start|>user\nHello<|im_end|>\n"):
            asked = reference.tokenizer(name)(text).input_ids
            assert list(load(name).complete(text, max_new_tokens=1).prompt_token_ids) == asked, name
