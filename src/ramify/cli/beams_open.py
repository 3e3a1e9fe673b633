"""`ramify beams open`: a beam tree in the hand, line by line, in a terminal or through a pipe."""

import contextlib
import json
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import listing, making, options, render
from ramify.cli.beams_growing import At, Model, Title, open_beam_tree
from ramify.cli.beams_ranking import rerank_tree
from ramify.cli.beams_shown import Tree, TreeOf, leaves, node_of, piece, state, tell, told, trunk
from ramify.cli.selecting import SampleId
from ramify.cli.workspace import Quiet, Where, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig
    from ramify.store.records import BeamNodeRecord
    from ramify.workbench.beam_tree import BeamTree
    from ramify.workbench.beam_tree_records import NextToken

__all__ = ["open_"]

HELP = """\
NUMBER       choose a beam of the list; you are at its end
@ PLACE      go to after so many tokens of the chosen beam; 0 is the beginning, @ alone its end
l [WORD]     the list of beams: by cumulative, mean, minimum or entropy
t            the whole tree
c [TEXT]     what the model could say here; with TEXT only tokens that contain it
+ N [N …]    beam out with these candidates of c
o [W [D]]    beam out with the W likeliest tokens (4), each branch D tokens long (8)
a            automatic beam search from here, with the settings of the command line
g            let the model go on from here to its own end, with the settings of the command line
w            every beam under the settings of the command line: the new order, and why beams died
h            the chosen beam token by token
p k x b      pin, keep, prune, bookmark what is here; once more takes it off
r            bring all pruned branches back
s            save the way to here as a completion
u U          undo, redo
q            leave (so does the end of input); everything is kept
?            this"""


