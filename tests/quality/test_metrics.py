"""Every metric: cases worked out by hand, laws, and the reference packages' own numbers."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.engine.model import Model
from ramify.errors import InputError
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.quality.coherence import coherence
from ramify.quality.intervals import mean_of, share_of
from ramify.quality.likelihood import likelihood
from ramify.quality.metrics import DEFINITIONS, Metrics, measure
from ramify.quality.references import bleu, chrf, rouge
from ramify.quality.repetition import compression_ratio, distinct_n, diversity, longest_repeated_span, rep_n, self_bleu
from ramify.quality.words import entities, sentences, words

SHARED = Path(__file__).parents[3] / "shared" / "data"
TEXTS = st.lists(st.sampled_from(["a", "b", "cat", "dog", "."]), max_size=30).map(" ".join)


def test_words_are_letters_and_digits_of_any_script() -> None:
    assert words("It’s 3 o'clock, naïve Привет!") == ["it's", "3", "o'clock", "naïve", "привет"]
    assert words("你好 world 世界") == ["你", "好", "world", "世", "界"]
    assert words("—!? 😀") == []


def test_sentences_end_at_their_marks() -> None:
    text = '"Run!" she said. He ran… Then?\n\nThe end'
    assert sentences(text) == ['"Run!"', "she said.", "He ran…", "Then?", "The end"]
    assert sentences("你好。再见！") == ["你好。", "再见！"]
    assert sentences("3.5 is one number.") == ["3.5 is one number."]
    assert entities("The dogs saw a big box's foxes.") == {"dog", "big", "box", "fox"}


def test_distinct_and_rep_count_ngrams() -> None:
    assert distinct_n("a b a b", 1) == 0.5
    assert distinct_n("a b a b", 2) == 2 / 3  # ab ba ab
    assert rep_n("a b c d a b c d", 4) == pytest.approx(1 / 5)  # abcd bcda cdab dabc abcd
    assert rep_n("no no no no no no", 4) == pytest.approx(2 / 3)
    assert (distinct_n("", 1), rep_n("a b c", 4)) == (1.0, 0.0)
    assert diversity("a b a b") == pytest.approx(2 / 3)  # its trigrams and its 4-gram differ
    assert distinct_n(["a b", "a b"], 2) == 0.5
    with pytest.raises(InputError, match="n is 0"):
        distinct_n("a", 0)


def test_the_longest_repeated_span_does_not_overlap_itself() -> None:
    assert longest_repeated_span("a a a") == 1
    assert longest_repeated_span("a a a a") == 2
    assert longest_repeated_span("one two three, one two four") == 2
    assert longest_repeated_span("one two three") == 0


@given(TEXTS)
def test_copying_a_text_raises_its_repetition(text: str) -> None:
    said = words(text)
    if len(said) >= 4:
        assert rep_n(f"{text}\n\n{text}") > rep_n(text) or rep_n(text) > 0.8
    assert longest_repeated_span(f"{text} {text}") >= len(said)
    assert diversity(f"{text} {text}") <= diversity(text) + 1e-12


def test_what_repeats_compresses() -> None:
    paragraph = "The hedgehog walked along the river and met an otter who sold umbrellas. "
    assert compression_ratio(paragraph * 5) > compression_ratio(paragraph * 2) > compression_ratio(paragraph)
    assert compression_ratio("") == 1.0


def test_self_bleu_is_one_for_copies_and_none_for_strangers() -> None:
    assert self_bleu(["the cat sat down", "the cat sat down"]) == [1.0, 1.0]
    assert self_bleu(["", ""]) == [1.0, 1.0]
    assert self_bleu(["a b c d", "w x y z"]) == [0.0, 0.0]
    with pytest.raises(InputError, match="at least two"):
        self_bleu(["alone"])


def test_coherence_by_hand() -> None:
    # Every sentence takes up the one before: (1 + 1 + 1) / 3.
    assert coherence("Tom has a dog. The dog is red. Red is fine.") == 1.0
    # The third one's dog is two sentences back: (1 + 0 + 1/2) / 3.
    assert coherence("The dog barks. Rain falls. The dog sleeps.") == pytest.approx(0.5)
    # A pronoun points back: (1 + 1) / 2.
    assert coherence("The dog barks. It sleeps.") == 1.0
    # Introduced after it was there: (1 + 0) / 2.
    assert coherence("The dog barks. There was a dog.") == 0.5
    assert (coherence(""), coherence("Rain falls."), coherence("Then he left.")) == (0.0, 1.0, 0.0)


def test_embeddings_count_for_half() -> None:
    text = "The dog barks. Rain falls."
    assert coherence(text) == 0.5
    assert coherence(text, lambda said: [[1.0, 0.0], [1.0, 0.0]]) == 0.75
    assert coherence(text, lambda said: [[1.0, 0.0], [-1.0, 0.0]]) == 0.25
    with pytest.raises(InputError, match="1 vectors for 2 sentences"):
        coherence(text, lambda said: [[1.0]])


def test_shuffling_sentences_lowers_coherence_in_nine_of_ten_stories() -> None:
    file = SHARED / "stories" / "tinystories" / "tinystories.jsonl"
    if not file.is_file():
        pytest.skip("the stories are not here")
    draw, lower, whole, mixed = random.Random(1), 0, [], []
    with file.open(encoding="utf-8") as lines:
        stories = [sentences(json.loads(next(lines))["text"]) for _ in range(150)]
    stories = [said for said in stories if len(said) >= 5]
    for said in stories:
        shuffled = [coherence(" ".join(draw.sample(said, len(said)))) for _ in range(5)]
        whole.append(coherence(" ".join(said)))
        mixed.append(sum(shuffled) / 5)
        lower += mixed[-1] < whole[-1]
    assert lower / len(stories) > 0.88
    assert sum(whole) / len(whole) > sum(mixed) / len(mixed) + 0.06


@pytest.fixture
def letters() -> Model:
    """Two letters: after "a" comes "b" nine times in ten; otherwise both are even."""
    codec = ScriptedTokenizer(("a", "b"), bos="<s>")

    def script(ids: tuple[int, ...]) -> list[float]:
        b = 0.9 if ids[-1] == 0 else 0.5
        return [math.log(1 - b), math.log(b), -1e9, -1e9]

    return Model(ScriptedBackend(script, codec))


def test_fluency_and_relevance_by_hand(letters: Model) -> None:
    seen = likelihood(letters, "b", "a")
    assert (seen.fluency, seen.perplexity) == (pytest.approx(0.9, abs=1e-6), pytest.approx(1 / 0.9, abs=1e-6))
    # P(b | a) = .9, P(b) = .5: .9 / (.9 + .5).
    assert seen.relevance == pytest.approx(0.9 / 1.4, abs=1e-6)
    assert likelihood(letters, "b").pmi == 0.0
    with pytest.raises(InputError, match="no tokens"):
        likelihood(letters, "")


def test_every_metric_has_a_definition_and_stays_in_its_range(letters: Model) -> None:
    found = measure(letters, "abab", reference="abab", prompt="a")
    assert set(found.to_dict()) - {"model", "fingerprint"} == set(DEFINITIONS)
    assert (found.bleu, found.chrf, found.rouge1) == (pytest.approx(100), pytest.approx(100), 1.0)
    assert (found.tokens, found.words, found.characters, found.model) == (4, 1, 4, "scripted")
    assert found.relevance is not None
    parts = found.fluency * (1 + found.coherence) / 2 * (1 - found.repetition) * found.relevance
    assert found.quality == pytest.approx(parts**0.25)


def test_a_text_without_words_is_worth_nothing(letters: Model) -> None:
    found = measure(letters, "", prompt="a")
    assert (found.quality, found.fluency, found.coherence, found.relevance, found.perplexity) == (0.0, 0.0, 0.0, 0.0, None)


def test_without_a_prompt_there_is_no_relevance(letters: Model) -> None:
    found = measure(letters, "ab")
    assert (found.relevance, found.pmi, found.bleu) == (None, None, None)
    assert isinstance(found, Metrics)


HOSTILE = ["", " ", "\n", "\x00", "<script>alert(1)</script>", "a" * 500, "%s %d {}", "\u202eabc", "😀😀", "ﬁ ﷺ"]
CHINESE = ["你好世界", "我爱你。", "今天天气很好，我们去公园吧。", "刺猬索尼克想看大海。"]
ENGLISH = ["The cat sat on the mat.", "A cat is on a mat!", "It's 3 o'clock; don't go.", "the the the the", "Naïve café №5"]


def pairs() -> list[tuple[str, str]]:
    every = HOSTILE + CHINESE + ENGLISH
    draw = random.Random(0)
    found = [(text, text) for text in every] + [(text, "") for text in every] + [("", text) for text in every]
    while len(found) < 110:
        found.append((draw.choice(every) + " " + draw.choice(every), draw.choice(every)))
    return found


def test_bleu_chrf_and_rouge_are_the_packages_own() -> None:
    import sacrebleu
    from rouge_score import rouge_scorer  # type: ignore[import-untyped]

    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    for text, reference in pairs():
        assert bleu(text, reference) == pytest.approx(sacrebleu.sentence_bleu(text, [reference]).score, abs=1e-6)
        assert chrf(text, reference) == pytest.approx(sacrebleu.sentence_chrf(text, [reference]).score, abs=1e-6)
        expected = {name: score.fmeasure for name, score in scorer.score(reference, text).items()}
        assert rouge(text, reference) == pytest.approx(expected, abs=1e-6)


def test_chinese_has_its_own_tokenizer_for_bleu() -> None:
    import sacrebleu

    text, reference = "今天天气很好，我们去公园。", CHINESE[2]
    assert bleu(text, reference, tokenize="zh") == pytest.approx(
        sacrebleu.sentence_bleu(text, [reference], tokenize="zh").score, abs=1e-6
    )
    assert bleu(text, reference, tokenize="zh") > bleu(text, reference)
    with pytest.raises(InputError, match="tokenize is 'martian'"):
        bleu("a", "b", tokenize="martian")


def test_intervals_hold_what_they_say() -> None:
    same = mean_of([2.0, 2.0, 2.0])
    assert (same.mean, same.low, same.high, same.count) == (2.0, 2.0, 2.0, 3)
    found = mean_of([0.0, 1.0] * 50)
    assert found == mean_of([0.0, 1.0] * 50)
    assert found.mean == 0.5
    assert 0.38 < found.low < 0.42 < 0.58 < found.high < 0.62  # 1.96 · 0.5 / 10 = 0.098
    # Wilson's interval for 8 of 10, from his formula.
    won = share_of(8, 10)
    assert (won.mean, won.low, won.high) == (0.8, pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    with pytest.raises(InputError, match="no values"):
        mean_of([])
