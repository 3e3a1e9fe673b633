"""Measure the embedded model and write the figures and unpicked samples into its card.

    python -m recipes.tiny.evaluate                 prints, and replaces the part of CARD.md between the two markers

Nothing is picked: seeds are 0 to 9 in order, the names, animals and payments are the held-out ones in order.
"""

import argparse
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.tiny.material import PACKAGE_FOLDER
from recipes.tiny.payments import SYSTEM, amount, answer, request
from recipes.tiny.stories import STORYTELLER, Hero
from recipes.tiny.words import CURRENCIES, HELD_OUT_ANIMALS, HELD_OUT_NAMES, held_out_payment

__all__ = [
    "JSON_ANSWER",
    "JSON_PROMPT",
    "STORY_PROMPT",
    "Completed",
    "evaluate_package",
    "longest_copy",
    "story_keeps",
    "unseen_heroes",
    "unseen_payments",
]

STORY_PROMPT = (
    "<|im_start|>system\nYou are a storyteller. Generate a story based on user message.<|im_end|>\n"
    "<|im_start|>user\nGenerate me a short story about a tiny hedgehog named Sonic.<|im_end|>\n<|im_start|>assistant\n"
)
JSON_PROMPT = (
    '<|im_start|>system\nYou are a strict JSON machine. Generate only a JSON with format {"contractor": name, "sum": decimal, '
    '"currency": currency code} based on user message. You prohibited to discuss. Only return dict in json format.<|im_end|>\n'
    "<|im_start|>user\nTransfer 100 rubles to Mike<|im_end|>\n<|im_start|>assistant\n"
)
JSON_ANSWER = '{"contractor": "Mike", "sum": 100, "currency": "RUB"}'
SAMPLING: dict[str, Any] = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_new_tokens": 400}
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 100}
START, END = "<!-- evaluation -->", "<!-- /evaluation -->"


@dataclass(frozen=True)
class Completed:
    """The new text of one completion, and whether the model ended it itself."""

    text: str
    ended: bool


def chat(system: str, user: str) -> str:
    """A raw ChatML prompt that ends where the assistant begins."""
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def story_keeps(text: str, hero: Hero) -> bool:
    """The rule for a story: the hero's name twice at least, and the kind once."""
    return text.count(hero.name) >= 2 and hero.kind in text.lower()


def unseen_heroes() -> list[Hero]:
    """Twenty heroes whose names and kinds training lacks."""
    names = sorted(HELD_OUT_NAMES - {"Sonic"})
    adjectives = ("tiny", "brave", "", "shy", "clever")
    return [Hero(names[i], kind, adjectives[i % 5]) for i, kind in enumerate(HELD_OUT_ANIMALS)]


def unseen_payments(count: int = 20, *, seed: int = 7) -> list[tuple[str, str]]:
    """(request, exact answer): names that training lacks, every other one with a second; sums and currencies by chance."""
    rng = random.Random(seed)
    names = sorted(HELD_OUT_NAMES)
    rows: list[tuple[str, str]] = []
    for number in range(count):
        contractor = names[number % len(names)] + (f" {rng.choice(names)}" if number % 2 else "")
        value, currency = amount(rng), rng.choice(list(CURRENCIES))
        assert held_out_payment(contractor, value, currency)
        rows.append((request(rng, contractor, value, currency), answer(contractor, value, currency)))
    return rows


class Measured:
    """The packaged model, completing raw prompts."""

    def __init__(self, folder: Path) -> None:
        import ramify

        self.model = ramify.load(str(folder))

    def complete(self, prompt: str, *, seed: int = 0, **fields: Any) -> Completed:
        """One completion."""
        result = (
            self.model.complete(prompt, seed=seed, **fields) if fields["do_sample"] else self.model.complete(prompt, **fields)
        )
        return Completed(result.generated_text, result.finish_reason == "eos")


