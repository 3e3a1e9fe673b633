"""A lab's experiments as contestants: the table of `compare_generations` over its texts, with the blind votes between them."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError
from ramify.quality.comparison import Comparison, ComparisonResult, Sample
from ramify.quality.intervals import mean_of
from ramify.quality.metrics import Metrics
from ramify.quality.repetition import self_bleu

__all__ = ["Vote", "blind_pair", "comparison_of", "prompts_of", "text_of"]

Key = tuple[int, int]
"""A text's group and its number there."""
Vote = tuple[Key, Key, float]
"""Two texts and the first one's share: 1 when it was better, 0 when the other was, ½ for a tie."""


def prompts_of(content: Mapping[str, Any]) -> list[str]:
    """The titles of the prompts that have texts."""
    return list(dict.fromkeys(group["title"] for group in content["groups"] if group["runs"]))


def text_of(content: Mapping[str, Any], key: Key) -> Mapping[str, Any]:
    """A text of a report's content. Raises InputError where it has none there."""
    place, number = key
    groups = content["groups"]
    runs = groups[place]["runs"] if 0 <= place < len(groups) else ()
    found: Mapping[str, Any] | None = next((run for run in runs if run["number"] == number), None)
    if found is None:
        raise InputError(f"this run has no text {number} in group {place}; it has {_counted(groups)}")
    return found


def comparison_of(content: Mapping[str, Any], prompt: str, votes: Sequence[Vote] = ()) -> Comparison:
    """Every experiment of every model on one prompt, in the report's order, and the votes that were given between their texts.

    Votes between texts of one experiment, or of other prompts, are left out. Raises InputError for a prompt without texts.
    """
    groups = [(place, group) for place, group in enumerate(content["groups"]) if group["title"] == prompt and group["runs"]]
    if not groups:
        raise InputError(
            f"there is no text for the prompt {prompt!r}; there are some for {', '.join(prompts_of(content)) or 'none'}"
        )
    results: list[ComparisonResult] = []
    at: dict[Key, int] = {}
    for place, group in groups:
        for title in dict.fromkeys(run["experiment"] for run in group["runs"]):
            mine = [run for run in group["runs"] if run["experiment"] == title]
            at.update({(place, run["number"]): len(results) for run in mine})
            results.append(_result(group["model"], title, mine))
    comparison = Comparison(
        prompt=groups[0][1]["prompt"],
        scoring_model=", ".join(dict.fromkeys(group["model"] for _, group in groups)),
        confidence=0.95,
        results=tuple(results),
    )
    for a, b, share in votes:
        if a in at and b in at and at[a] != at[b]:
            comparison = comparison.voted(at[a], at[b], {1.0: "a", 0.0: "b"}.get(share, "tie"))
    return comparison


def blind_pair(
    content: Mapping[str, Any], votes: Sequence[Vote] = (), *, prompt: str | None = None, seed: int | None = None
) -> tuple[Key, Key] | None:
    """Two texts to judge next, at random, their sides too: of one prompt, by contestants that were judged least.

    prompt: of this one only. None where every pair was judged, or no two texts differ. seed: the same one draws the same pair.
    """
    drawn = random.Random(seed)
    asked = {frozenset(vote[:2]) for vote in votes}
    owner: dict[Key, tuple[int, str]] = {}
    texts: dict[str, dict[Key, str]] = {}
    for place, group in enumerate(content["groups"]):
        for run in group["runs"]:
            if run["text"].strip() and prompt in (None, group["title"]):
                owner[place, run["number"]] = (place, run["experiment"])
                texts.setdefault(group["title"], {})[place, run["number"]] = run["text"].strip()
    judged = Counter(owner[key] for vote in votes for key in vote[:2] if key in owner)
    open_pairs = [
        (a, b)
        for mine in texts.values()
        for a, b in itertools.combinations(mine, 2)
        if owner[a] != owner[b] and mine[a] != mine[b] and frozenset((a, b)) not in asked
    ]
    if not open_pairs:
        return None
    least = min(judged[owner[a]] + judged[owner[b]] for a, b in open_pairs)
    first, second = drawn.choice([(a, b) for a, b in open_pairs if judged[owner[a]] + judged[owner[b]] == least])
    return (first, second) if drawn.random() < 0.5 else (second, first)


def _result(model: str, title: str, runs: Sequence[Mapping[str, Any]]) -> ComparisonResult:
    samples = tuple(
        Sample(text=run["text"], seed=run["seed"], finish_reason=run["fin"], metrics=Metrics(**run["metrics"])) for run in runs
    )
    shared = self_bleu([sample.text for sample in samples]) if len(samples) > 1 else None
    return ComparisonResult(
        model=model,
        config=GenerationConfig.from_dict(json.loads(runs[0]["settings"])),
        samples=samples,
        quality=mean_of([sample.metrics.quality for sample in samples]),
        diversity=None if shared is None else mean_of([1 - each for each in shared]),
        title=title,
    )


def _counted(groups: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{len(group['runs'])} in group {place}" for place, group in enumerate(groups)) or "none"
