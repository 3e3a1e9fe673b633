"""Filters against the same questions asked of records in plain Python, lists in pages, and full-text search."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ramify.errors import InputError, NotFoundError
from ramify.store import CompletionRecord, Database, NewCompletion, SampleRecord, tables
from ramify.store.conditions import Compiler
from ramify.store.filters import FIELDS, All, Anything, Filter, Not, Where, parse, to_data
from ramify.store.words import contains_words
from store.stories import sample_with, sampled, token, written

Number = Callable[[Any, Any], bool]
NUMBERS: dict[str, Number] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def fill(db: Database) -> None:
    """24 samples with 0 to 4 completions, of every kind that a filter can ask about."""
    for name in ("legal", "fun"):
        db.facets.add(name)
    with db.action("fill"):
        for n in range(24):
            prompt = f"Tell of a {('hedgehog', 'fox', 'café')[n % 3]}, please"
            sample = db.samples.add(
                prompt, title=f"Tale {n}", group=("a", "a/b", "a/b/c", "ab")[n % 4], tags=["odd"] if n % 2 else []
            )
            for k in range(n % 5):
                text = f"The {('quick', 'slow')[k % 2]} hedgehog number {n} said no{k} " + "x " * k
                new = sampled(text, model=f"m{(n + k) % 3}", reason=("eos", "length", "stop")[(n * k) % 3], logprobs=k != 1)
                made = db.completions.add(sample.id, new, tags=["kept"] if k == 2 else [])
                db.judgements.rate(made.id, "legal", (n + k) % 11) if k % 2 else None
                db.judgements.approve(made.id, "fun") if k == 3 else None
                db.logprobs.put(made.id, "judge", "j", [token(5, -(n + 1) / 8)]) if k == 0 else None
                db.completions.label([made.id], style=("plain", "rich")[n % 2]) if k < 2 else None
                db.completions.archive([made.id]) if n % 7 == 6 else None
            db.samples.archive([sample.id]) if n == 11 else None


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from store import postgres

    where = (
        str(tmp_path_factory.mktemp("full") / "w.ramify")
        if request.param == "sqlite"
        else postgres.fresh(request.getfixturevalue("postgresql"))
    )
    with Database.open(where) as db:
        fill(db)
        yield db


class Plain:
    """The filter language, by definition."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.samples = {i: db.samples.get(i) for i in range(1, 25)}
        self.of = {i: db.completions.of(i, archived=None) for i in self.samples}
        self.completions = [c for each in self.of.values() for c in each]
        self.scores = {c.id: {record.model: record for record in db.logprobs.of(c.id)} for c in self.completions}
        self.ratings = {c.id: {r.facet: r.rating for r in db.judgements.ratings_of(c.id)} for c in self.completions}
        self.approved = {(i, f): db.judgements.approved(i, f) for i in self.samples for f in ("legal", "fun")}

    def completion(self, f: Filter, c: CompletionRecord) -> bool:
        if isinstance(f, Not):
            return not self.completion(f.part, c)
        if isinstance(f, All):
            return all(self.completion(part, c) for part in f.parts)
        if isinstance(f, Anything):
            return any(self.completion(part, c) for part in f.parts)
        if f.field in ("tag", "title", "group", "prompt", "sample", "sample_archived", "sample_hidden"):
            return self.sample_leaf(f, self.samples[c.sample_id])
        if f.field == "text":
            return contains_words(c.text, f.value)
        if f.field == "rating":
            return f.facet in self.ratings[c.id] and NUMBERS[f.op](self.ratings[c.id][f.facet], f.value)
        if f.field == "rated":
            return (f.facet in self.ratings[c.id]) is f.value
        if f.field == "approved":
            return (self.approved[c.sample_id, f.facet or ""] == c.id) is f.value
        if f.field == "scored":
            return (bool(self.scores[c.id]) if f.model is None else f.model in self.scores[c.id]) is f.value
        if f.field in ("mean_logprob", "min_logprob", "p10_logprob"):
            record = self.scores[c.id].get(f.model or c.model)
            value = getattr(record, f.field) if record else None
            return value is not None and NUMBERS[f.op](value, f.value)
        if f.field == "completion_tag":
            return bool(set(c.tags) & (set(f.value) if f.op == "in" else {f.value}))
        values = {"tokens": c.token_count, "characters": len(c.text), "style": c.labels.get("style")}
        value = values[f.field] if f.field in values else getattr(c, f.field)
        if f.op == "in":
            return value in f.value
        return value is not None and NUMBERS["=" if f.op == "is" else f.op](value, f.value)

    def sample_leaf(self, f: Where, s: SampleRecord) -> bool:
        if f.field == "tag":
            return bool(set(s.tags) & (set(f.value) if f.op == "in" else {f.value}))
        if f.field == "title":
            return f.value.lower() in s.title.lower() if f.op == "contains" else s.title == f.value
        if f.field == "group":
            return s.group == f.value or (f.op == "under" and s.group.startswith(f.value + "/"))
        if f.field == "prompt":
            return contains_words(str(s.prompt), f.value) or contains_words(s.title, f.value)
        if f.field == "sample":
            return s.id in (f.value if f.op == "in" else (f.value,))
        return bool(getattr(s, f.field.removeprefix("sample_"))) is f.value

    def about_completions(self, f: Filter) -> bool:
        if isinstance(f, Where):
            return f.field not in ("tag", "title", "group", "prompt", "sample", "sample_archived", "sample_hidden")
        parts = (f.part,) if isinstance(f, Not) else f.parts
        return bool(parts) and all(self.about_completions(part) for part in parts)

    def sample(self, f: Filter, s: SampleRecord) -> bool:
        def some(inner: Filter) -> bool:
            return any(self.completion(inner, c) for c in self.of[s.id])

        if isinstance(f, Not):
            return not self.sample(f.part, s)
        if isinstance(f, Where):
            return some(f) if self.about_completions(f) else self.sample_leaf(f, s)
        if isinstance(f, All):
            mine = [part for part in f.parts if self.about_completions(part)]
            if any(not isinstance(part, Not) for part in mine):
                rest = [part for part in f.parts if not self.about_completions(part)]
                return some(All(tuple(mine))) and all(self.sample(part, s) for part in rest)
            return all(self.sample(part, s) for part in f.parts)
        return some(f) if self.about_completions(f) else any(self.sample(part, s) for part in f.parts)


