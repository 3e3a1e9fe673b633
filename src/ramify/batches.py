"""Batch jobs as the command line, the server and the client run them: which model, which requests, which process.

It joins the batch room to what stands above it: OpenAI's requests, which the API understands, and the `ramify` command, which is
what one more process runs.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ramify.batch.jobs import log_of, with_checkpoint
from ramify.batch.rows import Ask, ask_of
from ramify.batch.spec import JobSpec

if TYPE_CHECKING:
    from ramify.workbench.asking import AnyModel

__all__ = ["asks", "command_of", "open_model", "start_detached"]


def asks(spec: JobSpec) -> Ask:
    """How the rows of any job are asked. Raises InputError."""
    if spec.shape in ("openai", "openai-batch"):
        from ramify.api.batch_requests import OpenAIRows

        return OpenAIRows(spec)
    return ask_of(spec)


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
