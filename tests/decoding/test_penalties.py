import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation import logits_process as theirs

from ramify.decoding import penalties

EOS = [2, 3]
BIASES: dict[tuple[int, ...], float] = {(0,): 1.5, (1, 2): -2.0, (0, 1, 2): 0.5, (4,): -math.inf, (3, 3): 7.0}
BAD = [[4], [1, 2], [0, 0, 1]]


@st.composite
def situations(draw: st.DrawFn) -> tuple[Tensor, list[list[int]], int]:
    """Logits (B, V), histories of one length over few ids (so that n-grams repeat), the prompt's length."""
    rows, width, length = draw(st.integers(1, 4)), draw(st.integers(8, 60)), draw(st.integers(1, 14))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = torch.randn(rows, width, generator=generator) * 3
    histories = torch.randint(0, draw(st.sampled_from([3, 6])), (rows, length), generator=generator)
    return logits, histories.tolist(), draw(st.integers(0, length))


def after(histories: list[list[int]], prompt: int) -> list[list[int]]:
    return [history[prompt:] for history in histories]


Mine = Callable[[Tensor, list[list[int]], int], Tensor]
CASES: list[tuple[str, Mine, Callable[[Tensor, int], Any]]] = [
    *[
        (
            f"repetition {p}",
            lambda x, h, _, p=p: penalties.repetition(x, h, p),
            lambda ids, _, p=p: theirs.RepetitionPenaltyLogitsProcessor(p),
        )
        for p in (1.3, 0.7)
    ],
    (
        "encoder_repetition",
        lambda x, h, n: penalties.encoder_repetition(x, [ids[:n] for ids in h], 1.3),
        lambda ids, n: theirs.EncoderRepetitionPenaltyLogitsProcessor(1.3, ids[:, :n]),
    ),
    *[
        (
            f"no_repeat_ngram {size}",
            lambda x, h, _, size=size: penalties.no_repeat_ngram(x, h, size),
            lambda ids, _, size=size: theirs.NoRepeatNGramLogitsProcessor(size),
        )
        for size in (1, 2, 3)
    ],
    (
        "bad_words",
        lambda x, h, _: penalties.bad_words(x, h, BAD),
        lambda ids, _: theirs.NoBadWordsLogitsProcessor(BAD, eos_token_id=[9]),
    ),
    (
        "sequence_bias",
        lambda x, h, _: penalties.sequence_bias(x, h, list(BIASES.items())),
        lambda ids, _: theirs.SequenceBiasLogitsProcessor([[list(key), value] for key, value in BIASES.items()]),
    ),
    (
        "min_length",
        lambda x, h, n: penalties.min_length(x, after(h, n), 4, EOS),
        lambda ids, n: theirs.MinNewTokensLengthLogitsProcessor(n, 4, EOS),
    ),
    ("suppress", lambda x, h, _: penalties.suppress(x, [0, 3]), lambda ids, _: theirs.SuppressTokensLogitsProcessor([0, 3])),
    (
        "begin_suppress",
        lambda x, h, n: penalties.begin_suppress(x, after(h, n), [0, 3]),
        lambda ids, n: theirs.SuppressTokensAtBeginLogitsProcessor([0, 3], n),
    ),
    (
        "forced_eos",
        lambda x, h, _: penalties.forced_eos(x, [8 - len(ids) for ids in h], EOS),
        lambda ids, _: theirs.ForcedEOSTokenLogitsProcessor(8, EOS),
    ),
    (
        "exponential_decay",
        lambda x, h, n: penalties.exponential_decay(x, after(h, n), 3, 1.2, EOS),
        lambda ids, n: theirs.ExponentialDecayLengthPenalty((3, 1.2), EOS, n),
    ),
]


