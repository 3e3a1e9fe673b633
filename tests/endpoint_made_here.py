"""An endpoint on a loopback port that answers by script and remembers what it was asked."""

import contextlib
import json
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"
    body: dict[str, Any]

    def do_POST(self) -> None:
        self.body = body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.asked.append({"path": self.path, "headers": headers, "body": body})
            reply = self.server.script.pop(0) if self.server.script else self.server.always
        assert reply is not None, "asked more often than the script says"
        with contextlib.suppress(ConnectionError):
            reply(self)

    def do_GET(self) -> None:
        with self.server.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.got.append({"path": self.path, "headers": headers})
        page = self.server.pages.get(self.path)
        reply = says({"error": {"message": "no such page"}}, 404) if page is None else says(page)
        with contextlib.suppress(ConnectionError):
            reply(self)

    def log_message(self, *_: object) -> None: ...

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def wait_for_end(self) -> None:
        """Until the other side closes the connection, which is noted."""
        if select.select([self.connection], [], [], 5)[0] and not self.connection.recv(1):
            self.server.left.set()
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.script: list[Reply] = []
        self.always: Reply | None = None
        self.asked: list[dict[str, Any]] = []
        self.pages: dict[str, object] = {}
        """What GET finds at a path."""
        self.got: list[dict[str, Any]] = []
        self.left = threading.Event()
        """Set when a client closed the connection that a reply was holding open."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request["body"] for request in self.asked]

    def handle_error(self, request: object, client_address: object) -> None: ...


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- replies


def says(content: object, status: int = 200, kind: str = "application/json", **headers: str) -> Reply:
    """An answer with a whole body: JSON, or a text or bytes to the letter."""
    body = (
        content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else json.dumps(content).encode()
    )
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}

    def reply(handler: Handler) -> None:
        handler.begin(status, {"Content-Type": kind, "Content-Length": str(len(body)), **named})
        handler.wfile.write(body)
        handler.close_connection = "content_length" in headers

    return reply


def streams(chunks: Sequence[object], *, done: bool = True, then: str = "end", kind: str = "text/event-stream") -> Reply:
    """Events, each JSON or a text to the letter, a comment if it begins with a colon, or lines with their own names.

    Then the end: "end", "break" in the middle of a chunk, or "hold" open."""

    def reply(handler: Handler) -> None:
        handler.begin(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"})
        for chunk in [*chunks, *(["[DONE]"] if done else [])]:
            said = chunk if isinstance(chunk, str) else json.dumps(chunk)
            data = f"{'' if said.startswith((':', 'event: ')) else 'data: '}{said}\n\n".encode()
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            handler.wfile.flush()
        if then == "hold":
            handler.wait_for_end()
        elif then == "break":
            handler.wfile.write(b"fff\r\ndata: {")
            handler.close_connection = True
        else:
            handler.wfile.write(b"0\r\n\r\n")

    return reply


def silent(handler: Handler) -> None:
    """No answer at all, until the other side leaves."""
    handler.wait_for_end()


def slams(handler: Handler) -> None:
    """The connection is closed without an answer."""
    handler.close_connection = True


def chat(*texts: str, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    """The body of a whole chat completion, one choice a text."""
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        for index, text in enumerate(texts)
    ]
    return {"id": "id-1", "object": "chat.completion", "model": "small-1", "choices": choices, **more}


def delta(text: str | None = None, *, index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat's stream."""
    said = {} if text is None else {"content": text}
    return {
        "id": "id-1",
        "object": "chat.completion.chunk",
        "model": "small-1",
        "choices": [{"index": index, "delta": said, "finish_reason": finish, **more}],
    }
