"""The memory of keys and values: one piece a segment, given back, and used again by nobody who would read another's."""

import mmap
import random

import pytest
import torch

from ramify.models.kv_cache import KVCache
from ramify.models.kv_memory import FREE_BYTES, SMALLEST_BYTES, Memory

COUNT = 2 * SMALLEST_BYTES // 4


def memory() -> Memory:
    return Memory(torch.float32, torch.device("cpu"))


def test_what_was_given_back_is_given_to_whoever_needs_a_little_less() -> None:
    shelf = memory()
    first = shelf.take(COUNT)
    at = first.data_ptr()
    shelf.give_back(first)
    assert shelf.take(COUNT * 3 // 4).data_ptr() != at  # a quarter more than asked for at most
    assert shelf.take(COUNT + 1).data_ptr() != at
    again = shelf.take(COUNT * 9 // 10)
    assert (again.data_ptr(), len(again)) == (at, COUNT)
    assert shelf.take(COUNT).data_ptr() != at  # it is out


def test_the_nearest_size_is_given() -> None:
    shelf = memory()
    pieces = [shelf.take(count) for count in (COUNT + 300, COUNT + 100, COUNT + 200)]
    for piece in pieces:
        shelf.give_back(piece)
    assert [len(shelf.take(COUNT)) for _ in range(4)] == [COUNT + 100, COUNT + 200, COUNT + 300, COUNT]


def test_no_more_than_its_bound_waits_and_the_rest_goes_back_to_the_system() -> None:
    shelf = memory()
    count = FREE_BYTES // 4 // 4
    pieces = [shelf.take(count) for _ in range(6)]
    places = [piece.data_ptr() for piece in pieces]
    while pieces:
        shelf.give_back(pieces.pop(0))
    found = [shelf.take(count) for _ in range(4)]
    assert sorted(piece.data_ptr() for piece in found) == sorted(places[2:])
    assert not shelf._free
    assert shelf._free_bytes == 0


def test_where_the_system_has_no_mapping_the_heap_gives() -> None:
    def refuses(*_: object, **__: object) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmap, "mmap", refuses)
        assert memory().take(COUNT).shape == (COUNT,)


def test_all_layers_of_a_segment_lie_in_one_piece_which_is_there_before_they_are_written() -> None:
    layers, heads, width = 3, 2, 8
    cache = KVCache(layers)
    ones = torch.ones(heads, 5, width)
    first = cache.root()
    cache.make_room(first, 5)
    for layer in range(layers):
        cache.write(first, layer, ones, ones)
    second = cache.root()
    cache.make_room(second, 5)
    (segment, _), *_ = second.path
    stored = [*segment.keys, *segment.values]
    assert segment.memory is not None
    assert {each.untyped_storage().data_ptr() for each in stored if each is not None} == {segment.memory.data_ptr()}
    assert sum(each is None for each in stored) == 0
    assert segment.size_bytes() == segment.memory.nbytes
    for number, each in enumerate(stored):  # and none overlaps another
        each.fill_(number)  # type: ignore[union-attr]
    assert [float(each.mean()) for each in stored] == [0, 1, 2, 3, 4, 5]  # type: ignore[union-attr]


def test_a_branch_keeps_its_content_while_others_come_grow_and_go() -> None:
    """Random branches over memory that is used again, against copies of what was written."""
    layers, heads, width = 2, 2, 64
    chance = random.Random(0)
    cache = KVCache(layers)
    held: list[tuple[object, torch.Tensor]] = []

    def content(branch: object) -> torch.Tensor:
        runs = [torch.stack([segment.keys[i][:, :used] for i in range(layers)]) for segment, used in branch.path]  # type: ignore[attr-defined]
        return torch.cat(runs, dim=2)

    def extend(branch: object, before: torch.Tensor, count: int) -> torch.Tensor:
        cache.make_room(branch, count)  # type: ignore[arg-type]
        new = torch.rand(layers, heads, count, width)
        for layer in range(layers):
            cache.write(branch, layer, new[layer], -new[layer])  # type: ignore[arg-type]
        return torch.cat([before, new], dim=2)

    for _ in range(150):
        what = chance.random()
        if what < 0.35 or not held:
            root = cache.root()
            held.append((root, extend(root, torch.empty(layers, heads, 0, width), chance.choice((1, 40, 130, 400)))))
        elif what < 0.6:
            at = chance.randrange(len(held))
            branch, known = held[at]
            held[at] = branch, extend(branch, known, chance.choice((1, 1, 30)))
        elif what < 0.75:
            branch, known = chance.choice(held)
            cut = chance.randrange(1, known.shape[2] + 1)
            held.append((cache.fork(branch, cut), known[:, :, :cut]))  # type: ignore[arg-type]
        else:
            cache.free(held.pop(chance.randrange(len(held)))[0])  # type: ignore[arg-type]
        assert all(torch.equal(content(branch), known) for branch, known in held)
    for branch, _ in held:
        cache.free(branch)  # type: ignore[arg-type]
    assert cache.size_bytes == 0
