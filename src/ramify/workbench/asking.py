"""Asking a model for completions, whether it is loaded here or behind an endpoint: check, start, wait or cancel."""

import concurrent.futures
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.errors import CancelledError
from ramify.models.remote import Remote
from ramify.store.records import NewCompletion, Prompt
from ramify.workbench import remote_writing
from ramify.workbench.conversion import kept_result

__all__ = ["ALTERNATIVES", "AnyModel", "Asked", "Question", "ask", "fingerprint_of", "name_of", "question"]

AnyModel = Model | Remote

ALTERNATIVES = 5
"""Kept beside each generated token."""


def name_of(model: AnyModel) -> str:
    return model.name if isinstance(model, Remote) else model.info.name


def fingerprint_of(model: AnyModel) -> str:
    return model.fingerprint if isinstance(model, Remote) else model.info.fingerprint


@dataclass(frozen=True)
class Asked:
    """Completions under way."""

    future: "Future[Any]"
    """Done when they are, or failed."""
    cancel: Callable[[], object]
    read: Callable[[Any], list[NewCompletion]]

    def completions(self) -> list[NewCompletion]:
        """Wait for them; an interrupt on the way cancels. Raises what went wrong, CancelledError where a remote was cancelled."""
        try:
            return self.read(self.future.result())
        except concurrent.futures.CancelledError:
            raise CancelledError("the request was cancelled before its answer came") from None
        except BaseException:
            self.cancel()
            raise


Question = Callable[[], Asked]
"""A request that was checked; calling it starts it."""


def question(
    model: AnyModel,
    prompt: Prompt,
    config: GenerationConfig,
    *,
    prefill: str | None = None,
    alternatives: int | None = ALTERNATIVES,
) -> Question:
    """Check all that can be checked before anything runs. Raises InputError; UnsupportedError names what cannot be done."""
    if isinstance(model, Remote):
        remote = model
        remote_writing.check(remote, prompt, config, prefill, alternatives)

        def start_remote() -> Asked:
            future = remote_writing.begin(remote, prompt, config, prefill, alternatives)
            return Asked(future, future.cancel, lambda made: [remote_writing.kept_remote(remote, config, each) for each in made])

        return start_remote
    request = model.request(prompt, config, prefill=prefill, logprobs=alternatives)

    def start() -> Asked:
        handle = model.submit(request)
        return Asked(handle.future, handle.cancel, lambda made: [kept_result(each) for each in made])

    return start


def ask(questions: Sequence[Question]) -> list[Asked]:
    """Start them all; if one does not start, none goes on."""
    started: list[Asked] = []
    try:
        for each in questions:
            started.append(each())
    except BaseException:
        for one in started:
            one.cancel()
        raise
    return started
