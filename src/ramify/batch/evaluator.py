"""`code_evaluator`: the Python that a model writes between fences is run in a sandbox, and its output fed back.

The model ends its turn with the marker `>>>`, as document 002's service had it:

    ```python
    print(6 * 7)
    ```
    42
    >>>

A turn's first whole block is run; what the model invented after its closing fence is replaced by the real output. The text so
far, with the output in it, is then completed further, until a turn has no whole block, the tokens are used up, or max_iterations.
"""

import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from ramify.batch.rows import Prompts, UnderWay, ask_model
from ramify.batch.sandbox import Limits, Outcome, Sandbox
from ramify.batch.spec import JobSpec
from ramify.data_types import CompletionOutput, TokenOutput, ToolConfig
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult
from ramify.errors import InputError
from ramify.models.remote import RemoteCompletion
from ramify.store.job_records import JobRow, NewResult
from ramify.workbench.asking import AnyModel

__all__ = ["END", "FENCE", "START", "Evaluating", "code_in"]

START, FENCE, END = "```python\n", "\n```\n", "\n>>>\n"
"""Where code begins, where it ends and is run, and where its output ends."""
BLOCK = re.compile(r"```python\n(.*?)\n```(?:\n|\Z)", re.DOTALL)
RUNS_AT_ONCE = 4
RETRIED = 2
"""How often code that fails for a missing name is tried once more, with the code of the turns before it."""
MISSING = "NameError"


def code_in(text: str) -> tuple[str, str] | None:
    """The first whole block of a turn: (everything up to its closing fence, the code); None where there is none."""
    found = BLOCK.search(text)
    return None if found is None else (text[: found.start()] + START + found[1], found[1])


@dataclass
class _Story:
    """A row's text as it grows. Spent: tokens of the row's budget, outputs included."""

    record: Mapping[str, Any] | None
    prompt: str
    text: str = ""
    made: int = 0
    """Tokens that the model made."""
    spent: int = 0
    prompt_tokens: int = 0
    tokens: list[TokenOutput] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    """What was run so far."""
    runs: list[dict[str, Any]] = field(default_factory=list)


