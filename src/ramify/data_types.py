"""What document 002's client and routes say to each other: the shapes of LLM Engine's requests and answers.

Every shape is validated at birth, from keywords or from JSON: an unknown name, a value out of range or a contradiction is a
BadRequestError that names the parameter. `json()` gives one line of JSON text, parts that are None left out.
"""

import difflib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ramify.errors import BadRequestError

__all__ = [
    "BatchCompletionsJob",
    "CancelBatchCompletionsResponse",
    "CompletionOutput",
    "CompletionRequest",
    "CompletionStreamOutput",
    "CompletionStreamResponse",
    "CompletionSyncResponse",
    "CreateBatchCompletionsModelConfig",
    "CreateBatchCompletionsRequest",
    "CreateBatchCompletionsRequestContent",
    "CreateBatchCompletionsResponse",
    "GetBatchCompletionsResponse",
    "ListBatchCompletionsResponse",
    "StreamError",
    "StreamErrorContent",
    "TokenOutput",
    "ToolConfig",
]

SHOWN = 100
"""Characters of a refused value that its error repeats."""


class Shape(BaseModel):
    """A shape whose refusals are ours."""

    def __init__(self, /, **fields: Any) -> None:
        # Before pydantic, which would gather a complaint for each of a million unknown names.
        if self.model_config.get("extra") == "forbid":
            names = [field.alias or key for key, field in type(self).model_fields.items()]
            unknown = next((name for name in fields if name not in names and name not in type(self).model_fields), None)
            if unknown is not None:
                raise _unknown(unknown, names)
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise _refusal(error, type(self)) from None

    def json(self) -> str:  # type: ignore[override]
        """One line of JSON text, parts that are None left out."""
        return json.dumps(self.model_dump(mode="json", by_alias=True, exclude_none=True), ensure_ascii=False)


class Answer(Shape):
    """What a service says. Parts that a newer service adds are kept."""

    model_config = ConfigDict(extra="allow")


class Request(Shape):
    """What a user says. Nothing is ignored, and nothing is taken for what it is not (no "5" for 5, no True for 1)."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


# --- answers


class TokenOutput(Answer):
    """A token and its logprob, in nats, at temperature 1."""

    token: str
    log_prob: float


class CompletionOutput(Answer):
    """A whole completion."""

    text: str
    num_prompt_tokens: int | None = None
    num_completion_tokens: int
    tokens: list[TokenOutput] | None = None
    """One a generated token, EOS included; None unless return_token_log_probs was asked for."""
    finish_reason: str | None = None
    """eos, stop (a stop sequence), length or time; None from a service that does not say."""


class CompletionSyncResponse(Answer):
    """The answer to `Completion.create`."""

    request_id: str
    output: CompletionOutput


class CompletionStreamOutput(Answer):
    """A piece of a completion: the joined texts are the whole."""

    text: str
    finished: bool
    num_prompt_tokens: int | None = None
    """On the last piece only."""
    num_completion_tokens: int | None = None
    """So far."""
    token: TokenOutput | None = None
    """Where return_token_log_probs was asked for: one token a piece."""
    finish_reason: str | None = None
    """On the last piece only."""


class StreamErrorContent(Answer):
    error: str
    timestamp: str
    """ISO 8601, UTC."""


class StreamError(Answer):
    """What went wrong after a stream began."""

    status_code: int
    content: StreamErrorContent


class CompletionStreamResponse(Answer):
    """One event of a stream: a piece in `output`, or the end of it in `error`."""

    request_id: str
    output: CompletionStreamOutput | None = None
    error: StreamError | None = None


# --- requests


def _written(text: str) -> str:
    """The text, where UTF-8 can write it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"it holds half a character (a lone surrogate) at {error.start}; UTF-8 must be able to write it"
        ) from None
    return text