def longest_copy(texts: Sequence[str], training: Iterable[str]) -> tuple[int, str]:
    """The longest run of words that stands in a text and in a training text, letter for letter: (words, the run).

    A model that told training stories again would share runs as long as the stories; common phrases are a dozen words.
    """
    shortest = 8  # shorter runs are how everybody speaks
    heads: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    spoken = [text.split() for text in texts]
    for number, words in enumerate(spoken):
        for at in range(len(words) - shortest + 1):
            heads.setdefault(tuple(words[at : at + shortest]), []).append((number, at))
    best: tuple[int, str] = (0, "")
    for text in training:
        read = text.split()
        for at in range(len(read) - shortest + 1):
            for number, place in heads.get(tuple(read[at : at + shortest]), ()):
                size, words = shortest, spoken[number]
                while place + size < len(words) and at + size < len(read) and words[place + size] == read[at + size]:
                    size += 1
                if size > best[0]:
                    best = (size, " ".join(words[place : place + size]))
    return best


def training_texts(cache: Path) -> Iterator[str]:
    """Every text that the model was trained on, where the material is there."""
    from ramify.training.rows import read_rows, texts_of

    for name in ("text", "pairs", "more_pairs", "copies", "books"):
        file = cache / "material" / f"{name}.jsonl"
        if file.is_file():
            for row in read_rows(file):
                yield from texts_of(row)


def held_out_loss(folder: Path, rows: Path) -> tuple[float, float]:
    """Nats a token (EOS included) and bits a byte of UTF-8, over the held-out stories, in float32."""
    from ramify.training.examples import Example
    from ramify.training.models import load_model
    from ramify.training.rows import read_documents, read_rows
    from ramify.training.tokenizers import load_tokenizer
    from ramify.training.trainers import evaluate

    examples: list[Example] = read_documents(rows, load_tokenizer(folder), max_length=2048)
    loss = evaluate(load_model(folder), examples)
    size = sum(len(row["text"].encode()) for row in read_rows(rows))
    return loss, loss * sum(example.learned for example in examples) / size / 0.6931471805599453


