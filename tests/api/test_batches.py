"""Batches over HTTP: the official openai client unmodified, and LLM Engine's routes; a crash of the server in between."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from tests.api.listening import TOKEN, Live, listening
from tests.api.serving_process import KEY, serving

from forked_ramify import Zygote
from ramify import Completion
from ramify.api.app import create_app
from ramify.data_types import CreateBatchCompletionsModelConfig, CreateBatchCompletionsRequestContent, ToolConfig
from ramify.errors import BadRequestError as OurBadRequestError
from ramify.errors import ForbiddenError
from ramify.models.registry import Registry
from ramify.store import Database
from ramify.workbench.workspace import Workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def live(folder: Path, load: Callable[[str], Any]) -> Iterator[Live]:
    (folder / "open").mkdir()
    with pytest.MonkeyPatch.context() as patch, Workspace.open(folder / "w.ramify") as workspace:
        patch.setenv("RAMIFY_HOME", str(folder / "home"))
        model = load("tiny")
        app = create_app(
            token=TOKEN,
            workspace=workspace,
            load=lambda name: _Unclosed(model),
            registry=Registry(),
            batch_roots=[str(folder / "open")],
        )
        with listening(app) as found:
            yield found


class _Unclosed:
    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def close(self) -> None:
        """Others use it."""


@pytest.fixture
def client(live: Live) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{live.url}/v1", api_key=TOKEN, max_retries=0) as opened:
        yield opened


def line(i: int | str, body: dict[str, Any], url: str = "/v1/chat/completions") -> bytes:
    return json.dumps({"custom_id": f"row-{i}", "method": "POST", "url": url, "body": body}).encode() + b"\n"


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0, **more}


def ended(client: OpenAI, key: str) -> Any:
    deadline = time.monotonic() + 120
    while (batch := client.batches.retrieve(key)).status in ("validating", "in_progress", "finalizing", "cancelling"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return batch


def lines_of(client: OpenAI, key: str | None) -> list[Any]:
    assert key is not None
    return [json.loads(each) for each in client.files.content(key).text.splitlines()]


def test_a_batch_through_the_official_client(client: OpenAI) -> None:
    rows = [line(i, chat(f"Name {i}")) for i in range(4)]
    rows.insert(2, line("bad", chat("x", temperature=-1)))
    rows.append(line("unknown", chat("x", tempature=1)))
    rows.append(line("other", {**chat("x"), "model": "huge"}))
    rows.append(line(0, chat("again")))
    rows.append(b"{torn\n")
    uploaded = client.files.create(file=("in.jsonl", b"".join(rows)), purpose="batch")
    assert (uploaded.filename, uploaded.bytes, uploaded.purpose) == ("in.jsonl", len(b"".join(rows)), "batch")
    assert client.files.content(uploaded.id).read() == b"".join(rows)
    made = client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"team": "one"}
    )
    assert made.status in ("validating", "in_progress")
    batch = ended(client, made.id)
    assert (batch.status, batch.errors, batch.metadata) == ("completed", None, {"team": "one"})
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (9, 4, 5)
    answers = lines_of(client, batch.output_file_id)
    assert [each["custom_id"] for each in answers] == ["row-0", "row-1", "row-2", "row-3"]
    for i, each in enumerate(answers):
        assert (each["error"], each["response"]["status_code"]) == (None, 200)
        alone = client.chat.completions.create(**chat(f"Name {i}"))
        assert each["response"]["body"]["choices"][0]["message"]["content"] == alone.choices[0].message.content
        assert each["response"]["body"]["usage"]["prompt_tokens"] == alone.usage.prompt_tokens  # type: ignore[union-attr]
    errors = lines_of(client, batch.error_file_id)
    assert [each["custom_id"] for each in errors] == ["row-bad", "row-unknown", "row-other", "row-0", None]
    told = [each["error"]["message"] for each in errors]
    assert "temperature" in told[0]
    assert "unknown field 'tempature'; nothing is ignored; did you mean temperature?" in told[1]
    assert "one batch has one model" in told[2]
    assert "stands in the file twice" in told[3]
    assert "it is no JSON" in told[4]
    assert made.id in [each.id for each in client.batches.list(limit=5)]
    assert {batch.output_file_id, batch.error_file_id, uploaded.id} <= {each.id for each in client.files.list()}


def test_completions_with_n_logprobs_echo_and_several_prompts_are_answered_as_the_route_does(client: OpenAI) -> None:
    body = {
        "model": "tiny",
        "prompt": ["Once", "Two"],
        "n": 2,
        "max_tokens": 3,
        "seed": 5,
        "temperature": 1.0,
        "echo": True,
        "logprobs": 1,
    }
    uploaded = client.files.create(file=("in.jsonl", line(1, body, "/v1/completions")), purpose="batch")
    made = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/completions", completion_window="1h")
    (found,) = lines_of(client, ended(client, made.id).output_file_id)
    alone = client.completions.create(**body).model_dump()  # type: ignore[call-overload]
    made_of = [
        [(c["index"], c["text"], c["finish_reason"], c["logprobs"]["tokens"]) for c in each]
        for each in (found["response"]["body"]["choices"], alone["choices"])
    ]
    assert made_of[0] == made_of[1]
    assert len(made_of[0]) == 4


def test_a_batch_is_cancelled_and_its_file_forgotten(client: OpenAI) -> None:
    rows = b"".join(line(i, chat("Write", max_tokens=200, min_tokens=200)) for i in range(300))
    uploaded = client.files.create(file=("in.jsonl", rows), purpose="batch")
    made = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.cancel(made.id).status in ("cancelling", "cancelled")
    batch = ended(client, made.id)
    assert (batch.status, batch.cancelled_at is not None) == ("cancelled", True)
    assert client.files.delete(uploaded.id).deleted
    with pytest.raises(NotFoundError):
        client.files.retrieve(uploaded.id)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"completion_window": "99h"}, "at most 48h"),
        ({"completion_window": "soon"}, "completion_window is 'soon'"),
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
    ],
)
def test_what_a_batch_cannot_be_is_told(client: OpenAI, more: dict[str, Any], words: str) -> None:
    uploaded = client.files.create(file=("in.jsonl", line(1, chat("x"))), purpose="batch")
    given: dict[str, Any] = {
        "input_file_id": uploaded.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    with pytest.raises(BadRequestError, match=words):
        client.batches.create(**(given | more))
    with pytest.raises(NotFoundError, match="there is no file 'file-none'"):
        client.batches.create(**(given | {"input_file_id": "file-none"}))


# ---------------------------------------------------------------- LLM Engine's


@pytest.fixture
def over_http(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_BASE_URL", live.url)
    monkeypatch.setenv("RAMIFY_API_KEY", TOKEN)


CONTENT = CreateBatchCompletionsRequestContent(prompts=["Once upon", "A hedgehog"], max_new_tokens=4, temperature=0.0)
MODEL = CreateBatchCompletionsModelConfig(model="tiny", labels={"team": "two"})


def job_ended(key: str) -> Any:
    deadline = time.monotonic() + 120
    while (job := Completion.get_batch_completion(key).job).status in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return job


@pytest.mark.usefixtures("over_http")
def test_document_002s_client_over_http(folder: Path) -> None:
    out = folder / "open" / "out.json"
    made = Completion.batch_create(output_data_path=str(out), model_config=MODEL, content=CONTENT, data_parallelism=4)
    job = job_ended(made.job_id)
    assert (job.status, job.num_done, job.labels, job.error) == ("completed", 2, {"team": "two"}, None)
    assert job.workers == {
        "asked": 4,
        "used": 1,
        "why": "the server has the model in memory once, and runs all rows in one batch",
    }
    texts = [row["text"] for row in json.loads(out.read_text())]
    assert texts == [
        Completion.create(model="tiny", prompt=prompt, max_new_tokens=4, temperature=0.0).output.text
        for prompt in CONTENT.prompts
    ]
    assert made.job_id in [each.job_id for each in Completion.list_batch_completions().jobs]
    assert Completion.cancel_batch_completion(made.job_id).success is False


@pytest.mark.usefixtures("over_http")
def test_paths_outside_the_roots_and_code_are_refused(folder: Path) -> None:
    for path in (str(folder / "out.json"), str(folder / "open" / ".." / "x.json"), "s3://bucket/x.json", "/etc/x"):
        with pytest.raises(ForbiddenError, match="is not open to requests of this server"):
            Completion.batch_create(output_data_path=path, model_config=MODEL, content=CONTENT)
    inside = str(folder / "open" / "o.json")
    with pytest.raises(ForbiddenError):
        Completion.batch_create(output_data_path=inside, model_config=MODEL, input_data_path="/etc/passwd")
    with pytest.raises(ForbiddenError, match="start it with --allow-code-evaluator"):
        Completion.batch_create(
            output_data_path=inside, model_config=MODEL, content=CONTENT, tool_config=ToolConfig(name="code_evaluator")
        )
    with pytest.raises(OurBadRequestError, match="data_parallelism is 65"):
        Completion.batch_create(output_data_path=inside, model_config=MODEL, content=CONTENT, data_parallelism=65)


def test_the_second_version_takes_openai_requests(live: Live, folder: Path) -> None:
    body = {
        "output_data_path": str(folder / "open" / "v2.json"),
        "model_config": {"model": "tiny"},
        "content": [{"prompt": "Once", "max_tokens": 2, "temperature": 0}, chat("Hello"), {"prompt": 5}],
    }
    with live.client() as http:
        job = http.post("/v2/batch-completions", json=body).json()
        assert (job["status"], job["num_rows"]) == ("queued", 3)
        deadline = time.monotonic() + 60
        while (job := http.get(f"/v2/batch-completions/{job['job_id']}").json()["job"])["status"] in ("queued", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert http.get("/v2/batch-completions/job-none").status_code == 404
    assert (job["status"], job["num_done"], job["num_failed"]) == ("completed", 2, 1)
    found = json.loads((folder / "open" / "v2.json").read_text())
    assert [each.get("object") for each in found] == ["text_completion", "chat.completion", None]
    assert "prompt" in found[2]["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/jobs", {"prompts": ["half \ud800"]}),
        ("/api/jobs", {"prompts": ["a"], "labels": {"a": "\ud800"}}),
        ("/api/jobs", {"prompts": ["a"], "config": {"seed": "x"}}),
        ("/api/jobs", {}),
        ("/v2/batch-completions", {"self": 1}),
        (
            "/v1/llm/batch-completions",
            {"model_config": {"model": "tiny"}, "output_data_path": "a\0b", "content": {"prompts": ["a"]}},
        ),
        (
            "/v1/llm/batch-completions",
            {"model_config": {"model": "tiny"}, "output_data_path": "~nobody/x", "content": {"prompts": ["a"]}},
        ),
        (
            "/v2/batch-completions",
            {"model_config": {"model": "tiny"}, "output_data_path": "x", "content": [{"prompt": "\ud800"}]},
        ),
    ],
)
def test_what_no_job_can_be_is_the_clients_error(live: Live, path: str, body: dict[str, Any]) -> None:
    with live.client() as http:
        answer = http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in (400, 403), answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_server_without_a_workspace_says_what_is_missing(load: Callable[[str], Any]) -> None:
    with listening(create_app(token=TOKEN, load=lambda name: _Unclosed(load("tiny")))) as bare, bare.client() as http:
        answer = http.get("/v1/batches")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_workspace")


@pytest.mark.slow
def test_a_server_that_was_killed_goes_on_with_its_batch_when_it_starts_again(zygote: Zygote, tmp_path: Path) -> None:
    Database.open(tmp_path / "w.ramify").close()
    arguments = ("--workspace", str(tmp_path / "w.ramify"))
    rows = b"".join(line(i, chat(f"Name {i}", max_tokens=24, min_tokens=24)) for i in range(200))
    with serving(zygote, tmp_path, arguments) as first, OpenAI(base_url=f"{first.url}/v1", api_key=KEY) as client:
        uploaded = client.files.create(file=("in.jsonl", rows), purpose="batch")
        made = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
        deadline = time.monotonic() + 60
        while client.batches.retrieve(made.id).request_counts.completed < 20:  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(20)
    (tmp_path / "stderr").unlink()  # which says where the first one was
    with serving(zygote, tmp_path, arguments) as second, OpenAI(base_url=f"{second.url}/v1", api_key=KEY) as client:
        batch = ended(client, made.id)
        assert (batch.status, batch.request_counts.completed) == ("completed", 200)
        assert [each["custom_id"] for each in lines_of(client, batch.output_file_id)] == [f"row-{i}" for i in range(200)]
        assert httpx2.get(f"{second.url}/health").status_code == 200
    with Database.open(tmp_path / "w.ramify") as db, db.reading() as connection:
        counted = connection.exec_driver_sql("SELECT count(*), count(DISTINCT number), max(attempt) FROM job_results").one()
    assert tuple(counted) == (200, 200, 1)
