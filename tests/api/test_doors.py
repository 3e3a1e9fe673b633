"""Who is let in, and how the others are told."""

import pytest
from tests.api.listening import Live


def test_health_needs_no_token(live: Live) -> None:
    answer = live.stranger().get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic x"}, {"x-api-key": ""}])
def test_every_other_path_needs_the_token_even_one_that_is_not_there(live: Live, headers: dict[str, str]) -> None:
    answer = live.stranger().get("/v1/nothing", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_an_unknown_path_is_told_in_the_one_shape(live: Live) -> None:
    answer = live.client().get("/v1/nothing")
    expected = {"message": "GET /v1/nothing: Not Found", "type": "not_found_error", "param": None, "code": None}
    assert (answer.status_code, answer.json()) == (404, {"error": expected})


def test_a_host_that_is_not_ours_is_refused(live: Live) -> None:
    answer = live.client().get("/health", headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 404),
        ({}, 404),
    ],
)
def test_another_sites_page_changes_nothing(live: Live, headers: dict[str, str], status: int) -> None:
    assert live.client().post("/v1/nothing", headers=headers, json={}).status_code == status
