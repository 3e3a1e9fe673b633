"""Asking an endpoint, and errors that carry no key.

OpenAI's official client sends and receives, in Anthropic's protocol too: what is used of it is an HTTP client that reads streams,
and Anthropic's own can no longer say a temperature. Its retries, environment variables and telemetry headers are switched off.
"""

import functools
import json
import logging
import re
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ramify.errors import RemoteError
from ramify.models.remote_answers import shown
from ramify.models.remote_retries import RETRIED, Retries, retry_after_s
from ramify.settings import Key

if TYPE_CHECKING:
    import httpx2
    import openai

__all__ = ["Connection"]

LOGGERS = ("openai._base_client", "httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2", "httpcore2.proxy")
READ_BYTES = 65536
ANTHROPIC_VERSION = "2023-06-01"
"""The last that has temperature, top_p and top_k: 2026-10-21 refuses them for every model. Versions stay as they were."""


@dataclass(frozen=True)
class _Failure:
    error: RemoteError
    again: bool = False
    retry_after_s: float | None = None


class Connection:
    """One endpoint, asked from one event loop."""

    def __init__(
        self, base_url: str, key: Key | None, *, where: str, timeout_s: float, retries: Retries, anthropic: bool = False
    ) -> None:
        """anthropic: the key goes in Anthropic's header, beside its protocol's version."""
        self._base_url, self._key, self._where = base_url, key, where
        self._timeout_s, self._retries, self._anthropic = timeout_s, retries, anthropic
        self._client: openai.AsyncOpenAI | None = None
        self._hiding = _Hiding(key) if key else None
        if self._hiding:
            for name in LOGGERS:
                logging.getLogger(name).addFilter(self._hiding)

    async def post(self, path: str, body: Mapping[str, object]) -> object:
        """The whole answer, read as JSON. Raises RemoteError."""
        return await self._asked(lambda: self._try_whole(path, body))

    async def get(self, path: str) -> object:
        """What stands at a path (or a whole address) of the endpoint, read as JSON. Raises RemoteError; asked once."""
        answer, failure = await self._try_whole(path, None)
        if failure is not None:
            raise failure.error
        return answer

    async def events(self, path: str, body: Mapping[str, object]) -> AsyncGenerator[object, None]:
        """The JSON of each event of a stream, until [DONE] or its end. Raises RemoteError.

        Asked again only until the answer began. Closing the iterator closes the connection.
        """
        stream: openai.AsyncStream[object] = await self._asked(lambda: self._try_stream(path, body))
        try:
            while True:
                item, failure = await self._next(stream)
                if failure is not None:
                    raise failure.error
                if item is _END:
                    return
                yield item
        finally:
            await stream.response.aclose()

    async def aclose(self) -> None:
        """Close what is open. The connection is not used again."""
        if self._hiding:
            for name in LOGGERS:
                logging.getLogger(name).removeFilter(self._hiding)
        if self._client is not None:
            await self._client.close()

    async def _asked(self, attempt: Callable[[], Awaitable[tuple[Any, _Failure | None]]]) -> Any:
        began, tried = self._retries.clock(), 0
        while True:
            answer, failure = await attempt()
            if failure is None:
                return answer
            tried += 1
            spent = self._retries.clock() - began
            wait = self._retries.wait_s(tried, failure.retry_after_s, spent) if failure.again else None
            if wait is None:
                # Outside every `except`: the client's own exception holds the request with its headers.
                raise _after(failure.error, tried, failure.retry_after_s)
            await self._retries.sleep(wait)

    async def _try_whole(self, path: str, body: Mapping[str, object] | None) -> tuple[object, _Failure | None]:
        """A body of None asks with GET."""
        import httpx2
        import openai

        client, options = self._opened(), self._options()
        try:
            if body is None:
                response = await client.get(path, cast_to=httpx2.Response, options=options)
            else:
                response = await client.post(path, cast_to=httpx2.Response, body=body, options=options)
        except openai.OpenAIError as error:
            return None, self._failure(error)
        try:
            answer = json.loads(response.content)
        except ValueError:
            return None, _Failure(self._error(f"answered {_kind(response)}, not JSON: ", response.text, response.status_code))
        if isinstance(answer, Mapping) and answer.get("error"):
            return None, self._told(answer, response)
        return answer, None

    async def _try_stream(
        self, path: str, body: Mapping[str, object]
    ) -> "tuple[openai.AsyncStream[object] | None, _Failure | None]":
        import openai

        try:
            stream = await self._opened().post(
                path, cast_to=object, body=body, options=self._options(), stream=True, stream_cls=openai.AsyncStream[object]
            )
        except openai.OpenAIError as error:
            return None, self._failure(error)
        response = stream.response
        if response.headers.get("content-type", "").split(";")[0].strip().lower() == "text/event-stream":
            return stream, None
        try:
            text = await _beginning(response)
            told = _json(text)
            if isinstance(told, Mapping) and told.get("error"):
                return None, self._told(told, response)
            return None, _Failure(self._error(f"answered {_kind(response)}, not a stream: ", text, response.status_code))
        except _lost() as error:
            return None, _Failure(self._error(f"broke off its answer ({type(error).__name__})"), again=True)
        finally:
            await response.aclose()

    async def _next(self, stream: "openai.AsyncStream[object]") -> tuple[object, _Failure | None]:
        import openai

        try:
            return await stream.__anext__(), None
        except StopAsyncIteration:
            return _END, None
        except openai.OpenAIError as error:
            return None, self._failure(error, began=True)
        except _lost() as error:
            return None, _Failure(self._error(f"broke off its stream ({type(error).__name__})"))
        except ValueError:
            return None, _Failure(self._error("sent an event that is not JSON"))

    def _opened(self) -> "openai.AsyncOpenAI":
        if self._client is None:
            self._client = _client(self._base_url, self._key, self._timeout_s)
        return self._client

    def _options(self) -> Any:
        import openai

        bearer = self._key is not None and not self._anthropic
        unsent = ["x-stainless-retry-count", "x-stainless-read-timeout", *([] if bearer else ["Authorization"])]
        headers: dict[str, Any] = dict.fromkeys(unsent, openai.Omit())
        if self._anthropic:
            headers["anthropic-version"] = ANTHROPIC_VERSION
            if self._key is not None:
                headers["x-api-key"] = self._key.reveal()
        # A redirect would carry the prompt to an address nobody configured.
        return {"follow_redirects": False, "headers": headers}

    # --- errors

    def _error(
        self, what: str, said: str = "", status: int | None = None, code: str | None = None, hint: str = ""
    ) -> RemoteError:
        """`said` is what came from the endpoint: cut, one line, and without the key."""
        return RemoteError(f"{self._where} {what}{shown(said, self.hide)}{hint}", status=status, code=code and self.hide(code))

    def hide(self, text: str) -> str:
        """A text with the key struck out."""
        return text if self._key is None else self._key.hide(text)

    def _told(self, body: Mapping[str, object], response: "httpx2.Response") -> _Failure:
        """An error told in a body whose status says that all is well."""
        message, code = _words(body)
        status = int(code) if code and re.fullmatch(r"[45]\d\d", code) else response.status_code
        return _Failure(self._error("answered with an error: ", message, status, code), status in RETRIED)

    def _failure(self, error: "openai.OpenAIError", began: bool = False) -> _Failure:
        import httpx2
        import openai

        if isinstance(error, openai.APIStatusError):
            return self._refused(error)
        if isinstance(error, openai.APITimeoutError):
            return _Failure(self._error(f"said nothing for {self._timeout_s:g} s"), again=True)
        if isinstance(error, openai.APIConnectionError):
            # The client's words are "Connection error."; the cause knows more, and its text holds no header.
            cause = error.__cause__
            said = f"{type(cause).__name__}: {cause}" if cause is not None else str(error)
            away = isinstance(cause, httpx2.ConnectError | httpx2.ProxyError | httpx2.UnsupportedProtocol)
            what = "broke off its stream" if began else "could not be reached" if away else "broke off the connection"
            return _Failure(self._error(f"{what}: ", said), again=True)
        if isinstance(error, openai.APIError):
            message, code = _words({"error": error.body})
            return _Failure(self._error("ended its stream with an error: ", message, code=code))
        return _Failure(self._error("failed: ", str(error)))

    def _refused(self, error: "openai.APIStatusError") -> _Failure:
        response, status = error.response, error.status_code
        body = _json(response.text)
        message, code = _words(body) if isinstance(body, Mapping) else (f"{_kind(response)}: {response.text}", None)
        hint = ""
        if 300 <= status < 400:
            message, hint = f"it moved to {response.headers.get('location', 'nowhere')}", "; configure that address as base_url"
        elif status in (401, 403):
            hint = (
                f"; the key came from {self._key.variable}"
                if self._key
                else "; no key was sent: name its variable as api_key_env"
            )
        elif status == 404:
            ends = "" if self._anthropic else ", and whether base_url ends as the server wants it (often /v1)"
            hint = f"; look at the model's name{ends}"
        # A spent quota is a 429 that no patience cures.
        again = status in RETRIED and code != "insufficient_quota" and response.headers.get("x-should-retry") != "false"
        return _Failure(
            self._error(f"answered {status}: ", message, status, code, hint),
            again,
            retry_after_s(response.headers, self._retries.wall_clock()),
        )


