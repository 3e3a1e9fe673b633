"""Every page, light and dark, wide and narrow: a picture to look at, no overflow, and what axe knows of WCAG AA."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.web.conftest import ROOT, Studio

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = Path(__file__).parent / "screenshots"
KEPT: dict[str, dict[str, Any]] = {}
"""What a browser remembers of the pages whose work was begun before: by page."""
SHAPES = {"wide": (1280, 860), "narrow": (390, 844)}


@pytest.fixture(scope="session")
def pages(studio: Studio) -> dict[str, str]:
    """A small workspace, and the address of each page in it."""
    studio.post("/api/facets", name="brainstorming", description="many ideas", target_model="tiny")
    studio.post("/api/facets", name="bedtime", parent="brainstorming", good_rating=8)
    sample = studio.post("/api/samples", prompt="Once upon a time", title="A beginning", group="stories/short", tags=["tale"])[
        "id"
    ]
    chat = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Name three colours of the sea."}]
    studio.post("/api/samples", prompt=chat, group="chat")
    first, second = (
        studio.post(f"/api/samples/{sample}/completions", text=text)["id"]
        for text in (
            " there was a lake. Nobody had ever seen its other side.\n\nUntil one day a little girl came.",
            " there was a mountain, and it was tall.",
        )
    )
    for each in (first, second):
        studio.post(f"/api/completions/{each}/score", model="tiny")
    studio.put(f"/api/completions/{first}/rating", facet="brainstorming", rating=8)
    studio.put(f"/api/completions/{second}/rating", facet="brainstorming", rating=3)
    studio.post("/api/preferences", better_id=second, worse_id=first, facet="brainstorming")
    studio.post(f"/api/samples/{sample}/completions", text=" there was nothing.", truncated=True)
    studio.put("/api/filters", name="rated", filter={"field": "rated", "op": "is", "value": True, "facet": "brainstorming"})
    session = studio.post(f"/api/samples/{sample}/sessions")
    tree = studio.post(f"/api/samples/{sample}/trees")
    grown = studio.post(f"/api/trees/{tree['id']}/beam-out", node=tree["root"], width=4, depth=5, spread=1)
    studio.post(f"/api/trees/{tree['id']}/mark", nodes=[grown["ends"][0]], pinned=True)
    studio.post(f"/api/trees/{tree['id']}/prune", nodes=[grown["ends"][2]])
    blocks = studio.post(f"/api/samples/{sample}/blocks")
    studio.post("/api/jobs", prompts=["Once upon a time", "x" * 5000], config={"max_new_tokens": 8}, labels={"team": "tales"})
    for text in ("once, upon a time", "One who is bright"):
        studio.post("/api/samples", prompt=text)
    studio.post("/api/samples", prompt="Once, upon a time!")
    rows = (
        '{"Question": "What is 1 and 1?", "Answer": "2."}\n{"Question": "What\n{"Question": "What is 3 and 3?", "Answer": "6."}\n'
    )
    upload = studio.api.post(
        "/api/uploads", params={"name": "sums.jsonl"}, content=rows.encode(), headers={"content-type": "application/octet-stream"}
    ).json()
    mapping = {"user": "Question", "completion": "Answer"}
    tried = studio.post("/api/imports", upload=upload["key"], mapping=mapping, dry_run=True, skip_bad=True, wait=True)
    alike = studio.post("/api/duplicates", wait=True)
    exported = studio.post("/api/exports", template={"kind": "sft", "prompts": "raw"}, wait=True)
    KEPT.update(
        {
            "import": {"upload": upload, "columns": {"Question": "user", "Answer": "completion"}, "task": tried["key"]},
            "duplicates": {"measure": "normalised", "of": "samples", "near": "0.85", "task": alike["key"]},
            "export": {"task": exported["key"]},
            "training": {"facets": []},
        }
    )
    a_trained_model(studio, first, second)
    plan = {"name": "small", "prompts": [{"title": "tale", "prompt": "Once upon a time"}], "max_new_tokens": 24, "experiments": [
        {"title": "greedy", "settings": {"do_sample": False}},
        {"title": "warm", "settings": {"temperature": 0.9}, "repeats": 2},
    ]}  # fmt: skip
    lab = studio.post("/api/lab/runs", plan=plan)["id"]
    while studio.get(f"/api/lab/runs/{lab}")["run"]["state"] != "completed":
        time.sleep(0.1)
    return {
        "library": "#/",
        "library-empty": "#/?text=nosuchword",
        "sample": f"#/samples/{sample}",
        "completion": f"#/completions/{first}?at=6",
        "compare": f"#/compare/{first}/{second}",
        "picking": f"#/picking/{session['key']}",
        "tree": f"#/trees/{tree['id']}?node={grown['ends'][0]}",
        "tree-list": f"#/trees/{tree['id']}?view=list",
        "tree-grid": f"#/trees/{tree['id']}?view=grid",
        "blocks": f"#/blocks/{blocks['key']}",
        "duel": "#/judge",
        "ranking": f"#/judge?view=ranking&sample={sample}",
        "consistency": "#/judge?view=consistency",
        "facets": "#/facets",
        "lab": "#/lab",
        "lab-run": f"#/lab/{lab}",
        "jobs": "#/jobs",
        "training": "#/training",
        "training-run": "#/training/bedtime-dpo",
        "history": "#/history",
        "import": "#/import",
        "export": "#/export",
        "readiness": "#/readiness",
        "duplicates": "#/duplicates",
    }


def a_trained_model(studio: Studio, better: int, worse: int) -> None:
    """What a run leaves behind, without the run; and one that was killed."""
    from ramify.store.processes import Process, this_process
    from ramify.training.plans import plan_from
    from ramify.training.records import RunRecord, write_record
    from ramify.training.report import CompletionChange, TrainingReport

    where = studio.get("/api/workspace")["where"]
    for name, process in (("bedtime-dpo", this_process()), ("bedtime-sft", Process("this one, before it went down", 1, 0.0))):
        folder = studio.home / "trained" / name
        folder.mkdir(parents=True)
        said = {"method": name[-3:], "model": "tiny", "workspace": where, "facets": ["brainstorming"], "train": {"max_steps": 40}}
        plan = plan_from({**said, "out": str(folder), "name": name}).to_data()
        state = "completed" if name == "bedtime-dpo" else "running"
        moment = "2026-11-27T08:00:00+00:00"
        write_record(
            folder, RunRecord(plan=plan, state=state, doing="", steps=40, process=process, started_at=moment, ended_at=moment)
        )
        lines = [
            {
                "step": n,
                "loss": 0.7 / (1 + n / 9),
                "accuracy": min(1.0, 0.4 + n / 50),
                "tokens_per_s": 900 + 40 * (n % 7),
                "seconds": n / 2,
            }
            if n % 10 or n == 40
            else {"step": n, "validation": {"held_out": {"loss": 0.75 / (1 + n / 14), "accuracy": 0.75}}, "seconds": n / 2}
            for n in range(1, 41)
        ]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.utime(folder / "log.jsonl", (0, 0))
        os.utime(folder / "run.json", (0, 0))
    changes = [
        CompletionChange(
            name=f"sample 1, completion {completion}", side=side, validation=side == "rejected",
            source={"sample": 1, "completion": better, "rejected": worse},
            tokens=(" there", " was", " a", " lake", ".", "<|im_end|>"), before=(-2.0, -0.4, -0.3, -6.0, -1.0, -2.0), after=after,
        )
        for completion, side, after in (
            (better, "chosen", (-1.5, -0.4, -0.2, -2.0, -0.9, -0.5)), (worse, "rejected", (-2.2, -0.9, -1.8, -9.5, -1.0, -2.1))
        )
    ]  # fmt: skip
    part = {"rows": 1, "accuracy_before": 0.0, "accuracy_after": 1.0, "margin_before": -2.1, "margin_after": 10.3}
    made = TrainingReport(
        base="tiny", tuned="bedtime-dpo", fingerprints={"base": "a", "tuned": "b"}, method="dpo", completions=changes,
        losses={"training": {"before": 1.95, "after": 0.92, "tokens": 6, "rows": 1}}, pairs={"training": part},
        unrelated={"source": "its own", "texts": 16, "tokens": 900, "before": 1.4, "after": 1.5, "worse": 0.071, "alarm": True},
    )  # fmt: skip
    (studio.home / "trained" / "bedtime-dpo" / "report.json").write_text(json.dumps(made.to_data()))


@pytest.mark.parametrize(
    ("shape", "theme"),
    [
        ("wide", "light"),
        pytest.param("narrow", "dark", marks=pytest.mark.slow),
        pytest.param("wide", "dark", marks=pytest.mark.slow),
        pytest.param("narrow", "light", marks=pytest.mark.slow),
    ],
)
def test_every_page_looks_finished(
    open_page: Callable[..., Page], studio: Studio, pages: dict[str, str], shape: str, theme: str
) -> None:
    page = open_page(*SHAPES[shape], theme=theme)
    page.wait_for_selector(".library")
    for name, value in KEPT.items():
        page.evaluate("([name, value]) => localStorage.setItem(`ramify.${name}`, JSON.stringify(value))", [name, value])
    page.reload()
    page.wait_for_selector(".library")
    PICTURES.mkdir(exist_ok=True)
    found: list[Any] = []
    for name, address in pages.items():
        page.goto(f"{studio.url}/{address}")
        page.wait_for_timeout(250)
        expect(page.locator("[aria-label=Loading]")).to_have_count(0)
        page.wait_for_timeout(250)
        page.screenshot(path=PICTURES / f"{name}-{shape}-{theme}.png")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the window"
        if AXE.exists():
            if not page.evaluate("typeof axe !== 'undefined'"):
                page.evaluate(AXE.read_text("utf-8"))
            result = page.evaluate("axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] })")
            found += [
                (
                    name,
                    each["id"],
                    [(node["target"], node["any"][0]["message"] if node["any"] else "") for node in each["nodes"][:3]],
                )
                for each in result["violations"]
            ]
    assert found == [], "\n".join(map(str, found))


@pytest.mark.parametrize("palette", ["ember", "viridis", "mono"])
def test_tokens_can_be_read_on_every_colour_of_every_palette(
    open_page: Callable[..., Page], studio: Studio, palette: str
) -> None:
    """4.5 to 1 at least, computed from the colours that the page really has."""
    for theme in ("light", "dark"):
        page = open_page(theme=theme)
        page.wait_for_selector(".library")
        worst = page.evaluate(CONTRASTS, palette)
        assert [each for each in worst if each[1] < 4.5] == [], theme
        assert len(worst) == 13


CONTRASTS = """palette => {
  document.documentElement.dataset.palette = palette;
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const page = getComputedStyle(document.body).backgroundColor, ink = getComputedStyle(document.body).color;
  return [...Array.from({ length: 7 }, (_, i) => `heat-${i}`), ...[1, 2, 3].flatMap(i => [`less-${i}`, `more-${i}`])].map(name => {
    const span = document.createElement("span");
    span.className = name;
    document.body.append(span);
    const style = getComputedStyle(span), back = rgb(style.backgroundColor)[3] ? rgb(style.backgroundColor) : rgb(page), front = rgb(style.color || ink);
    span.remove();
    const [a, b] = [light(back), light(front)].sort((x, y) => y - x);
    return [name, (a + 0.05) / (b + 0.05)];
  });
}"""  # noqa: E501
