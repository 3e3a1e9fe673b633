"""How a server begins and ends: as a process of its own, by signals."""

import asyncio
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any

from tests.api.gates import gated
from tests.api.listening import TOKEN, listening
from tests.api.serving_process import Serving, serving
from typer.testing import CliRunner

from forked_ramify import Zygote
from ramify.api.app import create_app
from ramify.api.serving import bound
from ramify.api.state import Limits
from ramify.cli.main import app


def test_serve_takes_its_token_from_the_environment(server_process: Serving) -> None:
    with server_process.client() as client:
        assert client.get("/v1/models", headers={"authorization": ""}).status_code == 401
        assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"


def test_without_one_a_token_is_made_and_printed_once_and_sigterm_ends_the_process_when_its_streams_have(
    zygote: Zygote, tmp_path: Path
) -> None:
    with serving(zygote, tmp_path, ["--drain-timeout", "60"], key="") as running:
        said = (tmp_path / "stderr").read_text()
        (made,) = re.findall(r"^token: (\S{40,})$", said, re.MULTILINE)
        assert said.count(made) == 1
        client = running.client(headers={"authorization": f"Bearer {made}"})
        assert client.get("/v1/models").status_code == 200
        body = {"prompt": "Once upon a time", "max_tokens": 100, "ignore_eos": True, "stream": True, "temperature": 0}
        with client.stream("POST", "/v1/completions", json=body) as answer:
            pieces = answer.iter_lines()
            first = next(pieces)
            running.process.send_signal(signal.SIGTERM)
            lines = [first, *(line for line in pieces if line)]
        assert lines[-1] == "data: [DONE]"
        assert sum('"text"' in line for line in lines) > 20
        assert '"finish_reason":"length"' in lines[-2]
        assert running.process.wait(30) == 0


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(app, ["serve", "--port", port], env={"RAMIFY_HOME": str(tmp_path)})
    assert done.exit_code == 2
    assert f"127.0.0.1:{port} cannot be had" in done.stderr


def test_what_does_not_end_in_time_is_ended_with_an_error() -> None:
    model, gate = gated()
    app = create_app(token=TOKEN, load=lambda name: model, limits=Limits(drain_timeout_s=0.3))
    with listening(app) as live:
        body = {"prompt": "Once upon a time", "max_tokens": 50, "ignore_eos": True}
        plain: list[Any] = []
        asking = threading.Thread(target=lambda: plain.append(live.client().post("/v1/completions", json=body)))
        with live.client() as client, client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            asking.start()
            gate.arrives()
            gate.step()
            pieces = answer.iter_lines()
            first = next(pieces)
            gate.arrives()
            live.server.drain()
            assert "text" in first
            lines = [line for line in pieces if line]
        asking.join(30)
        assert '"code":"draining"' in lines[-2]
        assert lines[-1] == "data: [DONE]"
        assert (plain[0].status_code, plain[0].json()["error"]["code"]) == (503, "draining")
        late = live.client().post("/v1/completions", json=body)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "draining")
        assert live.client().get("/health").json() == {"status": "draining"}
        gate.leave_open()


def test_small_answers_are_sent_at_once_and_do_not_wait_for_the_clients_acknowledgement() -> None:
    listener = bound("127.0.0.1", 0)

    async def story() -> int:
        at_once: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            at_once.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(met, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await at_once

    assert asyncio.run(story()) != 0
