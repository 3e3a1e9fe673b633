"""What OpenAI's routes take: their own fields, those that vLLM added, and every setting of ours; and which settings they are.

Unknown fields are refused. What the official clients send without being asked is accepted where it changes nothing.
"""

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ramify.api.errors import ApiError
from ramify.decoding.config import GenerationConfig
from ramify.errors import ConfigError

__all__ = ["ChatRequest", "CompletionRequest", "Fields", "StreamOptions", "config_of"]


MOST_FIELDS = 200


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"it has a lone surrogate at character {error.start}; it must be Unicode text") from None
    return text


Text = Annotated[str, AfterValidator(_unicode)]
Ids = Annotated[list[int], Field(fail_fast=True)]
Texts = Annotated[list[str], Field(fail_fast=True)]


class Fields(BaseModel):
    """Nothing is ignored, and nothing is taken for what it is not (no "5" for 5)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _few(cls, given: Any) -> Any:
        """One unknown field is told at once: a million of them would be a million complaints first."""
        if isinstance(given, dict) and len(given) > MOST_FIELDS:
            raise ValueError(f"it has {len(given)} fields, and at most {MOST_FIELDS} are known")
        return given


class StreamOptions(Fields):
    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: Literal[False] | None = None


class JsonSchema(Fields):
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Fields):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema", description="With json_object, as llama.cpp's server has it.")


class StructuredOutputs(Fields):
    """vLLM's; at most one of them."""

    json_: dict[str, Any] | bool | str | None = Field(None, alias="json")
    regex: Text | None = None
    choice: list[Text] | None = None
    grammar: Text | None = None
    json_object: bool | None = None


ON_THE_WIRE = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "stop_strings": "stop",
    "num_return_sequences": "n",
}
"""Settings that are called otherwise in requests: a refusal says it as the client would."""


class Sampling(Fields):
    """How tokens are chosen. A field without a description is OpenAI's or vLLM's own, with its meaning there."""

    CALLED: ClassVar[Mapping[str, str]] = ON_THE_WIRE

    model: Text | None = Field(
        None, min_length=1, description="A name of /v1/models, or name@facet; left out, the server's default."
    )
    n: int | None = Field(None, ge=1, le=128)
    temperature: float | None = Field(None, ge=0, description="0 is greedy; left out, 1.")
    top_p: float | None = None
    stop: Text | list[Text] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = Field(None, description="Token id to a bias from -100 to 100.")
    user: Text | None = Field(None, description="A label; it changes nothing.")
    response_format: ResponseFormat | None = None

    # vLLM's.
    top_k: int | None = Field(None, ge=-1, description="0 or -1 is off.")
    min_p: float | None = None
    repetition_penalty: float | None = None
    length_penalty: float | None = None
    early_stopping: bool | Literal["never"] | None = None
    use_beam_search: bool | None = Field(None, description="num_beams is then best_of, or n.")
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    skip_special_tokens: bool | None = Field(
        None, description="false: the text has special tokens too, but not the EOS or stop token that ends it."
    )
    spaces_between_special_tokens: Literal[True] | None = None
    prompt_logprobs: int | None = Field(None, ge=0, le=100)
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    guided_json: dict[str, Any] | bool | str | None = None
    guided_regex: Text | None = None
    guided_choice: list[Text] | None = None
    guided_grammar: Text | None = None
    structured_outputs: StructuredOutputs | None = None
    priority: Literal[0] | None = None

    # Ours: GenerationConfig's, under its own names.
    do_sample: bool | None = None
    typical_p: float | None = None
    eta_cutoff: float | None = None
    epsilon_cutoff: float | None = None
    nucleus_rule: Literal["inclusive", "exclusive"] | None = None
    encoder_repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    exponential_decay_length_penalty: list[Any] | None = None
    bad_words_ids: list[list[int]] | None = None
    sequence_bias: list[list[Any]] | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    forced_eos_token_id: int | list[int] | None = None
    guidance_scale: float | None = None
    num_beams: int | None = Field(None, ge=1, le=128)
    num_beam_groups: int | None = None
    diversity_penalty: float | None = None
    beam_rule: Literal["standard", "early_stopped"] | None = None
    beam_length: Literal["generated", "prompt_and_generated"] | None = None
    penalty_alpha: float | None = None
    max_length: int | None = None
    eos_token_id: int | list[int] | None = None
    bos_token_id: int | None = None
    pad_token_id: int | None = None
    max_time: float | None = None
    json_schema: dict[str, Any] | bool | str | None = None
    regex: Text | None = None
    choices: list[Text] | None = None
    grammar: Text | None = None
    required_words: Text | list[Text] | None = None
    forbidden_words: Text | list[Text] | None = None
    use_cache: bool | None = None
    batch_size: int | None = Field(None, ge=1, description="Completions of a prompt that run together at most.")
    prompt_lookup_num_tokens: int | None = Field(None, ge=1, le=64)
    processors: list[Text] | None = None


class CompletionRequest(Sampling):
    """The body of POST /v1/completions."""

    prompt: str | Texts | Ids | Annotated[list[Ids], Field(fail_fast=True)] = Field(
        description="A text, token ids, or a list of either. Special tokens written in a text count as such."
    )
    suffix: Text | None = Field(None, description="What follows the completion, where the model can fill in.")
    max_tokens: int | None = Field(16, ge=0, description="0, with echo or prompt_logprobs, measures the prompt alone.")
    best_of: int | None = Field(None, ge=1, le=128)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=100)
    add_special_tokens: bool | None = Field(None, description="False: no BOS before a text.")


