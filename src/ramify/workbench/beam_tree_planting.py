"""A completion's tokens as a path of a beam tree: to look at any of them, and to beam out there."""

from ramify.engine.model import Model
from ramify.errors import InputError
from ramify.store.database import Database
from ramify.store.records import BeamNodeRecord, CompletionRecord, NewNode
from ramify.workbench.beam_tree import BeamTree
from ramify.workbench.conversion import kept_logprobs
from ramify.workbench.generation import own_ids, prompt_of

__all__ = ["planted"]


def planted(
    database: Database, model: Model, completion: CompletionRecord, position: int | None = None, *, title: str = ""
) -> tuple[BeamTree, BeamNodeRecord]:
    """The tree of the completion's prompt with its first `position` tokens (all by default) as a path, and the path's end.

    The completion's own measures are kept where they reach; otherwise the model is asked once. Raises InputError for a position
    outside, and for a completion of an earlier revision of its prompt. The caller closes the tree.
    """
    ids = own_ids(model, completion)
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
        return tree, _path(tree, completion, ids[:at])
    except BaseException:
        tree.close()
        raise


def _path(tree: BeamTree, completion: CompletionRecord, ids: tuple[int, ...]) -> BeamNodeRecord:
    if not ids:
        return tree.root
    there = tree.find(ids)
    if there is not None:
        return there
    model, eos = tree.model, tree.model.info.eos_token_ids
    measured = next(
        (r.tokens for r in tree.database.logprobs.of(completion.id) if r.fingerprint == model.info.fingerprint and r.start == 0),
        (),
    )
    if len(measured) < len(ids) or tuple(token.token_id for token in measured[: len(ids)]) != ids:
        measured = kept_logprobs(model.score(prompt_of(tree.database, completion), ids).logprobs)
    path = [
        NewNode(token_id=t.token_id, logprob=t.logprob, entropy=t.entropy, rank=t.rank, ended=t.token_id in eos)
        for t in measured[: len(ids)]
    ]
    with tree.database.action("plant completion", str(completion.id)):
        pieces = {token_id: model.codec.token_bytes[token_id] for token_id in ids}
        return tree.database.beams.extend(tree.root, path, pieces=pieces)[-1]
