"""Configurations side by side, on a model whose probabilities are written down."""

import math

import pytest

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.errors import ConfigError, InputError
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.quality.comparison import compare

WORDS = ("x ", "a ", "b ", "c ", "d ")


@pytest.fixture(scope="module")
def model() -> Model:
    """Six words after the prompt, "a" six times in ten, and EOS."""
    codec = ScriptedTokenizer(WORDS, bos="<s>")

    def script(ids: tuple[int, ...]) -> list[float]:
        said = len([i for i in ids if i not in codec.special_ids and i != 0])
        if said >= 6:
            return [-1e9 if i != codec.eos_token_ids[0] else 0.0 for i in range(codec.vocab_size)]
        return [-1e9, math.log(0.6), math.log(0.2), math.log(0.1), math.log(0.1), -1e9, -1e9]

    return Model(ScriptedBackend(script, codec))


GREEDY, SAMPLED, SHARP = (
    GenerationConfig(do_sample=False),
    GenerationConfig(do_sample=True),
    GenerationConfig(temperature=0.2),
)


def test_samples_are_paired_by_seed_and_are_what_the_engine_gives(model: Model) -> None:
    found = compare([(model, SAMPLED), (model, SAMPLED)], "x ", scoring_model=model, num_samples=5, seed=7)
    assert [sample.seed for sample in found[0].samples] == [7, 8, 9, 10, 11]
    assert [sample.text for sample in found[0].samples] == [
        model.complete("x ", do_sample=True, seed=seed).generated_text for seed in range(7, 12)
    ]
    assert found[0].samples == found[1].samples
    same = found.difference(0, 1)
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)


def test_greedy_is_never_diverse_and_sampling_is(model: Model) -> None:
    greedy, sampled, sharp = compare(
        [(model, GREEDY), (model, SAMPLED), (model, SHARP)], "x ", scoring_model=model, num_samples=8
    )
    assert greedy.avg_diversity == 0.0
    assert sampled.avg_diversity > sharp.avg_diversity >= 0.0
    # The likeliest word again and again is fluent, and repeats itself: three 4-grams of one kind.
    assert [sample.metrics.repetition for sample in greedy.samples] == [pytest.approx(2 / 3)] * 8
    assert greedy.avg_quality == greedy.samples[0].metrics.quality == greedy.quality.low == greedy.quality.high
    assert sampled.quality.low <= sampled.avg_quality <= sampled.quality.high


def test_the_report_has_everybody_and_the_votes(model: Model) -> None:
    found = compare([(model, GREEDY), (model, SAMPLED)], "x ", scoring_model=model, num_samples=3)
    assert found.won(0) is None
    voted = found.voted(0, 1, "b").voted(1, 0, "a").voted(0, 1, "tie")
    won = voted.won(1)
    assert won is not None
    assert (won.mean, won.count) == (pytest.approx(2.5 / 3), 3)
    report = voted.report()
    assert "# 2 contestants, 3 samples each" in report
    assert '`{"do_sample": true}`' in report
    assert f"- 2: {found.difference(1, 0)}" in report
    assert report.count("| scripted |") == 2
    with pytest.raises(InputError, match="is no vote"):
        found.voted(0, 0, "a")


@pytest.mark.parametrize(
    ("config", "samples", "error", "says"),
    [
        (GenerationConfig(do_sample=True, seed=3), 3, ConfigError, "configuration 0 has seed=3"),
        (GenerationConfig(do_sample=True, num_return_sequences=2), 3, ConfigError, "num_return_sequences=2"),
        (SAMPLED, 1, InputError, "num_samples is 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    model: Model, config: GenerationConfig, samples: int, error: type[InputError], says: str
) -> None:
    with pytest.raises(error, match=says):
        compare([(model, config)], "x ", scoring_model=model, num_samples=samples)
