"""What docs/api.md and OpenAPI promise is what the router has."""

import re
from pathlib import Path
from typing import Any

import pytest

from ramify.api.app import create_app
from ramify.api.workspace import router

DOCS = Path(__file__).parents[3] / "docs" / "api.md"
NAMED = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/api/[^`\s]*)`")


def _shortened(path: str) -> str:
    """{sample_id} and {id} are one thing to a reader."""
    path = re.sub(r"\{\w+_key\}", "{key}", path)
    return re.sub(r"\{(?!key|node|number)\w+\}", "{id}", path).replace("{node_id}", "{node}")


@pytest.fixture(scope="module")
def openapi() -> Any:
    return create_app(token="x").openapi()


def _operations(openapi: Any) -> dict[tuple[str, str], Any]:
    return {
        (method.upper(), path): operation
        for path, item in openapi["paths"].items()
        if path.startswith("/api/")
        for method, operation in item.items()
    }


def test_the_page_lists_exactly_the_routes(openapi: Any) -> None:
    rows = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `")]
    documented = [(m, _shortened(path)) for line in rows for m, path in NAMED.findall(line.split("|")[1])]
    assert len(documented) == len(set(documented)) == len(rows)
    assert set(documented) == {(method, _shortened(path)) for method, path in _operations(openapi)}


def test_every_response_has_a_type(openapi: Any) -> None:
    def untyped(schema: Any) -> bool:
        return not isinstance(schema, dict) or not ({"$ref", "type", "anyOf", "oneOf", "allOf", "const", "enum"} & schema.keys())

    for name, operation in _operations(openapi).items():
        for status, response in operation["responses"].items():
            if status == "204":
                assert "content" not in response, name
                continue
            for media, content in response["content"].items():
                assert not untyped(content.get("schema")), (name, status, media)
                assert content["schema"].get("type") != "object", (name, status, "an object of anything")


def test_every_field_of_every_shape_has_a_type(openapi: Any) -> None:
    """JSON of a record's own making (a config, details, a filter) is the one thing that may be anything."""
    for name, schema in openapi["components"]["schemas"].items():
        if name in ("ValidationError", "HTTPValidationError"):  # FastAPI's own, of other rooms' routes
            continue
        for field, kind in schema.get("properties", {}).items():
            known = {"$ref", "type", "anyOf", "oneOf", "allOf", "const", "enum"} & kind.keys()
            assert known, (name, field)


def test_every_refusal_has_the_one_shape(openapi: Any) -> None:
    for name, operation in _operations(openapi).items():
        assert "422" not in operation["responses"], name
        for status in ("4XX", "5XX"):
            assert operation["responses"][status]["content"]["application/json"]["schema"] == {
                "$ref": "#/components/schemas/ErrorShape"
            }, name


def test_every_route_says_in_one_sentence_what_it_does(openapi: Any) -> None:
    assert [name for name, operation in _operations(openapi).items() if not operation.get("description")] == []
    assert len(router.routes) > 0


def test_every_body_refuses_what_it_does_not_know(openapi: Any) -> None:
    schemas = openapi["components"]["schemas"]
    for name, operation in _operations(openapi).items():
        content = operation.get("requestBody", {}).get("content", {})
        assert set(content) <= {"application/json", "application/octet-stream"}, name
        if "application/json" in content:
            ref = content["application/json"]["schema"]["$ref"]
            assert schemas[ref.rpartition("/")[2]]["additionalProperties"] is False, name
