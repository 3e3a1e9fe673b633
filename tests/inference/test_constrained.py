"""Every required word, no forbidden one, whatever seed and tokenization; and words that are woven in."""

import random
from collections.abc import Callable
from typing import Any

import pytest

import models_made_here
from ramify.engine.model import Model
from ramify.errors import ConfigError, ConstraintError
from ramify.inference import ConstrainedGenerator
from ramify.inference.models import opened
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.quality.likelihood import likelihood

PROMPT = "Explain it:"
LISTS: tuple[tuple[list[str], list[str]], ...] = (
    (["machine learning", "neural networks", "data"], ["impossible", "never"]),
    (["Sonic"], ["the", "a"]),
    (["naïve", "你好", "😀"], ["é", "x"]),
    (["CAT", "dog"], ["cats", " dog"]),
    (["a", "ab", "abc"], ["abcd"]),
    (["sea. ", "\n"], ["sea.. "]),
)


@pytest.fixture
def bytewise() -> Model:
    """One token for each byte, all as likely, so that words come in as many pieces as they can."""
    codec = ScriptedTokenizer.of_bytes()
    letters = [ord(c) for c in "abcdefghijklmnop qrstuvwxyz.\n"]

    def script(ids: tuple[int, ...]) -> list[float]:
        turn = random.Random(len(ids) * 31 + (ids[-1] if ids else 0))
        return [turn.random() * 4 if i in letters else -6.0 for i in range(codec.vocab_size)]

    return Model(ScriptedBackend(script, codec, context_window=512))


def holds(text: str, required: list[str], forbidden: list[str]) -> bool:
    """The rule as it is documented: bytes, with A-Z and a-z alike."""
    folded = text.encode().lower()
    return all(word.encode().lower() in folded for word in required) and not any(
        word.encode().lower() in folded for word in forbidden
    )


def tried(model: Model, seed: int) -> None:
    required, forbidden = LISTS[seed % len(LISTS)]
    settings: dict[str, Any] = {"temperature": (0.7, 1.0, 1.6)[seed % 3], "top_p": (None, 0.9)[seed % 2]}
    made = ConstrainedGenerator(
        model, None, required, forbidden, max_length=90 + seed % 40 + 60 * (model.info.name == "scripted")
    )
    text = made.generate(PROMPT, seed=seed, **settings)
    assert holds(text, required, forbidden), (seed, text)


@pytest.mark.parametrize("seed", range(18))
def test_words_are_kept_whatever_the_seed(seed: int) -> None:
    tried(opened(models_made_here.folder("llama")), seed)


def test_words_are_kept_byte_by_byte(bytewise: Model) -> None:
    for seed in range(6):
        tried(bytewise, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "qwen2", "tiny", "bytes"])
def test_words_are_kept_over_500_seeds(name: str, bytewise: Model) -> None:
    model = bytewise if name == "bytes" else opened(name if name == "tiny" else models_made_here.folder(name))
    for seed in range({"llama": 320, "qwen2": 120, "tiny": 30, "bytes": 30}[name]):
        tried(model, seed)


def test_the_same_seed_gives_the_same_text_and_greedy_needs_none() -> None:
    made = ConstrainedGenerator(models_made_here.folder("llama"), None, ["Sonic"], ["sea"], max_length=80)
    assert made.generate(PROMPT) == made.generate(PROMPT)
    drawn = {made.generate(PROMPT, temperature=1.0, seed=seed) for seed in (1, 1, 2)}
    assert len(drawn) == 2


def perplexity(model: Model, text: str, prompt: str) -> float:
    return likelihood(model, text, prompt).perplexity


@pytest.mark.parametrize("words", [["friend"], ["river", "friend"], ["ball", "tree", "rain"]])
def test_words_are_woven_in(words: list[str]) -> None:
    model = opened("tiny")
    prompt = "Once upon a time"
    text = ConstrainedGenerator(model, None, words, ["wolf"], max_length=150).generate(prompt)
    plain = model.complete(prompt, max_length=150, forbidden_words=["wolf"]).generated_text
    assert holds(text, words, ["wolf"])
    places = [text.lower().index(word) / len(text) for word in words]
    assert min(places) < 0.9, places
    assert perplexity(model, text, prompt) <= 2 * perplexity(model, plain, prompt)


def test_a_words_own_place_is_taken_when_the_model_says_it_anyway(load: Callable[[str], Any]) -> None:
    model = load("llama")
    plain = model.complete(PROMPT, max_new_tokens=40, min_new_tokens=4)
    said = next(
        word
        for word in (model.codec.decode([i]) for i in plain.generated_token_ids[:8])
        if word.strip() and word.isprintable() and "\ufffd" not in word
    )
    text = ConstrainedGenerator(model, None, [said], max_length=120).generate(PROMPT)
    assert text.startswith(plain.generated_text[: plain.generated_text.index(said) + len(said)])


def test_beams_and_schemas_keep_the_words_too(load: Callable[[str], Any]) -> None:
    model = load("llama")
    beams = ConstrainedGenerator(model, None, ["Sonic"], ["sea"], max_length=60, num_beams=4).generate(PROMPT)
    assert holds(beams, ["Sonic"], ["sea"])
    schema = {
        "type": "object",
        "properties": {"to": {"type": "string", "maxLength": 9}},
        "required": ["to"],
        "additionalProperties": False,
    }
    made = ConstrainedGenerator(model, None, None, ["Mike"], json_schema=schema, temperature=1.0, max_length=90)
    assert holds(made.generate(PROMPT, seed=1), [], ["Mike"])


def test_without_words_it_is_the_models_own_completion(load: Callable[[str], Any]) -> None:
    model = load("llama")
    made = ConstrainedGenerator(model, None, [], [], max_length=40)
    assert made.generate(PROMPT) == model.complete(PROMPT, max_length=40).generated_text


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"required_words": ["a long phrase of many words"], "max_length": 6}, ConstraintError, "takes .* tokens to spell"),
        ({"required_words": ["cats"], "forbidden_words": ["CAT"]}, ConstraintError, "'cats', which contains 'CAT'"),
        ({"required_words": [""]}, ConfigError, "required_words"),
        ({"required_wordz": ["a"]}, ConfigError, "did you mean required_words"),
        ({"max_length": 0}, ConfigError, "max_length is 0"),
    ],
)
def test_what_cannot_be_met_is_refused_at_once(
    load: Callable[[str], Any], given: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ConstrainedGenerator(load("llama"), **given)


def test_a_prompt_that_leaves_too_few_tokens_is_refused_before_anything_runs(load: Callable[[str], Any]) -> None:
    model = load("llama")
    made = ConstrainedGenerator(model, None, ["hedgehog", "umbrella"], max_length=40)
    before = model.engine.forward_passes
    with pytest.raises(ConstraintError, match=r"the prompt has 38, .* leaves 2"):
        made.generate([5] * 38)
    assert model.engine.forward_passes == before
