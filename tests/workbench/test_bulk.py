"""Bulk runs: many in flight, each kept as it is done, cut off anywhere and gone on with."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.endpoint_made_here import Server, chat, says, serving, silent

from ramify.engine.model import Model
from ramify.errors import ConfigError, NotFoundError, PromptTooLongError, RemoteError, UnsupportedError
from ramify.models.endpoints import Endpoint
from ramify.models.remote import Remote, Retries
from ramify.models.scripted import ScriptedBackend
from ramify.store.records import NewCompletion
from ramify.workbench.bulk import Progress
from ramify.workbench.workspace import Workspace
from workbench.test_making_completions import TABLE


@pytest.fixture
def ws(where: str) -> Iterator[Workspace]:
    with Workspace.open(where) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def local(**settings: Any) -> Model:
    return Model(ScriptedBackend(TABLE), **settings)


def far(server: Server, name: str = "far") -> Remote:
    return Remote("big", Endpoint(base_url=server.url), name=name, retries=Retries(tries=1))


def texts(ws: Workspace) -> dict[int, list[str]]:
    return {s.id: [c.text for c in ws.completions.of(s.id)] for s in reversed(ws.samples.list(limit=10_000))}


def test_every_sample_is_completed_once_by_each_model_and_asking_again_does_nothing(ws: Workspace) -> None:
    prompts = ["a", "ab", "ac", "a"]
    for prompt in prompts:
        ws.samples.add(prompt)
    told: list[Progress] = []
    one, two = local(), local()
    report = ws.generate_all(model=one, progress=lambda step: told.append(step.progress))
    assert texts(ws) == {1: ["bc"], 2: ["c"], 3: ["a"], 4: ["bc"]}
    assert (report.progress, report.errors) == (Progress(total=4, before=0, done=4), ())
    assert sorted(report.made) == [1, 2, 3, 4]
    assert [progress.done for progress in told] == [1, 2, 3, 4]
    record = ws.completions.get(1)
    assert (record.model, record.finish_reason, record.spans[0].origin, record.seed is not None) == (
        "scripted",
        "eos",
        "sampled",
        True,
    )
    assert len(ws.logprobs.get(1, "scripted").tokens) == len(record.token_ids or ())
    assert ws.generate_all(model=two).progress == Progress(total=4, before=4)
    ws.samples.add("ab")
    assert ws.generate_all(model=two).progress == Progress(total=5, before=4, done=1)
    assert ws.generate_all(model=two, run="more").progress == Progress(total=5, before=0, done=5)
    assert ws.generate_all(model=two, max_new_tokens=1).progress.done == 5
    assert Counter(len(each) for each in texts(ws).values()) == {3: 5}


def test_what_was_deleted_of_a_run_stays_deleted_and_what_was_undone_is_made_again(ws: Workspace) -> None:
    ws.samples.add_many([(prompt, "", "") for prompt in ("a", "ab", "ac")])
    model = local()
    ws.generate_all(model=model)
    (made,) = ws.completions.of(2)  # which of the three ids it got is chance: they are made together
    ws.completions.delete([made.id])
    assert ws.generate_all(model=model).progress == Progress(total=3, before=3)
    assert texts(ws) == {1: ["bc"], 2: [], 3: ["a"]}
    ws.undo()
    assert texts(ws) == {1: ["bc"], 2: ["c"], 3: ["a"]}
    ws.redo()
    assert ws.generate_all(model=model, run="more").progress.done == 3
    ws.undo()
    assert ws.generate_all(model=model).progress.before == 3
    ws.undo()
    ws.undo()
    assert texts(ws) == {1: [], 2: [], 3: []}
    assert ws.generate_all(model=model).progress.done == 3


def test_many_are_in_flight_together_and_never_more_than_batch_size_says(ws: Workspace) -> None:
    ws.samples.add_many([("a", "", "")] * 40)
    widths: list[int] = []
    backend = ScriptedBackend({})
    extend = backend.extend

    def counted(extensions: Any) -> Any:
        widths.append(len(extensions))
        return extend(extensions)

    backend.extend = counted  # type: ignore[method-assign]
    ws.generate_all(model=Model(backend), ignore_eos=True, max_new_tokens=60)
    assert max(widths) > 20
    widths.clear()
    ws.generate_all(model=Model(backend), batch_size=4, n=2, ignore_eos=True, max_new_tokens=5, do_sample=True)
    assert max(widths) <= 4
    assert all(len(each) == 3 for each in texts(ws).values())


def test_a_run_gives_what_each_sample_alone_would_give(ws: Workspace) -> None:
    ws.samples.add_many([(prompt, "", "") for prompt in ["a", "ab", "ac"] * 5])
    ws.generate_all(model=local(), do_sample=True, seed=3)
    bulk = texts(ws)
    for sample in ws.samples.list(limit=100):
        alone = ws.generate(sample, model=local(), do_sample=True, seed=3)
        assert not isinstance(alone, list)
        assert bulk[sample.id] == [alone.text]


def test_a_filter_a_saved_one_and_ids_choose(ws: Workspace) -> None:
    for n, group in enumerate(["x", "y", "x/z"]):
        ws.samples.add("a", group=group, title=str(n))
    under_x = {"field": "group", "op": "under", "value": "x"}
    ws.filters.save("mine", {"field": "title", "op": "is", "value": "1"})
    model = local()
    assert [step.id for step in ws.generate_each(under_x, model=model)] == [1, 3]
    assert [step.id for step in ws.generate_each("mine", model=model)] == [2]
    assert ws.generate_all([3, ws.samples.get(2), 3], model=model).progress == Progress(total=2, before=2)
    ws.samples.archive([1])
    assert ws.generate_all(model=model).progress.total == 2
    with pytest.raises(NotFoundError, match="there is no sample 7"):
        ws.generate_all([1, 7], model=model)


def test_a_new_revision_of_a_prompt_is_completed_anew(ws: Workspace) -> None:
    sample = ws.samples.add("a")
    ws.generate_all(model=local())
    ws.samples.revise(sample.id, "ab")
    assert ws.generate_all(model=local()).progress == Progress(total=1, before=0, done=1)
    assert texts(ws) == {1: ["bc", "c"]}


def test_settings_are_refused_before_anything_is_written(ws: Workspace, server: Server) -> None:
    ws.samples.add_many([("a", "", "")] * 3)
    with pytest.raises(ConfigError, match="temperature is -1"):
        ws.generate_all(model=local(), temperature=-1)
    with pytest.raises(UnsupportedError, match="num_beams"):
        ws.generate_each(model=[local(), far(server)], num_beams=2, max_new_tokens=4)
    with pytest.raises(UnsupportedError, match="cannot score"):
        ws.score_each([ws.write(1, "b")], model=far(server))
    assert (texts(ws), server.asked) == ({1: ["b"], 2: [], 3: []}, [])


def test_a_sample_that_cannot_be_completed_is_told_and_the_others_go_on(ws: Workspace) -> None:
    for prompt in ("a", "b" * 40, "ab"):
        ws.samples.add(prompt)
    model = Model(ScriptedBackend(TABLE, context_window=20))
    report = ws.generate_all(model=model, max_new_tokens=5)
    assert report.progress == Progress(total=3, before=0, done=2, failed=1)
    assert [(step.id, type(step.error)) for step in report.errors] == [(2, PromptTooLongError)]
    assert ws.generate_all(model=model, max_new_tokens=5).progress == Progress(total=3, before=2, failed=1)


def test_leaving_the_loop_keeps_what_is_done_and_the_same_call_goes_on(ws: Workspace) -> None:
    ws.samples.add_many([("a", "", "")] * 30)
    model = local()
    with ws.generate_each(model=model, batch_size=2) as bulk:
        for n, step in enumerate(bulk):
            assert ws.completions.get(step.made[0]).text == "bc"  # on disk before it is told
            if n == 6:
                break
    kept = sum(len(each) for each in texts(ws).values())
    assert 7 <= kept < 30
    report = ws.generate_all(model=model, batch_size=2)
    assert report.progress == Progress(total=30, before=kept, done=30 - kept)
    assert Counter(map(len, texts(ws).values())) == {1: 30}


def test_cancelling_from_another_thread_ends_the_loop(ws: Workspace) -> None:
    ws.samples.add_many([("a", "", "")] * 3)
    endless = Model(ScriptedBackend({}, context_window=10**6))
    bulk = ws.generate_each(model=endless, ignore_eos=True, max_new_tokens=10**5)
    threading.Timer(0.3, bulk.cancel).start()
    began = time.monotonic()
    assert list(bulk) == []
    assert time.monotonic() - began < 5
    assert texts(ws) == {1: [], 2: [], 3: []}
    deadline = time.monotonic() + 5
    while endless.engine.busy and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not endless.engine.busy
    assert bulk.progress == Progress(total=3, before=0)


def test_a_run_is_one_step_of_the_history_while_nothing_else_is_done(ws: Workspace) -> None:
    ws.samples.add_many([("a", "", "")] * 5)
    model = local()
    ws.generate_all(model=model, batch_size=1)
    assert next((each.name, each.detail) for each in ws.history.list()) == ("generate", "bulk by scripted")
    assert len(ws.history.list()) == 2
    ws.undo()
    assert set(map(len, texts(ws).values())) == {0}
    ws.redo()
    ws.undo()
    assert ws.generate_all(model=model, batch_size=1).progress.done == 5
    ws.facets.add("f")
    for n, step in enumerate(ws.generate_each(model=model, run="rated", batch_size=1)):
        if n == 2:
            ws.rate(step.made[0], "f", 5)
    names = [each.name for each in ws.history.list(limit=3)]
    assert names == ["generate", "rate", "generate"]
    ws.undo()
    ws.undo()
    ws.undo()
    assert Counter(map(len, texts(ws).values())) == {1: 5}


def work(where: str, heard: int) -> None:
    """A process that runs until it is killed, and says a byte for each thing done."""
    slow = ScriptedBackend(TABLE)
    extend = slow.extend

    def slowly(extensions: Any) -> Any:
        time.sleep(0.002)
        return extend(extensions)

    slow.extend = slowly  # type: ignore[method-assign]
    with Workspace.open(where) as ws:
        ws.generate_all(model=Model(slow), batch_size=4, progress=lambda _: os.write(heard, b"."))


def forked(where: str, heard: int = 2) -> int:
    child = os.fork()
    if child == 0:
        try:
            work(where, heard)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


def check_all_once(where: str, samples: int) -> None:
    with Workspace.open(where) as ws:
        assert ws.database.problems() == []
        assert Counter(map(len, texts(ws).values())) == {1: samples}
        assert {c.text for s in ws.samples.list(limit=10_000) for c in ws.completions.of(s.id)} == {"bc"}


def kill_many_times(where: str, times: int) -> None:
    with Workspace.open(where) as ws:
        ws.samples.add_many([("a", "", "")] * 30 * times)
    before, rng = 0, random.Random(0)
    for _ in range(times):
        reading, writing = os.pipe()
        child = forked(where, writing)
        os.close(writing)
        told = len(os.read(reading, 1))
        time.sleep(rng.random() * 0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told += len(os.read(reading, 10_000))
        os.close(reading)
        with Workspace.open(where) as ws:
            assert ws.database.problems() == []
            counts = Counter(map(len, texts(ws).values()))
            assert set(counts) <= {0, 1}
            assert counts[1] >= before + told
            before = counts[1]
    assert 0 < before < 30 * times
    assert os.waitstatus_to_exitcode(os.waitpid(forked(where), 0)[1]) == 0
    check_all_once(where, 30 * times)


def test_killed_again_and_again_no_sample_is_lost_or_done_twice(where: str) -> None:
    kill_many_times(where, 3)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["sqlite"], indirect=True)  # three times on both is the test above
def test_killed_at_forty_instants_no_sample_is_lost_or_done_twice(where: str) -> None:
    kill_many_times(where, 40)


def test_two_processes_that_run_the_same_do_every_sample_once(where: str) -> None:
    with Workspace.open(where) as ws:
        ws.samples.add_many([("a", "", "")] * 30)
    children = [forked(where) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    check_all_once(where, 30)


# Remote.


def test_local_and_remote_models_run_side_by_side(ws: Workspace, server: Server) -> None:
    ws.samples.add_many([("a", "", "")] * 20)
    server.always = says({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]})
    report = ws.generate_all(model=[local(), far(server)], max_new_tokens=3)
    assert report.progress == Progress(total=40, before=0, done=40)
    assert {tuple(sorted(each)) for each in texts(ws).values()} == {("bc", "x")}
    assert len(server.asked) == 20


def test_an_endpoint_holds_several_requests_and_a_cancelled_run_closes_them(ws: Workspace, server: Server) -> None:
    ws.samples.add_many([("a", "", "")] * 20)
    server.always = silent
    bulk = ws.generate_each(model=far(server), max_new_tokens=3)

    def cancel_when_full() -> None:
        ends = time.monotonic() + 60
        while len(server.asked) < 8 and time.monotonic() < ends:
            time.sleep(0.01)
        time.sleep(0.2)  # a ninth would come now
        bulk.cancel()

    threading.Thread(target=cancel_when_full).start()
    assert list(bulk) == []
    assert server.left.wait(30)
    assert len(server.asked) == 8


@pytest.mark.parametrize("status", [401, 400])
def test_an_endpoint_that_fails_every_time_is_not_asked_to_the_end(ws: Workspace, server: Server, status: int) -> None:
    ws.samples.add_many([([{"role": "user", "content": "x"}], "", "")] * 60)
    server.script = [says(chat("fine"))]
    server.always = says({"error": {"message": "no"}}, status)
    with pytest.raises(RemoteError, match="no"):
        ws.generate_all(model=far(server), max_new_tokens=3)
    assert len(server.asked) <= 30
    assert sum(map(len, texts(ws).values())) == 1
    server.always = says(chat("fine"))
    assert ws.generate_all(model=far(server), max_new_tokens=3).progress == Progress(total=60, before=1, done=59)


def test_a_failed_request_is_told_and_asked_again_by_the_same_call(ws: Workspace, server: Server) -> None:
    ws.samples.add_many([([{"role": "user", "content": "x"}], "", "")] * 5)
    server.script = [says({"error": {"message": "busy"}}, 503)]
    server.always = says(chat("fine"))
    report = ws.generate_all(model=far(server), max_new_tokens=3)
    assert (report.progress.done, report.progress.failed) == (4, 1)
    assert "busy" in str(report.errors[0].error)
    assert ws.generate_all(model=far(server), max_new_tokens=3).progress == Progress(total=5, before=4, done=1)


# Scores.


def test_everything_is_measured_once_and_what_was_measured_in_part_again(ws: Workspace) -> None:
    sample = ws.samples.add("a")
    by_hand = [ws.write(sample, text) for text in ("bc", "ca", "b")]
    model = local()
    made = ws.generate(sample, model=model)
    assert not isinstance(made, list)
    part = ws.completions.add(
        sample.id, NewCompletion(text="bc", finish_reason="written", token_ids=(1, 2), model="scripted", fingerprint="scripted")
    )
    ws.logprobs.put(part.id, "scripted", "scripted", ws.logprobs.get(made.id, "scripted").tokens[:1])
    alone = [ws.score(each, model=local()) for each in by_hand[:1]]
    report = ws.score_all(model=model)
    assert report.progress == Progress(total=5, before=2, done=3)
    assert sorted(report.made) == [by_hand[1].id, by_hand[2].id, part.id]
    assert len(ws.logprobs.get(part.id, "scripted").tokens) == 2
    assert ws.logprobs.get(by_hand[0].id, "scripted").sum_logprob == alone[0].sum_logprob
    assert ws.score_all(model=model).progress == Progress(total=5, before=5)
    assert ws.score_all([by_hand[0]], model=model).progress.total == 1
    assert ws.history.list(limit=1)[0].detail == "bulk by scripted"
    ws.undo()
    assert [m.model for m in ws.logprobs.of(by_hand[1].id)] == []


def test_an_endpoint_that_scores_is_asked_for_every_completion(ws: Workspace, server: Server) -> None:
    sample = ws.samples.add("a ")
    made = [ws.write(sample, "b") for _ in range(3)]
    told = {"tokens": ["a ", "b", "!"], "token_logprobs": [None, -0.5, -9.0], "top_logprobs": [None, {}, {}]}
    server.always = says({"choices": [{"index": 0, "text": "", "logprobs": told, "finish_reason": "length"}]})
    model = Remote("big", Endpoint(base_url=server.url, dialect="vllm"), name="far")
    assert ws.score_all(model=model).progress == Progress(total=3, before=0, done=3)
    assert [ws.logprobs.get(each.id, "far").sum_logprob for each in made] == [-0.5] * 3
    assert ws.score_all(model=model).progress.before == 3
