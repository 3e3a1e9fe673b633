"""A completion's tokens as a path of a beam tree: to look at any of them, and to beam out there."""

from ramify.engine.model import Model
from ramify.errors import InputError
from ramify.store.database import Database
from ramify.store.records import BeamNodeRecord, CompletionRecord
from ramify.workbench.beam_tree import BeamTree
from ramify.workbench.scoring import own_ids

__all__ = ["planted"]


def planted(
    database: Database, model: Model, completion: CompletionRecord, position: int | None = None, *, title: str = ""
) -> tuple[BeamTree, BeamNodeRecord]:
    """The tree of the completion's prompt with its first `position` tokens (all by default) as a path, and the path's end.

    Each token keeps its origin; the model measures them in one pass. Raises InputError for a position
    outside, and for a completion of an earlier revision of its prompt. The caller closes the tree.
    """
    ids = own_ids(database, model, completion)
    at = len(ids) if position is None else position
    if not 0 <= at <= len(ids):
        raise InputError(
            f"position is {at}; completion {completion.id} has {len(ids)} tokens under {model.info.name}, so 0 to {len(ids)}"
        )
    sample = database.samples.get(completion.sample_id)
    if sample.prompt_id != completion.prompt_id:
        raise InputError(
            f"completion {completion.id} answers an earlier revision of sample {sample.id}'s prompt; "
            "a tree grows from the current one. Branch from the completion instead"
        )
    tree = BeamTree.start(database, model, completion.sample_id, prefill=(), title=title)
    try:
        own = ids == completion.token_ids
        origins = [span.origin for span in completion.spans for _ in range(span.start, span.end)] if own else ["typed"] * len(ids)
        return tree, tree.follow(ids[:at], origins=origins[:at])
    except BaseException:
        tree.close()
        raise
