"""A lab's report as JSON: what its page draws, what the studio shows as it grows, and what a workspace keeps.

A text's own part is made once and never changes (`text_content`), but for what it shares with greedy decoding, which may come
later; what is over all texts of a group (`group_head`) is made anew as they come.
"""

import json
from collections.abc import Mapping
from typing import Any

from ramify.decoding.config import FILTERS
from ramify.quality.lab_report import Group, LabReport, Run
from ramify.quality.plans import Plan

__all__ = ["group_head", "report_content", "rules_of", "text_content"]

NOTE = (
    "Means; brackets are 95 % bootstrap intervals where an experiment ran several times. Perplexity and relevance are the "
    "model's own opinion of its text. `ramify.quality.metrics.DEFINITIONS` says what each number is."
)
NOTE_TOGETHER = (
    "* All completions of a model ran together, and were read and measured as they came; seconds are from the common start to "
    "each one's end."
)


def rules_of(plan: Plan) -> list[str]:
    """Every processor of the plan; texts name them by their place in this list."""
    return list(dict.fromkeys(name for config in plan.configs for name in config.order))


def report_content(report: LabReport) -> dict[str, Any]:
    """All of a report."""
    rules = rules_of(report.plan)
    at = {name: place for place, name in enumerate(rules)}
    return {
        "name": report.plan.name,
        "note": NOTE.replace("`", "") + ("" if report.one_by_one else " " + NOTE_TOGETHER),
        "one_by_one": report.one_by_one,
        "seconds": round(report.seconds, 3),
        "rules": rules,
        "groups": [{**group_head(group), "runs": [text_content(run, at) for run in group.runs]} for group in report.groups],
    }


def group_head(group: Group) -> dict[str, Any]:
    """One model on one prompt, without its texts."""
    return {
        "model": group.model,
        "fingerprint": group.fingerprint,
        "title": group.prompt.title,
        "prompt": group.prompt_text,
        "facts": _facts(group),
        "refused": group.refused,
        "left_out": group.left_out,
        "checks": [[check.title, check.holds, check.detail] for check in group.checks],
        "json": group.prompt.json_schema is not None,
        "texts": group.token_texts,
        "special": sorted(group.special_ids),
        "rows": [
            {
                "title": row.experiment,
                "runs": row.runs,
                "a": {name: [_short(x) for x in (found.mean, found.low, found.high)] for name, found in row.averages.items()},
                "json": row.json_valid,
                "schema": row.schema_valid,
                "seconds": round(row.seconds, 2),
            }
            for row in group.rows
        ],
    }


def text_content(run: Run, rules: Mapping[str, int]) -> dict[str, Any]:
    """One completion with its tokens. rules: the place of each processor in `rules_of`."""
    names = dict.fromkeys(name for place in run.places for name in place.kept)
    shown = [name for name in names if name in FILTERS or any(place.kept.get(name, 1.0) < 1.0 for place in run.places)]
    return {
        "number": run.number,
        "title": run.title,
        "experiment": run.experiment,
        "repeat": run.repeat,
        "settings": json.dumps(run.config.to_dict(), ensure_ascii=False),
        "strategy": run.config.strategy,
        "sampled": run.config.samples,
        "seed": run.seed,
        "seed_told": f"seed {run.seed}" if run.config.samples else None,
        "fin": run.finish_reason,
        "score": None if run.beam_score is None else _short(run.beam_score),
        "json": run.json_valid,
        "schema": run.schema_valid,
        "error": run.schema_error,
        "shared": run.shared,
        "metrics": {name: _plain(value) for name, value in run.metrics.to_dict().items()},
        "text": run.text,
        "ids": run.token_ids,
        "p": [_short(place.probability) for place in run.places],
        "r": [place.rank for place in run.places],
        "h": [round(place.entropy, 3) for place in run.places],
        "kept": {name: [_short(place.kept.get(name, 1.0)) for place in run.places] for name in shown},
        "c": [
            [
                [c.token_id, _short(c.probability), -1 if c.removed_by is None else rules[c.removed_by], _short(c.left)]
                for c in place.candidates
            ]
            for place in run.places
        ],
    }


def _facts(group: Group) -> list[tuple[str, str]]:
    """What there is to know of a model and a prompt, as name and text."""
    most = max((run.room for run in group.runs), default=0)
    facts = [
        ("model", f"{group.model} ({group.fingerprint})"),
        ("EOS", ", ".join(f"{i} {text}" for i, text in group.eos) or "none"),
        ("window", f"{group.context_window} tokens, the prompt takes {group.prompt_tokens}"),
    ]
    if group.runs:
        generated = sum(len(run.token_ids) for run in group.runs)
        facts += [
            ("new tokens", f"at most {most}"),
            (
                "computed",
                f"{generated} tokens in these {len(group.runs)} completions; with the other prompts "
                f"{group.computed_tokens} went through the model in {group.seconds:.0f} s: each prompt once, every beam, and "
                "every text again to be measured",
            ),
        ]
    return facts


def _plain(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _short(value: float) -> float:
    return float(f"{value:.4g}")
