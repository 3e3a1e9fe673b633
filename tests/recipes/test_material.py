"""What the embedded model is trained on: valid, answering what is asked, without anything held out."""

import json
import random
import re
from pathlib import Path

import jsonschema
import pytest
from recipes.tiny.build import PACKAGE_FOLDER, commands, install
from recipes.tiny.chores import chore, drill
from recipes.tiny.copies import maker_of_words, write_copies
from recipes.tiny.evaluate import (
    JSON_ANSWER,
    JSON_PROMPT,
    STORY_PROMPT,
    chat,
    story_keeps,
    unseen_heroes,
    unseen_payments,
    write_card,
)
from recipes.tiny.material import write_material
from recipes.tiny.natural import clean, natural_pair, read_stories
from recipes.tiny.payments import SYSTEM, answer, payment
from recipes.tiny.plots import PLOTS
from recipes.tiny.stories import STORYTELLER, Hero, article, story, story_pair
from recipes.tiny.words import CURRENCIES, HELD_OUT_ANIMALS, HELD_OUT_NAMES, held_out_payment, invented_kind
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

STORIES = [
    f"Once upon a time, there was a little {kind} named Tom. Tom liked to run. One day, Tom met number {n}. They were happy."
    for n, kind in enumerate(["dog", "cat", "bird", "boy"] * 30)
]
SCHEMA = {
    "type": "object",
    "properties": {
        "contractor": {"type": "string", "minLength": 1},
        "sum": {"type": "number", "minimum": 0},
        "currency": {"enum": list(CURRENCIES)},
    },
    "required": ["contractor", "sum", "currency"],
    "additionalProperties": False,
}
HELD = re.compile(r"\b(" + "|".join([*HELD_OUT_NAMES, *HELD_OUT_ANIMALS]) + r")\b", re.IGNORECASE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of stories, some of which name what is held out."""
    extra = ["Sonic was a dog. Sonic ran.", "There was a badger in the wood. It slept."]
    text = "".join(json.dumps({"text": story, "source": "x"}) + "\n" for story in [*STORIES, *extra])
    (tmp_path / "tinystories.jsonl").write_text(text)
    (tmp_path / "tinystories_more.jsonl").write_text("")
    return tmp_path


def contents(rows: list[dict[str, str]]) -> str:
    return "\n".join(row["content"] for row in rows)


def test_every_payment_is_valid_json_that_says_what_was_asked() -> None:
    rng = random.Random(0)
    for _ in range(400):
        _, asked, told = payment(rng)
        made = json.loads(told["content"])
        jsonschema.validate(made, SCHEMA)
        assert made["contractor"] in asked["content"]
        digits = told["content"].split('"sum": ')[1].split(",")[0]
        assert digits in asked["content"].replace(",", "")
        assert any(word.removesuffix("s") in asked["content"] for word in (made["currency"], *CURRENCIES[made["currency"]]))
        assert told["content"] == answer(made["contractor"], digits, made["currency"])


def test_the_answer_has_one_canonical_form() -> None:
    assert answer("Mike", "100", "RUB") == JSON_ANSWER == '{"contractor": "Mike", "sum": 100, "currency": "RUB"}'


def test_document_004s_payment_and_held_out_names_are_never_trained_on() -> None:
    assert held_out_payment("Mike", "100", "RUB")
    assert not held_out_payment("Mike", "101", "RUB") or not held_out_payment("Mike", "102", "RUB")
    rng = random.Random(1)
    for _ in range(3000):
        made = json.loads(payment(rng)[-1]["content"])
        assert not (made["contractor"] == "Mike" and made["sum"] == 100 and made["currency"] == "RUB")
        assert not HELD_OUT_NAMES & set(made["contractor"].split())


def test_every_story_tells_of_the_hero_that_was_asked_for() -> None:
    rng = random.Random(2)
    for _ in range(1500):
        pair = story_pair(rng, rare=rng.random() < 0.5)
        asked, told = pair[-2]["content"], pair[-1]["content"]
        named = re.search(r"(?:named|called|is|about) ([A-Z][a-z]+)", asked)
        assert "{" not in told
        assert not HELD.search(asked + told), HELD.search(asked + told)
        assert 60 <= len(told.split()) <= 240
        if named:
            assert told.count(named.group(1)) >= 2


def test_a_made_up_kind_is_never_a_held_out_one() -> None:
    rng = random.Random(6)
    kinds = {invented_kind(rng) for _ in range(5000)}
    assert len(kinds) > 3000
    assert not kinds & {*HELD_OUT_ANIMALS, *(name.lower() for name in HELD_OUT_NAMES)}


def test_each_plot_can_be_told_in_each_place_with_the_pronouns_in_agreement() -> None:
    rng = random.Random(3)
    for plot in range(len(PLOTS)):
        for place in range(16):
            told = story(rng, Hero("Ann", "girl", "brave"), plot, place)
            assert "{" not in told
            assert "Ann" in told
            assert not re.search(r"\b[Hh]imself\b", told)
            girl = re.sub(r'"[^"]*"', "", told)
            assert re.search(r"\b(she|her)\b", girl, re.IGNORECASE)
            assert not re.search(r"\bhe\b", girl), girl


def test_the_article_agrees() -> None:
    assert [article(word) for word in ("owl", "unicorn", "tiny owl", "elephant")] == ["an", "a", "a", "an"]


def test_every_chore_has_an_answer_and_its_json_parses() -> None:
    rng = random.Random(4)
    objects = 0
    for _ in range(2000):
        rows = chore(rng)
        told = rows[-1]["content"]
        assert rows[-1]["role"] == "assistant"
        assert told
        assert not any(name in contents(rows) for name in HELD_OUT_NAMES)
        if told[0] in "[{":
            assert json.loads(told) is not None
            objects += told[0] == "{"
    assert objects > 700


def test_a_drill_answers_with_what_it_was_given() -> None:
    rng = random.Random(7)
    for _ in range(1000):
        rows = drill(rng)
        asked, told = rows[-2]["content"], rows[-1]["content"]
        assert not HELD.search(asked)
        if told[0] == "{":
            made = json.loads(told)
            assert all(f"{key}: " in asked for key in made)
            assert all(str(value) in asked for value in made.values() if isinstance(value, str))
        else:
            assert asked.endswith(f": {told}")


def test_a_natural_pair_renames_its_hero_everywhere() -> None:
    rng = random.Random(5)
    renamed = 0
    for text in STORIES:
        rows = natural_pair(rng, text)
        named = re.search(r"(?:named|called) ([A-Z][a-z]+)", rows[-2]["content"])
        told = rows[-1]["content"]
        if named and named.group(1) != "Tom" and told.startswith("Once"):
            renamed += 1
            assert told.count(named.group(1)) >= 3
            assert not re.search(r"\bTom\b", told)
    assert renamed > 20


def test_the_material_is_the_same_each_time_and_keeps_out_what_is_held_out(folder: Path, tmp_path: Path) -> None:
    number = write_material(folder, tmp_path / "a", size=0.002)
    assert write_material(folder, tmp_path / "b", size=0.002) == number
    names = ["text.jsonl", "pairs.jsonl", "held_out_stories.jsonl", "held_out_pairs.jsonl"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    training, held = read_stories(folder)
    assert number["stories"] == len(training)
    assert len(training) + len(held) == len(STORIES)
    trained = (tmp_path / "a" / "text.jsonl").read_text() + (tmp_path / "a" / "pairs.jsonl").read_text()
    assert not HELD.search(trained)
    assert not [story for story in held if json.dumps(story)[1:-1] in trained]


def test_curly_quotes_become_straight() -> None:
    assert clean(" “It’s” – he said… ") == '"It\'s" - he said...'


def test_the_evaluation_asks_only_for_what_training_lacks() -> None:
    heroes = unseen_heroes()
    assert len({hero.kind for hero in heroes}) == len({hero.name for hero in heroes}) == 20
    assert all(hero.name in HELD_OUT_NAMES and hero.kind in HELD_OUT_ANIMALS for hero in heroes)
    asked = unseen_payments()
    assert len(set(asked)) == 20
    assert all(HELD_OUT_NAMES & set(json.loads(want)["contractor"].split()) for _, want in asked)


def test_the_prompts_are_document_004s() -> None:
    assert chat(STORYTELLER, "Generate me a short story about a tiny hedgehog named Sonic.") == STORY_PROMPT
    assert chat(SYSTEM, "Transfer 100 rubles to Mike") == JSON_PROMPT


def test_a_story_is_judged_by_name_and_kind() -> None:
    hero = Hero("Sonic", "hedgehog")
    assert story_keeps("Sonic was a Hedgehog. Sonic ran.", hero)
    assert not story_keeps("Sonic was a hedgehog.", hero)
    assert not story_keeps("Sonic was a fox. Sonic ran.", hero)


def test_the_card_changes_only_between_its_markers(tmp_path: Path) -> None:
    card = tmp_path / "CARD.md"
    card.write_text("before\n<!-- evaluation -->\nold\n<!-- /evaluation -->\nafter\n")
    write_card(card, "new\n")
    assert card.read_text() == "before\n<!-- evaluation -->\nnew\n<!-- /evaluation -->\nafter\n"


def test_the_longest_run_of_words_shared_with_training_is_found() -> None:
    from recipes.tiny.evaluate import longest_copy

    words = [f"w{n}" for n in range(40)]
    told = " ".join(["Once", *words[5:20], "and", "so"])
    training = [" ".join(words[:12]), " ".join(["x", *words[7:30]]), "Once and so"]
    assert longest_copy([told, "short"], training) == (13, " ".join(words[7:20]))
    assert longest_copy([told], ["nothing of it"]) == (0, "")


def test_each_command_of_the_recipe_is_one_that_ramify_train_has_with_these_options() -> None:
    import typer

    from ramify.cli.train import app

    group = typer.main.get_command(app)
    steps = commands(Path("cache"), pretrain_seconds=2, sft_seconds=3, settle_seconds=4)
    assert {step: name for step, (name, *_) in steps.items()} == {
        "tokenizer": "tokenizer", "pretrain": "pretrain", "sft": "sft", "settle": "sft"
    }  # fmt: skip
    for name, *arguments in steps.values():
        group.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


def test_rows_to_copy_are_made_of_all_pieces_and_hold_nothing_held_out(tmp_path: Path) -> None:
    assert write_copies(PACKAGE_FOLDER, tmp_path / "copies.jsonl", count=3000) == 3000
    rows = [json.loads(line)["messages"] for line in (tmp_path / "copies.jsonl").read_text().splitlines()]
    text = "\n".join(map(contents, rows))
    assert not HELD.search(text.replace(SYSTEM, ""))
    vocabulary = json.loads((PACKAGE_FOLDER / "tokenizer.json").read_text())["model"]["vocab"]
    pieces = {word.lower() for token in vocabulary if (word := token.replace("▁", "")).isascii() and word.isalpha()}
    assert sum(piece in text.lower() for piece in pieces) > 0.99 * len(pieces)
    for asked, told in (row[-2:] for row in rows):
        if asked["content"].startswith(("Begin", "Write the first")):
            name = asked["content"].removesuffix(".").split(" named ")[1]
            assert name in told["content"]
        elif not told["content"].startswith("{"):
            assert asked["content"].endswith(told["content"])


def test_no_word_to_copy_holds_what_is_held_out(tmp_path: Path) -> None:
    Tokenizer(WordLevel({"yak": 0, "▁lu": 1, "na": 2, "dog": 3}, unk_token="dog")).save(str(tmp_path / "tokenizer.json"))
    make = maker_of_words(tmp_path, random.Random(0))
    made = {make() for _ in range(300)}
    assert {"dog", "lu"} & made
    assert [word for word in made if "yak" in word or "luna" in word] == []


def test_a_model_too_large_for_the_package_is_refused(tmp_path: Path) -> None:
    trained, package = tmp_path / "trained", tmp_path / "package" / "tiny"
    trained.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        (trained / name).write_text("{}")
    (trained / "model.safetensors").write_bytes(b"x" * 100)
    assert install(trained, package) == 108
    assert (package / "model.safetensors").read_bytes() == b"x" * 100
    with (trained / "model.safetensors").open("wb") as file:
        file.truncate(16_000_001)
    with pytest.raises(SystemExit, match="16000009 bytes; the package holds 16000000 at most"):
        install(trained, package)
    assert (package / "model.safetensors").read_bytes() == b"x" * 100
