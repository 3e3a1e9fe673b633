"""What a JSON Schema asks that cannot be done: keywords that nobody enforces, and values without an end.

Keywords are read only where a schema stands, so a property may be called `default` or `$ref`.
"""

import copy
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["endless_references", "misspelt", "neutralised", "unenforced", "unfinished_patterns"]

_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems", "items", "additionalItems")
_SINGLE = (
    *("items", "additionalProperties", "additionalItems", "contains", "propertyNames", "not", "if", "then", "else"),
    *("unevaluatedItems", "unevaluatedProperties"),
)

# Draft 3's keywords constrain, and llguidance reads past them without a word. So it does with any unknown keyword,
# as the standard asks, which would make a misspelt one silent.
_UNENFORCED = ("extends", "disallow", "divisibleBy")
_KNOWN = (
    *_NAMED,
    *_LISTED,
    *_SINGLE,
    *("type", "enum", "const", "required", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minProperties", "maxProperties"),
    *("uniqueItems", "minContains", "maxContains", "dependentRequired", "dependencies", "$ref", "$dynamicRef"),
)


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema itself and every schema inside it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in _NAMED:
        if isinstance(schema.get(key), dict):
            for part in schema[key].values():
                yield from subschemas(part)
    for key in dict.fromkeys((*_LISTED, *_SINGLE)):
        parts = schema.get(key)
        for part in parts if isinstance(parts, list | tuple) else [parts]:
            yield from subschemas(part)


def unenforced(schema: Any) -> list[str]:
    """The keywords used that constrain a value and that nothing here could enforce."""
    return sorted({key for part in subschemas(schema) for key in part if key in _UNENFORCED})


def misspelt(schema: Any) -> list[tuple[str, str]]:
    """The unknown keywords that look like a known one, each with that one."""
    unknown = {key for part in subschemas(schema) for key in part if key not in _KNOWN}
    near = {key: difflib.get_close_matches(key, _KNOWN, n=1, cutoff=0.85) for key in sorted(unknown)}
    return [(key, matches[0]) for key, matches in near.items() if matches]


def unfinished_patterns(schema: Any) -> list[str]:
    """The patterns that end in a lone backslash: it would escape what the compiler puts behind them."""
    found = [key for part in subschemas(schema) for key in part.get("patternProperties", ())]
    found += [part["pattern"] for part in subschemas(schema) if "pattern" in part]
    return [text for text in found if isinstance(text, str) and (len(text) - len(text.rstrip("\\"))) % 2]


def neutralised(schema: Any) -> Any:
    """A copy without `uniqueItems: false`, which asks for nothing and which llguidance would refuse."""
    found = copy.deepcopy(schema)
    for part in subschemas(found):
        if part.get("uniqueItems") is False:
            del part["uniqueItems"]
    return found


def endless_references(schema: Any) -> list[str]:
    """The `$ref`s of a JSON Schema ("#" for the whole) whose every value would have to contain itself."""
    references = dict.fromkeys(["#", *(part["$ref"] for part in subschemas(schema) if isinstance(part.get("$ref"), str))])
    return [reference for reference in references if not _ends({"$ref": reference}, schema, frozenset())]


def _resolve(reference: str, root: Any) -> Any:
    if not reference.startswith("#"):
        return True  # the compiler knows, or refuses it by name
    found = root
    for key in reference[1:].split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return True
    return found


def _ends(schema: Any, root: Any, above: frozenset[str]) -> bool:
    """Whether some finite value fits. `above`: the references being resolved; a shortest value repeats none."""
    if not isinstance(schema, Mapping):
        return True  # `false` is the compiler's business
    if "enum" in schema or "const" in schema:
        return True
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in above:
            return False
        target = _resolve(reference, root)
        if not _ends(target, root, above | {reference}):
            return False
    for key in ("anyOf", "oneOf"):
        options = schema.get(key)
        if isinstance(options, list) and options and not any(_ends(option, root, above) for option in options):
            return False
    if not all(_ends(part, root, above) for part in schema.get("allOf", [])):
        return False
    kinds = schema.get("type", ["null"])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if any(kind not in ("object", "array") for kind in kinds):
        return True
    return ("object" in kinds and _object_ends(schema, root, above)) or ("array" in kinds and _array_ends(schema, root, above))


def _object_ends(schema: Mapping[str, Any], root: Any, above: frozenset[str]) -> bool:
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    return all(_ends(properties.get(name, schema.get("additionalProperties", True)), root, above) for name in required)


def _array_ends(schema: Mapping[str, Any], root: Any, above: frozenset[str]) -> bool:
    least = schema.get("minItems", 0)
    first = schema.get("prefixItems", [])
    parts = [*first[:least], *([schema.get("items", True)] if least > len(first) else [])]
    return all(_ends(part, root, above) for part in parts)
