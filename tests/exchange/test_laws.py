"""What holds of every export: in and out again is the same, a seed is a file, nothing truncated, no facet in another's."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.conftest import Bring
from ramify.exchange.exporting import export
from ramify.exchange.importing import ImportOptions, import_files
from ramify.exchange.templates import FORMS, ExportTemplate, FacetShare
from ramify.store import Database, NewCompletion

Make = Callable[[str], Database]

CALL = {"type": "function", "function": {"name": "look", "arguments": '{"b": 1, "a": [2, null]}'}}
USER, SYSTEM = {"role": "user", "content": "Hi “you”\n\tthere 🦔"}, {"role": "system", "content": "Be kind"}
PROMPTS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "One"}],
    [USER, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Again\nand again"}],
    [SYSTEM, {"role": "user", "content": "Two"}],
    [
        {"role": "user", "content": "Look", "tools": '[{"name": "look", "parameters": {"z": 1, "a": 2}}]'},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "42"},
    ],
]


def fill(db: Database) -> None:
    """Each prompt with four answers: 8 and 9 are good, 2 is bad; the fourth is truncated, and preferred to the second."""
    db.facets.add("f")
    for number, prompt in enumerate(PROMPTS):
        sample = db.samples.add(prompt, title=f"s{number}")
        details = {"steps": [2, 1], "step_labels": [True, False]}
        for text, rating, truncated in (("ab\nc", 8, False), ("  d\n", 9, False), ("é", 2, False), ("cut", 9, True)):
            new = NewCompletion(
                text=f"{text}{number}" if text != "ab\nc" else text,
                model="m",
                finish_reason="imported",
                truncated=truncated,
                details=details if text == "ab\nc" else {},
            )
            made = db.completions.add(sample.id, new)
            db.judgements.rate(made.id, "f", rating)
        ids = [each.id for each in db.completions.of(sample.id)]
        db.judgements.prefer(ids[0], ids[1], "f")
        db.judgements.prefer(ids[3], ids[1], "f")


CASES = [(form, kind, ending) for form, kinds in FORMS.items() for kind in kinds for ending in ("jsonl", "json", "parquet")]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Database:
    db = Database.open(tmp_path_factory.mktemp("filled") / "w.ramify")
    fill(db)
    return db


@pytest.mark.parametrize(("form", "kind", "ending"), CASES)
def test_out_and_in_and_out_again_is_the_same_to_the_byte(
    filled: Database, make: Make, tmp_path: Path, form: str, kind: str, ending: str
) -> None:
    template = ExportTemplate(kind=kind, form=form, facets=(FacetShare(name="f"),), per_sample=9)
    first, second = tmp_path / f"first.{ending}", tmp_path / f"second.{ending}"
    assert export(filled, template, first).rows >= 3
    other = make("other")
    import_files(other, [str(first)], ImportOptions(facet="f"))
    export(other, template, second)
    assert second.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto", "reward", "stepwise"])
def test_raw_prompts_go_out_and_in_and_out_again(make: Make, tmp_path: Path, kind: str) -> None:
    db, other = make("raw"), make("other")
    db.facets.add("f")
    sample = db.samples.add("<|im_start|>user\nHi<|im_end|>\n")
    steps = {"steps": [3, 2], "step_labels": [True, False]}
    for text, rating in (("one\ntw", 9), ("no", 1)):
        details = steps if rating == 9 else {}
        made = db.completions.add(sample.id, NewCompletion(text=text, model="m", finish_reason="written", details=details))
        db.judgements.rate(made.id, "f", rating)
    template = ExportTemplate(kind=kind, facets=(FacetShare(name="f"),))
    if kind == "reward":  # It has no prompt column, and where a text's prompt ends nobody can tell.
        template = replace(template, kind="dpo", form="trl")
    export(db, template, tmp_path / "a.jsonl")
    import_files(other, [str(tmp_path / "a.jsonl")], ImportOptions(facet="f"))
    assert other.samples.list()[0].prompt == sample.prompt
    export(other, template, tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


def test_a_seed_gives_the_same_bytes_and_another_seed_others(filled: Database, tmp_path: Path) -> None:
    template = ExportTemplate(kind="kto", facets=(FacetShare(name="f", order="random"),), seed=1, validation=0.25)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        export(filled, template, tmp_path / name / "t.jsonl")
    names = ["t.manifest.json", "t.train.jsonl", "t.validation.jsonl"]
    assert sorted(each.name for each in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    different = set()
    for seed in range(2, 8):
        export(filled, replace(template, seed=seed), tmp_path / "a" / "t.jsonl", overwrite=True)
        different.add((tmp_path / "a" / "t.train.jsonl").read_bytes())
    assert len(different) > 1


def test_nothing_truncated_leaves_unless_asked(filled: Database, tmp_path: Path) -> None:
    for kind in ("sft", "dpo", "kto", "reward"):
        template = ExportTemplate(kind=kind, facets=(FacetShare(name="f"),), per_sample=9)
        export(filled, template, tmp_path / f"{kind}.jsonl")
        assert "cut" not in (tmp_path / f"{kind}.jsonl").read_text("utf-8")
        export(filled, replace(template, truncated=True), tmp_path / f"{kind}.jsonl", overwrite=True)
        assert "cut0" in (tmp_path / f"{kind}.jsonl").read_text("utf-8")


JUDGEMENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 3), st.booleans(), st.sampled_from(["hand", "model"])),
    max_size=8,
)
RATINGS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 10)), max_size=8)


@settings(max_examples=25)
@given(said=JUDGEMENTS, rated=RATINGS)
def test_chosen_and_rejected_differ_and_no_facet_leaks_into_another(
    said: list[Any], rated: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Four completions, two of them equal in text, judged at random under two facets: each facet's pairs follow from its own."""
    folder = tmp_path_factory.mktemp("law")
    with Database.open(folder / "w.ramify") as db:
        for name in "ab":
            db.facets.add(name)
        sample = db.samples.add("Hi")
        texts = ["x", "x", "y", "z"]
        ids = [
            db.completions.add(sample.id, NewCompletion(text=text, model=f"m{i}", finish_reason="written")).id
            for i, text in enumerate(texts)
        ]
        kept: dict[tuple[str, str, frozenset[int]], tuple[int, int, bool]] = {}
        for facet, first, second, tie, origin in said:
            if first != second:
                db.judgements.prefer(ids[first], ids[second], facet, tie=tie, origin=origin)
                kept[facet, origin, frozenset((first, second))] = (first, second, tie)
        rating: dict[tuple[str, int], int] = {}
        for facet, which, value in rated:
            db.judgements.rate(ids[which], facet, value)
            rating[facet, which] = value
        for facet in "ab":
            wanted = set()
            for first in range(4):
                for second in range(4):
                    if texts[first] == texts[second]:
                        continue
                    pair = frozenset((first, second))
                    mine = {(w[2] or (w[0], w[1])) for (f, _, p), w in kept.items() if f == facet and p == pair}
                    high, low = rating.get((facet, first)), rating.get((facet, second))
                    by_rating = high is not None and low is not None and high >= 7 and high > low
                    if mine == {(first, second)} or (not mine and by_rating):
                        wanted.add((texts[first], texts[second]))
            template = ExportTemplate(kind="dpo", facets=(FacetShare(name=facet),))
            out = folder / f"{facet}.jsonl"
            if wanted:
                export(db, template, out)
                rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
            else:
                with pytest.raises(ValueError, match="nothing can go out"):
                    export(db, template, out)
                rows = []
            assert {(row["chosen"], row["rejected"]) for row in rows} == wanted


def test_an_import_is_one_step_that_undo_takes_back_whole(tmp_path: Path, bring: Bring, db: Database) -> None:
    rows = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(2500)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = _content(db)
    bring(tmp_path / "t.jsonl", facet="f", tags=("new",))
    assert [each.name for each in db.history.list()] == ["import"]
    after = _content(db)
    assert after["completions"] == 5000
    db.history.undo()
    assert _content(db) == before
    db.history.redo()
    assert _content(db) == after


def _content(db: Database) -> dict[str, int]:
    from sqlalchemy import func, select

    from ramify.store.tables import RECORDED

    with db.reading() as connection:
        return {t.name: int(connection.execute(select(func.count()).select_from(t)).scalar_one()) for t in RECORDED}


def test_a_dry_run_says_what_would_happen_and_changes_nothing(tmp_path: Path, bring: Bring, db: Database) -> None:
    (tmp_path / "t.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    dry = bring(tmp_path / "t.jsonl", facet="f", dry_run=True)
    assert (db.samples.count(), list(db.facets.list()), db.history.list()) == (0, [], [])
    wet = bring(tmp_path / "t.jsonl", facet="f")
    assert {**dry.to_data(), "dry_run": False} == wet.to_data()
