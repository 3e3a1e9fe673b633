"""The processor's threads: one team in the process, as many as a model is quickest with."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from threadpoolctl import ThreadpoolController

import ramify
from ramify.models import threads
from ramify.settings import Settings, bound_waiting

LINUX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts the threads that Linux shows")

IN_A_PROCESS = """
import json, os
import ramify

model = ramify.load("tiny", device="cpu")
import torch

import ramify
made = model.complete("Once upon a time", max_new_tokens=4, temperature=0)
print(json.dumps({
    "team of the engine": model.on_engine(torch.get_num_threads).result(),
    "of everybody": torch.get_num_threads(),
    "ids": list(made.token_ids),
}))
"""


def in_a_process(tmp_path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "RAMIFY_", "OPENBLAS_", "MKL_"))}
    given = {**clean, "RAMIFY_HOME": str(tmp_path), **environment}
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS], env=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_small_model_has_one_thread_and_others_keep_theirs(tmp_path: Path) -> None:
    found = in_a_process(tmp_path, {})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert found["team of the engine"] == 1
    assert found["of everybody"] == cores
    # Whoever says how many gets them, and the same tokens.
    asked = in_a_process(tmp_path, {"RAMIFY_THREADS": "2"})
    assert (asked["team of the engine"], asked["of everybody"]) == (2, 2)
    assert asked["ids"] == found["ids"]


def helpers() -> int:
    return len(os.listdir("/proc/self/task"))


@LINUX
def test_no_helpers_stay_with_who_has_computed() -> None:
    if not threads._enders():
        pytest.skip("torch is not on libgomp here")
    before, wide = torch.get_num_threads(), torch.randn(400_000)
    with threads.team_for_now(3):
        torch.exp(wide)
        at_work = helpers()
        assert torch.get_num_threads() == 3
        threads.give_back()
        for _ in range(500):  # they end by themselves, a little later
            if helpers() == at_work - 2:
                break
            time.sleep(0.01)
        assert helpers() == at_work - 2
    assert torch.get_num_threads() == before


def test_a_thread_that_takes_some_leaves_the_others_theirs() -> None:
    from concurrent.futures import ThreadPoolExecutor

    before = torch.get_num_threads()
    with ThreadPoolExecutor(1) as other:
        other.submit(threads.take, before + 2).result()
        assert other.submit(torch.get_num_threads).result() == before + 2
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == before
    assert torch.get_num_threads() == before


def of_numpy() -> list[int]:
    """How many threads the OpenBLAS has that came with numpy, or else each that is loaded. Others may be loaded at any time."""
    found = ThreadpoolController().select(internal_api="openblas").lib_controllers
    return [each.num_threads for each in found if "numpy" in each.filepath] or [each.num_threads for each in found]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Two threads for each OpenBLAS, on any machine."""
    own = threads._setters()
    assert own
    monkeypatch.setattr(threads, "_setters", lambda: tuple((say, 2) for say, _ in own))
    threads._set(None)
    yield of_numpy()
    for say, count in own:
        say(count)


def test_numpy_has_one_thread_inside_and_its_own_again_after_the_last_has_left(two: list[int]) -> None:
    with threads.numpy_alone():
        with threads.numpy_alone():
            assert set(of_numpy()) == {1}
        assert set(of_numpy()) == {1}
    assert of_numpy() == two == [2] * len(two)


def test_whichever_thread_asks_numpy_obeys(two: list[int]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def inside() -> list[int]:
        with threads.numpy_alone():
            return of_numpy()

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        assert [set(asked.submit(inside).result()) for asked in (first, second, first)] == [{1}] * 3
    assert set(inside()) == {1}
    assert of_numpy() == two


def test_a_small_models_steps_have_one_thread_of_numpys_whoever_loaded_it(
    monkeypatch: pytest.MonkeyPatch, two: list[int]
) -> None:
    with ramify.load("tiny", precision="float32") as model:
        backend: Any = model.engine.backend
        if backend._lean is None or not backend._alone:
            pytest.skip("this machine's numpy does not multiply for the model")
        seen: list[list[int]] = []
        lean = backend._lean

        def watched(*given: Any) -> Any:
            seen.append(of_numpy())
            return lean(*given)

        monkeypatch.setattr(backend, "_lean", watched)
        model.complete([300] * 100, max_new_tokens=2, ignore_eos=True)
    assert seen == [[1] * len(two)] * 2
    assert of_numpy() == two


@pytest.mark.parametrize("said", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_who_says_how_to_wait_is_heard(monkeypatch: pytest.MonkeyPatch, said: dict[str, str]) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    environment = dict(said)
    bound_waiting(environment)
    assert environment == said


def test_waiting_is_bounded_before_torch_is_there_and_left_alone_after(monkeypatch: pytest.MonkeyPatch) -> None:
    late: dict[str, str] = {}
    bound_waiting(late)
    assert late == {}
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "platform", "linux")
    early: dict[str, str] = {}
    bound_waiting(early)
    assert early == {"GOMP_SPINCOUNT": "10000"}


def test_settings_say_whether_a_number_was_given(tmp_path: Path) -> None:
    home = {"RAMIFY_HOME": str(tmp_path)}
    assert [Settings.load(home | said).threads_said for said in ({}, {"RAMIFY_THREADS": "2"}, {"OMP_NUM_THREADS": "2"})] == [
        False,
        True,
        True,
    ]


def test_one_thread_is_for_small_models_alone() -> None:
    assert threads.quickest(23 * 2**20) == 1
    assert threads.quickest(2 * 10**9) is None
