"""Batch jobs as the command line, the server and the client run them: which model, which requests, which process.

It joins the batch room to what stands above it: OpenAI's requests, which the API understands, and the `ramify` command, which is
what one more process runs.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ramify.batch.jobs import log_of, told_of, with_checkpoint
from ramify.batch.rows import Ask, ask_of
from ramify.batch.spec import JobSpec
from ramify.data_types import BatchCompletionsJob, CreateBatchCompletionsRequest

if TYPE_CHECKING:
    from ramify.store.database import Database
    from ramify.store.job_records import JobRecord
    from ramify.workbench.asking import AnyModel

__all__ = ["asks", "command_of", "job_shape", "open_model", "spec_of", "start_detached"]

KEPT_BYTES = 256 * 2**20
"""Keys and values that stay for later rows: these share beginnings, and none is gone on with, as completions are."""


def asks(spec: JobSpec) -> Ask:
    """How the rows of any job are asked. Raises InputError."""
    if spec.shape in ("openai", "openai-batch"):
        from ramify.api.batch_requests import OpenAIRows

        return OpenAIRows(spec)
    return ask_of(spec)


def spec_of(asked: CreateBatchCompletionsRequest, **more: Any) -> JobSpec:
    """What document 002's request asks for. An output that is there is replaced, as LLM Engine does. Raises InputError."""
    model = asked.chosen_model
    content: dict[str, Any] = {}
    if asked.content is not None:
        content = {"settings": asked.content.settings(), "logprobs": asked.content.return_token_log_probs}
    return JobSpec(
        **{
            "model": model.model,
            "checkpoint_path": model.checkpoint_path,
            "input_path": asked.input_data_path,
            "output_path": asked.output_data_path,
            "data_parallelism": asked.data_parallelism,
            "max_runtime_sec": asked.max_runtime_sec,
            "tool": None if asked.tool_config is None else asked.tool_config.model_dump(),
            "overwrite": True,
            **({} if model.seed is None else {"seed": model.seed, "seeded": True}),
            **content,
            **more,
        }
    )


def job_shape(database: "Database", job: "JobRecord") -> BatchCompletionsJob:
    """A job in document 002's shape."""
    told = told_of(database, job)
    spec = JobSpec.from_dict(job.spec)
    expires = None if job.started_at is None else job.started_at + timedelta(seconds=spec.max_runtime_sec)
    return BatchCompletionsJob(
        job_id=job.key,
        status=job.state,
        model=spec.model,
        input_data_path=spec.input_path,
        output_data_path=spec.output_path,
        labels=dict(job.labels),
        data_parallelism=spec.data_parallelism,
        workers=told["workers"],
        num_rows=job.total,
        num_done=job.done,
        num_failed=job.failed,
        num_prompt_tokens=job.prompt_tokens,
        num_completion_tokens=job.completion_tokens,
        rows_per_sec=told["rows_per_s"],
        remaining_sec=told["left_s"],
        spend=told["spend"],
        error=job.error,
        created_at=told["created_at"],
        expires_at=None if expires is None else expires.isoformat(),
        completed_at=told["ended_at"],
    )


@contextlib.contextmanager
def open_model(spec: JobSpec) -> "Iterator[AnyModel]":
    """A job's model, loaded or connected to for it alone. Raises what loading raises."""
    from ramify.models.registry import is_remote

    if is_remote(spec.model):
        from ramify.models.remote import Retries, connect

        patient = Retries(tries=8, longest_s=60, retry_after_s=600, total_s=1800)
        with connect(spec.model, timeout_s=spec.timeout_s, retries=patient) as remote:
            yield remote
        return
    from ramify.cli.options import open_model as load

    with load(with_checkpoint(spec), **spec.how) as model:
        model.engine.tree.budget_bytes = KEPT_BYTES
        yield model


def command_of(key: str, where: str) -> Callable[[], list[str]]:
    """What starts one more process at a job."""
    return lambda: [sys.executable, "-m", "ramify", "batch", "work", key, "--workspace", where]


def start_detached(key: str, where: str) -> int:
    """Run a job in a process of its own, which goes on when this one ends; returns its number."""
    log = log_of(key)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        started = subprocess.Popen(
            [sys.executable, "-m", "ramify", "batch", "run", "--job", key, "--quiet", "--workspace", where],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
            cwd=os.getcwd(),
        )
    return started.pid
