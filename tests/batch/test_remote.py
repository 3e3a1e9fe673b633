"""Jobs on a remote model: limits obeyed, patience with an end, tokens and spend counted, nothing lost."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.batch.working import outputs, spec

import endpoint_made_here as endpoint
from ramify.batch import jobs
from ramify.batch.jobs import told_of
from ramify.batch.spec import JobSpec
from ramify.models.endpoints import Endpoint
from ramify.models.registry import Registry
from ramify.models.remote import Remote, Retries, connect
from ramify.store import Database
from ramify.store.job_records import JobRecord


@pytest.fixture
def server(home: Path) -> Iterator[endpoint.Server]:
    with endpoint.serving() as found:
        Registry().add("far", "openai:far", endpoint=Endpoint(base_url=found.url))
        yield found


Waits = list[float]


@pytest.fixture
def waits() -> Waits:
    return []


@pytest.fixture
def opened(waits: Waits) -> Callable[[JobSpec], Any]:
    """The remote, with a clock that costs no time; the job says how long it may be silent."""
    clock = itertools.count()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    @contextlib.contextmanager
    def open_model(wanted: JobSpec) -> Iterator[Remote]:
        retries = Retries(tries=4, total_s=1e6, clock=lambda: float(next(clock)), sleep=sleep, jitter=lambda: 1.0)
        with connect("far", timeout_s=wanted.timeout_s, retries=retries) as remote:
            yield remote

    return open_model


def said(text: str) -> endpoint.Reply:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    choice = {"index": 0, "text": text, "finish_reason": "stop"}
    return endpoint.says({"id": "1", "model": "far-1", "choices": [choice], "usage": usage})


def echo(handler: endpoint.Handler) -> None:
    said(f"<{handler.body['prompt']}>")(handler)


def run(db: Database, folder: Path, opened: Any, prompts: list[str], **more: Any) -> JobRecord:
    settings = {"temperature": 1.0, "max_new_tokens": 5}
    wanted = spec(folder, **{"model": "far", "seeded": False, "settings": settings, "timeout_s": 1.0} | more)
    key = jobs.create(db, wanted, prompts=prompts).key
    return jobs.run(db, key, open_model=opened)


def test_rows_are_asked_together_and_counted_with_their_price(
    server: endpoint.Server, opened: Any, db: Database, tmp_path: Path
) -> None:
    server.always = echo
    prompts = [f"p{i}" for i in range(30)]
    job = run(db, tmp_path, opened, prompts, prices=(1.0, 2.0), data_parallelism=4)
    assert (job.state, job.done, job.prompt_tokens, job.completion_tokens) == ("completed", 30, 90, 60)
    assert told_of(db, job)["spend"] == pytest.approx((90 * 1.0 + 60 * 2.0) / 1e6)
    assert job.workers == {"asked": 4, "used": 1, "why": "a remote model is asked from one process, many requests at once"}
    assert [row["text"] for row in outputs(tmp_path / "out.json")] == [f"<p{i}>" for i in range(30)]
    assert sorted(body["prompt"] for body in server.bodies) == sorted(prompts)
    assert all("seed" not in body for body in server.bodies)


def test_a_limit_is_waited_for_as_long_as_it_says(
    server: endpoint.Server, opened: Any, waits: Waits, db: Database, tmp_path: Path
) -> None:
    server.script = [endpoint.says({"error": {"message": "slowly"}}, 429, retry_after="17")]
    server.always = echo
    job = run(db, tmp_path, opened, ["a"])
    assert (job.done, waits, len(server.asked)) == (1, [17.0], 2)


FAULTS: dict[str, tuple[Any, str]] = {
    "429": (endpoint.says({"error": {"message": "slowly"}}, 429), "slowly"),
    "500": (endpoint.says({"error": {"message": "broken"}}, 500), "broken"),
    "HTML": (endpoint.says("<html>Bad gateway</html>", 502, "text/html"), "502"),
    "half": (endpoint.says('{"choices": [{"ind', content_length="4000"), "far"),
    "nothing": (endpoint.slams, "far"),
    "silence": (endpoint.Handler.wait_for_end, "said nothing for 0.4 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_ends_the_job_soon_and_loses_nothing(
    server: endpoint.Server, opened: Any, db: Database, tmp_path: Path, fault: str
) -> None:
    reply, words = FAULTS[fault]
    prompts = [f"p{i}" for i in range(40)]

    def well_first(handler: endpoint.Handler) -> None:
        (echo if handler.body["prompt"] in ("p0", "p1") else reply)(handler)

    server.always = well_first
    job = run(db, tmp_path, opened, prompts, timeout_s=0.4 if fault == "silence" else 1.0)
    assert job.state == "failed"
    assert words in str(job.error)
    assert job.done == 2
    assert 1 <= job.failed <= 20
    assert len(server.asked) <= 2 + 4 * 20
    found = outputs(tmp_path / "out.json")
    assert (len(found), [row["text"] for row in found[:2]]) == (40, ["<p0>", "<p1>"])
    assert all("error" in row for row in found[2:])
    server.always = echo
    asked = len(server.asked)
    db.jobs.retry(job.key)
    job = jobs.run(db, job.key, open_model=opened)
    assert (job.state, job.done, job.failed) == ("completed", 40, 0)
    assert sorted(body["prompt"] for body in server.bodies[asked:]) == sorted(prompts[2:])


def test_an_endpoint_that_accepts_and_never_answers_does_not_outlast_the_jobs_time(
    server: endpoint.Server, opened: Any, db: Database, tmp_path: Path
) -> None:
    server.always = endpoint.Handler.wait_for_end
    job = run(db, tmp_path, opened, ["a"], timeout_s=600.0, max_runtime_sec=1)
    assert (job.state, str(job.error)[:28], db.jobs.states(job.key)["waiting"]) == ("failed", "max_runtime_sec, 1 s, was ov", 1)


def test_a_key_that_is_refused_fails_the_job_and_blames_no_row(
    server: endpoint.Server, opened: Any, db: Database, tmp_path: Path
) -> None:
    server.always = endpoint.says({"error": {"message": "who are you"}}, 401)
    job = run(db, tmp_path, opened, [f"p{i}" for i in range(40)])
    assert (job.state, job.done, job.failed, db.jobs.states(job.key)["waiting"]) == ("failed", 0, 0, 40)
    assert "who are you" in str(job.error)


def test_a_setting_that_the_endpoint_cannot_honour_is_told_for_each_row(
    server: endpoint.Server, opened: Any, db: Database, tmp_path: Path
) -> None:
    wanted = spec(tmp_path, model="far", seeded=False, settings={"temperature": 1.0, "typical_p": 0.5})
    job = jobs.run(db, jobs.create(db, wanted, prompts=["a"]).key, open_model=opened)
    assert (job.state, job.failed, server.asked) == ("completed", 1, [])
    assert "typical_p" in json.dumps(outputs(tmp_path / "out.json"))
