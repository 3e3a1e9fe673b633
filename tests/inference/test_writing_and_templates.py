"""What a style, a length and a number of turns do; and prompts made of parts."""

from pathlib import Path

import pytest

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.errors import InputError
from ramify.inference import CreativeWriter, PromptTemplate, few_shot
from ramify.inference.writing import STYLES
from ramify.models.chat import ChatTemplate
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer

TEMPLATE = "{% for m in messages %}<{{ m['content'] }}>{% endfor %}{% if add_generation_prompt %}:{% endif %}"


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def model(heard: list[str]) -> Model:
    """It says "one two three. " again and again, and what it was asked is heard."""
    codec = ScriptedTokenizer.of_bytes()
    codec.chat_template = TEMPLATE

    def script(ids: tuple[int, ...]) -> list[float]:
        said = codec.decode(ids)
        heard.append(said)
        answer = said.rpartition(">:")[2]
        answer = answer.rpartition(":")[2].removeprefix("Once")
        line = " one two three."
        best = line[len(answer) % len(line)]
        return [0.0 if i == ord(best) else -20.0 for i in range(codec.vocab_size)]

    return Model(ScriptedBackend(script, codec), chat=ChatTemplate(codec))


def test_a_story_goes_on_for_at_most_so_many_words_and_ends_with_a_sentence(model: Model, heard: list[str]) -> None:
    writer = CreativeWriter(model, seed=1)
    text = writer.continue_story("Once", length=8)
    assert text == " one two three. one two three."
    assert heard[0] == f"<Continue this story {STYLES['creative'].told}.>:Once"
    assert writer.continue_story("Once", length=3) == " one two three."
    assert writer.continue_story("Once", length=2) == " one two"  # a sentence that is longer is cut


def test_a_style_is_told_and_sets_what_was_left_unset(model: Model, heard: list[str]) -> None:
    assert CreativeWriter(model, style="plain").config.to_dict() == {"temperature": 0.5, "top_p": 0.9}
    given = GenerationConfig(temperature=1.0, top_p=0.95)
    assert CreativeWriter(model, style="plain", config=given).config == given
    assert CreativeWriter(model, style="dark", max_new_tokens=9).config.to_dict() == {
        "max_new_tokens": 9, "temperature": 0.9, "top_p": 0.92,
    }  # fmt: skip
    CreativeWriter(model, style="humorous", seed=1).develop_character("a fox", length=3)
    assert heard[0].startswith("<Describe a character so that it makes the reader laugh: a fox.")
    with pytest.raises(InputError, match="style is 'sad'; it must be one of creative, plain"):
        CreativeWriter(model, style="sad")


@pytest.mark.parametrize("turns", [1, 2, 5])
def test_a_dialogue_has_exactly_so_many_turns(model: Model, turns: int) -> None:
    lines = CreativeWriter(model, seed=1).generate_dialogue("two friends", turns=turns, speakers=("Ann", "Ben")).split("\n")
    assert lines == [f"{('Ann', 'Ben')[turn % 2]}: one two three." for turn in range(turns)]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda w: w.continue_story("Once", length=0), "length is 0"),
        (lambda w: w.continue_story(" "), "story is ' '"),
        (lambda w: w.generate_dialogue("x", turns=0), "turns is 0"),
        (lambda w: w.generate_dialogue("x", speakers=("A", "A")), "speakers is"),
        (lambda w: w.generate_dialogue("x", max_new_tokens=5), "max_new_tokens is 5, and each line"),
        (lambda w: w.generate_dialogue("x", regex="a+"), "leave it out .regex=None"),
        (lambda w: w.develop_character(""), "description is ''"),
    ],
)
def test_what_cannot_be_written_is_refused(model: Model, call: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        call(CreativeWriter(model))  # type: ignore[operator]


def test_few_shot_is_the_documents_own_prompt() -> None:
    assert few_shot(
        [
            {"English": "Hello, how are you?", "French": "Bonjour, comment allez-vous?"},
            ("What is your name?", "Comment vous appelez-vous?"),
        ],
        "I love programming.",
        instruction="Translate English to French:",
        labels=("English", "French"),
    ) == (
        "Translate English to French:\n\nEnglish: Hello, how are you?\nFrench: Bonjour, comment allez-vous?\n\n"
        "English: What is your name?\nFrench: Comment vous appelez-vous?\n\nEnglish: I love programming.\nFrench:"
    )
    with pytest.raises(InputError, match="example 0 is"):
        few_shot([{"English": "a"}], "b", labels=("English", "French"))


def test_a_template_fills_its_gaps_and_evaluates_nothing(tmp_path: Path) -> None:
    template = PromptTemplate("Tell {{me}} of {topic}, {topic} and {place}.")
    assert template.names == ("topic", "place")
    assert template.fill(topic="{x}", place=3) == "Tell {me} of {x}, {x} and 3."
    with pytest.raises(InputError, match="missing: place, unknown: plaice"):
        template.fill(topic="a", plaice="b")
    for text in ("{a.__class__}", "{0}", "{a!r}", "{a:>9}", "{"):
        with pytest.raises(InputError):
            PromptTemplate(text)
