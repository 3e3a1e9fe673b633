import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation import logits_process as theirs

from ramify.decoding.config import GenerationConfig
from ramify.decoding.pipeline import Row, build
from ramify.errors import ConfigError

EOS = (2, 3)

SETTINGS: dict[str, Any] = {
    "sequence_bias": {(0, 1): 1.5, (4,): -1.0},
    "encoder_repetition_penalty": 1.2,
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "bad_words_ids": [[4], [1, 0]],
    "min_new_tokens": 3,
    "exponential_decay_length_penalty": (2, 1.3),
    "suppress_tokens": [5],
    "begin_suppress_tokens": [1],
    "temperature": 0.7,
    "top_k": 9,
    "top_p": 0.9137,
    "min_p": 0.0137,
    "typical_p": 0.9517,
    "epsilon_cutoff": 0.00317,
    "eta_cutoff": 0.00317,
}


def reference(config: GenerationConfig, ids: Tensor, prompt: int, logits: Tensor) -> Tensor:
    """transformers' own processors in transformers' own order, written down here once more."""
    least = 3 if config.num_beams > 1 else 1
    made: list[tuple[str, Any]] = [
        ("sequence_bias", lambda: theirs.SequenceBiasLogitsProcessor([[[0, 1], 1.5], [[4], -1.0]])),
        ("encoder_repetition_penalty", lambda: theirs.EncoderRepetitionPenaltyLogitsProcessor(1.2, ids[:, :prompt])),
        ("repetition_penalty", lambda: theirs.RepetitionPenaltyLogitsProcessor(1.3)),
        ("no_repeat_ngram_size", lambda: theirs.NoRepeatNGramLogitsProcessor(2)),
        ("bad_words_ids", lambda: theirs.NoBadWordsLogitsProcessor([[4], [1, 0]], list(EOS))),
        ("min_new_tokens", lambda: theirs.MinNewTokensLengthLogitsProcessor(prompt, 3, list(EOS))),
        ("exponential_decay_length_penalty", lambda: theirs.ExponentialDecayLengthPenalty((2, 1.3), list(EOS), prompt)),
        ("suppress_tokens", lambda: theirs.SuppressTokensLogitsProcessor([5])),
        ("begin_suppress_tokens", lambda: theirs.SuppressTokensAtBeginLogitsProcessor([1], prompt)),
        ("temperature", lambda: theirs.TemperatureLogitsWarper(0.7)),
        ("top_k", lambda: theirs.TopKLogitsWarper(9, min_tokens_to_keep=least)),
        ("top_p", lambda: theirs.TopPLogitsWarper(0.9137, min_tokens_to_keep=least)),
        ("min_p", lambda: theirs.MinPLogitsWarper(0.0137, min_tokens_to_keep=least)),
        ("typical_p", lambda: theirs.TypicalLogitsWarper(0.9517, min_tokens_to_keep=least)),
        ("epsilon_cutoff", lambda: theirs.EpsilonLogitsWarper(0.00317, min_tokens_to_keep=least)),
        ("eta_cutoff", lambda: theirs.EtaLogitsWarper(0.00317, min_tokens_to_keep=least)),
    ]
    for name, make in made:
        if name in config.order:
            logits = make()(ids, logits)
    return logits


@settings(max_examples=150, deadline=None)
@given(
    names=st.sets(st.sampled_from(sorted(SETTINGS)), max_size=7),
    beams=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 4),
    prompt=st.integers(1, 6),
    generated=st.integers(0, 6),
)
def test_any_combination_equals_transformers_in_transformers_order(
    names: set[str], beams: int, seed: int, rows: int, prompt: int, generated: int
) -> None:
    config = GenerationConfig(num_beams=beams, **{name: SETTINGS[name] for name in names})
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 40, generator=generator) * 3
    ids = torch.randint(0, 9, (rows, prompt + generated), generator=generator)
    before = logits.clone()
    pipeline = build(config, eos_token_ids=EOS, vocab_size=40)
    assert pipeline.names == config.order
    found = pipeline(logits, [Row(prompt_ids=row[:prompt].tolist(), generated_ids=row[prompt:].tolist()) for row in ids])
    torch.testing.assert_close(found, reference(config, ids, prompt, logits.clone()), atol=1e-5, rtol=1e-5)
    assert torch.equal(logits, before)
    assert found.data_ptr() != logits.data_ptr()


def test_the_order_of_processors_is_obeyed() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    rows = [Row(prompt_ids=[0], generated_ids=[])]
    fields: dict[str, Any] = {"temperature": 4.0, "top_p": 0.45}
    # Flattened first, the likeliest holds .39 of the mass, which is short of .45; unflattened it holds .5.
    warm = build(GenerationConfig(**fields), eos_token_ids=(), vocab_size=3)(logits, rows)
    cool = build(GenerationConfig(**fields, processors=("top_p", "temperature")), eos_token_ids=(), vocab_size=3)(logits, rows)
    assert warm.isfinite().tolist() == [[True, True, False]]
    assert cool.isfinite().tolist() == [[True, False, False]]


