"""Document 002's examples outside its batch section, to the letter but for the package's name.

Its model, llama-2-7b, is a name of the registry here, as an owner would give it; `tiny` stands behind it.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.api.serving_process import KEY

from ramify.errors import NotFoundError

Say = Callable[[str], str]

CALL = """
from ramify import Completion

response = Completion.create(
    model="llama-2-7b",
    prompt="Hello, my name is",
    max_new_tokens=10,
    temperature=0.2,
)

print(response.json())
# '{"request_id": "c4bf0732-08e0-48a8-8b44-dfe8d4702fb0", "output": {"text": "________ and I am a ________", "num_completion_tokens": 10}}'

print(response.output.text)
# ________ and I am a ________
"""  # noqa: E501

STREAM = """
import sys

from ramify import Completion

stream = Completion.create(
    model="llama-2-7b",
    prompt="Give me a 200 word summary on the current economic events in the US.",
    max_new_tokens=1000,
    temperature=0.2,
    stream=True,
)

for response in stream:
    if response.output:
        print(response.output.text, end="")
        sys.stdout.flush()
    else: # an error occurred
        print(response.error) # print the error message out 
        break
"""  # noqa: W291

ASYNC = """
import asyncio
from ramify import Completion

async def main():
    response = await Completion.acreate(
        model="llama-2-7b",
        prompt="Hello, my name is",
        max_new_tokens=10,
        temperature=0.2,
    )
    print(response.json())

asyncio.run(main())
"""

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(params=["in this process", "over HTTP"])
def run(
    request: pytest.FixtureRequest, ramify_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Say:
    """Runs an example as a program of its own would run, and gives what it printed."""
    monkeypatch.setenv("RAMIFY_HOME", str(ramify_home))
    monkeypatch.delenv("RAMIFY_BASE_URL", raising=False)
    if request.param == "over HTTP":
        monkeypatch.setenv("RAMIFY_BASE_URL", request.getfixturevalue("server_process").url)
        monkeypatch.setenv("RAMIFY_API_KEY", KEY)

    def ran(example: str) -> str:
        exec(compile(example, "document 002", "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    return ran


def is_a_response(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    assert set(found) == {"request_id", "output"}
    assert re.fullmatch(UUID, found["request_id"])
    assert {"text", "num_completion_tokens"} <= set(found["output"])
    assert None not in found["output"].values()
    output: dict[str, Any] = found["output"]
    return output


def test_a_call(run: Say) -> None:
    first, text = run(CALL).split("\n", 1)
    output = is_a_response(first)
    assert text == output["text"] + "\n"
    assert (output["num_completion_tokens"], output["finish_reason"]) == (10, "length") or output["finish_reason"] == "eos"


def test_a_stream(run: Say) -> None:
    # It names no seed, and a model may begin with its EOS: but not three times.
    said = next(filter(None, (run(STREAM) for _ in range(3))))
    assert "status_code" not in said


def test_an_async_call(run: Say) -> None:
    output = is_a_response(run(ASYNC))
    assert 1 <= output["num_completion_tokens"] <= 10
    assert output["text"]


def test_a_stream_of_a_model_that_is_not_there(run: Say) -> None:
    with pytest.raises(NotFoundError, match="llama-3-70b"):
        run(STREAM.replace("llama-2-7b", "llama-3-70b"))
