"""The lab's report as Markdown: tables, checks and every text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ramify.quality.lab_content import report_content
from ramify.quality.lab_report import LabReport

__all__ = ["lab_markdown"]

COLUMNS = ("quality", "perplexity", "coherence", "relevance", "diversity", "repetition", "tokens")
MARKS = {True: "✓", False: "✗", None: "·"}


def lab_markdown(report: LabReport | Mapping[str, Any]) -> str:
    """The whole report, or its content. Texts stand in fences that nothing in them can end."""
    content = report_content(report) if isinstance(report, LabReport) else report
    texts = sum(len(group["runs"]) for group in content["groups"])
    lines = [f"# Decoding lab: {content['name']}", "", f"{texts} completions in {content['seconds']:.0f} s.", ""]
    for group in content["groups"]:
        lines += _group(group, content)
    return "\n".join(lines).rstrip() + "\n"


def _group(group: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    lines = [f"## {group['model']}: {group['title']}", ""]
    lines += [f"- {name}: {text}" for name, text in group["facts"]]
    lines += ["", *_fenced(group["prompt"]), ""]
    if group["refused"] is not None:
        return [*lines, f"Refused: {group['refused']}", ""]
    lines += ["### What must hold", ""]
    lines += [f"- {MARKS[holds]} {title}: {detail}" for title, holds, detail in group["checks"]]
    lines += [f"- left out: {title}: {why}" for title, why in group["left_out"]]
    lines += ["", "### Experiments", "", content["note"], "", *_table(group, content["one_by_one"]), "", "### Texts", ""]
    for run in group["runs"]:
        lines += _text(run)
    return lines


def _table(group: Mapping[str, Any], one_by_one: bool) -> list[str]:
    judged = ["JSON", "schema"] if group["json"] else []
    head = ["experiment", "runs", *COLUMNS, "seconds" if one_by_one else "seconds*", *judged]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in group["rows"]:
        cells = [row["title"], str(row["runs"])]
        cells += [_cell(row["a"].get(name), row["runs"], 0 if name == "tokens" else 3) for name in COLUMNS]
        cells.append(f"{row['seconds']:.1f}")
        if judged:
            cells += [f"{row['json']}/{row['runs']}", f"{row['schema']}/{row['runs']}"]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _text(run: Mapping[str, Any]) -> list[str]:
    told = [f"{len(run['ids'])} tokens", run["fin"]]
    told += [f"seed {run['seed']}"] if run["sampled"] else []
    told += [] if run["score"] is None else [f"score {run['score']:.4g}"]
    told += [f"the first {run['shared']} as greedy"] if run["experiment"] != "greedy" else []
    if run["json"] is not None:
        told.append("fits the schema" if run["schema"] else f"does not fit the schema ({run['error']})")
    return [f"#### {run['title']}", "", f"{', '.join(told)}. `{run['settings']}`", "", *_fenced(run["text"]), ""]


def _fenced(text: str) -> list[str]:
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return [f"{fence}text", text, fence]


def _cell(found: Sequence[float] | None, runs: int, digits: int) -> str:
    if found is None:
        return "—"
    mean, low, high = (f"{value:.{digits}f}" for value in found)
    return mean if runs == 1 else f"{mean} [{low}, {high}]"