@pytest.fixture(scope="module")
def plain(full: Database) -> Plain:
    return Plain(full)


def where(field: str, op: str, value: Any, **more: Any) -> Where:
    return Where(field, op, value, **more)


LEAVES = st.one_of(
    st.builds(
        lambda v: where("text", "matches", v),
        st.sampled_from(["hedgehog", '"quick hedgehog"', "no*", "slow -no1", "absent", "no3 x"]),
    ),
    st.builds(lambda v: where("model", "is", v), st.sampled_from(["m0", "m2", "none"])),
    st.just(where("model", "in", ("m0", "m1"))),
    st.just(where("fingerprint", "is", "m1-1")),
    st.builds(lambda v: where("finish_reason", "is", v), st.sampled_from(["eos", "length", "time"])),
    st.builds(lambda f, v: where(f, "is", v), st.sampled_from(["truncated", "archived", "draft", "hidden"]), st.booleans()),
    st.builds(lambda o, v: where("rating", o, v, facet="legal"), st.sampled_from(sorted(NUMBERS)), st.integers(0, 10)),
    st.builds(lambda f, v: where(f, "is", v, facet="fun"), st.sampled_from(["rated", "approved"]), st.booleans()),
    st.builds(
        lambda f, o, v, m: where(f, o, v, model=m),
        st.sampled_from(["mean_logprob", "min_logprob", "p10_logprob"]),
        st.sampled_from(sorted(NUMBERS)),
        st.sampled_from([-0.625, -1.0, -1.5]),
        st.sampled_from([None, "judge"]),
    ),
    st.builds(lambda v, m: where("scored", "is", v, model=m), st.booleans(), st.sampled_from([None, "judge"])),
    st.builds(lambda o, v: where("characters", o, v), st.sampled_from(sorted(NUMBERS)), st.integers(30, 45)),
    st.just(where("completion_tag", "is", "kept")),
    st.just(where("style", "is", "rich")),
    st.just(where("tag", "is", "odd")),
    st.builds(lambda v: where("title", "contains", v), st.sampled_from(["TALE 1", "2", "%"])),
    st.builds(lambda o, v: where("group", o, v), st.sampled_from(["under", "is"]), st.sampled_from(["a", "a/b", "b"])),
    st.builds(lambda v: where("prompt", "matches", v), st.sampled_from(["hedgehog", "café", "tale", '"of a fox"'])),
    st.just(where("sample", "in", (3, 9, 23))),
    st.just(where("sample_archived", "is", True)),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: Anything(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=6,
)
LAWS = settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@LAWS
@given(FILTERS)
@example(where("scored", "is", False))
@example(Not(where("scored", "is", True)))
@example(where("rating", ">=", 7, facet="legal"))
@example(where("rating", "<", 4, facet="legal"))
@example(Anything((Not(where("model", "is", "m0")), where("prompt", "matches", "hedgehog"))))
@example(All((where("model", "in", ("m0", "m1")), where("finish_reason", "is", "eos"), where("rating", ">", 5, facet="legal"))))
@example(All((where("rating", ">", 4, facet="legal"), where("text", "matches", "slow"))))
@example(Anything((where("title", "is", "Tale 3"), where("group", "is", "a/b"), where("group", "under", "a/b/c"))))
def test_a_filter_finds_and_counts_what_brute_force_finds(full: Database, plain: Plain, filter_: Filter) -> None:
    expected = [c.id for c in plain.completions if plain.completion(filter_, c)]
    options: dict[str, Any] = {"archived": None, "hidden": None}
    assert full.search.all_completion_ids(filter_, **options) == expected
    assert full.search.count_completions(filter_, **options) == len(expected)
    assert list(full.search.completion_ids(filter_, limit=100, order="oldest", **options).ids) == expected
    samples = [s.id for s in plain.samples.values() if plain.sample(filter_, s)]
    assert full.search.all_sample_ids(filter_, **options) == samples
    assert full.search.count_samples(filter_, **options) == len(samples)
    assert list(full.search.sample_ids(filter_, limit=100, order="oldest", **options).ids) == samples


@LAWS
@given(LEAVES, st.booleans())
def test_a_condition_asked_of_an_id_is_the_one_asked_of_its_row(full: Database, where_: Where, negated: bool) -> None:
    of_samples = FIELDS[where_.field][0] == "sample"
    filter_ = Not(where_) if negated else where_
    with full.reading() as connection:
        rule = (Compiler(connection).samples if of_samples else Compiler(connection).completions)(filter_)
        of_id, row = rule.by_id(), (tables.samples if of_samples else tables.completions).alias()
        if of_id is not None:
            by_id, by_row = (connection.execute(select(row.c.id).where(said)) for said in (of_id(row.c.id), rule.holds(row)))
            assert set(by_id.scalars()) == set(by_row.scalars())


@contextmanager
def small(**values: Any) -> Iterator[None]:
    """With other limits than those fit for a million rows."""
    from ramify.store import rules, search, sources

    before = [
        (module, name, getattr(module, name)) for module in (rules, search, sources) for name in values if hasattr(module, name)
    ]
    assert {name for _, name, _ in before} == set(values)
    try:
        for module, name, _ in before:
            setattr(module, name, values[name])
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@LAWS
@given(
    FILTERS,
    st.integers(1, 9),
    st.sampled_from(["newest", "oldest", "mean_logprob", "min_logprob", "tokens"]),
    st.integers(1, 12),
    st.sampled_from([1, 5]),
)
def test_pages_joined_are_the_whole_list_however_it_was_walked(
    full: Database, plain: Plain, filter_: Filter, size: int, order: str, steps: int, further: int
) -> None:
    found: list[int] = []
    after: Any = None
    with small(FIRST_WALK=dict.fromkeys(range(3), steps), LATER_WALK=2 * steps, FEW=steps, LOOKED_AT=steps, FURTHER=further):
        while True:
            page = full.search.completion_ids(filter_, order=order, limit=size, after=after, archived=None, hidden=None)
            assert len(page.ids) <= size
            found += page.ids
            if page.next is None:
                break
            after = page.next
    kept = [c for c in plain.completions if plain.completion(filter_, c)]
    if order in ("newest", "oldest"):
        assert found == [c.id for c in (reversed(kept) if order == "newest" else kept)]
    else:
        measure: Callable[[CompletionRecord], Any] = {
            "mean_logprob": lambda c: c.mean_logprob,
            "min_logprob": lambda c: c.min_logprob,
            "tokens": lambda c: c.token_count,
        }[order]
        assert found == [
            c.id for c in sorted((c for c in kept if measure(c) is not None), key=lambda c: (measure(c), c.id), reverse=True)
        ]


@LAWS
@given(FILTERS, st.integers(2, 6), st.booleans(), st.sampled_from([1, 3, 100]), st.sampled_from([1, 5]))
def test_pages_of_samples_joined_are_the_whole_list_however_they_were_found(
    full: Database, plain: Plain, filter_: Filter, size: int, newest: bool, steps: int, further: int
) -> None:
    found: list[int] = []
    after: Any = None
    order = "newest" if newest else "oldest"
    walks = {"FIRST_WALK": dict.fromkeys(range(3), 4), "ENOUGH": 99, "LATER_WALK": 2}
    with small(**walks, FEW=steps, LOOKED_AT=steps, LISTED=2 * steps, FURTHER=further):
        while True:
            page = full.search.sample_ids(filter_, order=order, limit=size, after=after, archived=None, hidden=None)
            assert len(page.ids) <= size
            found += page.ids
            if page.next is None:
                break
            after = page.next
    kept = [s.id for s in plain.samples.values() if plain.sample(filter_, s)]
    assert found == (kept[::-1] if newest else kept)


def test_archived_rows_are_left_out_unless_asked_for_or_spoken_of(full: Database) -> None:
    everything = full.search.count_completions(archived=None)
    archived = full.search.count_completions({"field": "archived", "op": "is", "value": True})
    assert archived > 0
    assert full.search.count_completions() == everything - archived
    assert full.search.count_samples() == 23
    assert full.search.count_samples({"field": "sample_archived", "op": "is", "value": True}) == 1


@LAWS
@given(FILTERS)
def test_a_filter_written_as_json_comes_back(filter_: Filter) -> None:
    assert parse(to_data(filter_)) == filter_


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "must be an object"),
        ({"all": [], "any": []}, '"all" stands alone'),
        ({"not": {"all": []}, "x": 1}, '"not" stands alone'),
        ({"field": "colour", "op": "is", "value": 1}, "no field 'colour'"),
        ({"field": "model", "op": "<", "value": "a"}, "model cannot be asked with '<'"),
        ({"field": "rating", "op": "=", "value": 1}, "rating needs a facet"),
        ({"field": "model", "op": "is", "value": "a", "facet": "f"}, "model has no facet"),
        ({"field": "model", "op": "is", "value": "a", "model": "f"}, "no scoring model"),
        ({"field": "tokens", "op": "<", "value": "9"}, "must be a number"),
        ({"field": "truncated", "op": "is", "value": 1}, "must be true or false"),
        ({"field": "created", "op": "<", "value": "soon"}, "a date such as"),
        ({"field": "finish_reason", "op": "is", "value": "done"}, "must be one of"),
        ({"field": "text", "op": "matches", "value": "- * ?"}, "no word to look for"),
        ({"field": "model", "op": "in", "value": []}, "needs a list"),
        ({"field": "model", "op": "is"}, "has no value"),
        ({"field": "model", "op": "is", "value": "a", "x": 1}, "no 'x'"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(data: Any, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("?", r"\?").replace("*", r"\*")):
        parse(data)


def test_a_condition_under_a_facet_that_is_not_there_is_an_error(db: Database) -> None:
    with pytest.raises(NotFoundError, match="no facet 'x'"):
        db.search.completions({"field": "rating", "op": ">", "value": 1, "facet": "x"})


def test_dates_compare_as_times(db: Database) -> None:
    sample = db.samples.add("Once")
    old, new = (db.completions.add(sample.id, written(str(y), created_at=datetime(y, 6, 1, tzinfo=UTC))).id for y in (2020, 2024))
    assert db.search.all_completion_ids({"field": "created", "op": "<", "value": "2022-01-01"}) == [old]
    assert db.search.all_completion_ids({"field": "created", "op": ">=", "value": "2022-01-01T00:00:00Z"}) == [new]


def test_filters_are_saved_by_name_replaced_and_deleted(db: Database) -> None:
    data = {
        "all": [{"field": "model", "op": "in", "value": ["a", "b"]}, {"not": {"field": "truncated", "op": "is", "value": True}}]
    }
    db.filters.save("mine", data, description="x")
    assert (to_data(db.filters.get("mine")), list(db.filters.list())) == (data, ["mine"])
    db.filters.save("mine", {"field": "tokens", "op": ">", "value": 3})
    assert db.filters.get("mine") == Where("tokens", ">", 3)
    db.filters.delete("mine")
    with pytest.raises(NotFoundError, match="none yet"):
        db.filters.get("mine")


def test_search_finds_words_phrases_and_beginnings_and_shows_where(db: Database) -> None:
    sample, (one, two, three) = sample_with(
        db, "The Hedgehog ran home.", "A hedge, a hog; no-one ran.", "Größe und Übung", prompt="An old fox"
    )
    db.samples.edit(sample.id, title="About animals", notes="hedgehogs too")

    def found(query: str) -> list[tuple[str, int]]:
        return [(hit.kind, hit.id) for hit in db.search.text(query)]

    assert found("hedgehog") == [("completion", one.id)]
    assert found("hedgehog*") == [("completion", one.id), ("sample", sample.id)]
    assert found('"a hog"') == [("completion", two.id)]
    assert found("ran -home") == [("completion", two.id)]
    assert found("GRÖSSE") == []
    assert found("größe übung") == [("completion", three.id)]
    assert found("fox") == [("sample", sample.id)]
    assert found("animals") == [("sample", sample.id)]
    assert found("no one") == [("completion", two.id)]
    (hit,) = db.search.text("hedgehog")
    assert [hit.snippet[a:b] for a, b in hit.spans] == ["Hedgehog"]
    with pytest.raises(InputError, match="no word"):
        db.search.text('"" -fox')


def test_search_follows_every_change(db: Database) -> None:
    sample = db.samples.add("Once")
    draft = db.completions.add(sample.id, NewCompletion(text="early words", model="m", draft=True))
    db.completions.grow(draft.id, NewCompletion(text="late words", model="m", draft=True))
    assert (db.search.text("early"), len(db.search.text("late"))) == ([], 1)
    db.samples.revise(sample.id, "Twice")
    assert [(hit.kind, hit.snippet) for hit in db.search.text("twice")] == [("sample", "Twice")]
    db.completions.delete([draft.id])
    assert db.search.text("late") == []
    db.history.undo()
    assert len(db.search.text("late")) == 1


def test_many_matches_come_newest_first(db: Database) -> None:
    sample = db.samples.add("Once")
    ids = db.completions.add_many([(sample.id, written("fox " * (1 + i % 3))) for i in range(8)])
    with small(RANKED=5):
        assert [hit.id for hit in db.search.text("fox", limit=4)] == ids[:3:-1]
    assert {hit.id for hit in db.search.text("fox", limit=8)} == set(ids)


def test_tags_are_put_taken_renamed_and_kept_to_their_scope(db: Database) -> None:
    sample, (one,) = sample_with(db, "one")
    db.tags.add("for samples", scope="samples", description="d")
    db.tags.put(["for samples", "new"], samples=[sample.id])
    db.tags.put(["new"], samples=[sample.id], completions=[one.id])
    assert (db.samples.get(sample.id).tags, db.completions.get(one.id).tags) == (("for samples", "new"), ("new",))
    with pytest.raises(InputError, match="for samples only"):
        db.tags.put(["for samples"], completions=[one.id])
    db.tags.edit("new", new_name="newer")
    assert db.completions.get(one.id).tags == ("newer",)
    db.tags.take(["newer"], samples=[sample.id])
    db.tags.delete("for samples")
    assert (db.samples.get(sample.id).tags, [t.name for t in db.tags.list()]) == ((), ["newer"])
    with pytest.raises(InputError, match="already"):
        db.tags.add("newer")
    with pytest.raises(InputError, match="scope is 'x'"):
        db.tags.add("y", scope="x")
