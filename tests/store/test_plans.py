"""SQLite answers every list, filter and search through an index: no query walks a whole table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from ramify.store import Database, rules, search, sources
from ramify.store.overview import judged, measured, sample_counts
from store.stories import sampled, token

RATED = {"field": "rating", "op": ">=", "value": 8, "facet": "f"}
QUESTIONS: dict[str, Any] = {
    "samples": lambda db: db.samples.list(),
    "samples of a group": lambda db: db.samples.list(group="g3", limit=5),
    "completions": lambda db: db.search.completions(),
    "a page in the middle": lambda db: db.search.completions(after=(200, 200)),
    "by mean logprob": lambda db: db.search.completions(order="mean_logprob"),
    "by length": lambda db: db.search.completions(order="tokens", after=(3, 200)),
    "of a sample": lambda db: db.completions.of(7),
    "words": lambda db: db.search.text("rare"),
    "a common word": lambda db: db.search.text("hedgehog"),
    "few match": lambda db: db.search.completions(
        {"all": [RATED, {"field": "model", "op": "is", "value": "m1"}, {"field": "text", "value": "rare"}]}
    ),
    "samples of which few match": lambda db: db.search.samples(
        {"all": [RATED, {"field": "finish_reason", "op": "is", "value": "length"}]}
    ),
    "samples of which some match": lambda db: db.search.samples(
        {"all": [{"field": "model", "op": "is", "value": "m1"}, {"field": "characters", "op": ">", "value": 15}]}
    ),
    "either of two": lambda db: db.search.completions({"any": [RATED, {"field": "text", "value": "rare"}]}),
    "logprobs under a judge": lambda db: db.search.completions(
        {"field": "mean_logprob", "op": "<", "value": -5, "model": "judge"}
    ),
    "a tag": lambda db: db.search.samples({"field": "tag", "op": "is", "value": "t"}),
    "prompt words": lambda db: db.search.samples({"field": "prompt", "value": "p11"}),
    "most match": lambda db: db.search.completions({"not": RATED}),
    "a count of few": lambda db: db.search.count_completions({"all": [RATED, {"field": "text", "value": "rare"}]}),
    "a count of all but few": lambda db: db.search.count_completions(
        {"all": [{"not": RATED}, {"field": "finish_reason", "op": "is", "value": "eos"}]}
    ),
    "a count of words in all but few": lambda db: db.search.count_completions(
        {"all": [{"field": "text", "value": "hedgehog"}, {"field": "mean_logprob", "op": ">", "value": -9}, {"not": RATED}]}
    ),
    "a count of what is not scored": lambda db: db.search.count_completions({"field": "scored", "op": "is", "value": False}),
    "what a bulk run has left": lambda db: db.bulk.to_generate([s.id for s in db.samples.list(limit=150)], "run"),
    "whether a bulk run made one": lambda db: db.bulk.made(9, "run"),
    "what is left to score": lambda db: db.bulk.to_score(db.search.all_completion_ids(RATED), "judge-1"),
    "what the list shows beside samples": lambda db: sample_counts(db, [s.id for s in db.samples.list()]),
    "what the list shows beside completions": lambda db: (judged(db, [3, 5, 8]), measured(db, [3, 5, 8])),
    "samples of which most match": lambda db: db.search.samples({"field": "finish_reason", "op": "is", "value": "eos"}),
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database.open(tmp_path_factory.mktemp("plans") / "w.ramify") as opened:
        opened.facets.add("f")
        samples = opened.samples.add_many([(f"p{n}", f"t{n}", f"g{n % 5}") for n in range(200)])
        opened.tags.put(["t"], samples=samples[:3])
        opened.tags.put(["u", "v"], samples=samples)
        made = opened.completions.add_many(
            [
                (
                    samples[n % 200],
                    sampled(
                        f"hedgehog {n}" + " rare" * (n % 100 == 3), model=f"m{n % 3}", reason="length" if n % 50 == 0 else "eos"
                    ),
                )
                for n in range(600)
            ]
        )
        opened.tags.put(["u", "v"], completions=made)
        opened.judgements.rate_many(made[::40], "f", 9)
        opened.logprobs.put(made[5], "judge", "", [token(1, -9.0)])
        bulk = [opened.completions.add(sample, sampled(f"bulk {sample}", bulk="run")) for sample in samples[:20]]
        opened.completions.delete([each.id for each in bulk[:5]])
        opened.tidy()
        yield opened


@pytest.mark.parametrize("few", [2_000, 2])
@pytest.mark.parametrize("question", QUESTIONS)
def test_no_query_walks_a_whole_table(db: Database, question: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FIRST_WALK", dict.fromkeys(search.FIRST_WALK, 40))
    monkeypatch.setattr(search, "LATER_WALK", 100)
    for module in (rules, search, sources):
        monkeypatch.setattr(module, "FEW", few)
    monkeypatch.setattr(sources, "LOOKED_AT", 20)
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        asked.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        QUESTIONS[question](db)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    selects = [(statement, parameters) for statement, parameters in asked if statement.startswith("SELECT")]
    assert selects
    with db.reading() as connection:
        for statement, parameters in selects:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            assert [step for step in plan if is_a_walk(step)] == [], statement


SMALL = ("models", "facets", "tags", "sample_images", "p", "anon", "outside", "them", "inside", "(subquery")
SMALL += ("CONSTANT", "1 CONSTANT")
"""Tables of a few rows, and results of inner queries."""


def is_a_walk(step: str) -> bool:
    """Whether a step of a plan reads a table from end to end without an index."""
    return step.startswith("SCAN ") and "INDEX" not in step and not step.removeprefix("SCAN ").startswith(SMALL)


def test_a_walk_would_be_seen(db: Database) -> None:
    with db.reading() as connection:
        plan = [
            row[3] for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN SELECT * FROM completions WHERE branch_position = 1")
        ]
    assert [is_a_walk(step) for step in plan] == [True]


def test_a_new_file_is_opened_by_its_path_as_text_or_as_a_path(tmp_path: Path) -> None:
    for where in (tmp_path / "a.ramify", str(tmp_path / "b.ramify"), f"sqlite:///{tmp_path}/c.ramify"):
        with Database.open(where) as opened:
            assert (opened.samples.count(), opened.dialect) == (0, "sqlite")