class ChatRequest(Sampling):
    """The body of POST /v1/chat/completions."""

    messages: list[dict[str, Any]]
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=100)
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = Field(None, description="Go on where the last message, the assistant's, ends.")
    add_special_tokens: Literal[False] | None = None
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="Variables that the model's own template reads.")
    tools: list[dict[str, Any]] | None = Field(None, max_length=0, description="None: completions are text here.")
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    store: Literal[False] | None = None
    metadata: dict[str, str] | None = Field(None, description="Labels; they change nothing.")
    service_tier: Literal["auto", "default"] | None = None


SAME = (
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "min_p",
    "repetition_penalty",
    "length_penalty",
    "early_stopping",
    "stop_token_ids",
    "ignore_eos",
    "do_sample",
    "typical_p",
    "eta_cutoff",
    "epsilon_cutoff",
    "nucleus_rule",
    "encoder_repetition_penalty",
    "no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "bad_words_ids",
    "sequence_bias",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_eos_token_id",
    "guidance_scale",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "beam_rule",
    "beam_length",
    "penalty_alpha",
    "max_length",
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
    "max_time",
    "required_words",
    "forbidden_words",
    "use_cache",
    "batch_size",
    "prompt_lookup_num_tokens",
    "processors",
)
"""Fields that are settings of the same name."""

SEARCHING = ("num_beams", "penalty_alpha", "beam_rule", "do_sample", "use_beam_search")
"""Fields beside which a temperature that was left out is not 1, but no temperature."""


def config_of(request: Sampling, *, max_tokens: int | None, rows: int = 1) -> GenerationConfig:
    """The settings that a request amounts to. Raises ApiError 400, naming the field as the client wrote it.

    rows: how many completions of each prompt.
    """
    found: dict[str, Any] = {name: getattr(request, name) for name in SAME if getattr(request, name) is not None}
    searches = any(getattr(request, name) for name in SEARCHING) or request.do_sample is False
    if request.temperature is not None or not searches:
        found["temperature"] = 1.0 if request.temperature is None else request.temperature
    if request.use_beam_search:
        found["num_beams"] = request.num_beams or rows
        if found["num_beams"] == 1:
            raise ApiError(
                400,
                "use_beam_search is true and there is one beam; give best_of, n or num_beams above 1, or leave it out",
                param="use_beam_search",
                code="invalid_value",
            )
    if request.top_k not in (None, -1, 0):
        found["top_k"] = request.top_k
    if request.min_tokens:
        found["min_new_tokens"] = request.min_tokens
    if request.stop:
        found["stop_strings"] = request.stop
    if request.include_stop_str_in_output:
        found["include_stop_str_in_output"] = True
    if request.logit_bias:
        found["logit_bias"] = request.logit_bias
    if max_tokens is not None:
        found["max_new_tokens"] = max_tokens
    if rows != 1:
        found["num_return_sequences"] = rows
    found |= _constraint(request)
    try:
        if all(isinstance(value, int | float) for value in found.values()):
            return _same(tuple((name, type(value), value) for name, value in found.items()))
        return GenerationConfig(**found)
    except ConfigError as error:
        raise _in_their_words(error) from None


@functools.lru_cache(256)
def _same(settings: tuple[tuple[str, type, int | float], ...]) -> GenerationConfig:
    """Requests often say the same: they get the same object, which was judged once."""
    given: dict[str, Any] = {name: value for name, _, value in settings}
    return GenerationConfig(**given)


def _in_their_words(error: ConfigError) -> ApiError:
    message = re.sub(r"\b(\w+)\b", lambda match: ON_THE_WIRE.get(match[0], match[0]), str(error))
    fields = [ON_THE_WIRE.get(field, field) for field in error.fields]
    return ApiError(400, message, param=fields[0] if fields else None, code="invalid_value")


def _constraint(request: Sampling) -> dict[str, Any]:
    """What the text must obey: one setting, however it was said. Raises ApiError where it was said twice."""
    said: list[tuple[str, str, Any]] = []
    form = request.response_format
    if form is not None and form.type == "json_schema":
        if form.json_schema is None or form.json_schema.schema_ is None:
            raise ApiError(
                400,
                "response_format is of type json_schema and has no json_schema.schema; give the schema",
                param="response_format",
                code="missing",
            )
        said.append(("response_format", "json_schema", form.json_schema.schema_))
    if form is not None and form.type == "json_object":
        said.append(("response_format", "json_schema", form.schema_ if form.schema_ is not None else {"type": "object"}))
    outputs = request.structured_outputs
    if outputs is not None:
        if outputs.json_object:
            said.append(("structured_outputs.json_object", "json_schema", {"type": "object"}))
        pairs = (("json_", "json_schema"), ("regex", "regex"), ("choice", "choices"), ("grammar", "grammar"))
        said += [
            (f"structured_outputs.{name.rstrip('_')}", setting, getattr(outputs, name))
            for name, setting in pairs
            if getattr(outputs, name) is not None
        ]
    guided = {"guided_json": "json_schema", "guided_regex": "regex", "guided_choice": "choices", "guided_grammar": "grammar"}
    own = {"json_schema": "json_schema", "regex": "regex", "choices": "choices", "grammar": "grammar"}
    said += [(name, s, getattr(request, name)) for name, s in (guided | own).items() if getattr(request, name) is not None]
    if len(said) > 1:
        names = [name for name, _, _ in said]
        raise ApiError(
            400, f"{' and '.join(names)} each say what the text must be; give one of them", param=names[1], code="invalid_value"
        )
    return {setting: value for _, setting, value in said}
