"""A job from its first row to its last: order, seeds, errors in place, cancelling, going on."""

import threading
from collections import Counter
from pathlib import Path

import pytest
from tests.batch.working import answers, opener, outputs, ran, spec

from ramify.batch import jobs
from ramify.batch.rows import Prompts
from ramify.batch.spec import JobSpec
from ramify.errors import ConflictError, EngineError, InputError
from ramify.store import Database

PROMPTS = [f"Row {i} says" for i in range(90)]


def test_every_row_has_its_answer_in_the_inputs_order_and_a_row_alone_is_a_row_in_company(db: Database, tmp_path: Path) -> None:
    job = ran(db, spec(tmp_path), PROMPTS)
    assert (job.state, job.total, job.done, job.failed, job.left) == ("completed", 90, 90, 0, 0)
    assert job.workers == {"asked": 1, "used": 1, "why": "1 asked for"}
    assert job.prompt_tokens == sum(map(len, PROMPTS))
    found = outputs(tmp_path / "out.json")
    assert job.completion_tokens == sum(row["num_completion_tokens"] for row in found)
    assert [set(row) for row in found] == [{"text", "num_prompt_tokens", "num_completion_tokens", "finish_reason"}] * 90
    with opener()(spec(tmp_path)) as model:
        for i in (0, 77, 89):
            alone = model.complete(PROMPTS[i], max_new_tokens=12, temperature=1.0, seed=7 + i)
            assert found[i]["text"] == alone.generated_text
    assert len(set(answers(tmp_path / "out.json"))) > 60


def test_a_prompt_that_cannot_be_is_an_error_in_its_place(db: Database, tmp_path: Path) -> None:
    job = ran(db, spec(tmp_path), ["good", "x" * 300, "bell \x07", "good"])
    assert (job.state, job.done, job.failed) == ("completed", 2, 2)
    found = outputs(tmp_path / "out.json")
    assert [next(iter(row)) for row in found] == ["text", "error", "error", "text"]
    assert found[1]["error"]["code"] == "context_length_exceeded"
    assert "the prompt has 300 tokens; the model's context window holds 200" in found[1]["error"]["message"]
    assert [row.error for row in db.jobs.rows(job.key, state="failed")] == [row["error"]["message"] for row in found[1:3]]


def test_settings_that_cannot_be_are_refused_before_there_is_a_job(db: Database, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="temperature is -1"):
        jobs.create(db, spec(tmp_path, settings={"temperature": -1}), prompts=["a"])
    with pytest.raises(InputError, match="data_parallelism is 65; it must be a whole number from 1 to 64"):
        spec(tmp_path, data_parallelism=65)
    with pytest.raises(InputError, match="there is no folder"):
        jobs.create(db, spec(tmp_path / "nowhere"), prompts=["a"])
    with pytest.raises(InputError, match="cannot be read: No such file"):
        jobs.create(db, spec(tmp_path, input_path=str(tmp_path / "none.jsonl")))
    (tmp_path / "out.json").write_text("mine")
    with pytest.raises(InputError, match="allow it with --overwrite"):
        jobs.create(db, spec(tmp_path), prompts=["a"])
    assert (list(db.jobs.list()), (tmp_path / "out.json").read_text()) == ([], "mine")


