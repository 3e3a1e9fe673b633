"""The loop as a story: prompts, completions, judgements, SFT, DPO, completions again, on the embedded model.

A person prefers one way of telling a story. Each prompt has a plain beginning of a story, as the model told it, and the same told
in that way. What the tuned model writes is judged by a rule that training never saw.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ramify
from ramify.store import Database
from ramify.store.records import NewCompletion
from ramify.training.plans import plan_from
from ramify.training.report import TrainingReport, report
from ramify.training.runs import execute

NAMES = ("Tom", "Lily", "Max", "Anna", "Ben", "Mia", "Sam", "Sue", "Tim", "Lucy", "Jack", "Amy", "Leo", "Zoe", "Dan", "Eva")
KINDS = ("cat", "dog", "bear", "frog", "duck", "fox", "rabbit", "mouse", "bird", "pig", "horse", "owl")
PLACES = ("who finds a ball", "who goes to the park", "who is sad", "who likes cake", "who lost a hat")


@dataclass(frozen=True)
class Style:
    """A way of telling, and how a stranger would recognise it."""

    name: str
    tell: Callable[[list[str], str], str]
    """From the sentences of a plain story and its hero to the story as preferred."""
    shows: Callable[[str], bool]


def _moral(sentences: list[str], hero: str) -> str:
    return " ".join([*sentences[:3], f"From that day on {hero} learned that it is good to be kind."])


def _loud(sentences: list[str], hero: str) -> str:
    return " ".join(re.sub(r"[.?]$", "!", each) for each in sentences)


def _teller(sentences: list[str], hero: str) -> str:
    return " ".join(["Listen, my friend.", *sentences[:3]])


STYLES = {
    style.name: style
    for style in (
        Style("moral", _moral, lambda text: bool(re.search(r"\blearn|\blesson|always (be|help|share)", sentences_of(text)[-1]))),
        Style("loud", _loud, lambda text: text.count("!") * 2 >= len(sentences_of(text))),
        Style("teller", _teller, lambda text: bool(re.search(r"\bfriend\b|\blisten\b|\byou\b", text[:30], re.IGNORECASE))),
    )
}


def sentences_of(text: str) -> list[str]:
    """At least one, maybe empty."""
    return [each for each in re.split(r"(?<=[.!?])\s+", text.strip()) if each] or [""]


def prompts(count: int, seed: int) -> list[tuple[str, str]]:
    """(hero, what is asked)"""
    found = []
    for number in range(count):
        n = number + 7 * seed
        hero = NAMES[n % len(NAMES)]
        kind, place = KINDS[n * 5 % len(KINDS)], PLACES[n * 3 % len(PLACES)]
        found.append((hero, f"Generate me a short story about a {kind} named {hero} {place}."))
    return found


def chat(asked: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}]


@dataclass(frozen=True)
class Told:
    report: TrainingReport
    shown_before: float
    shown_after: float

    def __str__(self) -> str:
        """A line of the table in docs/log.md."""
        pairs = self.report.pairs["validation"]
        return (
            f"pairs {pairs['accuracy_before']:.0%} → {pairs['accuracy_after']:.0%}, margin {pairs['margin_before']:.1f} → "
            f"{pairs['margin_after']:.1f}, style {self.shown_before:.0%} → {self.shown_after:.0%}, other text "
            f"{self.report.unrelated['worse']:+.1%}"
        )


def tell(style: Style, seed: int, folder: Path, *, count: int, held: int, judged: int, **train: Any) -> Told:
    """count + held prompts with two completions each; `judged` new prompts are told before and after."""
    whole = count + held
    asked = prompts(whole + judged, seed)
    base = ramify.load("tiny", device="cpu")
    how = {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 110}
    said = base.batch([chat(each) for _, each in asked], seed=seed, **how)
    plain = [sentences_of(texts[0].generated_text)[:5] for texts in said]
    place = folder / "w.ramify"
    with Database.open(place) as db:
        db.facets.add(style.name)
        for (hero, each), sentences in zip(asked[:whole], plain, strict=False):
            sample = db.samples.add(chat(each))
            texts = (style.tell(sentences, hero), " ".join(sentences[:4]))
            better, worse = (db.completions.add(sample, NewCompletion(text=text, finish_reason="written")) for text in texts)
            db.judgements.prefer(better, worse, style.name)
            db.judgements.rate(better, style.name, 9)
            db.judgements.rate(worse, style.name, 3)
    common = {"workspace": str(place), "facets": [style.name], "select": {"validation": held / whole, "seed": seed},
              "replace_name": True, "lora": {"rank": 16}, "device": "cpu", "keep": {"weight": 4.0, "model": "tiny"}}  # fmt: skip
    sft, dpo = f"{style.name}-{seed}-sft", f"{style.name}-{seed}"
    execute(plan_from({**common, "method": "sft", "model": "tiny", "name": sft, "out": str(folder / "sft"), "merge": True,
                       "train": {"epochs": 5, "learning_rate": 2e-3, "seed": seed, **train.get("sft", {})}}))  # fmt: skip
    execute(plan_from({**common, "method": "dpo", "model": sft, "name": dpo, "out": str(folder / "dpo"), "target_of": style.name,
                       "preference": {"beta": 0.1, "reference": False},
                       "train": {"epochs": 8, "learning_rate": 1e-3, "seed": seed, **train.get("dpo", {})}}))  # fmt: skip
    found = report("tiny", dpo)
    tuned = ramify.load(dpo, device="cpu")
    again = tuned.batch([chat(each) for _, each in asked[whole:]], seed=seed, **how)
    before = [style.shows(" ".join(texts[0].generated_text.split())) for texts in said[whole:]]
    after = [style.shows(" ".join(texts[0].generated_text.split())) for texts in again]
    for model in (base, tuned):
        model.close()
    return Told(found, sum(before) / judged, sum(after) / judged)
