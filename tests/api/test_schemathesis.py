"""Requests made from our own OpenAPI, fitting and not: no 5xx, every error in the one shape, and a server that stays well."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from tests.api.listening import TOKEN, Live, listening

import ramify
from ramify.api.app import create_app
from ramify.workbench.workspace import Workspace


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with a workspace, so that every route has something to stand on."""
    workspace = Workspace.open(tmp_path_factory.mktemp("workspace") / "fuzzed.ramify")
    workspace.samples.add("Once upon a time")
    load = lambda name: ramify.load(name, device="cpu", precision="float32")  # noqa: E731
    with workspace, listening(create_app(token=TOKEN, workspace=workspace, load=load)) as found:
        yield found


DESCRIBED = schemathesis.openapi.from_dict(create_app(token=TOKEN).openapi())
OPERATIONS = [
    found.ok()
    for found in DESCRIBED.get_all_operations()
    if not found.ok().path.endswith("/events")  # which go on as long as somebody listens
]
TIME_S = 60


def test_every_route_of_completions_is_described() -> None:
    described = {operation.label for operation in OPERATIONS}
    assert {"POST /v1/completions", "POST /v1/chat/completions", "POST /v1/llm/completions-sync", "GET /health"} <= described


def check(operation: Any, mode: GenerationMode, live: Live, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: schemathesis.Case) -> None:
        answer = case.call(base_url=live.url, headers=live.headers, timeout=TIME_S)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        with live.client() as client:
            assert client.get("/health").status_code == 200

    # Where every request fits (a path of any text, no body), there is none that does not.
    with contextlib.suppress(Unsatisfiable):
        asked()


# A GET without parameters fits in every case.
CASES = [
    pytest.param(operation, mode, id=f"{operation.label}, {mode.value}")
    for operation in OPERATIONS
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode == GenerationMode.POSITIVE or operation.method.upper() == "POST"
]


@pytest.mark.parametrize(("operation", "mode"), [case for case in CASES if "/api/" not in str(case.id)])
def test_no_request_is_too_much(operation: Any, mode: GenerationMode, live: Live) -> None:
    check(operation, mode, live, 15)


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_no_request_of_many_is_too_much(operation: Any, mode: GenerationMode, live: Live) -> None:
    check(operation, mode, live, 100)
