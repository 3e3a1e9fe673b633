"""Undo, redo and the trail."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ramify.errors import InputError
from ramify.store import Database, NewNode
from store.stories import sample_with, sampled, state, token, written


def test_undo_and_redo_survive_closing(where: str) -> None:
    with Database.open(where, author="Ann") as db:
        sample = db.samples.add("Once", title="T")
        one = state(db)
        db.completions.add(sample.id, sampled())
        two = state(db)
    with Database.open(where) as db:
        undone = db.history.undo()
        assert undone is not None
        assert (undone.name, undone.detail, undone.author, undone.state) == ("add completion", "tiny", "Ann", "undone")
        assert state(db) == one
    with Database.open(where) as db:
        assert db.history.redo() is not None
        assert state(db) == two
        assert db.history.redo() is None


def test_a_new_action_makes_what_was_undone_unreachable_but_not_invisible(db: Database) -> None:
    db.samples.add("a", title="a")
    db.history.undo()
    db.samples.add("b", title="b")
    assert db.history.redo() is None
    assert [(a.detail, a.state) for a in db.history.list()] == [("b", "done"), ("a", "abandoned")]
    assert [s.title for s in db.samples.list()] == ["b"]


def test_ids_are_never_used_twice(db: Database) -> None:
    first = db.samples.add("a").id
    db.history.undo()
    assert db.samples.add("b").id == first + 1


def test_what_happens_inside_one_action_is_undone_together(db: Database) -> None:
    before = state(db)
    with db.action("story"):
        _, (one, two) = sample_with(db, "one", "two")
        db.facets.add("f")
        db.judgements.prefer(one.id, two.id, "f")
    assert [a.name for a in db.history.list()] == ["story"]
    db.history.undo()
    assert state(db) == before


def test_an_action_that_fails_leaves_nothing(db: Database) -> None:
    before = state(db)

    def fail() -> None:
        with db.action("story"):
            sample_with(db, "one")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (state(db), db.history.list()) == (before, [])
    assert db.samples.add("after").prompt == "after"


def test_the_trail_of_a_row_says_what_was_before_and_after(db: Database) -> None:
    sample = db.samples.add("Once", title="old")
    db.samples.edit(sample.id, title="new")
    db.samples.delete([sample.id])
    trail = db.history.trail("samples", sample.id)
    assert [(a.name, c.kind) for a, c in trail] == [
        ("add sample", "insert"),
        ("edit sample", "update"),
        ("delete samples", "delete"),
    ]
    assert (trail[1][1].before["title"], trail[1][1].after["title"]) == ("old", "new")
    assert trail[2][1].before[0]["title"] == "new"
    with pytest.raises(InputError, match="no table 'ids'"):
        db.history.trail("ids", 1)


def test_history_that_is_forgotten_cannot_be_undone_and_deleted_rows_are_gone(db: Database) -> None:
    db.samples.delete([db.samples.add("A secret hedgehog").id])
    last = db.samples.add("kept")
    assert db.history.forget(up_to=db.history.list()[0].id - 1) == 2
    with db.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM changes WHERE before LIKE '%%hedgehog%%'").scalar_one() == 0
    db.history.undo()
    assert (db.history.undo(), db.samples.get_many([last.id])) == (None, [])


STEPS = {
    "sample": lambda db, n: db.samples.add(f"p{n}", title=f"t{n}", tags=[f"g{n % 3}"] if n % 2 else []),
    "edit": lambda db, n: db.samples.edit(_sample(db, n), title=f"e{n}", group=f"x/{n}"),
    "revise": lambda db, n: db.samples.revise(_sample(db, n), [{"role": "user", "content": f"r{n}"}]),
    "completion": lambda db, n: db.completions.add(
        _sample(db, n), sampled(f"text {n}", model=f"m{n % 2}"), tags=["t"] if n % 3 == 0 else []
    ),
    "many": lambda db, n: db.completions.add_many([(_sample(db, i), written(f"w{i}")) for i in range(n % 4)]),
    "child": lambda db, n: (
        (c := db.completions.get(_completion(db, n))) and db.completions.add(c.sample_id, written(parent_id=c.id))
    ),
    "delete completion": lambda db, n: db.completions.delete([_completion(db, n)]),
    "delete sample": lambda db, n: db.samples.delete([_sample(db, n)]),
    "archive": lambda db, n: db.completions.archive([_completion(db, n), _completion(db, n + 1)], n % 2 == 0),
    "label": lambda db, n: db.completions.label([_completion(db, n)], style=f"s{n}"),
    "score": lambda db, n: db.logprobs.put(_completion(db, n), "judge", "", [token(5, -n / 8), token(6, -1.0)]),
    "facet": lambda db, n: (
        db.facets.add(f"f{n}", parent="f" if n % 2 else None) if f"f{n}" not in [f.name for f in db.facets.list()] else None
    ),
    "threshold": lambda db, n: db.facets.edit("f", mean_logprob=-float(n)),
    "drop facet": lambda db, n: (fs := [f.name for f in db.facets.list() if f.name != "f"]) and db.facets.delete(fs[n % len(fs)]),
    "rate": lambda db, n: db.judgements.rate(_completion(db, n), "f", n % 11),
    "prefer": lambda db, n: _prefer(db, n),
    "approve": lambda db, n: (
        db.judgements.approve(_completion(db, n), "f") if not db.completions.get(_completion(db, n)).archived else None
    ),
    "queue": lambda db, n: db.unanswered.add("f", f"q{n % 3}"),
    "tag off": lambda db, n: db.tags.take(["t", "g1"], samples=[_sample(db, n)], completions=[_completion(db, n)]),
    "filter": lambda db, n: db.filters.save(f"n{n % 2}", {"field": "tokens", "op": ">", "value": n}),
    "setting": lambda db, n: db.settings.set("target_model", f"m{n}" if n % 3 else None),
    "beams": lambda db, n: db.beams.extend(
        db.beams.tree(_sample(db, n), "tiny").root_id,
        [NewNode(token_id=n % 3, logprob=-1.0), NewNode(token_id=n % 2, logprob=-0.5)],
    ),
    "prune": lambda db, n: (ts := db.beams.of(_sample(db, n))) and db.beams.mark([ts[0].root_id], pruned=n % 2 == 0),
}


def _sample(db: Database, n: int) -> int:
    ids = sorted(s.id for s in db.samples.list(archived=None, limit=100))
    return ids[n % len(ids)] if ids else db.samples.add("needed").id


def _completion(db: Database, n: int) -> int:
    sample = _sample(db, n)
    ids = [c.id for c in db.completions.of(sample, archived=None)]
    return ids[n % len(ids)] if ids else db.completions.add(sample, sampled()).id


def _prefer(db: Database, n: int) -> None:
    sample = _sample(db, n)
    while len(db.completions.of(sample, archived=None)) < 2:
        db.completions.add(sample, written(f"pair {n}"))
    ids = [c.id for c in db.completions.of(sample, archived=None)]
    db.judgements.prefer(ids[n % len(ids)], ids[(n + 1) % len(ids)], "f", tie=n % 5 == 0)


def family(db: Database) -> None:
    """Three samples in which everything that can refers to something else."""
    db.facets.add("f")
    db.facets.add("g", parent="f")
    db.facets.add("h", parent="g")
    for n in range(3):
        sample = db.samples.add(f"p{n}", title=f"t{n}", tags=["t", "g1"])
        first = db.completions.add(sample.id, sampled(f"one {n}"), tags=["t"])
        second = db.completions.add(sample.id, written(f"two {n}", parent_id=first.id))
        third = db.completions.add(sample.id, written(f"three {n}", parent_id=second.id))
        db.judgements.rate(first.id, "g", 7)
        db.judgements.prefer(first.id, third.id, "f")
        db.judgements.approve(second.id, "f")
        db.logprobs.put(second.id, "judge", "", [token(5, -0.5)])
        tree = db.beams.tree(sample.id, "tiny")
        (node,) = db.beams.extend(tree.root_id, [NewNode(token_id=1, logprob=-0.5)])
        db.beams.saved_as(node, first.id)


@pytest.mark.parametrize("name", sorted(STEPS))
def test_each_action_is_taken_back_and_done_again_where_everything_refers_to_something(db: Database, name: str) -> None:
    family(db)
    changed = 0
    for n in range(5):
        before = state(db)
        with db.action(name):
            STEPS[name](db, n)
        after = state(db)
        if after != before:
            changed += 1
            db.history.undo()
            assert state(db) == before
            db.history.redo()
            assert state(db) == after
            assert db.problems() == []
    assert changed


# Without shrinking: a failing example on a database takes minutes to shrink.
@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 12)), min_size=1, max_size=10), st.data())
def test_undo_after_any_actions_restores_every_state_and_redo_too(
    db: Database, steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    while db.history.undo():
        pass
    states = [state(db)]
    with db.action("a facet to judge under"):
        db.facets.add("f")
    states.append(state(db))
    newest = db.history.list(limit=1)
    for name, n in steps:
        with db.action(name):
            STEPS[name](db, n)
        if db.history.list(limit=1) != newest:
            newest = db.history.list(limit=1)
            states.append(state(db))
    at = len(states) - 1
    for _ in range(at):
        assert db.history.undo() is not None
        at -= 1
        assert state(db) == states[at]
    assert db.history.undo() is None
    for _ in range(data.draw(st.integers(0, len(states) - 1))):
        db.history.redo()
        at += 1
    assert state(db) == states[at]
    assert db.problems() == []