def test_rows_of_one_call_are_read_by_their_own_history() -> None:
    config = GenerationConfig(
        min_new_tokens=2, begin_suppress_tokens=(0,), presence_penalty=1.0, forced_eos_token_id=(2,), max_length=5
    )
    pipeline = build(config, eos_token_ids=(2,), vocab_size=4, context=64)
    found = pipeline(
        torch.zeros(3, 4),
        [
            Row(prompt_ids=[1, 1], generated_ids=[]),
            Row(prompt_ids=[1], generated_ids=[3, 3, 1]),
            Row(prompt_ids=[1, 2], generated_ids=[3], limit=9),
        ],
    )
    assert found.tolist() == [
        [-math.inf, 0.0, -math.inf, 0.0],
        [-math.inf, -math.inf, 0.0, -math.inf],
        [0.0, 0.0, -math.inf, -1.0],
    ]


def test_a_constraint_acts_at_its_place_and_per_row() -> None:
    config = GenerationConfig(forbidden_words=("x",), top_k=1)
    pipeline = build(config, eos_token_ids=(), vocab_size=3)
    keep = torch.tensor([False, True, True])
    rows = [Row(prompt_ids=[0], generated_ids=[], keep=keep), Row(prompt_ids=[0], generated_ids=[])]
    found = pipeline(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), rows)
    assert found.isfinite().tolist() == [[False, True, False], [True, False, False]]


def test_what_a_constraint_keeps_outranks_a_ban() -> None:
    config = GenerationConfig(forbidden_words=("x",), bad_words_ids=((1,),))
    pipeline = build(config, eos_token_ids=(), vocab_size=3)
    keep = torch.tensor([False, True, False])
    found = pipeline(torch.tensor([[3.0, 2.0, 1.0]]), [Row(prompt_ids=[0], generated_ids=[], keep=keep)])
    assert found.tolist() == [[-math.inf, 2.0, -math.inf]]


def test_a_row_at_a_dead_end_does_not_disturb_the_others() -> None:
    config = GenerationConfig(forbidden_words=("x",), temperature=0.7, top_p=0.5, typical_p=0.5, repetition_penalty=1.2)
    pipeline = build(config, eos_token_ids=(), vocab_size=3)
    dead = Row(prompt_ids=[0], generated_ids=[], keep=torch.zeros(3, dtype=torch.bool))
    free = Row(prompt_ids=[0], generated_ids=[])
    logits = torch.tensor([[3.0, 2.0, 1.0]])
    found = pipeline(logits.repeat(2, 1), [dead, free])
    assert found[0].isneginf().all()
    assert torch.equal(found[1:], pipeline(logits, [free]))


def test_diverse_beams_read_what_was_taken() -> None:
    config = GenerationConfig(num_beams=2, num_beam_groups=2, diversity_penalty=0.5)
    rows = [Row(prompt_ids=[0], generated_ids=[], taken=[1]), Row(prompt_ids=[0], generated_ids=[])]
    found = build(config, eos_token_ids=(), vocab_size=3)(torch.zeros(2, 3), rows)
    assert found.tolist() == [[0.0, -0.5, 0.0], [0.0, 0.0, 0.0]]


def test_without_processors_a_copy_comes_back() -> None:
    logits = torch.zeros(1, 3)
    found = build(GenerationConfig(), eos_token_ids=(), vocab_size=3)(logits, [Row(prompt_ids=[0], generated_ids=[])])
    assert torch.equal(found, logits)
    assert found.data_ptr() != logits.data_ptr()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"logit_bias": {9: 1}}, "logit_bias holds 9; this model's token ids are 0 to 8"),
        ({"bad_words_ids": [[1, 12]]}, "bad_words_ids holds 12"),
        ({"sequence_bias": {(10,): 1.0}}, "sequence_bias holds 10"),
        ({"suppress_tokens": [9]}, "suppress_tokens holds 9"),
        ({"begin_suppress_tokens": [9]}, "begin_suppress_tokens holds 9"),
        ({"forced_eos_token_id": 9, "max_length": 9}, "forced_eos_token_id holds 9"),
        ({"stop_token_ids": [9]}, "stop_token_ids holds 9"),
        ({"eos_token_id": 9}, "eos_token_id holds 9"),
        ({"bad_words_ids": [[2]]}, "bad_words_ids holds \\[2\\], which ends this model's completions"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(GenerationConfig(**fields), eos_token_ids=(2,), vocab_size=9)


def test_eos_settings_of_a_model_without_eos_are_refused() -> None:
    with pytest.raises(ConfigError, match="min_new_tokens is given and this model has no EOS"):
        build(GenerationConfig(min_new_tokens=3), eos_token_ids=(), vocab_size=9)


def test_a_wrong_number_of_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="1 rows were given for 2"):
        build(GenerationConfig(), eos_token_ids=(), vocab_size=3)(torch.zeros(2, 3), [Row(prompt_ids=[], generated_ids=[])])
