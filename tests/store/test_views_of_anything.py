"""Whatever was done to a workspace, every column of every view says what the records say."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ramify.store import CompletionRecord, Database, SampleRecord, schema
from ramify.store.changes import decode_rows
from ramify.store.prompts import prompt_columns
from ramify.store.records import moment
from store.test_history import STEPS
from store.test_views import check_tokens, fill, rows

Rows = list[dict[str, Any]]


def all_samples(db: Database) -> list[SampleRecord]:
    return sorted(db.samples.list(archived=None, hidden=None, limit=1000), key=lambda each: each.id)


def all_completions(db: Database) -> list[CompletionRecord]:
    return [db.completions.get(i) for i in db.search.all_completion_ids(archived=None, hidden=None)]


def asked(prompt: Any, text: str = "prompt") -> dict[str, Any]:
    columns = prompt_columns(prompt)
    return {"messages": None if isinstance(prompt, str) else list(prompt), text: columns["text"]}


def samples(db: Database) -> Rows:
    return [
        {
            **{name: getattr(s, name) for name in ("id", "title", "notes", "revision", "prompt_id", "archived", "hidden")},
            "group_path": s.group,
            "created_at": s.created_at,
            "changed_at": s.changed_at,
            "tags": ", ".join(s.tags),
            "completions": len(db.completions.of(s.id, archived=None)),
            **asked(s.prompt),
        }
        for s in all_samples(db)
    ]


def prompts(db: Database) -> Rows:
    found = [
        {
            **{name: getattr(p, name) for name in ("id", "sample_id", "number", "parent_id", "created_at")},
            **asked(p.prompt, "text"),
            "text": p.text,
            "hash": prompt_columns(p.prompt)["hash"],
        }
        for s in all_samples(db)
        for p in db.samples.revisions(s.id)
    ]
    return sorted(found, key=lambda row: row["id"])


def completions(db: Database) -> Rows:
    names = (
        *("id", "sample_id", "prompt_id", "model", "fingerprint", "text", "generated_text", "token_count", "finish_reason"),
        *("stop_string", "truncated", "archived", "hidden", "draft", "parent_id", "branch_position", "mean_logprob"),
        *("min_logprob", "seed", "created_at", "bulk"),
    )
    return [
        {
            **{name: getattr(c, name) for name in names},
            **{label: c.labels.get(label) for label in ("style", "length", "reasoning", "refusal", "formatting")},
            "tags": ", ".join(c.tags),
            "spans": [[s.start, s.end, s.origin] for s in c.spans],
            "config": dict(c.config),
            "processors": list(c.processors),
        }
        for c in all_completions(db)
    ]


def logprobs(db: Database) -> Rows:
    names = ("completion_id", "model", "fingerprint", "start", "sum_logprob", "mean_logprob", "min_logprob", "p10_logprob")
    names += ("p50_logprob", "mean_entropy", "created_at")
    measured = [each for c in all_completions(db) for each in db.logprobs.of(c.id)]
    found = [{**{name: getattr(each, name) for name in names}, "token_count": len(each.tokens)} for each in measured]
    return sorted(found, key=lambda row: (row["completion_id"], row["model"]))


def facets(db: Database) -> Rows:
    names = ("id", "name", "description", "parent", "good_rating", "bad_rating", "min_logprob", "mean_logprob", "target_model")
    return sorted(
        ({name: getattr(f, name) for name in (*names, "created_at")} for f in db.facets.list()), key=lambda row: row["id"]
    )


def ratings(db: Database) -> Rows:
    names = ("completion_id", "facet", "rating", "origin", "created_at")
    found = [{name: getattr(r, name) for name in names} for c in all_completions(db) for r in db.judgements.ratings_of(c.id)]
    return sorted(found, key=lambda row: (row["completion_id"], row["facet"]))


def preferences(db: Database) -> Rows:
    names = ("id", "facet", "sample_id", "better_id", "worse_id", "tie", "origin", "created_at")
    found = [{name: getattr(p, name) for name in names} for p in db.judgements.preferences()]
    return sorted(found, key=lambda row: row["id"])


def approvals(db: Database) -> Rows:
    found = [
        {"sample_id": s.id, "facet": f.name, "completion_id": db.judgements.approved(s.id, f.name)}
        for s in all_samples(db)
        for f in db.facets.list()
    ]
    return sorted((row for row in found if row["completion_id"]), key=lambda row: (row["sample_id"], row["facet"]))


def tags(db: Database) -> Rows:
    names = ("id", "name", "description", "scope")
    return sorted(({name: getattr(t, name) for name in names} for t in db.tags.list()), key=lambda row: row["id"])


def beam_nodes(db: Database) -> Rows:
    names = (
        *("id", "tree_id", "parent_id", "depth", "token_id", "logprob", "entropy", "sum_logprob", "min_logprob", "ended"),
        *("pinned", "kept", "pruned", "bookmarked", "dead_reason", "completion_id", "rank", "origin", "next_entropy"),
    )
    found = [
        {
            **{name: getattr(n, name) for name in names},
            "sample_id": tree.sample_id,
            "model": tree.model,
            "token_bytes": db.beams.pieces(tree).get(n.token_id),
        }
        for tree in db.beams.list(limit=1000)
        for n in db.beams.nodes(tree)
    ]
    return sorted(found, key=lambda row: row["id"])


def history(db: Database) -> Rows:
    found = []
    for a in reversed(db.history.list(limit=1000)):
        step = {"action_id": a.id, "action": a.name, "detail": a.detail, "author": a.author, "state": a.state}
        step["created_at"] = a.created_at
        for c in db.history.changes_of(a.id):
            ends = {"first_id": min(c.row_ids), "last_id": max(c.row_ids)}
            found.append({**step, **ends, "table_name": c.table, "kind": c.kind, "before": c.before, "after": c.after})
    return found


def models(db: Database) -> Rows:
    with db.reading() as connection:
        return [dict(row._mapping) for row in connection.exec_driver_sql("SELECT id, name, fingerprint FROM models ORDER BY id")]


RECORDS: dict[str, tuple[str, Callable[[Database], Rows]]] = {
    "v_models": ("id", models),
    "v_samples": ("id", samples),
    "v_prompts": ("id", prompts),
    "v_completions": ("id", completions),
    "v_logprobs": ("completion_id, model", logprobs),
    "v_facets": ("id", facets),
    "v_ratings": ("completion_id, facet", ratings),
    "v_preferences": ("id", preferences),
    "v_approvals": ("sample_id, facet", approvals),
    "v_tags": ("id", tags),
    "v_beam_nodes": ("id", beam_nodes),
    "v_history": ("action_id", history),
}
NOWHERE_ELSE = {"v_approvals": {"created_at"}, "v_tags": {"created_at"}}
"""Columns that no record has."""
FLAGS = ("archived", "hidden", "draft", "truncated", "tie", "ended", "pinned", "kept", "pruned", "bookmarked")
AS_JSON = ("messages", "spans", "config", "processors")


def read(view: str, row: dict[str, Any]) -> dict[str, Any]:
    """A view's row in the records' types."""
    values = {name: value for name, value in row.items() if name not in NOWHERE_ELSE.get(view, ())}
    for name, value in values.items():
        if name in FLAGS:
            values[name] = bool(value)
        elif value is not None and name in ("created_at", "changed_at"):
            values[name] = moment(value)
        elif value is not None and name in ("before", "after"):
            values[name] = decode_rows(value)
        elif name in AS_JSON:
            values[name] = None if value is None else json.loads(value)
        elif name == "tags":
            values[name] = value or ""
    return values


def check_all_views(db: Database) -> None:
    assert set(RECORDS) | {"v_tokens"} == set(schema.VIEWS)
    for view, (order, records) in RECORDS.items():
        found = [read(view, row) for row in rows(db, view, order)]
        if view == "v_history":  # the changes of a step stand in no order there

            def key(row: dict[str, Any]) -> tuple[Any, ...]:
                return row["action_id"], row["table_name"], row["kind"], row["first_id"], row["last_id"], repr(row["after"])

            assert sorted(found, key=key) == sorted(records(db), key=key), view
        else:
            assert found == records(db), view
    for each in all_completions(db):
        check_tokens(db, each.id)


def test_every_column_of_every_view_is_what_the_records_say(db: Database) -> None:
    fill(db)
    assert all(rows(db, view, "1") for view in schema.VIEWS)
    check_all_views(db)


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 12)), min_size=4, max_size=12), st.integers(0, 3))
def test_after_any_actions_every_view_is_what_the_records_say(db: Database, steps: list[tuple[str, int]], undone: int) -> None:
    if not db.facets.list():
        db.facets.add("f")
    for name, n in steps:
        STEPS[name](db, n)
    for _ in range(min(undone, len(db.history.list()) - 1)):
        db.history.undo()
    check_all_views(db)
    while db.history.redo():
        pass
