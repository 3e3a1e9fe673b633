"""Document 002's batch examples, to the letter but for the package, the model's name and the paths; S3 is moto's here.

A process of its own works at each job, as the examples' users have it; the quick test forks it from one that has loaded torch.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forked_ramify import ForkedRamify, Zygote
from ramify import Completion, batches
from ramify.batch.sandbox import why_not
from ramify.data_types import CreateBatchCompletionsModelConfig, CreateBatchCompletionsRequestContent
from ramify.errors import BadRequestError, NotFoundError
from ramify.models.registry import Registry

IN_THE_REQUEST = """
from ramify import Completion
from ramify.data_types import CreateBatchCompletionsModelConfig, CreateBatchCompletionsRequestContent

content = CreateBatchCompletionsRequestContent(
    prompts=["What is deep learning", "What is a neural network"],
    max_new_tokens=10,
    temperature=0.0
)

response = Completion.batch_create(
    output_data_path="s3://my-bucket/my-path",
    model_config=CreateBatchCompletionsModelConfig(
        model="llama-2-7b",
        checkpoint_path="s3://my-bucket/checkpoint-path",
        labels={"team":"my-team", "product":"my-product"}
    ),
    content=content
)
print(response.job_id)
"""

IN_A_FILE = """
from ramify import Completion
from ramify.data_types import CreateBatchCompletionsModelConfig, CreateBatchCompletionsRequestContent

# Store CreateBatchCompletionsRequestContent data into input file "s3://my-input-path"

response = Completion.batch_create(
    input_data_path="s3://my-bucket/my-input-path",
    output_data_path="s3://my-bucket/my-output-path",
    model_config=CreateBatchCompletionsModelConfig(
        model="llama-2-7b",
        checkpoint_path="s3://my-bucket/checkpoint-path",
        labels={"team":"my-team", "product":"my-product"}
    ),
    data_parallelism=2
)
print(response.job_id)
"""

WITH_A_TOOL = """
from ramify import Completion
from ramify.data_types import CreateBatchCompletionsModelConfig, CreateBatchCompletionsRequestContent, ToolConfig

# Store CreateBatchCompletionsRequestContent data into input file "s3://my-input-path"

response = Completion.batch_create(
    input_data_path="s3://my-bucket/my-input-path",
    output_data_path="s3://my-bucket/my-output-path",
    model_config=CreateBatchCompletionsModelConfig(
        model="llama-2-7b",
        checkpoint_path="s3://my-bucket/checkpoint-path",
        labels={"team":"my-team", "product":"my-product"}
    ),
    data_parallelism=2,
    tool_config=ToolConfig(
        name="code_evaluator",
    )
)
print(response.json())
"""

CONTENT = {"prompts": ["What is deep learning", "What is a neural network"], "max_new_tokens": 10, "temperature": 0.0}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A bucket that holds an input and a folder of weights, and a registry that knows the document's model."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("RAMIFY_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("RAMIFY_DEVICE", "cpu")
        for name in ("RAMIFY_WORKSPACE", "RAMIFY_BASE_URL"):
            patch.delenv(name, raising=False)
        import fsspec

        fsspec.config.conf.pop("s3", None)
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        files.mkdir("my-bucket")
        files.pipe_file("my-bucket/my-input-path", json.dumps(CONTENT).encode())
        Registry().add("llama-2-7b", "tiny")
        for file in Path(Registry().show("tiny").target).iterdir():
            if file.is_file():
                files.put_file(str(file), f"my-bucket/checkpoint-path/{file.name}")
        yield files
    server.stop()


@pytest.fixture
def forked(zygote: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's process begins as a fork, which has its own everything and costs no second reading of torch."""

    def begun(command: list[str], *, stdout: Any, **how: Any) -> ForkedRamify:
        assert command[:3] == [sys.executable, "-m", "ramify"]
        return ForkedRamify(zygote, command[3:], environment=dict(os.environ), log=Path(stdout.name))

    monkeypatch.setattr(batches, "subprocess", SimpleNamespace(Popen=begun, DEVNULL=subprocess.DEVNULL))


