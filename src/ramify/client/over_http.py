"""A `CompletionRequest` asked of a server that speaks LLM Engine's routes."""

import functools
import ipaddress
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ramify.client.events import EventParser
from ramify.client.refusals import error_of, shown
from ramify.data_types import (
    CancelBatchCompletionsResponse,
    CompletionRequest,
    CompletionStreamResponse,
    CompletionSyncResponse,
    CreateBatchCompletionsRequest,
    CreateBatchCompletionsResponse,
    GetBatchCompletionsResponse,
    ListBatchCompletionsResponse,
    StreamError,
    StreamErrorContent,
)
from ramify.errors import InputError, RamifyError, RemoteError
from ramify.settings import Key

if TYPE_CHECKING:
    import httpx2

__all__ = ["Server"]

CONNECT_S = 10.0
READ_BYTES = 65536
"""What is read of an answer that is not what was asked for."""


class Server:
    """Where to ask, with which key, and how long to wait.

    timeout_s: how long the server may be silent; a stream that goes on is never cut. Redirects are not followed: they would
    carry prompt and key to an address that nobody named.
    """

    def __init__(self, base_url: str, key: Key | None, *, timeout_s: float, headers: Mapping[str, str]) -> None:
        self._base_url = _checked_url(base_url)
        self._key = key
        self._timeout_s = timeout_s
        self._headers = {
            "User-Agent": "ramify",
            **({} if key is None else {"Authorization": f"Bearer {key.reveal()}"}),
            **headers,
        }

    def create(self, model: str, request: CompletionRequest) -> CompletionSyncResponse:
        import httpx2

        failure: RamifyError
        try:
            with httpx2.Client(**self._options()) as client:
                response = client.post(self._url("completions-sync", model), json=_body(request))
                return self._whole(response)
        except httpx2.HTTPError as error:
            failure = self._lost(error)
        # Outside the handler: the library's own exception holds the request with its headers.
        raise failure

    async def acreate(self, model: str, request: CompletionRequest) -> CompletionSyncResponse:
        import httpx2

        failure: RamifyError
        try:
            async with httpx2.AsyncClient(**self._options()) as client:
                response = await client.post(self._url("completions-sync", model), json=_body(request))
                return self._whole(response)
        except httpx2.HTTPError as error:
            failure = self._lost(error)
        raise failure

    # Batches.

    def batch_create(self, asked: CreateBatchCompletionsRequest) -> CreateBatchCompletionsResponse:
        body = asked.model_dump(mode="json", by_alias=True, exclude_none=True)
        return CreateBatchCompletionsResponse(**self._asked("POST", "/v1/llm/batch-completions", body))

    def batch_get(self, job_id: str) -> GetBatchCompletionsResponse:
        return GetBatchCompletionsResponse(**self._asked("GET", f"/v2/batch-completions/{quote(job_id, safe='')}"))

    def batch_list(self, limit: int) -> ListBatchCompletionsResponse:
        return ListBatchCompletionsResponse(**self._asked("GET", f"/v2/batch-completions?limit={limit}"))

    def batch_cancel(self, job_id: str) -> CancelBatchCompletionsResponse:
        found = self._asked("POST", f"/v2/batch-completions/{quote(job_id, safe='')}/actions/cancel")
        return CancelBatchCompletionsResponse(**found)

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        import httpx2

        failure: RamifyError
        try:
            with httpx2.Client(**self._options()) as client:
                response = client.request(method, f"{self._base_url}{path}", json=body)
                if response.status_code != 200:
                    raise self._refused(response, _beginning(response.content))
                try:
                    found: dict[str, Any] = response.json()
                    return {str(name): value for name, value in found.items()}
                except (ValueError, AttributeError):
                    raise self.failed(f"answered what is no job: {shown(response.text)}", 200) from None
        except httpx2.HTTPError as error:
            failure = self._lost(error)
        raise failure

    def stream(self, model: str, request: CompletionRequest) -> Generator[CompletionStreamResponse]:
        """Asks at once, so that a refusal is raised here; closing the iterator, or letting go of it, ends the generation."""
        pieces = self._stream(model, request)
        next(pieces)
        return pieces  # type: ignore[return-value]  # None is what the first step gave, and nothing after it

    async def astream(self, model: str, request: CompletionRequest) -> AsyncGenerator[CompletionStreamResponse]:
        pieces = self._astream(model, request)
        await anext(pieces)
        return pieces  # type: ignore[return-value]

    def _stream(self, model: str, request: CompletionRequest) -> Generator[CompletionStreamResponse | None]:
        import httpx2

        failure: RamifyError
        try:
            with (
                httpx2.Client(**self._options()) as client,
                client.stream("POST", self._url("completions-stream", model), json=_body(request)) as response,
            ):
                if not _streams(response):
                    response_text = _beginning(b"".join(_up_to(response.iter_bytes())))
                    raise self._no_stream(response, response_text)
                yield None
                reading = _Reading(self)
                for chunk in response.iter_bytes():
                    yield from reading.feed(chunk)
                    if reading.done:
                        return
                reading.end()
                return
        except httpx2.HTTPError as error:
            failure = self._lost(error)
        raise failure

    async def _astream(self, model: str, request: CompletionRequest) -> AsyncGenerator[CompletionStreamResponse | None]:
        import httpx2

        failure: RamifyError
        try:
            async with (
                httpx2.AsyncClient(**self._options()) as client,
                client.stream("POST", self._url("completions-stream", model), json=_body(request)) as response,
            ):
                if not _streams(response):
                    chunks = [chunk async for chunk in _aup_to(response.aiter_bytes())]
                    raise self._no_stream(response, _beginning(b"".join(chunks)))
                yield None
                reading = _Reading(self)
                async for chunk in response.aiter_bytes():
                    for piece in reading.feed(chunk):
                        yield piece
                    if reading.done:
                        return
                reading.end()
                return
        except httpx2.HTTPError as error:
            failure = self._lost(error)
        raise failure

    # --- what is sent

    def _options(self) -> dict[str, Any]:
        import httpx2

        parts = urlsplit(self._base_url)
        return {
            "headers": self._headers,
            "timeout": httpx2.Timeout(self._timeout_s, connect=min(self._timeout_s, CONNECT_S)),
            "verify": _certificates() if parts.scheme == "https" else False,
            "follow_redirects": False,
            # A proxy of the environment has no way to this machine's own loopback.
            "trust_env": not _loopback(parts.hostname or ""),
        }

    def _url(self, route: str, model: str) -> str:
        return f"{self._base_url}/v1/llm/{route}?model_endpoint_name={quote(model, safe='')}"

    # --- what is received

    def _whole(self, response: "httpx2.Response") -> CompletionSyncResponse:
        if response.status_code != 200:
            raise self._refused(response, response.text)
        try:
            return CompletionSyncResponse(**json.loads(response.content))
        except (ValueError, TypeError):
            raise self.failed(f"answered what is no completion: {shown(response.text)}", 200) from None

    def _no_stream(self, response: "httpx2.Response", text: str) -> RamifyError:
        if response.status_code != 200:
            return self._refused(response, text)
        return self.failed(f"answered {response.headers.get('content-type', 'something')}, not a stream: {shown(text)}", 200)

    def _refused(self, response: "httpx2.Response", text: str) -> RamifyError:
        return error_of(
            response.status_code, response.headers, self.hide(text), where=self._base_url, keyed=self._key is not None
        )

    def failed(self, what: str, status: int | None = None, code: str | None = None) -> RemoteError:
        return RemoteError(f"{self._base_url} {self.hide(what)}", status=status, code=code)

    def hide(self, text: str) -> str:
        return text if self._key is None else self._key.hide(text)

    def _lost(self, error: "httpx2.HTTPError") -> RemoteError:
        import httpx2

        if isinstance(error, httpx2.ConnectTimeout):
            return self.failed(f"could not be reached within {min(self._timeout_s, CONNECT_S):g} s", code="timeout")
        if isinstance(error, httpx2.TimeoutException):
            return self.failed(f"said nothing for {self._timeout_s:g} s (timeout={self._timeout_s:g})", code="timeout")
        if isinstance(error, httpx2.ConnectError | httpx2.ProxyError | httpx2.UnsupportedProtocol):
            return self.failed(f"could not be reached ({error}); is `ramify serve` running there?")
        return self.failed(f"broke off the connection ({type(error).__name__}: {error})")


