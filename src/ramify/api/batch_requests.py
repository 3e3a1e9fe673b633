"""OpenAI's requests as rows of a job: understood and answered as the server would, by a model in memory or a remote one."""

import json
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from pydantic import BaseModel, ValidationError

from ramify.api.errors import ApiError, nearest
from ramify.api.openai_answers import REASONS
from ramify.api.openai_fields import ChatRequest, CompletionRequest
from ramify.api.openai_wanted import Wanted, wanted_of_chat, wanted_of_completion
from ramify.api.parts import Answer
from ramify.batch.rows import UnderWay
from ramify.batch.spec import JobSpec
from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.engine.requests import Scored
from ramify.engine.tasks import Handle
from ramify.errors import BadRequestError, UnsupportedError
from ramify.models.remote import Remote, RemoteCompletion
from ramify.store.job_records import JobRow, NewResult
from ramify.workbench import remote_writing
from ramify.workbench.asking import AnyModel, name_of

__all__ = ["ENDPOINTS", "OpenAIRows"]

ENDPOINTS: Mapping[str, type[ChatRequest | CompletionRequest]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
}
"""What a line's `url` may be, and the body that goes there."""


class OpenAIRows:
    """The shapes `openai` and `openai-batch`."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self._strict = bool(spec.extra.get("one_model"))
        self._endpoint = spec.extra.get("endpoint")

    def __call__(self, model: AnyModel, row: JobRow) -> UnderWay:
        record = json.loads(row.request)
        body = self._body(record)
        try:
            wanted = wanted_of_chat(body) if isinstance(body, ChatRequest) else wanted_of_completion(body)
            if body.stream:
                raise ApiError(400, "stream is true, and a batch has no streams; leave it out", param="stream")
            if isinstance(model, Remote):
                return self._remote(model, row, record, body, wanted)
            return self._local(model, row, record, wanted)
        except ApiError as error:
            raise BadRequestError(str(error), status=error.status, param=error.param, code=error.code) from None

    # ------------------------------------------------------------ what was asked

    def _body(self, record: Mapping[str, Any]) -> ChatRequest | CompletionRequest:
        given = record
        kind: type[ChatRequest | CompletionRequest] = ChatRequest if "messages" in record else CompletionRequest
        if self.spec.shape == "openai-batch":
            given, url = record["body"], record.get("url", self._endpoint)
            if record.get("method", "POST") != "POST" or url not in ENDPOINTS:
                raise BadRequestError(
                    f"{record.get('method', 'POST')} {url} is nothing that a batch asks; it is POST {' or '.join(ENDPOINTS)}"
                )
            if self._endpoint is not None and url != self._endpoint:
                raise BadRequestError(f"url is {url} and the batch's endpoint is {self._endpoint}; one batch has one endpoint")
            kind = ENDPOINTS[url]
            if self._strict and given.get("model") not in (None, self.spec.model):
                raise BadRequestError(
                    f"model is {given.get('model')!r} and the first line's is {self.spec.model!r}; one batch has one model",
                    param="model",
                )
        try:
            return kind.model_validate(dict(given))
        except ValidationError as error:
            raise _unfit(error, kind) from None

    def _config(self, config: GenerationConfig | None, row: JobRow) -> GenerationConfig | None:
        """With the row's own seed, where the request says none."""
        if config is None or not config.samples or config.seed is not None:
            return config
        return config.replace(seed=self.spec.row_seed(row.number))

    # ------------------------------------------------------------ a model in memory

    def _local(self, model: Model, row: JobRow, record: Mapping[str, Any], wanted: Wanted) -> UnderWay:
        config, answers, handles = self._config(wanted.config, row), list[Answer](), list[tuple[Answer, str, Handle]]()
        checked = []
        for encode in wanted.encoders:
            ids, prefill = encode(model)
            check_room(model, len(ids), wanted.max_tokens)
            request = model.request_of_ids(ids, prefill, config or GenerationConfig(max_new_tokens=1), logprobs=wanted.logprobs)
            checked.append((Answer(prompt_ids=request.prompt_ids, prefill_ids=prefill), request))
        for answer, request in checked:
            answers.append(answer)
            if wanted.measure is not None:
                answer.measured = Scored((), ())
                if len(answer.prompt_ids) > 1:
                    measuring = model.start_scoring(answer.prompt_ids[:1], answer.prompt_ids[1:], top=wanted.measure)
                    handles.append((answer, "measured", measuring))
            if config is not None:
                handles.append((answer, "completions", model.submit(request)))
        together = _together([handle.future for _, _, handle in handles])

        def read(made: Any) -> NewResult:
            for (answer, name, _), value in zip(handles, made, strict=True):
                setattr(answer, name, value)
            body = dict(wanted.shape_for(model).whole(answers))
            return self._told(row, record, body, body["usage"])

        def cancel() -> None:
            for _, _, handle in handles:
                handle.cancel()

        return UnderWay(together, cancel, read)

    # ------------------------------------------------------------ a remote one

    def _remote(
        self, model: Remote, row: JobRow, record: Mapping[str, Any], body: ChatRequest | CompletionRequest, wanted: Wanted
    ) -> UnderWay:
        unable = [
            name
            for name in ("prompt_logprobs", "echo", "suffix", "best_of", "continue_final_message", "chat_template_kwargs")
            if getattr(body, name, None)
        ]
        if unable or len(wanted.prompts) != 1 or wanted.config is None:
            what = unable[0] if unable else "max_tokens 0" if wanted.config is None else "more than one prompt"
            raise UnsupportedError(f"{model.name} is remote, and a row cannot ask it for {what}; leave it out")
        prompt: Any = wanted.prompts[0]
        future = remote_writing.begin(model, prompt, wanted.config, None, wanted.logprobs)

        def read(made: Sequence[RemoteCompletion]) -> NewResult:
            found = _remote_body(model, made, chat=isinstance(body, ChatRequest))
            return self._told(row, record, found, found["usage"])

        return UnderWay(future, future.cancel, read)

    # ------------------------------------------------------------ what stands in the output

    def _told(self, row: JobRow, record: Mapping[str, Any], body: Mapping[str, Any], usage: Mapping[str, int]) -> NewResult:
        found = body
        if self.spec.shape == "openai-batch":
            answered = {"status_code": 200, "request_id": f"req_{uuid.uuid4().hex}", "body": body}
            found = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": record["custom_id"], "response": answered, "error": None}
        return NewResult(
            number=row.number,
            result=json.dumps(found, ensure_ascii=False, separators=(",", ":")),
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
        )


