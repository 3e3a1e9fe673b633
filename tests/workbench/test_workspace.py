"""The workspace in the hand: generate, judge, undo, close, open again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ramify.engine.model import Model
from ramify.errors import InputError
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.workbench.workspace import Workspace
from workbench.test_making_completions import TABLE


@pytest.fixture
def ws(where: str) -> Iterator[Workspace]:
    with Workspace.open(where) as opened:
        yield opened


@pytest.fixture
def model() -> Model:
    return Model(ScriptedBackend(TABLE))


def test_one_completion_or_a_list(ws: Workspace, model: Model) -> None:
    sample = ws.samples.add("a")
    one = ws.generate(sample, model=model)
    assert not isinstance(one, list)
    assert one.text == "bc"
    several = ws.generate(sample, model=model, n=2, do_sample=True, seed=1)
    assert isinstance(several, list)
    assert [record.seed for record in several] == [1, 2]
    both = ws.generate(sample, model=[model, model], max_new_tokens=1)
    assert isinstance(both, list)
    assert [record.text for record in both] == ["b", "b"]


def test_one_goes_on_as_one_or_as_a_list(ws: Workspace, model: Model) -> None:
    cut = ws.generate(ws.samples.add("a"), model=model, max_new_tokens=1)
    assert not isinstance(cut, list)
    several = ws.continue_(cut, model=model, n=3, do_sample=True, seed=1)
    assert isinstance(several, list)
    assert [(record.seed, record.parent_id) for record in several] == [(1, cut.id), (2, cut.id), (3, cut.id)]
    one = ws.continue_(cut, model=model)
    assert not isinstance(one, list)
    assert one.text == "bc"


def test_a_completion_is_branched_at_a_token_and_picked_on(ws: Workspace, model: Model) -> None:
    parent = ws.generate(ws.samples.add("a"), model=model)
    assert not isinstance(parent, list)
    with ws.branch(parent, 0, model=model) as session:
        assert [each.text for each in session.candidates(2).shown] == ["b", "c", "<eos>"]
        session.pick(2)
        session.finish()
        child = session.save()
    assert (child.text, child.parent_id, child.branch_position) == ("ca", parent.id, 0)
    with pytest.raises(InputError, match="was ended by EOS"):
        ws.branch(parent, model=model)


def test_under_another_model_each_part_keeps_its_origin_by_its_own_tokens(ws: Workspace, model: Model) -> None:
    sample = ws.samples.add("a")
    with ws.token_by_token(sample, model=model) as session:
        session.pick(1)
        session.type("c")
        parent = session.save()
    # The same text under other ids: the parent's ids are of other words here.
    backend = ScriptedBackend({"abc": {"<eos>": 1.0}}, ScriptedTokenizer(("b", "xx", "c", "a")))
    backend.info = replace(backend.info, name="other", fingerprint="other")
    other = Model(backend)
    ws._models[parent.model] = model
    with ws.branch(parent, model=other) as session:
        assert session.token_ids == (0, 2)
        assert [(span.start, span.end, span.origin) for span in session.spans] == [(0, 1, "picked"), (1, 2, "typed")]


def test_a_facet_prefers_what_another_one_does_not_and_everything_is_there_after_reopening(where: str, model: Model) -> None:
    with Workspace.open(where) as ws:
        sample = ws.samples.add("a", title="letters")
        first = ws.generate(sample, model=model)
        second = ws.write(sample, "c", model="Grok")
        assert not isinstance(first, list)
        ws.facets.add("legal")
        ws.facets.add("brainstorming")
        ws.prefer(first, second, "legal")
        ws.prefer(second, first, "brainstorming")
        ws.rate(first, "legal", 9)
        cut = ws.generate(sample, model=model, max_new_tokens=1)
        assert not isinstance(cut, list)
        grown = ws.continue_(cut, model=model)
        edited = ws.edit(second, "ca")
        ws.undo()
        assert [r.id for r in ws.completions.of(sample.id)] == [first.id, second.id, cut.id, grown.id]
        ws.redo()
    with Workspace.open(where) as again:
        texts = {r.text: r for r in again.completions.of(sample.id)}
        assert set(texts) == {"bc", "c", "b", "ca"}
        assert texts["ca"].parent_id == second.id == edited.parent_id
        assert [(p.facet, p.better_id, p.worse_id) for p in again.judgements.preferences()] == [
            ("legal", first.id, second.id),
            ("brainstorming", second.id, first.id),
        ]


def test_records_stand_for_their_ids_everywhere(where: str, model: Model) -> None:
    with Workspace.open(where) as ws:
        sample = ws.samples.add(prompt="a", title="letters", group="legal/old")
        chat = ws.samples.add(messages=[{"role": "user", "content": "a"}])
        facet = ws.facets.add("legal", description="For judges.")
        child = ws.facets.add("wills", parent=facet)
        assert [(each.name, each.parent) for each in ws.facets.list()] == [("legal", None), ("wills", "legal")]
        one, other = ws.write(sample, "b"), ws.write(sample.id, "c", truncated=True)
        assert [each.id for each in ws.completions.of(sample)] == [one.id, other.id]
        ws.rate(one, facet, 8)
        ws.prefer(one, other, child)
        ws.approve(one, child)
        ws.label(one, other, style="plain")
        ws.tag(sample, one, add=["x", "y"])
        ws.tag(one, remove=["y"])
        assert (ws.samples.get(sample).tags, ws.completions.get(one).tags) == (("x", "y"), ("x",))
        assert ws.completions.get(one).labels == {"style": "plain"}
        assert ws.judgements.effective(sample, child).ratings[one.id].facet == "legal"
        assert ws.score(one, model=model).completion_id == one.id
        assert ws.continue_(other, model=model).parent_id == other.id
        with ws.token_by_token(sample, model=model) as session:
            session.pick(1)
            assert session.save().text == "b"
        assert ws.archive(chat, other) == 2
        assert [each.id for each in ws.samples.list()] == [sample.id]
        undone = ws.undo()
        assert undone is not None
        assert undone.name == "archive"
        assert ws.redo() == replace(undone, state="done")
        assert [hit.id for hit in ws.search.text("letters")] == [sample.id]
        ws.filters.save("rated", {"field": "rating", "facet": "legal", "op": ">=", "value": 8})
        assert [each.id for each in ws.search.completions(ws.filters.get("rated"))] == [one.id]
        for wrong in (lambda: ws.rate(sample, facet, 3), lambda: ws.generate(one, model=model), lambda: ws.edit(sample, "x")):
            with pytest.raises(InputError, match="was given; it must be a"):
                wrong()  # type: ignore[no-untyped-call]


def test_a_beam_tree_and_blocks_begin_at_the_sample(ws: Workspace, model: Model) -> None:
    sample = ws.samples.add("a")
    with ws.beam_tree(sample, model=model) as tree:
        grown = tree.beam_out(width=2)
        assert [tree.text(node) for node in grown] == ["b", "c"]
        assert tree.save(grown[0]).text == "b"
    assert ws.beam_tree(sample, model=model).id == tree.id
    assert ws.blocks(sample, model=model).propose(1)[0].text == "bc"


def test_the_target_model_is_the_facet_s_then_its_ancestors_then_the_workspace_s(ws: Workspace) -> None:
    asked: list[str] = []

    def load(name: str) -> Model:
        asked.append(name)
        return Model(ScriptedBackend(TABLE))

    ws.load = load
    ws.facets.add("letters", target_model="big")
    ws.facets.add("legal", parent="letters")
    ws.facets.add("plain")
    ws.model(facet="legal")
    ws.model(facet="plain")
    ws.database.settings.set("target_model", "ours")
    ws.model(facet="plain")
    ws.model(facet="legal")
    assert asked == ["big", "tiny", "ours"]


def test_a_text_is_not_taken_for_a_list_of_its_letters(ws: Workspace, tmp_path: Path) -> None:
    sample = ws.samples.add("a")
    lists = {
        "tags are 'story'": lambda: ws.tag(sample, add="story"),
        "tags are 'tale'": lambda: ws.samples.add("b", tags="tale"),
        "tags is 'story'": lambda: ws.import_files(tmp_path / "x.jsonl", tags="story"),
        "only is 'fixed'": lambda: ws.import_files(tmp_path / "x.json", only="fixed"),
        "facets is 'legal'": lambda: ws.export("sft", tmp_path / "x.jsonl", facets="legal"),
    }
    for said, wrong in lists.items():
        with pytest.raises(InputError, match=f"{said}, a text; give a list"):
            wrong()
    assert ([each.name for each in ws.tags.list()], ws.samples.count()) == ([], 1)


def test_an_unknown_option_of_an_import_is_refused_by_name(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="skipbad=True is no option of an import; they are format, mapping"):
        ws.import_files(tmp_path / "x.jsonl", skipbad=True)
