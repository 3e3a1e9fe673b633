"""A small workspace that shows everything at once: prompts answered in several ways, branched, judged under two facets.

Document 004's two prompts and a dozen others, answered by the embedded model on the spot; the seeds make it the same every time.
"""

from typing import Any

from ramify.prompts import HEDGEHOG, PAYMENT
from ramify.store.records import CompletionRecord
from ramify.workbench.workspace import Workspace

__all__ = ["STORIES", "TASKS", "fill"]

STORIES = (
    ("Once upon a time", "A beginning"),
    ("The old lighthouse keeper had one rule:", "The lighthouse"),
    ("It rained so hard that the frogs", "Rain"),
    ("Lily found a key under the big tree.", "The key"),
    ("One morning the moon did not go away.", "The moon stays"),
    ('"I am not afraid," said the smallest mouse.', "The smallest mouse"),
)
"""(raw prompt, title)."""

TASKS = (
    ("Write two sentences about the sea.", "The sea"),
    ("What do bees make?", "Bees"),
    ("Tell me a story about a kind dragon.", "A kind dragon"),
    ("Name three things that are red.", "Red things"),
    ("Why should we share our toys?", "Sharing"),
    ("Write a short letter to a friend who is ill.", "A letter"),
)
"""(what the user says, title)."""


def fill(workspace: Workspace, *, model: str = "tiny") -> None:
    """Put the demonstration into an empty workspace. It takes some seconds: every completion is made by the model."""
    workspace.facets.add("storytelling", description="It reads like the beginning of a good story.")
    workspace.facets.add("bedtime", description="Calm, kind, and it ends.", parent="storytelling")
    workspace.facets.add("plain answers", description="It does what was asked, and no more.")
    tale = workspace.samples.add(HEDGEHOG, title="A fairy tale about a hedgehog", group="documents/004", tags=["document 004"])
    payment = workspace.samples.add(PAYMENT, title="A payment as JSON", group="documents/004", tags=["document 004", "json"])
    for sample in (tale, payment):
        workspace.generate(sample.id, model=model, max_new_tokens=120)
        workspace.generate(sample.id, model=model, max_new_tokens=120, num_beams=4)
        workspace.generate(sample.id, model=model, max_new_tokens=120, temperature=0.8, top_p=0.9, seed=1)
    for prompt, title in STORIES:
        sample = workspace.samples.add(prompt, title=title, group="stories", tags=["raw text"])
        made = _several(workspace, sample.id, model, 56)
        _judge(workspace, made, "storytelling")
    for request, title in TASKS:
        chat: list[dict[str, Any]] = [{"role": "user", "content": request}]
        sample = workspace.samples.add(chat, title=title, group="requests", tags=["chat"])
        made = _several(workspace, sample.id, model, 48)
        _judge(workspace, made, "plain answers")
    _branch(workspace, tale.id, model)
    workspace.filters.save("truncated", {"field": "truncated", "op": "is", "value": True}, description="They were cut off.")
    workspace.filters.save(
        "good stories", {"field": "rating", "facet": "storytelling", "op": ">=", "value": 7}, description="Rated 7 or more."
    )


def _several(workspace: Workspace, sample: int, model: str, tokens: int) -> list[CompletionRecord]:
    greedy = workspace.generate(sample, model=model, max_new_tokens=tokens)
    drawn = workspace.generate(sample, model=model, max_new_tokens=tokens, temperature=0.9, top_p=0.95, seed=sample, n=2)
    return [*(greedy if isinstance(greedy, list) else [greedy]), *(drawn if isinstance(drawn, list) else [drawn])]


def _judge(workspace: Workspace, made: list[CompletionRecord], facet: str) -> None:
    """By likelihood alone: a beginning that people will want to correct."""
    ordered = sorted(made, key=lambda each: each.mean_logprob or 0.0, reverse=True)
    for completion, rating in zip(ordered[:2], (8, 4), strict=False):
        workspace.rate(completion, facet, rating)
    workspace.prefer(ordered[0], ordered[-1], facet)
    if facet == "storytelling":
        workspace.prefer(ordered[-1], ordered[0], "bedtime")


def _branch(workspace: Workspace, sample: int, model: str) -> None:
    """A beam tree at the tale's start, with a pin and what was pruned."""
    with workspace.beam_tree(sample, model=model, title="how it could begin") as tree:
        ends = tree.beam_out(width=4, depth=6)
        tree.beam_out(ends[0], width=3, depth=5)
        tree.pin(ends[0])
        tree.prune(ends[-1])