def report(model: Measured, losses: tuple[float, float] | None, training: Iterable[str] = ()) -> str:
    """Everything in Markdown."""
    sonic = Hero("Sonic", "hedgehog", "tiny")
    stories = [model.complete(STORY_PROMPT, seed=seed, **SAMPLING) for seed in range(10)]
    payments = [model.complete(JSON_PROMPT, seed=seed, **SAMPLING | {"max_new_tokens": 100}) for seed in range(10)]
    greedy_story = model.complete(STORY_PROMPT, **GREEDY | {"max_new_tokens": 400})
    greedy_payment = model.complete(JSON_PROMPT, **GREEDY)
    heroes = unseen_heroes()
    asked = [chat(STORYTELLER, f"Generate me a short story about {hero.phrase} named {hero.name}.") for hero in heroes]
    tales = [model.complete(prompt, seed=seed, **SAMPLING) for seed, prompt in enumerate(asked)]
    unseen = unseen_payments()
    answers = [model.complete(chat(SYSTEM, user), **GREEDY) for user, _ in unseen]

    kept = sum(story_keeps(tale.text, hero) for tale, hero in zip(tales, heroes, strict=True))
    exact = sum(got.text == want and got.ended for got, (_, want) in zip(answers, unseen, strict=True))
    table = [
        ("Story prompt, ten seeds: name and animal kept", _share(story_keeps(s.text, sonic) for s in stories)),
        ("Story prompt, ten seeds: ended by EOS", _share(s.ended for s in stories)),
        ("JSON prompt, ten seeds: exact", _share(p.text == JSON_ANSWER and p.ended for p in payments)),
        ("JSON prompt, greedy: exact", "yes" if greedy_payment.text == JSON_ANSWER and greedy_payment.ended else "no"),
        ("Unseen names and animals: both kept", f"{kept} of {len(tales)}"),
        ("Unseen names and animals: name kept", _share(t.text.count(h.name) >= 2 for t, h in zip(tales, heroes, strict=True))),
        ("Unseen names and animals: ended by EOS", _share(tale.ended for tale in tales)),
        ("Unseen payments, greedy: exact", f"{exact} of {len(unseen)}"),
    ]
    size, run = longest_copy([sample.text for sample in (*stories, greedy_story, *tales)], training)
    if size:
        longest = max(len(sample.text.split()) for sample in stories)
        table.append(("Longest run of words that a training text has too", f"{size} (stories have up to {longest}): {run!r}"))
    if losses:
        table.append(("Held-out TinyStories", f"{losses[0]:.3f} nats a token, {losses[1]:.3f} bits a byte"))
    lines = ["| measure | result |", "|---|---|", *(f"| {what} | {result} |" for what, result in table), ""]
    settings = (
        f"Temperature {SAMPLING['temperature']}, top_p {SAMPLING['top_p']}, at most {SAMPLING['max_new_tokens']} new tokens."
    )
    lines += ["### Ten stories, seeds 0 to 9", "", settings, ""]
    for seed, sample in enumerate(stories):
        lines += [f"**Seed {seed}**{'' if sample.ended else ' (cut at 400 tokens)'}", "", *_quoted(sample.text), ""]
    lines += ["**Greedy**" + ("" if greedy_story.ended else " (cut at 400 tokens)"), "", *_quoted(greedy_story.text), ""]
    lines += ["### Ten payments, seeds 0 to 9, and greedy", ""]
    for label, sample in [*((f"seed {seed}", p) for seed, p in enumerate(payments)), ("greedy", greedy_payment)]:
        lines.append(f"- {label}: `{json.dumps(sample.text, ensure_ascii=False)[1:-1].replace(chr(92), '')}`")
    lines += ["", "### Unseen payments", "", "| request | completion | exact |", "|---|---|---|"]
    for (user, want), got in zip(unseen, answers, strict=True):
        shown = got.text.replace("\n", " ").replace("|", "\\|")
        lines.append(f"| {user} | `{shown}` | {'yes' if got.text == want and got.ended else 'no'} |")
    lines += ["", "### Unseen names and animals, one seed each", ""]
    for hero, tale in zip(heroes, tales, strict=True):
        lines.append(
            f"- {hero.phrase} named {hero.name}: {'kept' if story_keeps(tale.text, hero) else 'lost'}. {tale.text[:160]!r}…"
        )
    return "\n".join(lines) + "\n"


def _share(flags: Any) -> str:
    known: Sequence[bool] = list(flags)
    return f"{sum(known)} of {len(known)}"


def _quoted(text: str) -> list[str]:
    return [f"> {line}" if line else ">" for line in text.split("\n")]


def write_card(card: Path, text: str) -> None:
    """Replace what stands between the markers."""
    old = card.read_text(encoding="utf-8")
    before, _, rest = old.partition(START)
    _, _, after = rest.partition(END)
    card.write_text(f"{before}{START}\n{text}{END}{after}", encoding="utf-8")


def evaluate_package(cache: Path, folder: Path | None = None, *, card: bool = True) -> str:
    """Measure the packaged model (or `folder`), print the report, and write it into the card."""
    chosen = folder or PACKAGE_FOLDER
    rows = cache / "material" / "held_out_stories.jsonl"
    losses = held_out_loss(chosen, rows) if rows.is_file() else None
    text = report(Measured(chosen), losses, training_texts(cache))
    print(text)
    if card:
        write_card(PACKAGE_FOLDER.parent / "CARD.md", text)
    return text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(".cache/tiny"))
    parser.add_argument("--model", type=Path, help="another folder; the card is then left alone")
    given = parser.parse_args()
    evaluate_package(given.cache, given.model, card=given.model is None)


if __name__ == "__main__":
    main()
