"""Requests made from our own OpenAPI, fitting and not: no 5xx, every error in the one shape, and a server that stays well."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from tests.api.listening import Live

schemathesis_schema = schemathesis.pytest.from_fixture("described")


@pytest.fixture(scope="session")
def described(live: Live) -> "schemathesis.BaseSchema":
    return schemathesis.openapi.from_url(f"{live.url}/openapi.json", headers=live.headers)


@schemathesis_schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_too_much(case: schemathesis.Case, live: Live) -> None:
    answer = case.call(headers=live.headers, timeout=60)
    case.validate_response(answer, checks=[not_a_server_error])
    if answer.status_code >= 400 and case.path not in ("/docs", "/"):
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    with live.client() as client:
        assert client.get("/health").status_code == 200