class _Reading:
    """The pieces of one stream."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = EventParser()
        self._complete = False
        self.done = False
        """Whether nothing more is to come: [DONE], or an error."""

    def feed(self, chunk: bytes) -> Iterator[CompletionStreamResponse]:
        for data in self._parser.feed(chunk):
            if data.strip() == "[DONE]":
                self.done = True
                return
            piece = self._piece(data)
            self._complete = self._complete or bool(piece.output and piece.output.finished)
            yield piece
            if piece.error is not None:
                self.done = True
                return

    def end(self) -> None:
        """The connection ended. Raises RemoteError where the completion had not."""
        if not self._complete:
            raise self._server.failed("ended its stream before the completion was finished", code="interrupted")

    def _piece(self, data: str) -> CompletionStreamResponse:
        try:
            content = json.loads(data)
            told = content.get("error")
            if isinstance(told, Mapping) and "content" not in told:  # an error as OpenAI's routes tell it
                code = told.get("code")
                said = StreamErrorContent(error=str(told.get("message", told)), timestamp="")
                status = code if isinstance(code, int) else 500
                return CompletionStreamResponse(request_id="", error=StreamError(status_code=status, content=said))
            return CompletionStreamResponse(**content)
        except (ValueError, TypeError, AttributeError):
            raise self._server.failed(f"sent an event that is no piece of a completion: {shown(data)}") from None


def _body(request: CompletionRequest) -> dict[str, Any]:
    return {name: value for name, value in request if value is not None}


def _streams(response: "httpx2.Response") -> bool:
    kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
    return response.status_code == 200 and kind == "text/event-stream"


def _up_to(chunks: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        yield chunk
        size += len(chunk)
        if size > READ_BYTES:
            return


async def _aup_to(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        yield chunk
        size += len(chunk)
        if size > READ_BYTES:
            return


def _beginning(body: bytes) -> str:
    return body[:READ_BYTES].decode("utf-8", errors="replace")


def _checked_url(url: str) -> str:
    """Without what follows the last part of its path, so that a prefix is kept and /v1 may be said or not."""
    try:
        parts = urlsplit(url.strip())
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        named = False
    if not named or parts.query or parts.fragment:
        raise InputError(f"RAMIFY_BASE_URL is {url!r}; it must be an address such as http://127.0.0.1:8000")
    if parts.username is not None or parts.password is not None:
        raise InputError("RAMIFY_BASE_URL holds a user or password; put the key in RAMIFY_API_KEY")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1').rstrip('/')}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Read once: 30 ms, most of what a client takes to make."""
    import httpx2

    return httpx2.create_ssl_context()
