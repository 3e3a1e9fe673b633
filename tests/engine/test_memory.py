"""The tree of keys and values gives back what it took, and computes nothing twice."""

import gc
import random
from collections.abc import Iterator
from typing import Any

import pytest

from ramify.engine.kv_tree import Branches
from ramify.models.base import Extension
from ramify.models.kv_cache import COPY_BELOW_TOKENS, Segment


def segments() -> list[Segment]:
    gc.collect()
    return [s for s in gc.get_objects() if isinstance(s, Segment) and s.refs > 0]


@pytest.fixture(autouse=True)
def of_other_tests() -> Iterator[None]:
    """Segments that models of other tests hold do not count here."""
    global elsewhere
    elsewhere = segments()
    yield
    elsewhere = []


elsewhere: list[Segment] = []


def counted(model: Any) -> int:
    """Bytes by the allocator's counter, checked against the segments that are really alive."""
    held: int = model.on_engine(model.engine.backend.size_bytes).result()
    before = set(map(id, elsewhere))
    assert held == sum(segment.size_bytes() for segment in segments() if id(segment) not in before)
    return held


@pytest.fixture
def llama() -> Iterator[Any]:
    """The small llama with nothing remembered and nothing running."""
    import models_made_here
    import ramify

    with ramify.load(str(models_made_here.folder("llama")), precision="float32") as model:
        yield model


def test_the_bytes_return_exactly_after_a_thousand_finished_and_cancelled_requests(llama: Any) -> None:
    before = counted(llama)
    chance = random.Random(0)
    settings: list[dict[str, Any]] = [
        {},
        {"do_sample": True, "n": 3},
        {"num_beams": 3},
        {"num_beams": 3, "beam_rule": "early_stopped"},
        {"penalty_alpha": 0.5, "top_k": 3},
        {"guidance_scale": 1.5},
        {"use_cache": False},
        {"regex": "[a-z ]{1,20}", "ignore_eos": False},
    ]
    handles = []
    for i in range(1000):
        prompt = [chance.randrange(5, 200) for _ in range(chance.randrange(1, 60))]
        fields = {"ignore_eos": True, "max_new_tokens": chance.randrange(1, 12), **settings[i % len(settings)]}
        request = llama.request(prompt, **fields)
        handle = llama.submit(request)
        handles.append(handle)
        if chance.random() < 0.5:
            if chance.random() < 0.5:
                chance.choice(handles).future.exception()
            handle.cancel()
    reasons = {result.finish_reason for handle in handles for result in handle.future.result()}
    assert reasons >= {"length", "cancelled"}
    llama.on_engine(llama.engine.tree.clear).result()
    assert counted(llama) == before == 0


def test_what_is_remembered_stays_within_its_budget(llama: Any) -> None:
    llama.engine.tree.budget_bytes = 200_000
    for i in range(40):
        llama.complete([5 + i] * 100, max_new_tokens=2)
    assert 0 < counted(llama) <= 200_000


def test_forking_a_trunk_sixteen_ways_computes_no_prefill_token_and_allocates_less_than_two_trunks() -> None:
    import ramify

    prompt = [5 + i % 200 for i in range(512)]
    with ramify.load("tiny") as tiny, tiny.branch(prompt) as trunk:
        trunk.logits()
        one_trunk = counted(tiny)
        computed = tiny.engine.computed_tokens
        forks = [trunk.fork() for _ in range(16)]
        assert tiny.engine.computed_tokens == computed
        assert counted(tiny) == one_trunk
        for i, fork in enumerate(forks):
            fork.extend(5 + i).logits()
        assert tiny.engine.computed_tokens == computed + 16
        assert one_trunk < counted(tiny) < 2 * one_trunk
        for fork in forks:
            fork.free()
        assert counted(tiny) == one_trunk


def test_sixteen_completions_compute_their_prompt_once(llama: Any) -> None:
    prompt = [5 + i % 200 for i in range(100)]
    computed = llama.engine.computed_tokens
    results = llama.completions(prompt, n=16, do_sample=True, seed=0, max_new_tokens=5, ignore_eos=True)
    # The last token of each row is chosen and never fed.
    assert llama.engine.computed_tokens - computed == 100 + 16 * 4
    assert len({result.token_ids for result in results}) > 1


def test_requests_that_begin_alike_share_the_beginning_whether_one_after_the_other_or_at_once(llama: Any) -> None:
    common = [5 + i % 190 for i in range(96)]
    computed = llama.engine.computed_tokens
    handles = [llama.submit(llama.request([*common, 7 + i, 9], max_new_tokens=1)) for i in range(4)]
    for handle in handles:
        handle.future.result()
    # The first computes all 98; each other one finds the 96 common ones remembered.
    assert llama.engine.computed_tokens - computed == 98 + 3 * 2
    again = llama.complete([*common, 7, 9], max_new_tokens=1)
    assert again.cached_tokens == 97


def test_a_beginning_of_ten_tokens_is_shared_and_one_of_seven_is_not(llama: Any) -> None:
    first = [205 - i for i in range(12)]
    llama.complete(first, max_new_tokens=1)
    cached = [llama.complete([*first[:length], 9, 11, 12], max_new_tokens=1).cached_tokens for length in (10, 7)]
    assert cached == [10, 0]


def test_a_long_shared_tail_is_left_shared_and_a_short_one_is_copied(llama: Any) -> None:
    def grow() -> tuple[int, int]:
        branches = Branches(llama.engine.tree)
        backend = llama.engine.backend
        depths = []
        for length in (COPY_BELOW_TOKENS - 1, COPY_BELOW_TOKENS):
            trunk = branches.open((), reuse=False)
            backend.extend([Extension(trunk, [5] * length)])
            fork = branches.fork(trunk)
            backend.extend([Extension(fork, [6])])
            depths.append(len(fork.path))  # type: ignore[attr-defined]
        branches.close()
        return depths[0], depths[1]

    assert llama.on_engine(grow).result() == (1, 2)
    assert counted(llama) == 0


def test_a_freed_branch_is_refused(llama: Any) -> None:
    from ramify.errors import InputError

    branch = llama.branch([5, 6, 7])
    branch.logits()
    branch.free()
    assert counted(llama) == 0
    with pytest.raises(InputError, match="was freed"):
        branch.extend(5)


def test_a_branch_that_is_forgotten_frees_its_memory(llama: Any) -> None:
    branch = llama.branch([5, 6, 7])
    branch.logits()
    assert counted(llama) > 0
    del branch
    gc.collect()
    assert counted(llama) == 0
