"""The before-and-after report to be read: an HTML page that needs nothing beside itself, and Markdown. Texts are escaped."""

import html
import io
from collections.abc import Callable
from typing import Any

from ramify.training.report import ALARM, CompletionChange, TrainingReport

__all__ = ["as_html", "as_markdown"]

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { text-align: left; padding: .25rem .8rem .25rem 0; }
tr + tr td { border-top: 1px solid #8884; } figure { display: inline-block; margin: 0 1rem 1rem 0; background: white; }
svg { max-width: 100%; height: auto; } .tokens { font: 14px/2 ui-monospace, monospace; white-space: pre-wrap; }
.tokens span { color: black; padding: .15em 0; } .alarm { border-left: .3rem solid #d55e00; padding-left: .8rem; }
"""


def _facts(report: TrainingReport) -> list[list[str]]:
    rows = [["", "before", "after", "change"]]
    for part, found in report.losses.items():
        name = f"loss on {part}, nats a token ({found['rows']} rows, {found['tokens']} tokens)"
        rows.append([name, f"{found['before']:.3f}", f"{found['after']:.3f}", f"{found['after'] - found['before']:+.3f}"])
    for part, found in report.pairs.items():
        share = [found["accuracy_before"], found["accuracy_after"]]
        rows.append([f"chosen likelier than rejected, {part} ({found['rows']} pairs)", f"{share[0]:.1%}", f"{share[1]:.1%}",
                     f"{100 * (share[1] - share[0]):+.1f} points"])  # fmt: skip
        margin = [found["margin_before"], found["margin_after"]]
        rows.append([f"by so many nats, {part}", f"{margin[0]:.2f}", f"{margin[1]:.2f}", f"{margin[1] - margin[0]:+.2f}"])
    other = report.unrelated
    name = f"loss on unrelated text ({other['source']}, {other['tokens']} tokens)"
    rows.append([name, f"{other['before']:.3f}", f"{other['after']:.3f}", f"{other['worse']:+.1%}"])
    return rows


def _alarm(report: TrainingReport) -> str:
    if not report.alarm:
        return ""
    return (
        f"Alarm: text that has nothing to do with these rows became {report.unrelated['worse']:.1%} less likely (more than "
        f"{ALARM:.0%}). Train fewer steps, at a lower rate, with an adapter or with --keep, or mix other rows in."
    )


def as_markdown(report: TrainingReport) -> str:
    """The numbers, and each completion's mean change."""
    lines = [f"# {report.tuned}, {report.method} of {report.base}", ""]
    head, *rows = _facts(report)
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]
    if report.alarm:
        lines += [f"**{_alarm(report)}**", ""]
    lines += ["| completion | | tokens | before | after | nats a token |", "|---|---|---|---|---|---|"]
    for each in report.completions:
        held = ", held out" if each.validation else ""
        size = max(1, len(each.after))
        lines.append(
            f"| {each.name} | {each.side}{held} | {len(each.after)} | {sum(each.before) / size:.3f} | "
            f"{sum(each.after) / size:.3f} | {each.change:+.3f} |"
        )
    return "\n".join(lines) + "\n"


def as_html(report: TrainingReport) -> str:
    """The same, with curves, a histogram, and every token of every completion coloured by how its logprob changed."""
    title = f"{report.tuned}, {report.method} of {report.base}"
    head, *rows = _facts(report)
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if report.alarm:
        parts.append(f'<p class="alarm" role="alert">{html.escape(_alarm(report))}</p>')
    parts.append(_table(head, rows))
    parts += [f"<figure>{plot}</figure>" for plot in (_curve(report), _changes(report)) if plot]
    parts.append(
        "<h2>Every completion</h2><p>Blue tokens became likelier, orange ones less likely; the title says by how much.</p>"
    )
    for each in report.completions:
        held = ", held out" if each.validation else ""
        parts.append(f"<h3>{html.escape(each.name)} ({each.side}{held}): {each.change:+.3f} nats a token</h3>")
        parts.append(f'<p class="tokens">{_tokens(each)}</p>')
    top = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{top}</head>\n<body>\n{chr(10).join(parts)}\n</body></html>\n'


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _tokens(each: CompletionChange) -> str:
    found = []
    for token, before, after in zip(each.tokens, each.before, each.after, strict=True):
        change = after - before
        strength = min(1.0, abs(change) / 2)  # two nats are full colour
        hue = "0, 114, 178" if change > 0 else "230, 120, 0"
        text = html.escape(token.replace("\n", "⏎\n"))
        style = f"background: color-mix(in srgb, rgb({hue}) {45 * strength:.0f}%, #f4f4f4)"
        found.append(f'<span style="{style}" title="{before:.2f} → {after:.2f} nats">{text}</span>')
    return "".join(found)


def _svg(title: str, draw: Callable[[Any], None]) -> str:
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "ramify"  # Equal plots are equal text.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)


def _curve(report: TrainingReport) -> str:
    learned = [(line["step"], line["loss"]) for line in report.curve if "loss" in line]
    held = [(line["step"], _loss(next(iter(line["validation"].values())))) for line in report.curve if "validation" in line]
    if not learned:
        return ""

    def draw(axes: Any) -> None:
        axes.plot(*zip(*learned, strict=True), color="#0072b2", linewidth=1, label="training")
        if held:
            axes.plot(*zip(*held, strict=True), color="#d55e00", marker="o", markersize=3, linewidth=1, label="validation")
            axes.legend(fontsize=8)
        axes.set_xlabel("step", fontsize=9)
        axes.set_ylabel("loss", fontsize=9)

    return _svg("The run", draw)


def _loss(measured: Any) -> float:
    return float(measured["loss"] if isinstance(measured, dict) else measured)


def _changes(report: TrainingReport) -> str:
    sides = {
        side: [each.change for each in report.completions if each.side == side] for side in ("chosen", "rejected", "good", "bad")
    }
    shown = {side: values for side, values in sides.items() if values}
    if not shown:
        return ""

    def draw(axes: Any) -> None:
        colours = {"chosen": "#0072b2", "good": "#0072b2", "rejected": "#d55e00", "bad": "#d55e00"}
        axes.hist(list(shown.values()), bins=20, color=[colours[side] for side in shown], label=list(shown))
        axes.axvline(0, color="black", linewidth=0.8)
        axes.legend(fontsize=8)
        axes.set_xlabel("change of the mean logprob, nats a token", fontsize=9)
        axes.set_ylabel("completions", fontsize=9)

    return _svg("Completions by how they changed", draw)
