"""What a facet could send out, and the pages that say so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramify.errors import InputError
from ramify.exchange.exporting import export
from ramify.exchange.readiness import distribution, readiness
from ramify.exchange.readiness_page import as_html, as_markdown
from ramify.exchange.templates import ExportTemplate, FacetShare
from ramify.store import Database, NewCompletion, TokenLogprob


def fill(db: Database) -> None:
    db.facets.add("f<b>", mean_logprob=-2.0)
    for i in range(6):
        sample = db.samples.add([{"role": "user", "content": f"q{i}"}])
        for text, rating in (("good", 9), ("bad", 2)):
            new = NewCompletion(text=text, model="tiny", finish_reason="eos", token_ids=(1, 2), config={})
            made = db.completions.add(sample.id, new)
            if i < 5:
                db.judgements.rate(made.id, "f<b>", rating)
            if i < 4:
                tokens = [TokenLogprob(token_id=t, token_bytes=b"x", logprob=-1.0 - i / 2, rank=1, entropy=0.5) for t in (1, 2)]
                db.logprobs.put(made.id, "tiny", "", tokens)


def test_what_is_ready_is_what_an_export_writes(db: Database, tmp_path: Path) -> None:
    fill(db)
    report = readiness(db, "f<b>")
    assert (report.samples, report.completions, report.rated, report.scored) == (6, 12, 10, 8)
    for kind, ready in report.kinds.items():
        rows = export(db, ExportTemplate(kind=kind, facets=(FacetShare(name="f<b>"),)), tmp_path / f"{kind}.jsonl").rows
        assert ready.rows == rows > 0
    sft, kto = report.kinds["sft"], report.kinds["kto"]
    assert (sft.samples, sft.tokens, sft.measured) == (3, 6, 3)
    assert abs(sft.loss - (2.0 + 3.0 + 4.0)) < 1e-9
    assert (kto.good, kto.bad) == (3, 5)
    assert dict(sft.reasons) == {"rated below 7": 5, "mean logprob is too low": 1, "not measured by tiny": 1, "not rated": 2}
    assert sft.waiting["not rated"] == [6]
    assert sft.waiting["not measured by tiny"] == [5]


def test_every_sample_that_waits_is_named_and_the_page_lists_twenty(db: Database) -> None:
    db.facets.add("f")
    for i in range(25):
        sample = db.samples.add(f"p{i}")
        db.completions.add(sample.id, NewCompletion(text="x", model="tiny", finish_reason="eos", token_ids=(1,), config={}))
    report = readiness(db, "f")
    assert report.kinds["sft"].waiting == {"not rated": list(range(1, 26))}
    assert ", 19, 20 …" in as_html(report)


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"filter": {"field": "mean_logprob", "op": ">=", "value": -1.2}}, 1),
        ({"percentile": 60.0}, 2),
        ({"max_tokens": 5}, 0),
        ({"max_tokens": 6}, 3),
    ],
)
def test_a_template_says_all_that_it_says_to_an_export(db: Database, tmp_path: Path, changes: dict[str, Any], rows: int) -> None:
    fill(db)
    template = ExportTemplate(kind="sft", facets=(FacetShare(name="f<b>"),), **changes)

    def count(model: str, prompt: object, text: str) -> int:
        return len(f"q{text}") + 1

    report = readiness(db, "f<b>", template=template, count_tokens=count)
    dry = export(db, template, tmp_path / "sft.jsonl", dry_run=True, count_tokens=count)
    assert (report.kinds["sft"].rows, dry.rows) == (rows, rows)
    assert report.kinds["sft"].reasons == dry.facets[0].reasons


def test_a_template_that_needs_what_is_not_there_is_refused(db: Database) -> None:
    fill(db)
    template = ExportTemplate(kind="sft", facets=(FacetShare(name="f<b>"),), max_tokens=5)
    with pytest.raises(InputError, match="max_tokens needs the target's tokenizer"):
        readiness(db, "f<b>", template=template)
    unmeasured = replace(template, max_tokens=None, percentile=10.0, target_model="other")
    with pytest.raises(InputError, match="percentile needs logprobs under other"):
        readiness(db, "f<b>", template=unmeasured)


def test_a_distribution_counts_every_value_once() -> None:
    found = distribution([1, 1, 2, 9], 4, whole=True)
    assert found is not None
    assert (found.edges, found.counts) == ((1.0, 4.0, 7.0, 10.0), (3, 0, 1))
    assert (found.least, found.median, found.mean, found.most) == (1, 2, 3.25, 9)
    flat = distribution([-1.0, -1.0])
    assert flat is not None
    assert sum(flat.counts) == 2
    assert distribution([]) is None


def test_the_page_stands_alone_with_its_plots_and_nothing_of_the_users_is_markup(db: Database) -> None:
    fill(db)
    page = as_html(readiness(db, "f<b>"))
    assert page.count("<svg ") == 4
    assert "f<b>" not in page
    assert "f&lt;b&gt;" in page
    for outside in ("<script", "<link", 'src="http', 'href="http', "@import", "url(http"):
        assert outside not in page
    assert page == as_html(readiness(db, "f<b>"))


def test_the_markdown_has_the_same_numbers(db: Database) -> None:
    fill(db)
    text = as_markdown(readiness(db, "f<b>"))
    assert text.startswith("# Readiness of f\\<b\\> for tiny\n")
    assert "| sft | 3 | 3 |  | 6 | 9 nats in 3 completions |" in text
    assert "| not rated | 2 | 6 |" in text


def test_a_facet_without_anything_has_a_page_too(db: Database) -> None:
    db.facets.add("new")
    assert "<svg" not in as_html(readiness(db, "new"))
