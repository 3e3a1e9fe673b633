"""Another workspace as a source: what is in it arrives, once."""

from collections.abc import Callable
from typing import Any

from exchange.conftest import Bring
from ramify.store import Database, NewCompletion, SpanRecord, TokenLogprob


def fill(db: Database) -> None:
    db.facets.add("parent", good_rating=8)
    db.facets.add("child", parent="parent", mean_logprob=-1.0)
    sample = db.samples.add([{"role": "user", "content": "Hi"}], title="t", group="g/h", notes="n", tags=["x"])
    tokens = [
        TokenLogprob(token_id=i, token_bytes=b"ab", logprob=-0.5, rank=1, entropy=0.25, alternatives=((9, b"z", -2.0),))
        for i in (5, 6)
    ]
    first = db.completions.add(
        sample.id,
        NewCompletion(
            text="abab",
            model="m",
            fingerprint="f1",
            finish_reason="length",
            token_ids=(5, 6),
            spans=[SpanRecord(0, 2, "sampled")],
            config={"temperature": 0.5},
            processors=("temperature",),
            seed=7,
            logprobs=tokens,
            labels={"style": "plain"},
        ),
        tags=["y"],
    )
    child = db.completions.add(
        sample.id, NewCompletion(text="ababab", finish_reason="written", parent_id=first.id, branch_position=2)
    )
    db.completions.archive([db.completions.add(sample.id, NewCompletion(text="old", finish_reason="written")).id])
    db.completions.add(sample.id, NewCompletion(text="draft", draft=True))
    db.judgements.rate(first.id, "parent", 9)
    db.judgements.prefer(child.id, first.id, "child")
    db.judgements.approve(child.id, "child")


def told(db: Database) -> Any:
    """Everything that should have come along, without ids and times."""
    (sample,) = db.samples.list()
    completions = db.completions.of(sample.id, archived=None, hidden=None, draft=False)
    text = {each.id: each.text for each in completions}
    return (
        (sample.prompt, sample.title, sample.group, sample.notes, sample.tags),
        [
            (
                c.text,
                c.model,
                c.fingerprint,
                c.finish_reason,
                c.truncated,
                c.token_ids,
                c.spans,
                c.config,
                c.processors,
                c.seed,
                c.archived,
                c.hidden,
            )
            for c in completions
        ],
        [(text.get(c.parent_id), c.branch_position, c.labels, c.tags, c.mean_logprob) for c in completions],  # type: ignore[arg-type]
        [r.tokens for c in completions for r in db.logprobs.of(c.id)],
        [(text[r.completion_id], r.facet, r.rating) for c in completions for r in db.judgements.ratings_of(c.id)],
        [(text[p.better_id], text[p.worse_id], p.facet) for p in db.judgements.preferences()],
        [(f.name, f.parent, f.good_rating, f.mean_logprob) for f in db.facets.list()],
        text.get(db.judgements.approved(sample.id, "child") or 0),
    )


def test_a_workspace_arrives_whole_and_a_second_time_adds_nothing(
    make: Callable[[str], Database], bring: Bring, db: Database
) -> None:
    other = make("other")
    fill(other)
    report = bring(other.where)
    assert (report.files[0]["format"], report.samples_added, report.completions_added) == ("workspace", 1, 3)
    assert told(db) == told(other)
    again = bring(other.where).to_data()
    assert {name: again[name] for name in again if name.endswith("_added")} == dict.fromkeys(
        ("samples_added", "completions_added", "ratings_added", "preferences_added", "approvals_added"), 0
    )
    assert told(db) == told(other)
    db.history.undo()
    assert db.samples.count() == 0


def test_what_was_out_of_view_stays_out_of_view(make: Callable[[str], Database], bring: Bring, db: Database) -> None:
    other = make("other")
    sample = other.samples.add("earlier")
    other.completions.hide([other.completions.add(sample.id, NewCompletion(text="away", finish_reason="written"))])
    other.samples.revise(sample.id, "later")
    other.samples.hide([sample])
    other.samples.archive([other.samples.add("put away")])
    bring(other.where)
    assert [s.prompt for s in db.samples.list()] == []
    everything = db.samples.list(archived=None, hidden=None)
    assert sorted((s.prompt, s.archived, s.hidden) for s in everything) == [
        ("earlier", False, True),
        ("later", False, True),
        ("put away", True, False),
    ]
    (away,) = [c for s in everything for c in db.completions.of(s.id, hidden=None)]
    assert (away.text, away.hidden) == ("away", True)


def test_one_facets_judgements_alone(make: Callable[[str], Database], bring: Bring, db: Database) -> None:
    other = make("other")
    fill(other)
    assert bring(other.where, facet="parent").ratings_added == 1
    assert ([each.name for each in db.facets.list()], db.judgements.preferences()) == (["parent"], [])
