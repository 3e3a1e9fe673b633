"""Document 001's generation part, step by step: from a prompt to ids, to logits, to probabilities, to a choice, and again."""

from pathlib import Path

import pytest
import torch
from tests.inference.conftest import blocks_of

import ramify
from ramify.decoding import filters
from ramify.inference.models import opened

PROMPT = "Give me a tagline for a new coffee shop."


def test_the_document_has_no_block_that_is_not_run_here() -> None:
    assert blocks_of("001.md") == []


def test_a_prompt_becomes_ids_and_ids_the_prompt(folder: Path) -> None:
    model = opened(folder)
    ids = model.codec.encode(PROMPT)
    assert all(isinstance(i, int) and 0 <= i < model.info.vocab_size for i in ids)
    assert model.codec.decode(ids) == PROMPT


def test_the_logits_are_as_many_as_the_vocabulary_and_softmax_makes_probabilities_of_them(folder: Path) -> None:
    model = opened(folder)
    with model.branch(PROMPT) as branch:
        logits, probabilities = branch.logits(), branch.probabilities()
    assert logits.shape == probabilities.shape == (model.info.vocab_size,)
    assert float(probabilities.min()) >= 0
    assert float(probabilities.max()) <= 1
    assert float(probabilities.double().sum()) == pytest.approx(1, abs=1e-6)
    assert torch.allclose(probabilities, torch.softmax(logits, -1))


def test_greedy_takes_the_likeliest_token_every_time(folder: Path) -> None:
    model = opened(folder)
    result = model.complete(PROMPT, do_sample=False, max_new_tokens=8, ignore_eos=True)
    with model.branch(PROMPT) as branch:
        for token in result.generated_token_ids:
            assert int(branch.logits().argmax()) == token
            branch.extend(token)


def test_top_k_keeps_k_and_top_p_the_smallest_set_above_p() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert filters.top_k(logits, 2).softmax(-1)[0].tolist() == pytest.approx([0.625, 0.375, 0, 0])
    assert filters.top_p(logits, 0.9).softmax(-1)[0].tolist() == pytest.approx([0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0])
    confident, uncertain = torch.tensor([[0.97, 0.01, 0.01, 0.01]]).log(), torch.zeros(1, 4)
    kept = [int((~filters.top_p(given, 0.9).isneginf()).sum()) for given in (confident, uncertain)]
    assert kept == [1, 4]


def test_only_tokens_of_the_filter_are_ever_drawn(folder: Path) -> None:
    model = opened(folder)
    for settings in ({"top_k": 3}, {"top_p": 0.5}):
        result = model.complete(PROMPT, **settings, seed=5, max_new_tokens=20, ignore_eos=True, logprobs=3)
        assert all(token.processed is not None and token.processed.logprob > -float("inf") for token in result.logprobs or ())
        if "top_k" in settings:
            assert all(token.rank <= 3 for token in result.logprobs or ())


def test_the_loop_appends_until_eos_or_the_limit_and_gives_the_completion_alone(folder: Path) -> None:
    model = opened(folder)
    ended = next(
        result
        for result in (model.complete(PROMPT, do_sample=True, seed=seed, max_new_tokens=300) for seed in range(20))
        if result.finish_reason == "eos"
    )
    assert ended.generated_token_ids[-1] in model.info.eos_token_ids
    text = ramify.generate_text(folder, prompt=PROMPT, do_sample=True, seed=ended.seed, max_new_tokens=300)
    assert text == ended.generated_text == model.codec.decode(ended.generated_token_ids[:-1])
    assert not text.startswith(PROMPT)
    short = model.complete(PROMPT, ignore_eos=True, max_new_tokens=5)
    assert (short.finish_reason, len(short.generated_token_ids)) == ("length", 5)