@options.takes_settings
@options.takes_model
def open_(
    sample: SampleId,
    at: At = None,
    shown: Annotated[int, typer.Option("--show", metavar="N", help="How many beams and candidates.")] = 12,
    tree: Tree = None,
    prefill: making.Prefill = None,
    title: Title = None,
    facet: Annotated[
        str | None,
        typer.Option("--facet", metavar="NAME", help="Keeping and pruning write the preferences that they imply under it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="An object after each step, one a line.")] = False,
    quiet: Quiet = False,
    workspace: Where = None,
    model: Model = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """A beam tree in the terminal: look at any place of any beam, beam out there, decide, save.

    A line from standard input is a step; ? lists them. Every step is kept at once.
    """
    config = options.settings_from(settings, preset)
    if shown < 1:
        raise InputError(f"--show is {shown}; it must be at least 1")
    with open_workspace(workspace) as database:
        if facet is not None:
            database.facets.get(facet)
        target = facet if model is None and not database.beams.of(database.samples.get(sample)) else None
        said = TreeOf(sample, tree, at)
        with open_beam_tree(database, said, how, model=model, facet=target, prefill=prefill, title=title) as opened:
            Walk(opened, config, shown, facet, as_json=as_json, quiet=quiet).run(node_of(opened, at))


class Walk:
    """Lines in, steps out: one place of one beam is where everything happens."""

    def __init__(
        self, tree: "BeamTree", config: "GenerationConfig", shown: int, facet: str | None, *, as_json: bool, quiet: bool
    ) -> None:
        self.tree, self.config, self.shown, self.facet = tree, config, shown, facet
        self.as_json, self.quiet = as_json, quiet
        self.by = "cumulative"
        self.beam: BeamNodeRecord = tree.root
        """The chosen one."""
        self.here: BeamNodeRecord = tree.root
        """A place on the way to it."""
        self.offered: list[NextToken] = []
        """What the numbers after + mean."""
        self.interactive = sys.stdin.isatty()

    def run(self, start: "BeamNodeRecord") -> None:
        if self.interactive:
            with contextlib.suppress(ImportError):  # Line editing, where the platform has it.
                import readline  # noqa: F401
            render.note(f"{self.tree.model.info.name}; ? lists the steps, q leaves", self.quiet)
        self.beam = self.here = start
        self.list_beams()
        while True:
            try:
                line = input("> " if self.interactive else "").strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                if not self.interactive:
                    raise
                typer.echo()
                continue
            except UnicodeDecodeError as error:
                raise InputError(f"standard input is not UTF-8 text ({error.reason} at byte {error.start})") from error
            if line == "q":
                return
            try:
                self.step(line)
            except InputError as error:
                # One mistake does not end the work; a script it does.
                if not self.interactive:
                    raise
                render.note(str(error))

    def step(self, line: str) -> None:
        """Obey a line that does not leave."""
        if not line:
            return
        verb, *rest = line.split()
        if verb.isascii() and verb.isdigit() and not rest:
            self.choose(int(verb))
            return
        if verb[0] in "@+" and len(verb) > 1:
            verb, rest = verb[0], [verb[1:], *rest]
        steps = self.plain_steps()
        if verb in steps and not rest:
            steps[verb]()
        elif verb == "l":
            self.list_beams(*_at_most(rest, 1, line))
        elif verb == "@":
            self.go(*(_number(word, line) for word in _at_most(rest, 1, line)))
        elif verb == "c":
            self.candidates(line[1:].strip() or None)
        elif verb == "+" and rest:
            self.pick([_number(word, line) for word in rest])
        elif verb == "o":
            self.beam_out(*(_number(word, line) for word in _at_most(rest, 2, line)))
        else:
            raise InputError(f"{line!r} is no step; ? lists them")

    def plain_steps(self) -> dict[str, Callable[[], object]]:
        tree = self.tree
        return {
            "?": lambda: typer.echo(HELP),
            "t": lambda: trunk(tree, None, pruned=False, as_json=self.as_json),
            "a": lambda: self.grown(
                lambda: [o.nodes[path] for o in [tree.search(self.config, at=self.here)] for path in o.paths]
            ),
            "g": lambda: self.grown(lambda: [each.id for each in tree.continue_(self.here, self.config)]),
            "w": lambda: rerank_tree(tree, self.config, tree.root, self._measure(), self.shown, as_json=self.as_json),
            "h": lambda: tell(tree, tree.replay(self.beam), 3, as_json=self.as_json),
            "p": lambda: self.mark("pinned", lambda on: tree.pin(self.here, on=on)),
            "b": lambda: self.mark("bookmarked", lambda on: tree.bookmark(self.here, on=on)),
            "k": lambda: self.mark("kept", self._keep),
            "x": lambda: self.mark("pruned", self._prune),
            "r": self.resume,
            "s": lambda: making.show(tree.save(self.here), as_json=self.as_json, quiet=self.quiet),
            "u": lambda: self.travel(tree.database.history.undo(), "undone"),
            "U": lambda: self.travel(tree.database.history.redo(), "redone"),
        }

    # Where one is.

    def list_beams(self, by: str | None = None) -> None:
        found = self.tree.ranked(by or self.by)  # type: ignore[arg-type]
        self.by = by or self.by
        leaves(self.tree, found[: self.shown], self.by, as_json=self.as_json)
        if not found and not self.as_json:
            typer.echo("  [an empty tree; o beams out, c shows what could come]")

    def choose(self, node_id: int) -> None:
        self.beam = self.here = self.tree.node(node_id)
        self.tell_place()

    def go(self, place: int | None = None) -> None:
        way = [self.tree.root, *self.tree.database.beams.path(self.beam)]
        if place is not None and place >= len(way):
            raise InputError(f"beam {self.beam.id} has {len(way) - 1} tokens; {place} is beyond its end")
        self.here = way[-1 if place is None else place]
        self.tell_place()

    def tell_place(self) -> None:
        self.offered = []
        here, text = self.here, self.tree.text(self.here)
        if self.as_json:
            typer.echo(json.dumps(told(self.tree, here, text=text, beam=self.beam.id), ensure_ascii=False))
            sys.stdout.flush()
            return
        listing.echo(text)
        marks = f"; {state(here)}" if state(here) else ""
        beam = f" of beam {self.beam.id}" if here.id != self.beam.id else ""
        typer.echo(f"  [node {here.id}, after {here.depth} tokens{beam}{marks}]")

    # What could come, and growing.

    def candidates(self, search: str | None = None) -> None:
        found = self.tree.candidates(self.here, self.shown, search=search)
        self.offered = list(found)
        if self.as_json:
            rows = [{"number": i, **listing.plain(each)} for i, each in enumerate(self.offered, start=1)]
            typer.echo(json.dumps({"node": self.here.id, "candidates": rows, "others": found.others}, ensure_ascii=False))
            sys.stdout.flush()
            return
        for number, each in enumerate(self.offered, start=1):
            there = "" if each.node_id is None else f"  node {each.node_id}"
            ends = "  ends it" if each.ends else ""
            listing.echo(f"{number:>4}  {piece(each.token_bytes):<16} {100 * each.probability:>6.2f} %{ends}{there}")
        typer.echo(f"      {'others':<16} {100 * max(0.0, found.others):>6.2f} %")

    def pick(self, numbers: list[int]) -> None:
        wrong = [n for n in numbers if not 1 <= n <= len(self.offered)]
        if wrong:
            raise InputError(
                f"there is no candidate {wrong[0]}; " + ("c shows some" if not self.offered else f"there are {len(self.offered)}")
            )
        tokens = [self.offered[n - 1].token_id for n in numbers]
        self.grown(lambda: [each.id for each in self.tree.beam_out(self.here, tokens=tokens)])

    def beam_out(self, width: int = 4, depth: int = 8) -> None:
        self.grown(lambda: [each.id for each in self.tree.beam_out(self.here, width=width, depth=depth)])

    def grown(self, grow: Callable[[], list[int]]) -> None:
        """Show the new ends; a single one is chosen."""
        from ramify.workbench.beam_tree_records import Ranked

        ends = [self.tree.node(each) for each in grow()]
        self.offered = []
        if len(ends) == 1:
            self.choose(ends[0].id)
            return
        rows = [Ranked(end, end.sum_logprob or -math.inf, self.tree.text(end)) for end in ends]
        leaves(self.tree, rows[: self.shown], "cumulative", as_json=self.as_json)

    # Deciding.

    def mark(self, name: str, do: Callable[[bool], object]) -> None:
        if self.here.parent_id is None and name in ("kept", "pruned"):
            raise InputError("this is the beginning, which has no siblings; choose a beam first")
        do(not getattr(self.tree.node(self.here), name))
        self.here = self.tree.node(self.here)
        self.tell_place()

    def _keep(self, on: bool) -> None:
        if on:
            self._write(lambda: self.tree.keep(self.here, prefer=self.facet is not None))
        else:
            self.tree.database.beams.mark([self.here], kept=False)

    def _prune(self, on: bool) -> None:
        if on:
            self._write(lambda: self.tree.prune(self.here, prefer=self.facet is not None))
        else:
            self.tree.resume(self.here)

    def _write(self, decide: Callable[[], Any]) -> None:
        database = self.tree.database
        with database.action("decide beams", str(self.here.id)):
            for each in decide():
                database.judgements.prefer(each.better_id, each.worse_id, str(self.facet), origin="beams")

    def resume(self) -> None:
        self.tree.resume(*[node for node in self.tree.nodes(pruned=True) if node.pruned])
        self.list_beams()

    def travel(self, action: Any, word: str) -> None:
        if action is None:
            raise InputError(f"there is nothing to be {word}")
        beams = self.tree.database.beams
        if not beams.nodes_by_id([self.tree.record.root_id]):
            self.tree.database.history.redo()
            raise InputError("that would undo the tree itself; leave it first")
        if len(beams.nodes_by_id([self.here.id, self.beam.id])) < 2:
            self.beam = self.here = self.tree.root
        render.note(f"[{word}: {action.name}]", self.quiet)
        self.list_beams()

    def _measure(self) -> str:
        return self.by if self.by != "entropy" else "cumulative"


def _at_most(words: list[str], count: int, line: str) -> list[str]:
    if len(words) > count:
        raise InputError(f"{line!r} says too much; ? lists the steps")
    return words


def _number(word: str, line: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise InputError(f"{line!r}: {word!r} is no number; ? lists the steps")
    return int(word)
