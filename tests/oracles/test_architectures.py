"""Every architecture decodes as transformers does: over shared trunks where it can, over caches of its own where it cannot.

What is compared is what goes wrong: a prompt in pieces, several tokens and single ones on top of remembered ones, forks,
positions beyond sliding windows, and the hidden states that contrastive search reads. transformers computes every step from
the first token here: its beams do not reorder every recurrent state.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import ramify
from architectures_made_here import ALIKE, DIFFERENT
from models_made_here import TOKENIZER_SIZE, folder
from oracles import reference

ALL = [*DIFFERENT, *(pytest.param(name, marks=pytest.mark.slow) for name in ALIKE)]


@pytest.fixture(params=ALL)
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """An architecture's name and its model, closed afterwards."""
    with ramify.load(str(folder(request.param)), device="cpu", precision="float32") as model:
        yield request.param, model


def ids_of(name: str, count: int) -> list[int]:
    generator = torch.Generator().manual_seed(len(name))
    ids: list[int] = torch.randint(5, TOKENIZER_SIZE, (count,), generator=generator).tolist()
    return ids


def test_branches_give_the_logits_of_one_uncached_pass(opened: tuple[str, Any]) -> None:
    name, model = opened
    ids, others = ids_of(name, 48), ids_of(name + "others", 48)
    whole, mixed = reference.logits(name, ids).float(), reference.logits(name, [*ids[:21], *others[:12]]).float()

    def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        torch.testing.assert_close(ours, theirs, atol=3e-4 * max(1.0, float(whole.std())), rtol=0)

    trunk = model.branch(ids[:1]).extend(ids[1:17])
    assert_close(trunk.logits(), whole[16])
    for end in (24, 25, 26, 40):
        trunk.extend(ids[len(trunk.token_ids) + 1 : end])
        assert_close(trunk.logits(), whole[end - 1])
    twig = trunk.fork(at=20)
    for end in (1, 2, 7, 8, 12):
        twig.extend(others[len(twig.token_ids) - 20 : end])
        assert_close(twig.logits(), mixed[20 + end])
        twig, before = twig.fork(), twig
        before.free()
    trunk.extend(ids[40:41])
    assert_close(trunk.logits(), whole[40])


def test_greedy_search_and_beams_equal_transformers(opened: tuple[str, Any]) -> None:
    name, model = opened
    prompt = ids_of(name, 20)
    for fields in ({"max_new_tokens": 10}, {"max_new_tokens": 7, "num_beams": 3, "num_return_sequences": 2}):
        theirs = reference.generate(name, prompt, use_cache=False, **fields)
        ours = [list(result.generated_token_ids) for result in model.completions(prompt, **fields)]
        assert ours == [said.ids for said in theirs], reference.how_near(name, prompt, ours[0], theirs[0].ids)


def test_contrastive_search_equals_its_definition(opened: tuple[str, Any]) -> None:
    name, model = opened
    prompt = ids_of(name, 12)
    theirs = reference.contrastive(name, prompt, alpha=0.6, k=4, new=6)
    ours = model.complete(prompt, penalty_alpha=0.6, top_k=4, max_new_tokens=6)
    assert list(ours.generated_token_ids) == theirs
