"""A row at work: what the model is asked, and what of its answer stands in the output. Document 002's prompts, and plain rows.

OpenAI's requests are the API's to understand (`api/batch_requests.py`); they come in through the same `Ask`.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ramify.batch.inputs import prompt_column_of
from ramify.batch.spec import JobSpec
from ramify.data_types import CompletionOutput, TokenOutput
from ramify.decoding.config import GenerationConfig
from ramify.engine.requests import CompletionResult
from ramify.errors import InputError
from ramify.models.remote import Remote, RemoteCompletion
from ramify.store.job_records import JobRow, NewResult
from ramify.workbench import remote_writing
from ramify.workbench.asking import AnyModel

__all__ = ["Ask", "Prompts", "UnderWay", "ask_model", "ask_of", "output_of"]


@dataclass(frozen=True)
class UnderWay:
    """A row whose model was asked."""

    future: "Future[Any]"
    cancel: Callable[[], object]
    read: Callable[[Any], "NewResult | UnderWay"]
    """What its answer means: the row's result, or that the model is asked once more. May raise RamifyError: the row failed."""


Ask = Callable[[AnyModel, JobRow], UnderWay]
"""How a row of one shape is asked. Raises RamifyError for a row that cannot be."""


def ask_model(
    model: AnyModel,
    prompt: Any,
    config: GenerationConfig,
    *,
    logprobs: int | None,
    read: Callable[[Any], NewResult | UnderWay],
) -> UnderWay:
    """Ask for one completion. Raises InputError, UnsupportedError."""
    if isinstance(model, Remote):
        future = remote_writing.begin(model, prompt, config, None, logprobs)
        return UnderWay(future, future.cancel, read)
    handle = model.submit(model.request(prompt, config, logprobs=logprobs))
    return UnderWay(handle.future, handle.cancel, read)


def output_of(result: CompletionResult | RemoteCompletion, *, logprobs: bool) -> CompletionOutput:
    """In document 002's shape. What an endpoint does not tell is left out."""
    if isinstance(result, CompletionResult):
        return CompletionOutput(
            text=result.generated_text,
            num_prompt_tokens=len(result.prompt_token_ids),
            num_completion_tokens=len(result.generated_token_ids),
            tokens=[TokenOutput(token=each.text, log_prob=each.logprob) for each in result.logprobs or ()] if logprobs else None,
            finish_reason=result.finish_reason,
        )
    told = result.tokens if logprobs else None
    return CompletionOutput(
        text=result.text,
        num_prompt_tokens=None if result.usage is None else result.usage.prompt_tokens,
        num_completion_tokens=0 if result.usage is None else result.usage.completion_tokens,
        tokens=None
        if told is None
        else [TokenOutput(token=each.text, log_prob=each.logprob) for each in told if each.logprob is not None],
        finish_reason=result.finish_reason,
    )


class Prompts:
    """Rows that are a prompt each, under the job's settings: the shapes `content` and `rows`."""

    def __init__(self, spec: JobSpec) -> None:
        """Raises ConfigError for settings that cannot be."""
        self.spec = spec
        self.config = GenerationConfig.from_dict(dict(spec.settings))
        if self.config.num_return_sequences != 1:
            raise InputError(
                f"num_return_sequences is {self.config.num_return_sequences}; a row has one completion here: repeat the row, "
                "or give OpenAI requests with n"
            )

    def __call__(self, model: AnyModel, row: JobRow) -> UnderWay:
        record, prompt = self.prompt_of(row)

        def read(made: Any) -> NewResult:
            return self.result(row, record, output_of(made[0], logprobs=self.spec.logprobs))

        logprobs = 0 if self.spec.logprobs else None
        return ask_model(model, prompt, self.config_of(model, row), logprobs=logprobs, read=read)

    def config_of(self, model: AnyModel, row: JobRow) -> GenerationConfig:
        """The job's, with the row's own seed; an endpoint is given one only where somebody chose it."""
        draws = self.config.samples and (self.spec.seeded or not isinstance(model, Remote))
        return self.config.replace(seed=self.spec.row_seed(row.number)) if draws else self.config

    def prompt_of(self, row: JobRow) -> tuple[Mapping[str, Any] | None, Any]:
        """The row's record, None where it is nothing but a prompt, and the prompt."""
        found = json.loads(row.request)
        if isinstance(found, str):
            return None, found
        column = prompt_column_of(found, self.spec.prompt_column)
        prompt = found[column] if column is not None else None
        if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and all(isinstance(m, Mapping) for m in prompt)):
            return found, prompt
        raise InputError(f"{column} is a {type(prompt).__name__}; a prompt is a text, or a list of messages")

    def result(self, row: JobRow, record: Mapping[str, Any] | None, output: CompletionOutput, **more: Any) -> NewResult:
        """What stands in the output: the completion, or the row's own columns with it."""
        told = {**output.model_dump(exclude_none=True), **more}
        found = told if record is None else {**record, "output": told}
        return NewResult(
            number=row.number,
            result=json.dumps(found, ensure_ascii=False, separators=(",", ":")),
            prompt_tokens=output.num_prompt_tokens or 0,
            completion_tokens=output.num_completion_tokens,
        )


def ask_of(spec: JobSpec) -> Ask:
    """How the rows of a job of document 002's or of plain rows are asked. Raises InputError."""
    if spec.tool is not None:
        from ramify.batch.evaluator import Evaluating

        return Evaluating(spec)
    return Prompts(spec)
