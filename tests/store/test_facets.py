import pytest

from ramify.errors import InputError, NotFoundError
from ramify.store import Database


def test_what_a_facet_leaves_open_comes_from_its_parents_then_the_workspace_then_the_defaults(db: Database) -> None:
    db.facets.add("writing", good_rating=8, mean_logprob=-0.5, target_model="base")
    db.facets.add("letters", parent="writing", bad_rating=2)
    db.facets.add("legal", parent="letters", mean_logprob=-0.25)
    db.settings.set("min_logprob", -9.0)
    found = db.facets.effective("legal")
    assert found.chain == ("legal", "letters", "writing")
    assert (found.good_rating, found.bad_rating, found.target_model) == (8, 2, "base")
    assert (found.mean_logprob, found.min_logprob) == (-0.25, -9.0)
    assert found.sources == {
        "good_rating": "writing",
        "bad_rating": "letters",
        "mean_logprob": "legal",
        "min_logprob": "workspace",
        "target_model": "writing",
    }


def test_the_target_model_is_the_workspaces_where_no_facet_names_one_and_else_tiny(db: Database) -> None:
    db.facets.add("f")
    assert db.facets.effective("f").target_model == "tiny"
    db.settings.set("target_model", "hf:base")
    assert db.facets.effective("f").target_model == "hf:base"


def test_a_facet_cannot_inherit_from_itself(db: Database) -> None:
    db.facets.add("a")
    db.facets.add("b", parent="a")
    db.facets.add("c", parent="b")
    with pytest.raises(InputError, match="a → c → b → a"):
        db.facets.edit("a", parent="c")
    assert db.facets.get("a").parent is None
    assert db.facets.edit("c", parent=None).parent is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"good_rating": 11}, "good_rating is 11"),
        ({"mean_logprob": 0.5}, "mean_logprob is 0.5"),
        ({"good_rating": 3}, "bad_rating must be below"),
        ({"parent": "x"}, "no facet 'x'"),
        ({"name": " "}, "needs a name"),
        ({"name": "there"}, "already"),
    ],
)
def test_a_facet_that_cannot_be_is_refused(db: Database, values: dict[str, object], said: str) -> None:
    db.facets.add("there")
    with pytest.raises(InputError, match=said):
        db.facets.add(**{"name": "f", **values})  # type: ignore[arg-type]
    assert [f.name for f in db.facets.list()] == ["there"]


def test_a_facet_is_edited_and_deleted_with_its_judgements_and_children_stay(db: Database) -> None:
    db.facets.add("a", description="x", good_rating=9)
    db.facets.add("b", parent="a")
    assert db.facets.edit("a", name="z", good_rating=None).good_rating is None
    assert db.facets.get("b").parent == "z"
    db.facets.delete("z")
    assert db.facets.get("b").parent is None
    with pytest.raises(NotFoundError, match="there are 'b'"):
        db.facets.get("z")
    with pytest.raises(InputError, match="no 'colour'"):
        db.facets.edit("b", colour=1)


@pytest.mark.parametrize(
    ("mean", "low", "passes"), [(-0.4, -3.0, True), (-0.6, -3.0, False), (-0.4, -5.5, False), (None, -1.0, False)]
)
def test_thresholds_are_reached_or_not(db: Database, mean: float | None, low: float, passes: bool) -> None:
    db.facets.add("f", mean_logprob=-0.5, min_logprob=-5.0)
    assert db.facets.effective("f").passes(mean, low) is passes


def test_a_name_is_never_empty_whether_it_is_given_or_changed(db: Database) -> None:
    db.facets.add("legal", description="For judges.", target_model="tiny")
    db.tags.add("draft")
    wrong = {
        "a facet needs a name": [lambda: db.facets.edit("legal", name=" "), lambda: db.facets.edit("legal", name=None)],
        "target_model is an empty name": [
            lambda: db.facets.edit("legal", target_model=""),
            lambda: db.facets.add("other", target_model=" "),
        ],
        "a tag needs a name": [lambda: db.tags.edit("draft", new_name=""), lambda: db.tags.add(" ")],
    }
    for why, tries in wrong.items():
        for each in tries:
            with pytest.raises(InputError, match=why):
                each()
    assert ([each.name for each in db.facets.list()], [each.name for each in db.tags.list()]) == (["legal"], ["draft"])
    assert db.facets.edit("legal", description=None, target_model=None).description == ""
    assert db.facets.get("legal").target_model is None