class _Hiding(logging.Filter):
    """Strikes a key out of what the libraries log: they hide the header that is sent, and not what a server sends back."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self._key = key

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        record.msg, record.args = self._key.hide(said), ()
        return True


_END = object()


def _client(base_url: str, key: Key | None, timeout_s: float) -> "openai.AsyncOpenAI":
    import httpx2
    import openai

    class Client(openai.AsyncOpenAI):
        @property
        def default_headers(self) -> dict[str, Any]:
            # In place of the client's own, among them OPENAI_CUSTOM_HEADERS, organization and project.
            return {
                "Accept": "application/json",
                "Content-Type": "application/json",
                "User-Agent": "ramify",
            }

    return Client(
        # Without a key the header is left out of each request; the client insists on some value here.
        api_key=key.reveal() if key else "none",
        admin_api_key="",
        organization="",
        project="",
        webhook_secret="",
        base_url=base_url,
        timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=_certificates()),
    )


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Read once: 30 ms, most of what a client takes to make."""
    import httpx2

    return httpx2.create_ssl_context()


def _after(error: RemoteError, tried: int, retry_after_s: float | None) -> RemoteError:
    said = str(error)
    if retry_after_s is not None:
        said += f"; it asks to wait {retry_after_s:g} s"
    if tried > 1:
        said += f" (tried {tried} times)"
    return RemoteError(said, status=error.status, code=error.code)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _kind(response: "httpx2.Response") -> str:
    kind = response.headers.get("content-type", "").split(";")[0].strip()
    return "HTML" if "html" in kind else kind or "something unnamed"


async def _beginning(response: "httpx2.Response") -> str:
    """The first characters of an answer that may have no end."""
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > READ_BYTES:
            break
    return body.decode("utf-8", errors="replace")


def _words(body: Mapping[str, object]) -> tuple[str, str | None]:
    """An error's message and code, in the shapes that servers give them."""
    error = body.get("error", body.get("detail", body))
    if not isinstance(error, Mapping):
        return str(error), None
    code = error.get("code") or error.get("type")
    return str(error.get("message") or dict(error)), None if code is None else str(code)


def _lost() -> tuple[type[Exception], ...]:
    import httpx2

    return (httpx2.HTTPError, httpx2.StreamError)
