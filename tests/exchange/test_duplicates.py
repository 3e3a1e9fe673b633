"""Duplicates: to the letter, but for case and marks, nearly; and what an import leaves out for them."""

import json
from pathlib import Path
from typing import Any

import pytest

from exchange.conftest import Bring
from ramify.exchange.duplicates import Cluster, find_duplicates, normalised
from ramify.store import Database, NewCompletion

LONG = "The little hedgehog went down to the river early in the morning because it wanted to see the boats."


def clusters(db: Database, **how: Any) -> list[tuple[int, ...]]:
    return [each.ids for each in find_duplicates(db, **how).clusters]


def fill(db: Database) -> None:
    for prompt in (LONG, LONG.upper().replace(".", "!"), LONG.replace("boats", "ships"), "Quite another thing", LONG):
        db.samples.add(prompt)


def test_each_measure_finds_more(db: Database) -> None:
    fill(db)
    assert clusters(db, measure="exact") == [(1, 5)]
    assert clusters(db, measure="normalised") == [(1, 2, 5)]
    assert clusters(db, measure="near", near=0.8) == [(1, 2, 3, 5)]
    assert clusters(db, measure="near", near=0.99) == [(1, 2, 5)]


def test_a_cluster_tells_its_likeness_and_how_many_could_go(db: Database) -> None:
    fill(db)
    report = find_duplicates(db, measure="near", near=0.8)
    assert (report.looked_at, report.spare) == (5, 3)
    words = [normalised(LONG), normalised(LONG.replace("boats", "ships"))]
    first, second = ({text[i : i + 5] for i in range(len(text) - 4)} for text in words)
    assert report.clusters == (
        Cluster(kind="samples", ids=(1, 2, 3, 5), likeness=round(len(first & second) / len(first | second), 4), text=LONG[:80]),
    )


def test_completions_are_compared_within_their_sample(db: Database) -> None:
    for prompt in ("a", "b"):
        sample = db.samples.add(prompt)
        for text in ("Yes.", "yes", "no"):
            db.completions.add(sample.id, NewCompletion(text=text, finish_reason="written"))
    assert clusters(db, of="completions") == [(1, 2), (4, 5)]


def test_normalised_forgets_case_space_marks_and_compatibility_forms() -> None:
    assert normalised("  Straße — ﬁne,\n№ 1! ") == "strasse fine no 1"


@pytest.mark.parametrize(("measure", "kept"), [("exact", 4), ("normalised", 3), ("near", 2)])
def test_an_import_leaves_out_what_it_was_told_to(tmp_path: Path, bring: Bring, db: Database, measure: str, kept: int) -> None:
    db.samples.add(LONG)
    others = (LONG, LONG.lower(), LONG.replace("boats", "ships"), "Quite another thing")
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps({"prompt": text, "completion": f" {i}"}) + "\n" for i, text in enumerate(others)))
    report = bring(file, duplicates=measure, near=0.8)
    assert (db.samples.count(), report.completions_added) == (kept, kept)
    assert report.duplicates_left_out == 4 - kept
    if measure == "normalised":
        assert report.duplicates == [{"file": str(file), "line": 2, "of": "sample 1", "similarity": 1.0}]


@pytest.mark.parametrize("how", [{"measure": "like"}, {"of": "facets"}, {"near": 0.0}])
def test_what_cannot_be_measured_is_refused(db: Database, how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"like|facets|near is 0\.0"):
        find_duplicates(db, **how)
