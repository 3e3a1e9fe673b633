"""The lab's report as one page that needs nothing else: no network, no other file."""

import html
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

from ramify.quality.lab_content import report_content
from ramify.quality.lab_report import LabReport

__all__ = ["lab_html"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The page may fetch nothing, whatever is in it."""


def lab_html(report: LabReport | Mapping[str, Any]) -> str:
    """The whole page, of a report or of its content. What a model wrote stands in it as data that the page shows as text."""
    content = report_content(report) if isinstance(report, LabReport) else report
    files = importlib.resources.files("ramify.quality") / "page"
    style, script = ((files / name).read_text("utf-8") for name in ("lab.css", "lab.js"))
    # No "<" inside the element, so nothing in a text can end it.
    packed = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    title = html.escape(f"Decoding lab: {content['name']}")
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
<header><h1>{title}</h1><span class="soft grow">{_summary(content)}</span><button id="theme">Dark or light</button></header>
<main><noscript><p>This page draws itself with its own script; lab.md beside it has the same without one.</p></noscript></main>
<aside id="why" class="why" hidden></aside>
<script type="application/json" id="data">{packed}</script>
<script>
{script}</script>
</body>
</html>
"""


def _summary(content: Mapping[str, Any]) -> str:
    texts = sum(len(group["runs"]) for group in content["groups"])
    models = ", ".join(dict.fromkeys(group["model"] for group in content["groups"]))
    return html.escape(f"{texts} completions by {models} in {content['seconds']:.0f} s")
