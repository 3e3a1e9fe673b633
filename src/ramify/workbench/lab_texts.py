"""Texts of a lab's run as completions of the workspace: kept when somebody wants them, and when they are judged."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError
from ramify.store.database import Database
from ramify.store.labs import ORIGIN, LabRunRecord, TextKey, lab_key
from ramify.store.prompts import prompt_hash
from ramify.store.records import CompletionRecord, NewCompletion, PreferenceRecord, Prompt, SampleRecord, SpanRecord

__all__ = ["GROUP", "LabText", "Verdict", "keep_text", "vote"]

GROUP = "Lab"
"""Where samples stand that a vote made."""

Verdict = Literal["left", "right", "tie"]


class LabText:
    """A text of a run, as its report has it."""

    def __init__(self, key: TextKey, group: Mapping[str, Any], text: Mapping[str, Any]) -> None:
        self.key, self.group, self.text = key, group, text


def keep_text(database: Database, run: LabRunRecord, text: LabText) -> CompletionRecord:
    """The completion that a text is, made if it is not there: of the sample that has its prompt, or of a new one."""
    found = database.labs.kept(run.id).get(text.key)
    if found is not None:
        return database.completions.get(found)
    with database.action("keep a lab's text", text.text["title"]):
        settings, ids = json.loads(text.text["settings"]), tuple(text.text["ids"])
        new = NewCompletion(
            text=text.text["text"],
            model=text.group["model"],
            fingerprint=text.group["fingerprint"],
            finish_reason=text.text["fin"],
            token_ids=ids,
            spans=[SpanRecord(0, len(ids), "sampled")] if ids else [],
            config=settings,
            processors=GenerationConfig.from_dict(settings).order,
            seed=text.text["seed"],
            beam_score=text.text["score"],
            details={"lab": {"run": run.id, "plan": run.name, "experiment": text.text["title"]}},
            bulk=lab_key(run.id, text.key),
        )
        return database.completions.add(_sample(database, _prompt(run, text.group["title"]), text.group["title"]), new)


def vote(database: Database, run: LabRunRecord, facet: str, left: LabText, right: LabText, better: Verdict) -> PreferenceRecord:
    """A blind judgement of two texts of one prompt under a facet: both become completions, and one is preferred.

    One step of the history. Raises NotFoundError for the facet, InputError for texts of two prompts or one text twice.
    """
    if left.group["title"] != right.group["title"]:
        raise InputError(
            f"the texts answer {left.group['title']!r} and {right.group['title']!r}; only texts of one prompt can be compared"
        )
    if left.key == right.key:
        raise InputError("a text cannot be compared with itself; give two")
    database.facets.get(facet)
    with database.action("vote", facet):
        first, second = keep_text(database, run, left), keep_text(database, run, right)
        best, worst = (second, first) if better == "right" else (first, second)
        return database.judgements.prefer(best, worst, facet, tie=better == "tie", origin=ORIGIN)


def _prompt(run: LabRunRecord, title: str) -> Prompt:
    return next(each["prompt"] for each in run.plan["prompts"] if each["title"] == title)  # type: ignore[no-any-return]


def _sample(database: Database, prompt: Prompt, title: str) -> SampleRecord:
    found = [each for each in database.samples.find(prompt) if prompt_hash(each.prompt) == prompt_hash(prompt)]
    return found[0] if found else database.samples.add(prompt, title=title, group=GROUP)
