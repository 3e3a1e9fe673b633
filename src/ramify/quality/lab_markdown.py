"""The lab's report as Markdown: tables, checks and every text."""

import json
import re

from ramify.quality.intervals import Interval
from ramify.quality.lab import Group, LabReport, Run

__all__ = ["NOTE", "NOTE_TOGETHER", "facts_of", "lab_markdown"]

NOTE = (
    "Means; brackets are 95 % bootstrap intervals where an experiment ran several times. Perplexity and relevance are the "
    "model's own opinion of its text. `ramify.quality.metrics.DEFINITIONS` says what each number is."
)
NOTE_TOGETHER = "* All completions of a model ran together; seconds are from the common start to each one's end."


def lab_markdown(report: LabReport) -> str:
    """The whole report. Texts stand in fences that nothing in them can end."""
    runs = sum(len(group.runs) for group in report.groups)
    lines = [f"# Decoding lab: {report.plan.name}", "", f"{runs} completions in {report.seconds:.0f} s.", ""]
    for group in report.groups:
        lines += _group(group, report.one_by_one)
    return "\n".join(lines).rstrip() + "\n"


def facts_of(group: Group) -> list[tuple[str, str]]:
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
                f"{group.computed_tokens} went through the model in {group.seconds:.0f} s, each prompt once and every beam",
            ),
        ]
    return facts


def _group(group: Group, one_by_one: bool) -> list[str]:
    lines = [f"## {group.model}: {group.prompt.title}", ""]
    lines += [f"- {name}: {text}" for name, text in facts_of(group)]
    lines += ["", *_fenced(group.prompt_text), ""]
    if group.refused is not None:
        return [*lines, f"Refused: {group.refused}", ""]
    lines += ["### What must hold", ""]
    marks = {True: "✓", False: "✗", None: "·"}
    lines += [f"- {marks[check.holds]} {check.title}: {check.detail}" for check in group.checks]
    lines += [f"- left out: {title}: {why}" for title, why in group.left_out]
    names = ("quality", "perplexity", "coherence", "relevance", "diversity", "repetition", "tokens")
    judged = group.prompt.json_schema is not None
    head = ["experiment", "runs", *names, "seconds" if one_by_one else "seconds*", *(["JSON", "schema"] if judged else [])]
    lines += ["", "### Experiments", "", NOTE, *([] if one_by_one else ["", NOTE_TOGETHER]), ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in group.rows:
        cells = [
            row.experiment,
            str(row.runs),
            *(_cell(row.averages.get(name), row.runs, 0 if name == "tokens" else 3) for name in names),
            f"{row.seconds:.1f}",
        ]
        if judged:
            cells += [f"{row.json_valid}/{row.runs}", f"{row.schema_valid}/{row.runs}"]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", "### Texts", ""]
    for run in group.runs:
        lines += _text(run)
    return lines


def _text(run: Run) -> list[str]:
    told = [f"{len(run.token_ids)} tokens", run.finish_reason]
    told += [f"seed {run.seed}"] if run.config.samples else []
    told += [] if run.beam_score is None else [f"score {run.beam_score:.4f}"]
    told += [f"the first {run.shared} as greedy"] if run.experiment != "greedy" else []
    if run.json_valid is not None:
        told.append("fits the schema" if run.schema_valid else f"does not fit the schema ({run.schema_error})")
    settings = json.dumps(run.config.to_dict(), ensure_ascii=False)
    return [f"#### {run.title}", "", f"{', '.join(told)}. `{settings}`", "", *_fenced(run.text), ""]


def _fenced(text: str) -> list[str]:
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return [f"{fence}text", text, fence]


def _cell(found: Interval | None, runs: int, digits: int) -> str:
    if found is None:
        return "—"
    mean, low, high = (f"{value:.{digits}f}" for value in (found.mean, found.low, found.high))
    return mean if runs == 1 else f"{mean} [{low}, {high}]"
