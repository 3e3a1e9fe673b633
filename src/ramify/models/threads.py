"""The processor's threads: how many work at a model, and that all of them are one team.

Each thread that starts a parallel loop of torch gets helpers of its own from libgomp, and they stay with it. Helpers wait for the
next loop by looking for it while they are no more than the processors; as soon as there are more, of two teams on two processors,
they sleep after every loop, and waking them takes longer than most loops. So whoever has computed gives the team back.
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path

import torch

__all__ = ["give_back", "numpy_alone", "numpy_obeys", "quickest", "take", "team_for_now"]

SMALL_BYTES = 64 * 2**20
"""Weights in memory below which a model has one thread: `tiny` has 23 MB, Qwen2-0.5B 2 GB, and between nothing was measured."""

_lock = threading.Lock()
_alone = 0


def quickest(weight_bytes: int) -> int | None:
    """How many threads a step of a model is quickest with: one for a small model, None (as many as there are) for others."""
    return 1 if weight_bytes < SMALL_BYTES else None


def take(count: int | None) -> None:
    """Let torch's loops on this thread have `count` threads; None leaves the number as it is. Other threads keep theirs."""
    if count is None or count == torch.get_num_threads():
        return
    # torch sets this thread's number, and that of all threads to come. The second is put back.
    with ThreadPoolExecutor(1) as other:
        everybody = other.submit(torch.get_num_threads).result()
        torch.set_num_threads(count)
        other.submit(torch.set_num_threads, everybody).result()


def give_back() -> None:
    """End the helpers of this thread; its next loop gets new ones, for some 0.1 ms. Without libgomp nothing happens."""
    for end in _enders():
        end(1)  # omp_pause_soft: what was set stays


@contextlib.contextmanager
def team_for_now(count: int | None = None) -> Iterator[None]:
    """Compute inside with `count` threads and leave no helpers behind. None leaves the number as it is."""
    before = torch.get_num_threads()
    take(count)
    try:
        yield
    finally:
        take(before)
        give_back()


@contextlib.contextmanager
def numpy_alone() -> Iterator[None]:
    """Let numpy's matrix products inside have one thread. For the whole process: another thread's have one meanwhile, too."""
    global _alone
    if all(count == 1 for _, count in _setters()):
        yield
        return
    with _lock:
        _alone += 1
        if _alone == 1:
            _set(1)
    try:
        yield
    finally:
        with _lock:
            _alone -= 1
            if _alone == 0:
                _set(None)


def numpy_obeys() -> bool:
    """Whether `numpy_alone` can do what it says."""
    return bool(_setters())


def _set(number: int | None) -> None:
    """Let every OpenBLAS have so many threads; None gives each its own number again. For holders of the lock."""
    for say, count in _setters():
        say(number or count)


@cache
def _setters() -> tuple[tuple[Callable[[int], object], int], ...]:
    """Of each OpenBLAS that is loaded, what sets its number of threads, and how many it has outside of `numpy_alone`.

    threadpoolctl finds them. Its own setter is heard from one thread of the process only, and lets go of the interpreter at each
    call, for which an event loop beside it waits: an engine's steps in a server took an eighth longer.
    """
    from threadpoolctl import ThreadpoolController

    found: list[tuple[Callable[[int], object], int]] = []
    for library in ThreadpoolController().select(internal_api="openblas").lib_controllers:
        loaded = ctypes.PyDLL(library.filepath)
        for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64")):
            if (say := getattr(loaded, f"{prefix}openblas_set_num_threads{suffix}", None)) is not None:
                found.append((say, library.num_threads))
                break
    return tuple(found)


@cache
def _enders() -> tuple[Callable[[int], int], ...]:
    """`omp_pause_resource_all` of every libgomp in this process."""
    maps = Path("/proc/self/maps")
    if not maps.exists() or not hasattr(os, "RTLD_NOLOAD"):
        return ()
    paths = dict.fromkeys(line.split(maxsplit=5)[5] for line in maps.read_text().splitlines() if "libgomp" in line)
    found = []
    for path in paths:
        with contextlib.suppress(OSError, AttributeError):
            found.append(ctypes.CDLL(path, mode=os.RTLD_NOLOAD).omp_pause_resource_all)
    return tuple(found)