def test_two_runners_on_one_job_ask_each_row_once(file: Path, tmp_path: Path) -> None:
    log = tmp_path / "asked"
    with Database.open(file) as one, Database.open(file) as two:
        key = jobs.create(one, spec(tmp_path), prompts=PROMPTS).key
        ended = []

        def work(db: Database) -> None:
            ended.append(jobs.run(db, key, open_model=opener(log, 0.002, max_rows=8), most=10).state)

        threads = [threading.Thread(target=work, args=(db,)) for db in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert ended == ["completed", "completed"]
        asked = Counter(log.read_text().splitlines())
        assert (len(asked), set(asked.values())) == (90, {1})
        both = answers(tmp_path / "out.json")
        assert [path.name for path in tmp_path.glob(".*")] == []
        ran(one, spec(tmp_path, "alone.json"), PROMPTS)
    assert both == answers(tmp_path / "alone.json")


def test_a_cancelled_job_keeps_and_writes_what_is_done_and_retry_does_the_rest(db: Database, tmp_path: Path) -> None:
    key = jobs.create(db, spec(tmp_path), prompts=PROMPTS).key
    log = tmp_path / "asked"

    def told(job: object) -> None:
        if db.jobs.get(key).done >= 20:
            db.jobs.cancel(key)

    job = jobs.run(db, key, open_model=opener(log, 0.02, max_rows=8), most=10, told=told)
    assert job.state == "cancelled"
    assert 20 <= job.done < 90
    found = outputs(tmp_path / "out.json")
    assert sum("text" in row for row in found) == job.done
    error = {"message": "the job was cancelled before this row's turn came", "code": "cancelled"}
    assert next(row for row in found if "text" not in row) == {"error": error}
    with pytest.raises(ConflictError, match="is cancelled"):
        jobs.run(db, key, open_model=opener())
    before = len(log.read_text().splitlines())
    db.jobs.retry(key)
    assert jobs.run(db, key, open_model=opener(log)).state == "completed"
    assert len(log.read_text().splitlines()) - before == 90 - job.done
    whole = answers(tmp_path / "out.json")
    ran(db, spec(tmp_path, "alone.json"), PROMPTS)
    assert whole == answers(tmp_path / "alone.json")


def test_a_job_that_nobody_works_at_is_cancelled_at_once(db: Database, tmp_path: Path) -> None:
    key = jobs.create(db, spec(tmp_path), prompts=["a"]).key
    assert (jobs.cancel(db, key).state, (tmp_path / "out.json").exists()) == ("cancelled", False)
    assert jobs.cancel(db, key).state == "cancelled"


def test_max_runtime_ends_a_job_and_retry_gives_it_as_long_again(db: Database, tmp_path: Path) -> None:
    key = jobs.create(db, spec(tmp_path, max_runtime_sec=1), prompts=PROMPTS).key
    job = jobs.run(db, key, open_model=opener(None, 0.05, max_rows=4), most=4)
    assert (job.state, job.done > 0, job.done < 90) == ("failed", True, True)
    assert job.error == f"max_runtime_sec, 1 s, was over; `ramify batch retry {key}` gives it as long again"
    assert sum("text" in row for row in outputs(tmp_path / "out.json")) == job.done
    assert db.jobs.retry(key).run_s == 0.0


def test_an_engine_that_fails_fails_the_job_and_loses_no_row(db: Database, tmp_path: Path) -> None:
    class Broken:
        def __call__(self, model: object, row: object) -> object:
            raise EngineError("the engine failed: no")

    key = jobs.create(db, spec(tmp_path), prompts=["a", "b"]).key
    job = jobs.run(db, key, open_model=opener(), asks=lambda _: Broken())  # type: ignore[arg-type, return-value]
    assert (job.state, job.error, db.jobs.states(key)["waiting"]) == ("failed", "the engine failed: no", 2)
    db.jobs.retry(key)
    assert jobs.run(db, key, open_model=opener()).done == 2


def test_a_stop_leaves_the_job_to_be_gone_on_with(db: Database, tmp_path: Path) -> None:
    key, stop = jobs.create(db, spec(tmp_path), prompts=PROMPTS).key, threading.Event()
    job = jobs.run(
        db, key, open_model=opener(None, 0.02, max_rows=8), most=10, stop=stop, told=lambda job: job.done > 10 and stop.set()
    )
    assert (job.state, (tmp_path / "out.json").exists(), db.jobs.states(key)["leased"]) == ("running", False, 0)
    assert jobs.run(db, key, open_model=opener()).state == "completed"


def test_prompts_that_begin_alike_are_computed_once(db: Database, tmp_path: Path) -> None:
    cached: list[int] = []

    class Watching(Prompts):
        def __call__(self, model: object, row: object) -> object:  # type: ignore[override]
            under_way = super().__call__(model, row)  # type: ignore[arg-type]
            under_way.future.add_done_callback(lambda future: cached.append(future.result()[0].cached_tokens))
            return under_way

    alike = [f"{'The same long beginning of every prompt. ' * 2}{i}" for i in range(20)]
    key = jobs.create(db, spec(tmp_path), prompts=alike).key
    jobs.run(db, key, open_model=opener(), asks=lambda wanted: Watching(wanted))  # type: ignore[arg-type, return-value]
    first, *others = sorted(cached)
    assert (first, len(others), min(others) >= 80) == (0, 19, True)


def test_a_spec_survives_being_written_down_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    wanted = spec(tmp_path, prices=(0.5, 1.5), tool={"name": "code_evaluator"})
    assert JobSpec.from_dict(wanted.to_dict()) == wanted
    with pytest.raises(InputError, match="'later', which this version does not know"):
        JobSpec.from_dict({**wanted.to_dict(), "later": 1})
