import pytest

from ramify.errors import InputError, NotFoundError
from ramify.store import Database, ImageRecord
from store.stories import sampled, written

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me of a hedgehog."}]


def test_a_sample_comes_back_as_it_was_given(db: Database) -> None:
    image = ImageRecord(path="pictures/a.png", media_type="image/png", sha256="ab")
    made = db.samples.add(MESSAGES, title="Tale", group=" tales/ short/", notes="for Ann", tags=["b", "a"], images=[image])
    assert db.samples.get(made.id) == made
    assert (made.prompt, made.title, made.group, made.notes) == (tuple(MESSAGES), "Tale", "tales/short", "for Ann")
    assert (made.tags, made.images, made.revision, made.archived, made.hidden) == (("a", "b"), (image,), 1, False, False)
    assert made.created_at.utcoffset() is not None


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([], "no messages"),
        ([{"role": "user"}], "message 0"),
        ([{"content": "x"}], "a role and a content"),
        (["hello"], "message 0"),
        ("\ud800", "surrogate"),
        ([{"role": "user", "content": object()}], "JSON"),
    ],
)
def test_what_is_no_prompt_is_refused_and_nothing_is_kept(db: Database, prompt: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        db.samples.add(prompt)  # type: ignore[arg-type]
    assert (db.samples.count(), db.history.list()) == (0, [])


def test_a_prompt_without_completions_is_changed_in_place(db: Database) -> None:
    sample = db.samples.add("Onse")
    changed = db.samples.revise(sample.id, "Once")
    assert (changed.prompt, changed.revision, changed.prompt_id) == ("Once", 1, sample.prompt_id)
    assert [record.prompt for record in db.samples.revisions(sample.id)] == ["Once"]


def test_a_prompt_with_completions_gets_a_revision_that_remembers_its_parent(db: Database) -> None:
    sample = db.samples.add("Once")
    first = db.completions.add(sample.id, written())
    revised = db.samples.revise(sample.id, "Twice")
    second = db.completions.add(sample.id, sampled())
    assert (revised.prompt, revised.revision) == ("Twice", 2)
    assert [(r.number, r.prompt, r.parent_id) for r in db.samples.revisions(sample.id)] == [
        (1, "Once", None),
        (2, "Twice", sample.prompt_id),
    ]
    assert (first.prompt_id, second.prompt_id) == (sample.prompt_id, revised.prompt_id)
    assert db.completions.of(sample.id, prompt_id=sample.prompt_id) == [first]
    assert [found.id for found in db.samples.find("Once")] == [sample.id]


def test_the_same_prompt_is_no_change(db: Database) -> None:
    sample = db.samples.add(MESSAGES)
    before = db.history.list()
    assert db.samples.revise(sample.id, MESSAGES) == sample
    assert db.samples.edit(sample.id, title="") == sample
    assert db.history.list() == before


def test_a_prompt_is_found_by_what_it_is_and_a_text_is_not_a_message(db: Database) -> None:
    text, messages = db.samples.add("Hello"), db.samples.add([{"role": "user", "content": "Hello"}])
    assert [found.id for found in db.samples.find("Hello")] == [text.id]
    assert [found.id for found in db.samples.find([{"content": "Hello", "role": "user"}])] == [messages.id]


def test_lists_go_from_the_newest_on_and_continue_where_they_stopped(db: Database) -> None:
    ids = db.samples.add_many([(f"p{i}", f"t{i}", "g/a" if i % 2 else "g0") for i in range(7)])
    db.samples.archive(ids[:1])
    db.samples.hide(ids[1:2])
    first = db.samples.list(limit=3)
    assert [s.id for s in first] == ids[:3:-1]
    assert [s.id for s in db.samples.list(limit=9, after=first[-1].id)] == [ids[3], ids[2]]
    assert [s.id for s in db.samples.list(group="g")] == [ids[5], ids[3]]
    assert (db.samples.count(), db.samples.count(archived=None, hidden=None), db.samples.count(archived=True)) == (5, 7, 1)
    assert db.samples.groups() == {"g/a": 3, "g0": 4}


def test_deleting_a_sample_takes_what_belongs_to_it(db: Database) -> None:
    kept, gone = db.samples.add("kept"), db.samples.add("gone", tags=["x"])
    db.facets.add("f")
    ids = [db.completions.add(gone.id, sampled()).id, db.completions.add(gone.id, written()).id]
    db.judgements.rate(ids[0], "f", 3)
    db.judgements.prefer(ids[0], ids[1], "f")
    db.judgements.approve(ids[0], "f")
    db.beams.tree(gone.id, "tiny")
    db.samples.delete([gone.id])
    with pytest.raises(NotFoundError, match=f"no sample {gone.id}"):
        db.samples.get(gone.id)
    assert [s.id for s in db.samples.list(archived=None)] == [kept.id]
    assert db.completions.get_many(ids) == []
    assert (db.judgements.preferences(), db.problems(), db.search.text("hedgehog")) == ([], [], [])
