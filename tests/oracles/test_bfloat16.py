"""bfloat16 promises less than float32 (`ModelInfo.batch_invariant`), and keeps the law all the same on what is tried here."""

import random
from typing import Any

import pytest

import models_made_here
import ramify


def requests() -> list[tuple[list[int], dict[str, Any]]]:
    chance = random.Random(0)
    made = []
    for seed in range(40):
        prompt = [chance.randrange(5, 200) for _ in range(chance.randrange(5, 60))]
        sampled = {"do_sample": True, "seed": seed} if seed % 2 else {}
        made.append((prompt, {"max_new_tokens": 24, "ignore_eos": True, **sampled}))
    return made


FIRST, *OTHERS = models_made_here.MAIN


@pytest.mark.parametrize("name", [FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_request_gives_the_same_tokens_alone_remembered_and_in_company(name: str) -> None:
    # With attention in bfloat16 3 of 4 sampled requests gave other tokens; in float32 none here. The last bit of a logit may
    # still turn a near-tie (two candidates within 2**-7 of each other): should this fail, look at how near they are.
    with ramify.load(str(models_made_here.folder(name)), precision="bfloat16") as model:
        asked = requests()
        alone = []
        for prompt, fields in asked:
            model.on_engine(model.engine.tree.clear).result()
            alone.append(model.complete(prompt, logprobs=None, **fields).token_ids)
        remembered = [model.complete(prompt, logprobs=None, **fields).token_ids for prompt, fields in asked]
        model.on_engine(model.engine.tree.clear).result()
        handles = [model.submit(model.request(prompt, logprobs=None, **fields)) for prompt, fields in asked]
        together = [handle.future.result()[0].token_ids for handle in handles]
    assert remembered == alone
    assert together == alone