@pytest.mark.parametrize(("mine", "other"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@settings(max_examples=60, deadline=None)
@given(situation=situations())
def test_each_processor_equals_transformers_and_leaves_its_input_alone(
    mine: Mine, other: Callable[[Tensor, int], Any], situation: tuple[Tensor, list[list[int]], int]
) -> None:
    logits, histories, prompt = situation
    before = logits.clone()
    ids = torch.tensor(histories)
    found = mine(logits, histories, prompt)
    torch.testing.assert_close(found, other(ids, prompt)(ids, logits.clone()), atol=1e-6, rtol=1e-6)
    assert torch.equal(logits, before)
    assert found.data_ptr() != logits.data_ptr()


@pytest.mark.parametrize("mine", [case[1] for case in CASES], ids=[case[0] for case in CASES])
@settings(max_examples=25, deadline=None)
@given(situation=situations())
def test_a_row_alone_equals_the_same_row_among_rows_of_other_lengths(
    mine: Mine, situation: tuple[Tensor, list[list[int]], int]
) -> None:
    logits, histories, _ = situation
    ragged = [history[: 1 + row * 2] for row, history in enumerate(histories)]
    whole = mine(logits, ragged, 1)
    for row in range(len(logits)):
        assert torch.equal(whole[row : row + 1], mine(logits[row : row + 1], [ragged[row]], 1))


def test_presence_and_frequency_count_generated_tokens() -> None:
    logits = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    generated = [[0, 2, 0, 0], []]
    assert penalties.presence(logits, generated, 0.5).tolist() == [[0.5, 1.0, 0.5, 1.0], [1.0, 1.0, 1.0, 1.0]]
    assert penalties.frequency(logits, generated, 0.25).tolist() == [[0.25, 1.0, 0.75, 1.0], [1.0, 1.0, 1.0, 1.0]]
    assert penalties.presence(logits, generated, -0.5)[0].tolist() == [1.5, 1.0, 1.5, 1.0]


@settings(max_examples=60, deadline=None)
@given(situation=situations(), penalty=st.floats(-2, 2))
def test_presence_and_frequency_equal_their_definition(situation: tuple[Tensor, list[list[int]], int], penalty: float) -> None:
    logits, histories, _ = situation
    counts = torch.stack([torch.bincount(torch.tensor(ids), minlength=logits.shape[-1]) for ids in histories])
    torch.testing.assert_close(penalties.frequency(logits, histories, penalty), logits - penalty * counts, atol=1e-6, rtol=0)
    torch.testing.assert_close(penalties.presence(logits, histories, penalty), logits - penalty * (counts > 0), atol=1e-6, rtol=0)


def test_repetition_counts_a_token_once_and_works_on_either_sign() -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0, 0.0]])
    assert penalties.repetition(logits, [[0, 1, 0, 3]], 2.0).tolist() == [[1.0, -4.0, 2.0, 0.0]]


def test_ids_beyond_the_logits_are_passed_over_in_histories() -> None:
    logits = torch.zeros(2, 4)
    assert penalties.frequency(logits, [[1, 4, 7], []], 1.0).tolist() == [[0.0, -1.0, 0.0, 0.0], [0.0] * 4]
    assert penalties.no_repeat_ngram(logits, [[4, 7, 7], []], 1).tolist() == [[0.0] * 4] * 2


def test_logit_bias_is_added() -> None:
    assert penalties.logit_bias(torch.zeros(2, 3), {2: 5.0, 0: -1.0}).tolist() == [[-1.0, 0.0, 5.0]] * 2


def test_diversity_counts_what_earlier_groups_chose() -> None:
    found = penalties.diversity(torch.zeros(2, 4), [[1, 1, 3], []], 0.5)
    assert found.tolist() == [[0.0, -1.0, 0.0, -0.5], [0.0] * 4]


def test_an_empty_history_is_left_alone() -> None:
    logits = torch.tensor([[1.0, -1.0, 0.5]])
    for found in (
        penalties.repetition(logits, [[]], 1.5),
        penalties.no_repeat_ngram(logits, [[]], 2),
        penalties.bad_words(logits, [[]], [[0, 1]]),
        penalties.exponential_decay(logits, [[]], 0, 1.5, [1]),
    ):
        assert torch.equal(found, logits)


@pytest.mark.parametrize(
    "found",
    [
        lambda logits: penalties.suppress(logits, [0, 1, 2]),
        lambda logits: penalties.bad_words(logits, [[]], [[0], [1], [2]]),
        lambda logits: penalties.no_repeat_ngram(logits, [[0, 1, 2]], 1),
        lambda logits: penalties.min_length(logits, [[]], 1, [0, 1, 2]),
        lambda logits: penalties.sequence_bias(logits, [[]], [((0,), -math.inf), ((1,), -math.inf), ((2,), -math.inf)]),
    ],
)
def test_a_processor_that_would_remove_every_token_keeps_the_likeliest(found: Callable[[Tensor], Tensor]) -> None:
    logits = torch.tensor([[0.5, 2.0, 1.0]])
    assert found(logits).tolist() == [[-math.inf, 2.0, -math.inf]]
    assert logits.tolist() == [[0.5, 2.0, 1.0]]


def test_a_long_exponential_decay_stays_finite_and_a_removed_eos_stays_removed() -> None:
    logits = torch.tensor([[1.0, 2.0, -math.inf]])
    found = penalties.exponential_decay(logits, [[0] * 5000], 0, 2.0, [1, 2])
    assert math.isfinite(float(found[0, 1]))
    assert found[0, 2] == -math.inf


@settings(max_examples=40, deadline=None)
@given(situation=situations(), scale=st.floats(0, 5))
def test_guidance_is_its_definition(situation: tuple[Tensor, list[list[int]], int], scale: float) -> None:
    logits = situation[0]
    other = logits.flip(-1)
    p, q = logits.log_softmax(-1), other.log_softmax(-1)
    torch.testing.assert_close(penalties.guide(logits, other, scale), scale * (p - q) + q, atol=1e-5, rtol=0)


def test_guidance_keeps_removed_tokens_removed() -> None:
    conditional = torch.tensor([[0.0, -math.inf, 0.0, -math.inf]])
    unconditional = torch.tensor([[0.0, 0.0, -math.inf, -math.inf]])
    assert penalties.guide(conditional, unconditional, 2.0).isneginf().tolist() == [[False, True, True, True]]