class Evaluating:
    """Rows whose code is run. Raises InputError where there is no sandbox, or for what cannot be."""

    def __init__(self, spec: JobSpec, *, sandbox: Sandbox | None = None) -> None:
        self.tool = ToolConfig(**dict(spec.tool or {}))
        self._prompts = Prompts(spec)
        self._spec = spec
        self._budget = int(self._prompts.config.max_new_tokens or 20)
        limits = Limits(wall_s=float(self.tool.execution_timeout_seconds))
        self._sandbox = sandbox or Sandbox(limits)
        self._pool = ThreadPoolExecutor(RUNS_AT_ONCE, "ramify-sandbox")
        stops = tuple(self._prompts.config.stop_strings or ())
        # The marker always ends a turn, whatever the caller's own stop strings are.
        self._stops = (*stops, END) if END not in stops else stops

    def __call__(self, model: AnyModel, row: JobRow) -> UnderWay:
        record, prompt = self._prompts.prompt_of(row)
        if not isinstance(prompt, str):
            raise InputError("a row whose code is run has a text as its prompt, which is continued; messages are not")
        return self._turn(model, row, _Story(record, prompt))

    def _turn(self, model: AnyModel, row: JobRow, story: _Story) -> UnderWay:
        config = self._prompts.config_of(model, row).replace(
            stop_strings=self._stops, include_stop_str_in_output=False, max_new_tokens=self._budget - story.spent
        )
        if config.seed is not None:
            config = config.replace(seed=(config.seed + len(story.runs)) % 2**63)

        def read(made: Any) -> NewResult | UnderWay:
            return self._read(model, row, story, made[0])

        logprobs = 0 if self._spec.logprobs else None
        return ask_model(model, story.prompt + story.text, config, logprobs=logprobs, read=read)

    def _read(
        self, model: AnyModel, row: JobRow, story: _Story, made: CompletionResult | RemoteCompletion
    ) -> NewResult | UnderWay:
        said = made.generated_text if isinstance(made, CompletionResult) else made.text
        if not story.prompt_tokens:
            story.prompt_tokens = _prompt_tokens(made)
        found = code_in(said) if len(story.runs) < self.tool.max_iterations else None
        count = _count_made(model, made, None if found is None else found[0] + FENCE)
        story.made += count
        story.spent += count
        if found is None:
            story.text += said
            return self._done(row, story, made)
        until, code = found
        kept = (until + FENCE, _kept_tokens(made, until + "\n```") if self._spec.logprobs else [])

        def told_of(outcome: Outcome) -> NewResult | UnderWay:
            return self._ran(model, row, story, made, kept, code, outcome)

        running: Future[Any] = self._pool.submit(self._run, code, tuple(story.code))
        return UnderWay(running, running.cancel, told_of)

    def _run(self, code: str, before: tuple[str, ...]) -> Outcome:
        """Run it; where a name is missing, once more after what ran before, as one program whose earlier output is left out."""
        outcome = self._sandbox.run(code)
        for tried in range(1, RETRIED + 1):
            if not self.tool.should_retry_on_error or MISSING not in outcome.output or outcome.status == "ok" or not before:
                break
            outcome = self._sandbox.run(code, after=before if tried == 1 else before[-1:])
        return outcome

    def _ran(
        self,
        model: AnyModel,
        row: JobRow,
        story: _Story,
        made: CompletionResult | RemoteCompletion,
        kept: tuple[str, list[TokenOutput]],
        code: str,
        outcome: Outcome,
    ) -> NewResult | UnderWay:
        text, tokens = kept
        added = f"{outcome.output}{END}"
        story.text += text + added
        story.tokens += tokens
        story.code.append(code)
        story.runs.append({"status": outcome.status, "output": outcome.output})
        story.spent += _count(model, added)
        if story.spent >= self._budget:
            return self._done(
                row, story, replace(made, finish_reason="length") if isinstance(made, CompletionResult) else made, added=False
            )
        return self._turn(model, row, story)

    def _done(self, row: JobRow, story: _Story, made: CompletionResult | RemoteCompletion, *, added: bool = True) -> NewResult:
        if added and self._spec.logprobs:
            story.tokens += _kept_tokens(made, None)
        output = CompletionOutput(
            text=story.text,
            num_prompt_tokens=story.prompt_tokens,
            num_completion_tokens=story.made,
            tokens=story.tokens if self._spec.logprobs else None,
            finish_reason=made.finish_reason,
        )
        return self._prompts.result(row, story.record, output, executions=story.runs)


def _count(model: AnyModel, text: str) -> int:
    """Tokens that an output takes of the row's budget: by the model's own tokenizer, or about four characters a token."""
    return len(model.codec.encode(text)) if isinstance(model, Model) else -(-len(text) // 4)


def _prompt_tokens(made: CompletionResult | RemoteCompletion) -> int:
    if isinstance(made, CompletionResult):
        return len(made.prompt_token_ids)
    return 0 if made.usage is None else made.usage.prompt_tokens


def _count_made(model: AnyModel, made: CompletionResult | RemoteCompletion, kept: str | None) -> int:
    """Tokens that the model made, of the part of its turn that is kept; None: all. An endpoint's cannot be told apart."""
    if isinstance(made, RemoteCompletion):
        return 0 if made.usage is None else made.usage.completion_tokens
    if kept is None or not isinstance(model, Model):
        return len(made.generated_token_ids)
    size, wanted = 0, len(kept.encode())
    for count, token_id in enumerate(made.generated_token_ids):
        if size >= wanted:
            return count
        size += len(model.codec.token_bytes[token_id])
    return len(made.generated_token_ids)


def _kept_tokens(made: CompletionResult | RemoteCompletion, until: str | None) -> list[TokenOutput]:
    """The logprobs of the model's own tokens, up to where its text was cut: they are of what stands in the text."""
    told = made.logprobs if isinstance(made, CompletionResult) else made.tokens
    found: list[TokenOutput] = []
    said = ""
    for each in told or ():
        if until is not None and len(said) >= len(until):
            break
        said += each.text
        if each.logprob is not None:
            found.append(TokenOutput(token=each.text, log_prob=each.logprob))
    return found
