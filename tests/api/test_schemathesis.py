"""Requests made from our own OpenAPI, fitting and not: no 5xx, every error in the one shape, and a server that stays well."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode
from tests.api.listening import TOKEN, Live

from ramify.api.app import create_app

DESCRIBED = schemathesis.openapi.from_dict(create_app(token=TOKEN).openapi())
OPERATIONS = [found.ok() for found in DESCRIBED.get_all_operations()]
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

    asked()


# A GET without parameters fits in every case.
CASES = [
    pytest.param(operation, mode, id=f"{operation.label}, {mode.value}")
    for operation in OPERATIONS
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode == GenerationMode.POSITIVE or operation.method.upper() == "POST"
]


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_no_request_is_too_much(operation: Any, mode: GenerationMode, live: Live) -> None:
    check(operation, mode, live, 15)


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_no_request_of_many_is_too_much(operation: Any, mode: GenerationMode, live: Live) -> None:
    check(operation, mode, live, 300)
