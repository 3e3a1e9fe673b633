import math

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from ramify.errors import InputError, NotFoundError
from ramify.store import Database, NewNode
from store.stories import PIECES, sampled

PATHS = st.lists(st.lists(st.tuples(st.integers(0, 2), st.floats(-8, 0, width=32)), min_size=1, max_size=4), max_size=6)


def test_identical_continuations_are_one_path_however_they_were_found(db: Database) -> None:
    tree = db.beams.tree(db.samples.add("Once").id, "tiny", "f1")
    first = db.beams.extend(tree.root_id, [NewNode(token_id=1, logprob=-0.5), NewNode(token_id=2, logprob=-1.0)], pieces=PIECES)
    again = db.beams.extend(tree.root_id, [NewNode(token_id=1, logprob=-0.5), NewNode(token_id=3, logprob=-2.0)])
    assert again[0] == first[0]
    assert [n.token_id for n in db.beams.nodes(tree.id)] == [-1, 1, 2, 3]
    assert [(n.token_id, n.depth, n.sum_logprob, n.min_logprob, n.mean_logprob) for n in db.beams.path(again[1].id)] == [
        (1, 1, -0.5, -0.5, -0.5),
        (3, 2, -2.5, -2.0, -1.25),
    ]
    assert [n.token_id for n in db.beams.children(first[0].id)] == [2, 3]
    assert db.beams.find(tree.id, [1, 3]) == again[1]
    assert db.beams.find(tree.id, [3]) is None
    assert db.beams.tree(tree.sample_id, "tiny", "f1") == tree


def test_a_node_learns_what_it_lacked_and_so_do_those_below(db: Database) -> None:
    tree = db.beams.tree(db.samples.add("Once").id, "tiny")
    picked = db.beams.extend(tree.root_id, [NewNode(token_id=1), NewNode(token_id=2, logprob=-1.0)])
    assert [n.sum_logprob for n in picked] == [None, None]
    learnt = db.beams.extend(tree.root_id, [NewNode(token_id=1, logprob=-0.5, candidates=[(2, -1.0), (3, -math.inf)])])
    assert (learnt[0].logprob, learnt[0].candidates) == (-0.5, ((2, -1.0), (3, -math.inf)))
    assert [(n.sum_logprob, n.min_logprob) for n in db.beams.path(picked[1].id)] == [(-0.5, -0.5), (-1.5, -1.0)]


def test_nodes_are_marked_die_with_a_reason_and_come_back(db: Database) -> None:
    sample = db.samples.add("Once")
    tree = db.beams.tree(sample.id, "tiny", prefill=[5, 6], config={"width": 3})
    assert (tree.prefill, tree.config) == ((5, 6), {"width": 3})
    (node,) = db.beams.extend(tree.root_id, [NewNode(token_id=1, logprob=-0.5)])
    db.beams.mark([node.id], pinned=True, bookmarked=True)
    db.beams.die([node.id], "outranked at step 3")
    saved = db.completions.add(sample.id, sampled())
    db.beams.saved_as(node.id, saved.id)
    (found,) = db.beams.nodes_by_id([node.id])
    assert (found.pinned, found.bookmarked, found.kept, found.pruned, found.live) == (True, True, False, False, False)
    assert (found.dead_reason, found.completion_id) == ("outranked at step 3", saved.id)
    db.beams.die([node.id], None)
    assert db.beams.nodes_by_id([node.id])[0].live
    with pytest.raises(InputError, match="no mark 'loved'"):
        db.beams.mark([node.id], loved=True)


def test_nothing_comes_after_an_eos_and_a_root_stays(db: Database) -> None:
    tree = db.beams.tree(db.samples.add("Once").id, "tiny")
    (end,) = db.beams.extend(tree.root_id, [NewNode(token_id=0, logprob=-0.5, ended=True)])
    with pytest.raises(InputError, match="is an EOS"):
        db.beams.extend(end.id, [NewNode(token_id=1)])
    with pytest.raises(InputError, match="root cannot be removed"):
        db.beams.remove([tree.root_id])
    with pytest.raises(InputError, match="another prefill"):
        db.beams.tree(tree.sample_id, "tiny", prefill=[1])
    db.beams.remove([end.id])
    assert [n.id for n in db.beams.nodes(tree.id)] == [tree.root_id]
    db.beams.delete(tree.id)
    with pytest.raises(NotFoundError):
        db.beams.path(tree.root_id)


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(PATHS)
def test_a_tree_holds_each_path_once_and_sums_along_it(db: Database, paths: list[list[tuple[int, float]]]) -> None:
    told = {}  # one logprob for each path, as a model has
    for path in paths:
        for depth in range(1, len(path) + 1):
            told.setdefault(tuple(token for token, _ in path[:depth]), path[depth - 1][1])
    tree = db.beams.tree(db.samples.add("Once").id, "tiny")
    for path in paths:
        ids = [token for token, _ in path]
        db.beams.extend(tree.root_id, [NewNode(token_id=t, logprob=told[tuple(ids[: i + 1])]) for i, t in enumerate(ids)])
    nodes = {node.id: node for node in db.beams.nodes(tree.id)}
    ways = {}
    for node in nodes.values():
        way = tuple(each.token_id for each in db.beams.path(node.id))
        ways[way] = node
    assert set(ways) == {(), *told}
    assert len(ways) == len(nodes)
    for way, node in ways.items():
        steps = [told[way[: i + 1]] for i in range(len(way))]
        assert node.sum_logprob == sum(steps, 0.0)
        assert node.min_logprob == min(steps, default=None)


