"""The lab's report as one page that needs nothing else: no network, no other file."""

import html
import importlib.resources
import json
from typing import Any

from ramify.decoding.config import FILTERS
from ramify.quality.lab import Group, LabReport, Run
from ramify.quality.lab_markdown import NOTE, NOTE_TOGETHER, facts_of

__all__ = ["lab_html"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The page may fetch nothing, whatever is in it."""


def lab_html(report: LabReport) -> str:
    """The whole page. What a model wrote stands in it as data that the page shows as text."""
    files = importlib.resources.files("ramify.quality") / "page"
    style, script = ((files / name).read_text("utf-8") for name in ("lab.css", "lab.js"))
    content = {
        "note": NOTE.replace("`", "") + ("" if report.one_by_one else " " + NOTE_TOGETHER),
        "one_by_one": report.one_by_one,
        "groups": [_group(group) for group in report.groups],
    }
    # No "<" inside the element, so nothing in a text can end it.
    packed = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    title = html.escape(f"Decoding lab: {report.plan.name}")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{title}</h1><span class="soft grow">{_summary(report)}</span><button id="theme">Dark or light</button></header>
<main><noscript><p>This page draws itself with its own script; lab.md beside it has the same without one.</p></noscript></main>
<aside id="why" class="why" hidden></aside>
<script type="application/json" id="data">{packed}</script>
<script>
{script}</script>
</body>
</html>
"""


def _summary(report: LabReport) -> str:
    runs = sum(len(group.runs) for group in report.groups)
    models = ", ".join(dict.fromkeys(group.model for group in report.groups))
    return html.escape(f"{runs} completions by {models} in {report.seconds:.0f} s")


def _group(group: Group) -> dict[str, Any]:
    rules = list(dict.fromkeys(name for run in group.runs for name in run.config.order))
    at = {name: place for place, name in enumerate(rules)}
    return {
        "model": group.model,
        "title": group.prompt.title,
        "prompt": group.prompt_text,
        "facts": facts_of(group),
        "refused": group.refused,
        "left_out": group.left_out,
        "checks": [[check.title, check.holds, check.detail] for check in group.checks],
        "json": group.prompt.json_schema is not None,
        "rules": rules,
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
        "runs": [_run(run, at) for run in group.runs],
    }


def _run(run: Run, rules: dict[str, int]) -> dict[str, Any]:
    names = dict.fromkeys(name for place in run.places for name in place.kept)
    shown = [name for name in names if name in FILTERS or any(place.kept.get(name, 1.0) < 1.0 for place in run.places)]
    return {
        "title": run.title,
        "settings": json.dumps(run.config.to_dict(), ensure_ascii=False),
        "strategy": run.config.strategy,
        "sampled": run.config.samples,
        "seed_told": f"seed {run.seed}" if run.config.samples else None,
        "fin": run.finish_reason,
        "score": None if run.beam_score is None else _short(run.beam_score),
        "json": run.json_valid,
        "schema": run.schema_valid,
        "error": run.schema_error,
        "shared": run.shared,
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


def _short(value: float) -> float:
    return float(f"{value:.4g}")
