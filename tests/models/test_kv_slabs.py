"""Slots of one size side by side: given once, given back, and zeros until somebody writes; rows in them step as they do alone."""

import mmap
from typing import Any

import pytest
import torch
from tests.models.test_transformers_backend import IDS, backend

import models_made_here
from ramify.models import kv_slabs
from ramify.models.base import Extension
from ramify.models.batch_plan import Abreast
from ramify.models.kv_cache import KVCache
from ramify.models.kv_slabs import WARM_BYTES, Slabs


def test_a_slot_holds_zeros_whoever_had_it_before() -> None:
    slabs = Slabs(2, 2, 32)
    slab, slot = slabs.take(20) or pytest.fail("no slot")
    assert slab.block.shape[1:] == (2, 2, 2, 32, 32)
    slab.block[slot].fill_(torch.nan)
    beside = slabs.take(32)
    slabs.give_back(slab, slot)
    assert slabs.take(17) == (slab, slot)
    assert beside == (slab, slot + 1)
    assert not slab.block[slot].any()


def test_a_long_segment_has_memory_of_its_own() -> None:
    cache = KVCache(1, (2, 32))
    branch = cache.root()
    cache.make_room(branch, 500)
    assert branch.path[0][0].slab is None
    assert branch.path[0][0].block is not None


def test_free_slots_beyond_a_bound_go_back_to_the_system_and_empty_slabs_too() -> None:
    slabs = Slabs(2, 2, 64)
    taken = [slabs.take(512) or pytest.fail("no slot") for _ in range(70)]
    first, second = taken[0][0], taken[-1][0]
    assert first is not second
    for slab, slot in taken:
        slab.block[slot].fill_(1)
        slabs.give_back(slab, slot)
    assert sum(len(slab.warm) * slab.slot_bytes for slab in (second,)) <= WARM_BYTES
    assert slabs._of[512] == [second]
    assert slabs._warm_bytes == len(second.warm) * second.slot_bytes
    assert not any(second.block[slot].any() for slot in range(len(second.block)) if slot not in second.warm)


def test_where_the_system_has_no_mapping_a_segment_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(kv_slabs.mmap, "mmap", refuses)
    cache = KVCache(1, (2, 32))
    branch = cache.root()
    cache.make_room(branch, 5)
    assert branch.path[0][0].slab is None


@pytest.mark.parametrize("gone", [(), (1, 2), (2, 3, 4, 5, 6, 7), (0, 9)])
def test_rows_in_neighbouring_slots_say_what_they_say_alone(gone: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows of many lengths in one slab, of which some leave; the others step in another order, one call a neighbourhood."""
    ours: Any = backend(models_made_here.folder("llama"))
    calls: list[int] = []
    alone = Abreast.alone

    def watched(self: Any, layer: int, *rest: Any) -> Any:
        if layer == 0:
            calls.append(len(self.rows))
        return alone(self, layer, *rest)

    def rows() -> list[Any]:
        found = []
        for i in range(10):
            found.append(ours.root())
            ours.extend([Extension(found[-1], IDS[: 4 + i], 1)])
        return found

    expected = [ours.extend([Extension(row, [60 + i], 1)])[0] for i, row in enumerate(rows())]
    fresh = rows()
    for i in gone:
        ours.free(fresh[i])
    left = [i for i in reversed(range(10)) if i not in gone]
    monkeypatch.setattr(Abreast, "alone", watched)
    together = ours.extend([Extension(fresh[i], [60 + i], 1) for i in left])
    for place, i in enumerate(left):
        torch.testing.assert_close(together[place], expected[i], atol=1e-5, rtol=1e-5)
    assert calls == ([2, 2] if len(gone) == 6 else [8] if 0 in gone else [10])
