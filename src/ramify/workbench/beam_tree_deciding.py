"""What a person decides in a beam tree: pinned, kept, pruned, taken up again, saved; and the preferences that this implies."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ramify.errors import InputError
from ramify.store.records import BeamNodeRecord, CompletionRecord, NewCompletion, SpanRecord, TokenLogprob
from ramify.workbench.beam_tree_reading import At, Reading
from ramify.workbench.beam_tree_records import Implied

__all__ = ["Deciding"]

ALTERNATIVES = 10
"""Next tokens that go with a completion that is saved."""


class Deciding(Reading):
    """Every decision is a step of the history."""

    def pin(self, *at: At, on: bool = True) -> int:
        """Pinned branches stand first. Returns how many nodes changed."""
        return self._mark(at, pinned=on)

    def bookmark(self, *at: At, on: bool = True) -> int:
        return self._mark(at, bookmarked=on)

    def keep(self, at: At, *, prefer: bool = False) -> list[Implied]:
        """Decide for a branch at its fork.

        prefer: it and each sibling that is not kept itself are saved as completions, down to the best end below them, and the
        preferences that this implies are returned for the caller to write.
        """
        node = self.node(at)
        with self.database.action("keep beam", str(node.id)):
            self._mark([node], kept=True, pruned=False)
            rivals = [other for other in self._siblings(node) if not other.kept] if prefer else []
            return [self.implied(node, other) for other in rivals]

    def prune(self, *at: At, prefer: bool = False) -> list[Implied]:
        """Take branches, with all below them, out of lists and rankings; `resume` brings them back.

        prefer: each kept or pinned sibling is better than what was pruned, and the preferences that this implies are returned.
        """
        nodes = [self.node(each) for each in at]
        if any(node.parent_id is None for node in nodes):
            raise InputError("the root cannot be pruned; prune its children, or delete the tree")
        with self.database.action("prune beams", f"{len(nodes)}"):
            self._mark(nodes, pruned=True, kept=False)
            pairs = [
                (other, node)
                for node in nodes
                for other in (self._siblings(node) if prefer else [])
                if (other.kept or other.pinned) and not other.pruned
            ]
            return [self.implied(better, worse) for better, worse in pairs]

    def resume(self, *at: At) -> int:
        """Bring branches back: neither they nor the way to them are pruned or given up. Returns how many nodes changed."""
        changed: set[int] = set()
        with self.database.action("resume beams", f"{len(at)}"):
            for each in at:
                way = self.database.beams.path(self.node(each).id)
                pruned = [node.id for node in way if node.pruned]
                dead = [node.id for node in way if node.dead_reason is not None]
                if pruned:
                    self.database.beams.mark(pruned, pruned=False)
                if dead:
                    self.database.beams.die(dead, None)
                changed |= {*pruned, *dead}
        return len(changed)

    def implied(self, better: At, worse: At) -> Implied:
        """The preference of one branch over another, as two saved completions: each down to its best end by mean logprob."""
        with self.database.action("save fork"):
            first, second = self._best_below(self.node(better)), self._best_below(self.node(worse))
            if first.id == second.id:
                raise InputError("a branch is not better than itself; name two that part somewhere")
            shared = 0
            for one, two in zip(self.path(first), self.path(second), strict=False):
                if one != two:
                    break
                shared += 1
            prefilled = len(self.record.prefill)
            return Implied(self.save(first).id, self.save(second).id, prefilled + shared)

    def save(self, at: At) -> CompletionRecord:
        """The path to a node as a completion: its exact tokens, where each came from, and its logprobs.

        finish_reason is eos where it ended with one, else user. A path that was saved before gives that completion again.
        """
        node = self.node(at)
        if node.parent_id is None:
            raise InputError("the root has no tokens to save; choose a node below it")
        if node.completion_id is not None:
            return self.database.completions.get(node.completion_id)
        way = self.database.beams.path(node.id)
        text_before, text = self._text(tuple(step.token_id for step in way))
        ids = (*self.record.prefill, *(step.token_id for step in way))
        new = NewCompletion(
            text=text_before + text,
            model=self.record.model,
            fingerprint=self.record.fingerprint,
            finish_reason="eos" if node.ended else "user",
            generated_start=len(text_before),
            token_ids=ids,
            spans=_spans(len(self.record.prefill), way),
            details={"beam_tree": self.id, "beam_node": node.id},
            logprobs=self._token_logprobs(way),
        )
        with self.database.action("save beam", str(node.id)):
            made = self.database.completions.add(self.record.sample_id, new, prompt_id=self.record.prompt_id)
            self.database.beams.saved_as(node.id, made.id)
        return made

    def _mark(self, at: Iterable[At], **flags: bool) -> int:
        return self.database.beams.mark([self.node(each).id for each in at], **flags)

    def _siblings(self, node: BeamNodeRecord) -> list[BeamNodeRecord]:
        if node.parent_id is None:
            return []
        return [other for other in self.database.beams.children(node.parent_id) if other.id != node.id]

    def _best_below(self, node: BeamNodeRecord) -> BeamNodeRecord:
        """The best end at or below a node, by mean logprob."""
        nodes = self.database.beams.nodes(self.id)
        below, has_child = {node.id}, set()
        for other in nodes:
            if other.parent_id in below and not (other.pruned and not node.pruned):
                below.add(other.id)
                has_child.add(other.parent_id)
        ends = [other for other in nodes if other.id in below and other.id not in has_child]
        return max(ends, key=lambda end: (end.mean_logprob if end.mean_logprob is not None else -math.inf, -end.id))

    def _token_logprobs(self, way: Sequence[BeamNodeRecord]) -> tuple[TokenLogprob, ...]:
        """The measures of a path from the root, with the likeliest others."""
        parents = [self.root, *way[:-1]]
        found = []
        for parent, step in zip(parents, way, strict=True):
            assert step.logprob is not None
            assert step.rank is not None
            assert step.entropy is not None
            others = tuple((i, self.pieces[i], value) for i, value in (parent.candidates or ())[: min(ALTERNATIVES, self.cached)])
            found.append(
                TokenLogprob(
                    token_id=step.token_id,
                    token_bytes=self.pieces[step.token_id],
                    logprob=step.logprob,
                    rank=step.rank,
                    entropy=step.entropy,
                    alternatives=others,
                )
            )
        return tuple(found)


def _spans(prefilled: int, way: Sequence[BeamNodeRecord]) -> list[SpanRecord]:
    spans = [SpanRecord(0, prefilled, "prefill")] if prefilled else []
    for at, step in enumerate(way, start=prefilled):
        origin: Any = step.origin
        if spans and spans[-1].origin == origin:
            spans[-1] = SpanRecord(spans[-1].start, at + 1, origin)
        else:
            spans.append(SpanRecord(at, at + 1, origin))
    return spans