def test_looking_is_no_step_of_the_history_and_is_not_forgotten(db: Database) -> None:
    tree = db.beams.tree(db.samples.add("Once"), "tiny", "f1")
    (node,) = db.beams.extend(tree.root_id, [NewNode(token_id=1, logprob=-0.5)], pieces={1: b" a"})
    steps = db.history.list()
    db.beams.set_candidates(node, [(2, -0.25), (3, -1.5)], entropy=0.75, pieces={2: b" hedgehog"})
    db.beams.extend(tree.root_id, [NewNode(token_id=1, candidates=[(4, -9.0)], next_entropy=9.0)])
    assert db.history.list() == steps
    (seen,) = db.beams.nodes_by_id([node.id])
    assert (seen.candidates, seen.next_entropy) == (((2, -0.25), (3, -1.5)), 0.75)
    assert db.beams.pieces(tree) == {1: b" a", 2: b" hedgehog"}
    db.history.undo()
    assert db.beams.nodes_by_id([node.id]) == []
    db.history.redo()
    assert db.beams.nodes_by_id([node.id]) == [seen]


def test_records_stand_for_their_ids_and_those_of_another_kind_are_refused(db: Database) -> None:
    sample = db.samples.add(messages=[{"role": "user", "content": "Once"}], title="T", group="g")
    first, second = db.completions.add(sample, sampled()), db.completions.add(sample, sampled("other"))
    facet = db.facets.add("legal")
    db.facets.add("letters", parent=facet)
    assert [c.id for c in db.completions.of(sample)] == [first.id, second.id]
    db.judgements.rate(first, facet, 7)
    said = db.judgements.prefer(first, second, facet)
    db.judgements.approve(first, facet)
    db.completions.label([first], style="plain")
    db.tags.put(["t"], samples=[sample], completions=[second])
    assert db.judgements.approved(sample, facet) == first.id
    assert db.judgements.preferences(facet=facet, sample_id=sample) == [said]
    assert [each.item for each in db.judgements.ranking(sample, facet).strengths] == [first.id, second.id]
    assert db.logprobs.of(first)[0].completion_id == first.id
    db.judgements.withdraw(said)
    db.completions.archive([second])
    assert db.completions.get(second).archived
    for wrong in (lambda: db.judgements.rate(sample, facet, 7), lambda: db.completions.of(first), lambda: db.samples.get("1")):
        with pytest.raises(InputError, match="was given; it must be a"):
            wrong()
    with pytest.raises(InputError, match="it must be a list of CompletionRecords"):
        db.completions.archive(first)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="neither prompt nor messages"):
        db.samples.add(title="nothing")
    with pytest.raises(InputError, match="both given"):
        db.samples.add("Once", messages=[{"role": "user", "content": "Once"}])


def test_several_paths_of_one_call_share_what_they_share_and_teach_each_other(db: Database) -> None:
    tree = db.beams.tree(db.samples.add("Once").id, "tiny")
    long = [NewNode(token_id=1), NewNode(token_id=2, logprob=-1.0)]
    found = db.beams.extend_many(
        [
            (tree.root_id, long),
            (tree.root_id, [NewNode(token_id=1, logprob=-0.5, candidates=[(2, -1.0)])]),
            (tree.root_id, [NewNode(token_id=3, logprob=-2.0)]),
            (tree.root_id, []),
        ]
    )
    assert [[node.token_id for node in path] for path in found] == [[1, 2], [1], [3], []]
    assert found[0][0] == found[1][0]
    assert (found[0][0].logprob, found[0][0].candidates, found[0][1].sum_logprob) == (-0.5, ((2, -1.0),), -1.5)
    assert len(db.beams.nodes(tree.id)) == 4
    db.history.undo()
    assert [node.token_id for node in db.beams.nodes(tree.id)] == [-1]
    with pytest.raises(NotFoundError):
        db.beams.extend_many([(tree.root_id, long), (10**6, [])])
    assert [node.token_id for node in db.beams.nodes(tree.id)] == [-1]


def test_a_wide_growth_takes_as_many_statements_as_a_narrow_one(db: Database) -> None:
    def statements(width: int) -> int:
        tree = db.beams.tree(db.samples.add(f"Once, {width} wide").id, "tiny")
        counted: list[str] = []

        def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            counted.append(statement)

        event.listen(Engine, "before_cursor_execute", count)
        try:
            paths = [(tree.root_id, [NewNode(token_id=10 * i + step, logprob=-1.0) for step in range(3)]) for i in range(width)]
            db.beams.extend_many(paths, pieces={10 * i + step: b"a" for i in range(width) for step in range(3)})
        finally:
            event.remove(Engine, "before_cursor_execute", count)
        return len(counted)

    statements(1)  # the first rows of a table make its counter
    narrow = statements(2)
    assert statements(40) == narrow