def said(example: str, capsys: pytest.CaptureFixture[str]) -> str:
    exec(compile(example, "document 002", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out.strip()


def ended(job_id: str, wait_s: float = 240) -> Any:
    deadline = time.monotonic() + wait_s
    while (job := Completion.get_batch_completion(job_id).job).status in ("queued", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
    return job


def written(s3: Any, path: str) -> list[Any]:
    s3.invalidate_cache()
    found: list[Any] = json.loads(s3.cat_file(path))
    return found


def test_prompts_in_the_request(s3: Any, forked: None, capsys: pytest.CaptureFixture[str]) -> None:
    job = ended(said(IN_THE_REQUEST, capsys))
    assert (job.status, job.error, job.num_done, job.num_failed) == ("completed", None, 2, 0)
    assert (job.labels, job.workers) == (
        {"team": "my-team", "product": "my-product"},
        {"asked": 1, "used": 1, "why": "1 asked for"},
    )
    found = written(s3, "my-bucket/my-path")
    assert [set(row) for row in found] == [{"text", "num_prompt_tokens", "num_completion_tokens", "finish_reason"}] * 2
    alone = [
        Completion.create(model="tiny", prompt=prompt, max_new_tokens=10, temperature=0.0).output
        for prompt in CONTENT["prompts"]  # type: ignore[attr-defined]
    ]
    assert [row["text"] for row in found] == [each.text for each in alone]
    assert [each for each in s3.find("my-bucket") if ".part" in each] == []


@pytest.mark.slow  # three processes, each of which reads torch
def test_prompts_in_a_file_and_two_parallel_jobs(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    job = ended(said(IN_A_FILE, capsys))
    assert (job.status, job.error, job.num_done, job.workers["asked"]) == ("completed", None, 2, 2)
    assert job.workers["used"] <= 2
    assert job.workers["why"]
    assert [row["text"] for row in written(s3, "my-bucket/my-output-path")] == [
        Completion.create(model="tiny", prompt=prompt, max_new_tokens=10, temperature=0.0).output.text
        for prompt in CONTENT["prompts"]  # type: ignore[attr-defined]
    ]


@pytest.mark.skipif(why_not() is not None, reason=f"no sandbox here: {why_not()}")
@pytest.mark.slow
def test_a_tool(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(said(WITH_A_TOOL, capsys))
    assert set(answer) == {"job_id"}
    job = ended(answer["job_id"])
    assert (job.status, job.error, job.num_done) == ("completed", None, 2)
    assert [row["executions"] for row in written(s3, "my-bucket/my-output-path")] == [[], []]


@pytest.mark.slow
def test_sixty_four_workers_and_two_prompts(s3: Any, tmp_path: Path) -> None:
    made = Completion.batch_create(
        output_data_path=str(tmp_path / "out.json"),
        model_config=CreateBatchCompletionsModelConfig(model="tiny"),
        content=CreateBatchCompletionsRequestContent(prompts=["a", "b"], max_new_tokens=2, temperature=0.0),
        data_parallelism=64,
    )
    job = ended(made.job_id)
    assert (job.status, job.num_done, job.workers["asked"]) == ("completed", 2, 64)
    assert 1 <= job.workers["used"] <= 2
    assert job.workers["why"].startswith(("rows to do: 2", "this machine gives", "this machine has"))
    assert len(json.loads((tmp_path / "out.json").read_text())) == 2
    assert made.job_id in [each.job_id for each in Completion.list_batch_completions().jobs]
    assert Completion.cancel_batch_completion(made.job_id).success is False


def test_what_cannot_be_is_refused_before_there_is_a_job(s3: Any, tmp_path: Path) -> None:
    model = CreateBatchCompletionsModelConfig(model="llama-2-7b")
    content = CreateBatchCompletionsRequestContent(prompts=["a"])
    before = len(Completion.list_batch_completions().jobs)
    with pytest.raises(BadRequestError, match="names a bucket or folder and no file in it"):
        Completion.batch_create(output_data_path="s3://my-path", model_config=model, content=content)
    with pytest.raises(BadRequestError, match="there is no s3://my-bucket/nothing"):
        Completion.batch_create(
            output_data_path=str(tmp_path / "o"), model_config=model, input_data_path="s3://my-bucket/nothing"
        )
    with pytest.raises(NotFoundError, match="no model is named 'nobody'"):
        Completion.batch_create(
            output_data_path=str(tmp_path / "o"), model_config=CreateBatchCompletionsModelConfig(model="nobody"), content=content
        )
    with pytest.raises(NotFoundError, match="there is no job 'job-none'"):
        Completion.get_batch_completion("job-none")
    assert len(Completion.list_batch_completions().jobs) == before
