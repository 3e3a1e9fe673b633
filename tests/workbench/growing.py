"""A tree to test with: a model written down at random, a sample and its workspace."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.scripts import Ids, Written
from ramify.engine.model import Model
from ramify.store.database import Database
from ramify.workbench.beam_tree import BeamTree

PROMPT = "ab"
PROMPT_IDS: Ids = (0, 1)


@cache
def _shared() -> Database:
    """One workspace for all examples of a law: making one takes longer than most examples."""
    folder = TemporaryDirectory()
    database = Database.open(Path(folder.name) / "w.ramify")
    atexit.register(folder.cleanup)
    atexit.register(database.close)
    return database


@contextmanager
def grown(words: int = 4, seed: int = 7, **options: Any) -> Iterator[tuple[BeamTree, Written]]:
    """An empty tree over `words` one-letter tokens and EOS."""
    written = Written(words, seed)
    with written.model() as model:
        yield tree_in(_shared(), model, **options), written


def tree_in(database: Database, model: Model, **options: Any) -> BeamTree:
    sample = database.samples.add(prompt=PROMPT)
    return BeamTree.start(database, model, sample.id, **options)


def state(tree: BeamTree) -> list[Any]:
    """All that people decide about a tree; what the model could say next is only learnt, and undo does not forget it."""
    nodes = tree.database.beams.nodes(tree.id)
    return [tree.database.beams.get(tree.id), *(replace(node, candidates=None, next_entropy=None) for node in nodes)]