def _json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, where JSON can write it."""
    try:
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"JSON cannot write it ({error}); give a JSON Schema of plain values") from None
    return schema


Text = Annotated[str, AfterValidator(_written)]
Words = Annotated[Text, Field(min_length=1)]


def _allows(allowed: str, default: Any = None, **bounds: Any) -> Any:
    return Field(default, description=allowed, **bounds)


class Sampling(Request):
    """What all requests may say of how tokens are chosen."""

    max_new_tokens: int = _allows("a whole number >= 1", 20, ge=1)
    temperature: float = _allows("a number from 0 (greedy) to 1", 0.2, ge=0, le=1)
    stop_sequences: list[Words] | None = _allows("a list of strings that are not empty")
    return_token_log_probs: bool = _allows("True or False", False)
    presence_penalty: float | None = _allows("a number from 0 to 2", ge=0, le=2)
    frequency_penalty: float | None = _allows("a number from 0 to 2", ge=0, le=2)
    top_k: int | None = _allows("a whole number >= 1, or -1 for off", ge=-1)
    top_p: float | None = _allows("above 0, at most 1 (off)", gt=0, le=1)
    skip_special_tokens: Literal[True] = _allows("True: a completion's text holds no special tokens here", True)

    @model_validator(mode="after")
    def _contradictions(self) -> Self:
        if self.top_k == 0:
            raise ValueError("top_k is 0; it must be strictly positive, or -1 or left out for off")
        if self.temperature == 0 and (self.top_k not in (None, -1) or self.top_p not in (None, 1)):
            raise ValueError(
                "top_k and top_p cannot be used when temperature is 0, which is greedy; leave them out, or raise temperature"
            )
        return self

    def settings(self) -> dict[str, Any]:
        """The same as fields of a GenerationConfig."""
        found: dict[str, Any] = {"max_new_tokens": self.max_new_tokens, "temperature": self.temperature}
        if self.stop_sequences:
            found["stop_strings"] = tuple(self.stop_sequences)
        if self.top_k not in (None, -1):
            found["top_k"] = self.top_k
        for name in ("presence_penalty", "frequency_penalty", "top_p"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        return found


class CompletionRequest(Sampling):
    """The body of `completions-sync` and `completions-stream`; the model's name is in their address."""

    prompt: Text = _allows("a string", ...)
    include_stop_str_in_output: bool | None = _allows("True or False")
    guided_json: Annotated[dict[str, Any], AfterValidator(_json_schema)] | None = _allows("a JSON Schema, as a dict")
    guided_regex: Text | None = _allows("a regular expression that is not empty", min_length=1)
    guided_choice: list[Words] | None = _allows("a list of strings, not empty", min_length=1)
    guided_grammar: Text | None = _allows("a Lark grammar with a rule `start`", min_length=1)
    seed: int | None = _allows("a whole number from 0 to 2**63 - 1", ge=0, le=2**63 - 1)

    @model_validator(mode="after")
    def _one_guide(self) -> Self:
        given = [name for name in GUIDES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given together; only one of {', '.join(GUIDES)} can be")
        return self

    def settings(self) -> dict[str, Any]:
        found = super().settings()
        for name, setting in GUIDES.items():
            if getattr(self, name) is not None:
                found[setting] = getattr(self, name)
        if self.include_stop_str_in_output and self.stop_sequences:
            found["include_stop_str_in_output"] = True
        if self.seed is not None:
            found["seed"] = self.seed
        return found


GUIDES = {"guided_json": "json_schema", "guided_regex": "regex", "guided_choice": "choices", "guided_grammar": "grammar"}
"""The parameters that constrain a completion, and the settings that they are."""


class CreateBatchCompletionsModelConfig(Request):
    """Which model a batch runs on."""

    model: str = _allows("a model's name", ..., min_length=1)
    checkpoint_path: str | None = _allows("a folder or URL of weights, in place of the model's own", min_length=1)
    labels: dict[str, str] = _allows("a dict of strings", {})
    seed: int | None = _allows("a whole number from 0 to 2**63 - 1", ge=0, le=2**63 - 1)


class CreateBatchCompletionsRequestContent(Sampling):
    """Prompts and how to complete them: what a batch is given, or what its input file holds."""

    prompts: list[Text] = _allows("a list of strings, not empty", ..., min_length=1)


class ToolConfig(Request):
    """A tool whose output is fed back into the completion."""

    name: Literal["code_evaluator"] = _allows('"code_evaluator"', ...)
    max_iterations: int = _allows("a whole number >= 1", 10, ge=1)
    execution_timeout_seconds: int = _allows("a whole number >= 1", 60, ge=1)
    should_retry_on_error: bool = _allows("True or False", True)


class CreateBatchCompletionsRequest(Request):
    """A batch: its prompts in `content`, or in the file at input_data_path."""

    input_data_path: str | None = _allows("a path or URL", min_length=1)
    output_data_path: str = _allows("a path or URL", ..., min_length=1)
    # pydantic keeps the name `model_config` for itself.
    chosen_model: CreateBatchCompletionsModelConfig = _allows("a CreateBatchCompletionsModelConfig", ..., alias="model_config")
    content: CreateBatchCompletionsRequestContent | None = _allows("a CreateBatchCompletionsRequestContent")
    data_parallelism: int = _allows("a whole number from 1 to 64", 1, ge=1, le=64)
    max_runtime_sec: int = _allows("a whole number from 1 to 172800 (two days)", 86400, ge=1, le=172800)
    tool_config: ToolConfig | None = _allows("a ToolConfig")
    labels: dict[str, str] | None = _allows("a dict of strings; left out, the model_config's")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.input_data_path is None) == (self.content is None):
            given = "neither is" if self.content is None else "both are"
            raise ValueError(f"{given} given: the prompts come from exactly one of input_data_path and content")
        return self


