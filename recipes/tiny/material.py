"""Write the training files: text.jsonl, pairs.jsonl and more_pairs.jsonl, held-out rows of each, all from one seed.

text.jsonl          for pretraining: every training story of TinyStories, and conversations read as whole text
pairs.jsonl         for the instruction stage: conversations of which the assistant's turns are learned
more_pairs.jsonl    for the stage after it: other conversations, with more stories of the grammar among them
"""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from recipes.tiny.chores import chore, drill
from recipes.tiny.natural import natural_pair, read_stories
from recipes.tiny.payments import payment
from recipes.tiny.stories import story_pair

__all__ = ["PACKAGE_FOLDER", "conversation", "write_material", "write_rows"]

PACKAGE_FOLDER = Path(__file__).resolve().parents[2] / "src" / "ramify" / "models" / "embedded" / "tiny"

Chat = list[dict[str, str]]


def conversation(rng: random.Random, stories: list[str]) -> Chat:
    """Several unrelated requests in one conversation; a long one shows the model positions far from the start."""
    turns = story_pair(rng)
    for _ in range(rng.choice([1, 1, 2, 3, 5])):
        kind = rng.random()
        more = story_pair(rng) if kind < 0.35 else natural_pair(rng, rng.choice(stories)) if kind < 0.6 else chore(rng)
        turns += [turn for turn in more if turn["role"] != "system"]
    return turns


def write_material(stories_folder: Path, folder: Path, *, seed: int = 2026, size: float = 1.0) -> dict[str, int]:
    """Write the files into `folder`; `size` scales the number of generated rows. Returns the number of rows of each kind."""
    rng = random.Random(seed)
    stories, held = read_stories(stories_folder)
    number = {"stories": len(stories), "held_out_stories": len(held)}

    def several(kind: str, count: float) -> list[Chat]:
        makers: dict[str, Callable[[], Chat]] = {
            "grammar": lambda: story_pair(rng),
            "rare": lambda: story_pair(rng, rare=True),
            "payments": lambda: payment(rng),
            "chores": lambda: chore(rng),
            "drills": lambda: drill(rng),
            "natural": lambda: natural_pair(rng, rng.choice(stories)),
            "conversations": lambda: conversation(rng, stories),
        }
        rows = [makers[kind]() for _ in range(round(count * size))]
        number[kind] = number.get(kind, 0) + len(rows)
        return rows

    # Whole text: what the words mean comes first, the form of conversations along with it.
    text: list[dict[str, Any]] = [{"text": story} for story in stories]
    for kind, count in (("grammar", 9000), ("payments", 6000), ("chores", 8000), ("natural", 4000), ("conversations", 300)):
        text += [{"messages": row} for row in several(kind, count)]

    def shuffled(order: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        random.Random(f"{seed}/order of the {order}").shuffle(rows)
        return rows

    def instructions(*shares: tuple[str, int]) -> list[dict[str, Any]]:
        return [{"messages": row} for kind, count in shares for row in several(kind, count)]

    number["natural"] += len(stories)
    pairs = shuffled(
        "pairs",
        [
            *({"messages": natural_pair(rng, story)} for story in stories),
            *instructions(("rare", 22000), ("payments", 34000), ("chores", 20000), ("conversations", 500), ("drills", 26000)),
            *({"text": story} for story in rng.sample(stories, len(stories) // 4)),
        ],
    )
    # Who asks for a hero of some kind and name gets a story with a plot here; natural stories answer other requests.
    more_pairs = shuffled(
        "more pairs",
        [
            *({"messages": natural_pair(rng, story, by_hero=0.1)} for story in rng.sample(stories, len(stories) // 2)),
            *instructions(("rare", 24000), ("payments", 16000), ("chores", 8000), ("drills", 20000)),
        ],
    )
    random.Random(f"{seed}/order of the text").shuffle(text)
    validation: dict[str, list[dict[str, Any]]] = {
        "stories": [{"text": story} for story in held],
        "pairs": [{"messages": row} for row in (*several("rare", 60), *several("payments", 80), *several("chores", 60))],
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "text.jsonl", text)
    write_rows(folder / "pairs.jsonl", pairs)
    write_rows(folder / "more_pairs.jsonl", more_pairs)
    for name, rows in validation.items():
        write_rows(folder / f"held_out_{name}.jsonl", rows)
    return number


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A JSON Lines file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
