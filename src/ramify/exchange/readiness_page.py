"""The readiness report to be read: an HTML page that needs nothing beside itself, and Markdown. What is the user's is escaped."""

import html
import io
import re

from ramify.exchange.readiness import Distribution, KindReady, Readiness

__all__ = ["as_html", "as_markdown"]

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { text-align: left; padding: .25rem .8rem .25rem 0; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } tr + tr td { border-top: 1px solid #8884; }
figure { display: inline-block; margin: 0 1rem 1rem 0; background: white; } svg { max-width: 100%; height: auto; }
"""

LISTED = 20
"""Samples that the page names for a reason."""

PLOTS = (
    ("tokens", "Tokens of a completion", "tokens"),
    ("ratings", "Ratings", "rating"),
    ("mean_logprobs", "Mean logprob of a completion", "nats a token"),
    ("min_logprobs", "Least logprob of a completion", "nats"),
)


def _numbers(report: Readiness) -> list[tuple[str, int]]:
    names = ("samples", "completions", "rated", "preferences", "approved", "scored", "truncated")
    return [(name, getattr(report, name)) for name in names]


def _kind_row(ready: KindReady) -> list[str]:
    labels = f"{ready.good} good, {ready.bad} bad" if ready.kind == "kto" else ""
    loss = f"{ready.loss:.0f} nats in {ready.measured} completions" if ready.measured else "not measured"
    return [ready.kind, str(ready.samples), str(ready.rows), labels, str(ready.tokens), loss]


HEADS = ("kind", "samples", "rows", "labels", "tokens learned", "loss under the target")


def as_markdown(report: Readiness) -> str:
    """Tables and, for each distribution, its least, median, mean and greatest value."""
    lines = [f"# Readiness of {_plain(report.facet)} for {_plain(report.target_model)}", ""]
    lines += [", ".join(f"{count} {name}" for name, count in _numbers(report)) + ".", ""]
    lines += ["Thresholds: " + ", ".join(f"{name} {_value(value)}" for name, value in report.thresholds.items()) + ".", ""]
    lines += [f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    lines += [f"| {' | '.join(_kind_row(ready))} |" for ready in report.kinds.values()]
    for ready in report.kinds.values():
        if ready.reasons:
            lines += [
                "",
                f"## Why completions stay: {ready.kind}",
                "",
                "| reason | completions | samples with nothing to send out |",
            ]
            lines.append("|---|---|---|")
            for reason, count in _ordered(ready):
                lines.append(f"| {_plain(reason)} | {count} | {_listed(ready, reason)} |")
    told = [(title, unit, getattr(report, name)) for name, title, unit in PLOTS if getattr(report, name) is not None]
    if told:
        lines += ["", "## Measures", "", "| | count | least | median | mean | most |", "|---|---|---|---|---|---|"]
        for title, unit, found in told:
            numbers = " | ".join(f"{value:.4g}" for value in (found.least, found.median, found.mean, found.most))
            lines.append(f"| {title} ({unit}) | {found.count} | {numbers} |")
    return "\n".join(lines) + "\n"


def as_html(report: Readiness) -> str:
    """The same with plots, as SVG in the page."""

    def table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
        top = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
        body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
        return f"<table><tr>{top}</tr>{body}</table>"

    title = f"Readiness of {report.facet} for {report.target_model}"
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts.append(f"<p>{html.escape(', '.join(f'{count} {name}' for name, count in _numbers(report)))}.</p>")
    thresholds = ", ".join(f"{name} {_value(value)}" for name, value in report.thresholds.items())
    parts.append(f"<p>Thresholds: {html.escape(thresholds)}.</p>")
    parts.append(table(HEADS, [_kind_row(ready) for ready in report.kinds.values()]))
    for name, heading, unit in PLOTS:
        found = getattr(report, name)
        if found is not None:
            parts.append(f"<figure>{_plot(found, heading, unit)}</figure>")
    for ready in report.kinds.values():
        if ready.reasons:
            parts.append(f"<h2>Why completions stay: {html.escape(ready.kind)}</h2>")
            rows = [[reason, str(count), _listed(ready, reason)] for reason, count in _ordered(ready)]
            parts.append(table(("reason", "completions", "samples with nothing to send out"), rows))
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{chr(10).join(parts)}\n</body></html>\n'


def _cell(cell: str) -> str:
    return f'<td class="n">{cell}</td>' if cell.isdigit() else f"<td>{html.escape(cell)}</td>"


def _ordered(ready: KindReady) -> list[tuple[str, int]]:
    return sorted(ready.reasons.items(), key=lambda each: (-each[1], each[0]))


def _listed(ready: KindReady, reason: str) -> str:
    named = ready.waiting.get(reason, [])
    return ", ".join(map(str, named[:LISTED])) + (" …" if len(named) > LISTED else "")


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _plain(text: str) -> str:
    """Without what Markdown would take for its own."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text.replace("\n", " "))


def _plot(found: Distribution, title: str, unit: str) -> str:
    """A histogram as SVG."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "ramify"  # Equal plots are equal text.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    axes = figure.subplots()
    widths = [end - start for start, end in zip(found.edges, found.edges[1:], strict=False)]
    axes.bar(found.edges[:-1], found.counts, width=widths, align="edge", color="#0072b2", edgecolor="white", linewidth=0.5)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(unit, fontsize=9)
    axes.set_ylabel("completions", fontsize=9)
    axes.tick_params(labelsize=8)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)
