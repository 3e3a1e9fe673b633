"""`ramify beams`: rerank and unlikely, a tree under other settings."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import listing, options, render
from ramify.cli.beams_growing import At, open_beam_tree
from ramify.cli.beams_shown import Tree, TreeOf, node_of, told, word
from ramify.cli.selecting import Limit, SampleId
from ramify.cli.workspace import AsJson, Quiet, Where, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig
    from ramify.store.records import BeamNodeRecord
    from ramify.workbench.beam_tree import BeamTree
    from ramify.workbench.beam_tree_rescoring import Bounds, Rescored
    from ramify.workbench.beam_tree_search import Outcome, Verdict

__all__ = ["COMMANDS", "rerank_tree"]

ROUNDS = 1000
"""Looks of a search that covers itself; each asks about at least one path."""


@options.takes_settings
@options.takes_model
def rerank(
    sample: SampleId,
    at: At = None,
    by: Annotated[str, typer.Option("--by", metavar="WORD", help="cumulative, mean or minimum.")] = "cumulative",
    cover: Annotated[
        bool, typer.Option("--cover", help="With --num-beams: ask the model about what the tree does not decide, and keep that.")
    ] = False,
    tree: Tree = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """The tree's beams under other penalties, bans or temperature, best first, and why the others died. The model is not asked.

    With --num-beams it is a whole beam search on what the tree knows, equal to a fresh one. What the tree does not decide is
    called unknown, never guessed.
    """
    config = options.settings_from(settings, preset)
    if by not in ("cumulative", "mean", "minimum"):
        raise InputError(f"by is {by!r}; it must be cumulative, mean or minimum")
    if cover and config.num_beams < 2:
        raise InputError("--cover is for a search; give --num-beams of at least 2")
    with open_workspace(workspace) as database, open_beam_tree(database, TreeOf(sample, tree, at), how, begin=False) as opened:
        node = node_of(opened, at)
        if config.num_beams < 2:
            rerank_tree(opened, config, node, by, limit, as_json=as_json)
            return
        outcome = opened.rerank(config, at=node)
        for _ in range(ROUNDS):
            if outcome.decided or not cover:
                break
            opened.cover(outcome)
            outcome = opened.rerank(config, at=node)
        _searched(opened, outcome, limit, as_json=as_json, quiet=quiet)


def rerank_tree(
    tree: "BeamTree", config: "GenerationConfig", node: "BeamNodeRecord", by: str, limit: int, *, as_json: bool
) -> None:
    """Every beam below a node under the settings: reachable ones first, then the unknown, then the dead."""
    under = tree.under(config, at=node)
    before = {each.node.id: place for place, each in enumerate(tree.ranked(by, pinned_first=False), start=1)}  # type: ignore[arg-type]
    found = [under[leaf.id] for leaf in tree.leaves() if leaf.id in under]

    def bounds(each: "Rescored") -> "Bounds":
        return {"cumulative": each.total, "mean": each.mean, "minimum": each.smallest}[by]

    found.sort(key=lambda each: (each.unreachable, each.unknown, -bounds(each).high, each.node.id))
    rows = []
    for place, each in enumerate(found[:limit], start=1):
        dead = _killer(tree, under, each)
        why = "" if dead is None else f"token {dead[0]} ({dead[1]}) is removed by {dead[2]}"
        if as_json:
            values = {"total": each.total, "mean": each.mean, "minimum": each.smallest}
            more = {"dead": dead is not None, "why": why or None, "unknown": each.unknown, "before": before.get(each.node.id)}
            listing.print_json(told(tree, each.node, place=place, text=tree.text(each.node)), **values, **more)
            continue
        rows.append((str(each.node.id), _told(bounds(each)), str(before.get(each.node.id, "")), why, tree.text(each.node)))
    if not as_json:
        listing.columns(("beam", by, "was", "why it died", "text"), rows)


def _killer(tree: "BeamTree", under: "dict[int, Rescored]", leaf: "Rescored") -> tuple[int, str, str] | None:
    """The first token of a beam that is removed for certain: its place, its text, and by what."""
    if not leaf.unreachable:
        return None
    for node in tree.database.beams.path(leaf.node):
        each = under.get(node.id)
        if each is not None and each.token.high == -math.inf:
            return node.depth, word(tree, node), each.removed_by or "the model, which gives it no probability"
    raise AssertionError("an unreachable beam has a removed token")


def _told(bounds: "Bounds") -> str:
    if bounds.value is not None:
        return "-∞" if bounds.value == -math.inf else f"{bounds.value:.2f}"
    low = "-∞" if bounds.low == -math.inf else f"{bounds.low:.2f}"
    return f"unknown, {low} to {bounds.high:.2f}"


def _searched(tree: "BeamTree", outcome: "Outcome", limit: int, *, as_json: bool, quiet: bool) -> None:
    """The search's results, best first, grown in the tree or not; then the tree's other beams and what became of them."""
    verdicts, start = tree.verdicts(outcome), tree.path(outcome.start)
    rows: list[tuple[str, ...]] = []

    def tell(node: "BeamNodeRecord | None", path: Any, score: float | None, verdict: "Verdict", text: str) -> None:
        if as_json:
            about = told(tree, node) if node is not None else {"id": None}
            judged = {"state": verdict.state, "why": verdict.reason, "dead": verdict.dead, "decided": outcome.decided}
            listing.print_json({**about, "text": text, "token_ids": list(path), "beam_score": score, **judged})
            return
        rank = "" if score is None else f"{score:.4f}"
        rows.append(("" if node is None else str(node.id), rank, verdict.state, verdict.reason, text))

    for path, result in zip(outcome.paths, outcome.results, strict=True):
        node = None if path not in outcome.nodes else tree.node(outcome.nodes[path])
        tell(node, start + path, result.beam_score, tree.why(outcome, path), tree.text_of(start + path))
    others = [leaf for leaf in tree.leaves() if leaf.id in verdicts and verdicts[leaf.id].state != "best"]
    others.sort(key=lambda leaf: (verdicts[leaf.id].dead, -(leaf.sum_logprob or 0.0), leaf.id))
    for leaf in others[: max(0, limit - len(outcome.results))]:
        tell(leaf, tree.path(leaf), None, verdicts[leaf.id], tree.text(leaf))
    if not as_json:
        listing.columns(("beam", "beam score", "", "why", "text"), rows)
    if not outcome.decided:
        many = len(outcome.unknown)
        render.note(
            f"[the tree does not decide it: {many} place{'s' * (many > 1)} would have to be looked at; --cover does so]", quiet
        )


@options.takes_settings
@options.takes_model
def unlikely(
    sample: SampleId,
    at_least: Annotated[
        float | None, typer.Option("--at-least", metavar="NATS", help="Leave out beams that rank lower than this.")
    ] = None,
    by: Annotated[
        str, typer.Option("--by", metavar="WORD", help="Order by cumulative, mean, minimum (logprob) or entropy.")
    ] = "mean",
    explore: Annotated[
        int,
        typer.Option(
            "--explore", metavar="N", help="First beam out N of the tokens that are removed at each step of the best beam."
        ),
    ] = 0,
    depth: Annotated[int, typer.Option("--depth", metavar="N", help="How long explored branches grow.")] = 8,
    tree: Tree = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    workspace: Where = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Beams that sampling under these settings (--temperature, --top-p, …) never reaches, the best first."""
    config = options.settings_from(settings, preset)
    if explore < 0 or depth < 1:
        raise InputError(f"--explore is {explore} and --depth is {depth}; they must be at least 0 and 1")
    with open_workspace(workspace) as database, open_beam_tree(database, TreeOf(sample, tree, None), how, begin=False) as opened:
        found = opened.find_unlikely(config, by=by, at_least=at_least, explore=explore, depth=depth)[:limit]  # type: ignore[arg-type]
        rows = []
        for each in found:
            if as_json:
                removed = [{"place": place, "by": name, "logprob": value} for place, name, value in each.removed]
                listing.print_json(told(opened, each.node, text=each.text, value=each.value), removed=removed, beats=each.beats)
                continue
            why = "; ".join(f"token {place + 1} by {name}" for place, name, _ in each.removed)
            rows.append((str(each.node.id), listing.number(each.value), f"{100 * each.beats:.0f}", why, each.text))
        if not as_json:
            listing.columns(("beam", by, "beats %", "removed", "text"), rows)


COMMANDS: dict[str, Callable[..., None]] = {"rerank": rerank, "unlikely": unlikely}
