"""What someone with only `sqlite3` reads is what the records say."""

import json
import math
import sqlite3
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ramify.store import Database, NewCompletion, NewNode, schema
from store.stories import PIECES, sampled, token, written


def rows(db: Database, view: str, order: str) -> list[dict[str, Any]]:
    with db.reading() as connection:
        found = connection.exec_driver_sql(f"SELECT * FROM {view} ORDER BY {order}")
        return [{k: bytes(v) if isinstance(v, memoryview) else v for k, v in row._mapping.items()} for row in found]


def fill(db: Database) -> None:
    sample = db.samples.add([{"role": "user", "content": "Once"}], title="T", group="a/b", notes="n", tags=["y", "x"])
    db.samples.add("raw")
    first = db.completions.add(sample.id, sampled("Say a hedgehog", generated_start=4), tags=["t"])
    second = db.completions.add(sample.id, written("By hand", parent_id=first.id, labels={"style": "plain"}))
    db.logprobs.put(first.id, "judge", "j", [token(4, -0.5, 3, 0.25), token(5, -math.inf, 900, 2.5)])
    db.facets.add("f", good_rating=8)
    db.facets.add("g", parent="f")
    db.judgements.rate(first.id, "g", 7)
    db.judgements.prefer(second.id, first.id, "g", tie=True, origin="duel")
    db.judgements.approve(second.id, "f")
    tree = db.beams.tree(sample.id, "tiny", "tiny-1")
    db.beams.extend(
        tree.root_id, [NewNode(token_id=2, logprob=-0.5, rank=2), NewNode(token_id=0, logprob=-1.0, ended=True)], pieces=PIECES
    )


def test_the_views_of_samples_completions_and_judgements_equal_the_records(db: Database) -> None:
    fill(db)
    for row, sample in zip(rows(db, "v_samples", "id"), reversed(db.samples.list()), strict=True):
        assert (row["id"], row["title"], row["group_path"], row["notes"]) == (sample.id, sample.title, sample.group, sample.notes)
        assert (row["prompt_id"], row["revision"], bool(row["archived"])) == (sample.prompt_id, sample.revision, sample.archived)
        assert (row["prompt"] if row["messages"] is None else tuple(json.loads(row["messages"]))) == sample.prompt
        assert (row["tags"] or "") == ", ".join(sample.tags)
        assert row["completions"] == len(db.completions.of(sample.id))
    records = db.completions.of(1)
    for row, record in zip(rows(db, "v_completions", "id"), records, strict=True):
        for name in (
            "id",
            "sample_id",
            "prompt_id",
            "model",
            "fingerprint",
            "text",
            "generated_text",
            "finish_reason",
            "stop_string",
        ):
            assert row[name] == getattr(record, name), name
        for name in ("parent_id", "branch_position", "mean_logprob", "min_logprob", "seed", "token_count"):
            assert row[name] == getattr(record, name), name
        for flag in ("truncated", "archived", "hidden", "draft"):
            assert bool(row[flag]) is getattr(record, flag)
        assert json.loads(row["config"]) == record.config
        assert [tuple(span) for span in json.loads(row["spans"])] == [(s.start, s.end, s.origin) for s in record.spans]
        assert ((row["tags"] or ""), row["style"]) == (", ".join(record.tags), record.labels.get("style"))
    (row,) = rows(db, "v_preferences", "id")
    (preference,) = db.judgements.preferences()
    assert (row["facet"], row["better_id"], row["worse_id"], bool(row["tie"]), row["origin"]) == (
        preference.facet, preference.better_id, preference.worse_id, preference.tie, preference.origin,
    )  # fmt: skip
    assert [(r["completion_id"], r["facet"], r["rating"]) for r in rows(db, "v_ratings", "facet")] == [(records[0].id, "g", 7)]
    assert [(r["sample_id"], r["facet"], r["completion_id"]) for r in rows(db, "v_approvals", "facet")] == [
        (1, "f", records[1].id)
    ]
    assert [(r["name"], r["parent"], r["good_rating"]) for r in rows(db, "v_facets", "name")] == [
        ("f", None, 8),
        ("g", "f", None),
    ]
    assert [r["name"] for r in rows(db, "v_tags", "name")] == ["t", "x", "y"]
    assert [(r["token_id"], r["token_bytes"], r["sum_logprob"]) for r in rows(db, "v_beam_nodes", "id")][1:] == [
        (2, PIECES[2], -0.5),
        (0, PIECES[0], -1.5),
    ]
    assert [r["number"] for r in rows(db, "v_prompts", "id")] == [1, 1]
    assert next(r["action"] for r in rows(db, "v_history", "action_id") if r["kind"] == "insert") == "add sample"


def check_tokens(db: Database, completion_id: int) -> None:
    expected = [
        (record.model, record.fingerprint, record.start + place, t.token_id, t.token_bytes, t.logprob, t.rank, t.entropy)
        for record in sorted(db.logprobs.of(completion_id), key=lambda record: record.model)
        for place, t in enumerate(record.tokens)
    ]
    found = [
        (r["model"], r["fingerprint"], r["position"], r["token_id"], r["token_bytes"], r["logprob"], r["rank"], r["entropy"])
        for r in rows(db, f"(SELECT * FROM v_tokens WHERE completion_id = {completion_id}) t", "model, position")
    ]
    plain = [(*row[:5], -math.inf if row[5] is None else float(row[5]), row[6], float(row[7])) for row in found]
    assert plain == expected


def test_the_view_of_tokens_equals_the_records_minus_infinity_being_null(db: Database) -> None:
    fill(db)
    check_tokens(db, 1)
    for row, record in zip(rows(db, "v_logprobs", "model DESC"), db.logprobs.of(1), strict=True):
        for name in ("model", "fingerprint", "start", "sum_logprob", "mean_logprob", "min_logprob", "p10_logprob", "p50_logprob"):
            assert row[name] == getattr(record, name), name


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.integers(0, (1 << 24) - 1), st.floats(-4000, 0), st.integers(1, (1 << 24) - 1), st.floats(0, 16)), max_size=8
    ),
    st.integers(0, 3),
)
def test_any_tokens_read_the_same_in_sql(db: Database, tokens: list[tuple[int, float, int, float]], prefill: int) -> None:
    measured = [token(i, logprob, rank, entropy) for i, logprob, rank, entropy in tokens]
    ids = [9] * prefill + [t.token_id for t in measured]
    made = db.completions.add(
        db.samples.add("p").id, NewCompletion(text="x", finish_reason="eos", token_ids=ids, logprobs=measured)
    )
    check_tokens(db, made.id)


def test_every_view_opens_in_plain_sqlite(file: Path) -> None:
    with Database.open(file) as db:
        fill(db)
    plain = sqlite3.connect(file)
    found = {name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert found == set(schema.VIEWS)
    assert all(plain.execute(f"SELECT count(*) FROM {view}").fetchone()[0] > 0 for view in schema.VIEWS)
    assert plain.execute(
        "SELECT text FROM v_completions WHERE id IN (SELECT rowid FROM search_completions WHERE search_completions MATCH 'hand')"
    ).fetchone() == ("By hand",)