def check_room(model: Model, tokens: int, max_tokens: int | None) -> None:
    window = model.info.context_window
    if max_tokens is not None and tokens + max_tokens > window > tokens:
        raise BadRequestError(
            f"the prompt has {tokens} tokens and max_tokens is {max_tokens}, together {tokens + max_tokens}; the model's context "
            f"window holds {window}. Shorten the prompt, or ask for fewer tokens",
            param="max_tokens",
            code="context_length_exceeded",
        )


def _unfit(error: ValidationError, kind: type[BaseModel]) -> BadRequestError:
    first = error.errors(include_url=False)[0]
    steps = [str(step) for step in first["loc"]]
    name = ".".join(step for step in steps if not step.startswith(("function-", "list[", "str", "constrained"))) or "the body"
    if first["type"] == "extra_forbidden":
        told = f"unknown field {name!r}; nothing is ignored{nearest(name, kind)}"
        return BadRequestError(told, param=name, code="unknown_field")
    if first["type"] == "missing":
        return BadRequestError(f"{name} is missing", param=name, code="missing")
    return BadRequestError(f"{name} is {str(first.get('input'))[:100]!r}: {first['msg']}", param=name, code="invalid_value")


def _together(futures: "Sequence[Future[Any]]") -> "Future[list[Any]]":
    """A future of all results, done when they all are; the first error is its own."""
    whole: Future[list[Any]] = Future()
    whole.set_running_or_notify_cancel()
    left = [len(futures)]

    def one_done(_: "Future[Any]") -> None:
        left[0] -= 1  # the engine settles them all, on its one thread
        if not left[0]:
            errors = [each.exception() for each in futures if each.exception() is not None]
            if errors:
                whole.set_exception(errors[0])
            else:
                whole.set_result([each.result() for each in futures])

    if not futures:
        whole.set_result([])
    for each in futures:
        each.add_done_callback(one_done)
    return whole


def _remote_body(model: Remote, made: Sequence[RemoteCompletion], *, chat: bool) -> dict[str, Any]:
    choices = []
    for each in made:
        said: dict[str, Any] = {"text": each.text}
        if chat:
            said = {"message": {"role": "assistant", "content": each.text, "refusal": each.refusal}}
        logprobs = None if each.tokens is None else [{"token": t.text, "logprob": t.logprob} for t in each.tokens]
        end = {"finish_reason": each.reported_finish or REASONS.get(each.finish_reason, "stop")}
        choices.append({"index": each.index, **said, "logprobs": logprobs and {"content": logprobs}, **end})
    usage = made[0].usage
    prompt, written = (0, 0) if usage is None else (usage.prompt_tokens, usage.completion_tokens)
    return {
        "id": made[0].id or f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
        "object": "chat.completion" if chat else "text_completion",
        "model": made[0].model or name_of(model),
        "choices": choices,
        "usage": {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written},
    }
