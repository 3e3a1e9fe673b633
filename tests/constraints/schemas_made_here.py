"""JSON schemas made by a seeded grammar of schemas: the shapes people ask models for, and some they had better not."""

import random
from typing import Any

__all__ = ["made"]

NAMES = ("name", "sum", "currency", "title", "kind", "tags", "items", "count", "active", "city", "note", "price")
PATTERNS = ("[A-Z]{3}", "[a-z]{2,6}", r"\d{4}-\d{2}", "(red|green|blue)", r"[A-Z][a-z]{1,7}")
FORMATS = ("date", "date-time", "uuid", "ipv4", "time")
UNENFORCEABLE: tuple[dict[str, Any], ...] = (
    {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
    {"not": {"type": "string"}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "if": {"required": ["a"]}, "then": {"required": ["b"]}},
    {"type": "array", "contains": {"const": 3}},
    {"type": "object", "dependentRequired": {"a": ["b"]}},
    {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}},
    {"type": "string", "minLength": 5, "maxLength": 2},
    {"type": "object", "patternProperties": {"^(?=a)b": {"type": "string"}}},
    {"type": "string", "pattern": "(a)\\1"},
    {"type": "text"},
)


def made(count: int = 200) -> list[dict[str, Any]]:
    """`count` schemas, always the same ones, and after them those that cannot be enforced."""
    chance = random.Random(7)
    return [_object(chance, 2) for _ in range(count)] + list(UNENFORCEABLE)


def _object(chance: random.Random, depth: int) -> dict[str, Any]:
    names = chance.sample(NAMES, chance.randrange(1, 5))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _value(chance, depth - 1) for name in names},
        "required": names if chance.random() < 0.7 else names[: len(names) // 2],
    }
    if chance.random() < 0.8:
        schema["additionalProperties"] = False
    return schema


def _value(chance: random.Random, depth: int) -> dict[str, Any]:
    kinds = [_text, _number, _choice, _flag]
    if depth > 0:
        kinds += [_array, _object, _any_of]
    return chance.choice(kinds)(chance, depth)


def _text(chance: random.Random, depth: int) -> dict[str, Any]:
    return chance.choice(
        [
            {"type": "string", "maxLength": chance.randrange(4, 16)},
            {"type": "string", "pattern": f"^{chance.choice(PATTERNS)}$"},
            {"type": "string", "format": chance.choice(FORMATS)},
            {"type": "string", "minLength": 1, "maxLength": 8},
        ]
    )


def _number(chance: random.Random, depth: int) -> dict[str, Any]:
    low = chance.randrange(-5, 50)
    return chance.choice(
        [
            {"type": "integer", "minimum": low, "maximum": low + chance.randrange(1, 500)},
            {"type": "number", "minimum": 0, "maximum": 100},
            {"type": "integer", "minimum": 0, "maximum": 9},
            {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100},
        ]
    )


def _choice(chance: random.Random, depth: int) -> dict[str, Any]:
    return chance.choice(
        [
            {"enum": ["RUB", "EUR", "USD"]},
            {"const": "yes"},
            {"enum": [1, 2, None, "три"]},
            {"type": ["string", "null"], "maxLength": 5},
        ]
    )


def _flag(chance: random.Random, depth: int) -> dict[str, Any]:
    return {"type": "boolean"}


def _array(chance: random.Random, depth: int) -> dict[str, Any]:
    low = chance.randrange(0, 3)
    return {"type": "array", "items": _value(chance, depth - 1), "minItems": low, "maxItems": low + chance.randrange(1, 3)}


def _any_of(chance: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [_value(chance, depth - 1), {"type": "null"}]}