class CreateBatchCompletionsResponse(Answer):
    job_id: str


class BatchCompletionsJob(Answer):
    """A job as it is at this moment."""

    job_id: str
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    model: str
    input_data_path: str | None = None
    output_data_path: str
    labels: dict[str, str] = {}
    data_parallelism: int = 1
    workers: dict[str, Any] | None = None
    """How many processes were asked for, how many work, and why so many."""
    num_rows: int | None = None
    """None until the input was read to its end."""
    num_done: int = 0
    num_failed: int = 0
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    rows_per_sec: float | None = None
    remaining_sec: float | None = None
    spend: float | None = None
    error: str | None = None
    created_at: str
    """ISO 8601, UTC, as all times here."""
    expires_at: str | None = None
    completed_at: str | None = None


class GetBatchCompletionsResponse(Answer):
    job: BatchCompletionsJob


class ListBatchCompletionsResponse(Answer):
    jobs: list[BatchCompletionsJob]


class CancelBatchCompletionsResponse(Answer):
    success: bool
    """Whether the job ends because of this; False: it had ended."""


# --- refusals


def _refusal(error: ValidationError, shape: type[BaseModel]) -> BadRequestError:
    """The first thing that is wrong, in our words."""
    first = error.errors(include_url=False)[0]
    where = [str(part) for part in first["loc"]]
    # Some parts of a place name the validator and not the value: what follows a field that is a choice of types.
    name, top = ".".join(where), where[0] if where else None
    kind = first["type"]
    if kind == "value_error":
        return BadRequestError(f"{name}: {first['ctx']['error']}" if name else str(first["ctx"]["error"]), param=top)
    names = {field.alias or key: field for key, field in shape.model_fields.items()}
    allowed = names[top].description if top in names and names[top].description else first["msg"]
    if kind == "missing":
        return BadRequestError(f"{name} is missing; it must be {allowed}", param=top)
    subject = "it" if name == top else str(top)
    return BadRequestError(f"{name} is {_shown(first['input'])}; {subject} must be {allowed}", param=top)


def _unknown(name: str, names: list[str]) -> BadRequestError:
    near = difflib.get_close_matches(name[:SHOWN], names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the parameters are {', '.join(names)}"
    return BadRequestError(f"{name[:SHOWN]} is not a parameter; {hint}", param=name[:SHOWN])


def _shown(value: object) -> str:
    found = repr(value)
    return found if len(found) <= SHOWN else found[:SHOWN] + "…"
