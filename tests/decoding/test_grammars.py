import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.vocabularies import SmallVocabulary
from decoding.walks import VOCABULARY, compiled, walk
from ramify.decoding.config import GenerationConfig
from ramify.decoding.constraints import compile_constraint
from ramify.errors import ConstraintError


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """Schemas of the kinds that people write."""
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const"]
    kind = draw(st.sampled_from(kinds + (["object", "array", "anyOf", "object"] if depth else [])))
    inner = schemas(depth=depth - 1)
    if kind == "enum":
        return {"enum": draw(st.lists(st.sampled_from(["a", "b c", 1, None, True]), min_size=1, max_size=3, unique_by=repr))}
    if kind == "const":
        return {"const": draw(st.sampled_from(["x", 3, {"k": [1]}]))}
    if kind == "string":
        least = draw(st.integers(0, 2))
        return {"type": "string", "minLength": least, "maxLength": least + draw(st.integers(0, 4))}
    if kind == "integer":
        low = draw(st.integers(-9, 9))
        return {"type": "integer", "minimum": low, "maximum": low + draw(st.integers(0, 30))}
    if kind == "object":
        properties = draw(st.dictionaries(st.sampled_from(["a", "b", "default", "$ref"]), inner, max_size=3))
        required = [name for name in properties if draw(st.booleans())]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if kind == "array":
        least = draw(st.integers(0, 2))
        return {"type": "array", "items": draw(inner), "minItems": least, "maxItems": least + draw(st.integers(0, 2))}
    if kind == "anyOf":
        return {"anyOf": draw(st.lists(inner, min_size=1, max_size=2))}
    return {"type": kind}


@settings(max_examples=120, deadline=None)
@given(schema=schemas(), seed=st.integers(0, 10**6))
def test_what_is_generated_under_a_schema_is_json_that_fits_it(schema: dict[str, Any], seed: int) -> None:
    ids, why = walk(compiled(json_schema=schema), seed, 400, end=3.0)
    assert why in ("eos", "length")
    if why == "eos":
        text = b"".join(VOCABULARY.token_bytes[token] for token in ids).decode("utf-8")
        value = json.loads(text)
        jsonschema.Draft202012Validator(schema).validate(value)
        # Single spaces at most outside of strings.
        assert not re.search(r"[^\S ]|  ", re.sub(r'"(?:\\.|[^"\\])*"', '""', text))


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "boolean"}},
    {"type": "array", "prefixItems": [{"const": 1}], "items": False, "minItems": 1},
    {"type": "string", "pattern": "^[a-c]{2,3}$"},
    {"type": "number", "exclusiveMinimum": 3, "maximum": 5},
    {"type": "array", "items": {"type": "null"}, "maxItems": 3, "uniqueItems": False},
    {"$defs": {"n": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
                     "required": ["next"], "additionalProperties": False}}, "$ref": "#/$defs/n"},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]},
               {"properties": {"b": {"type": "boolean"}}, "required": ["b"], "additionalProperties": True}],
     "maxProperties": 2},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_keywords_are_enforced(schema: dict[str, Any]) -> None:
    finished = 0
    for seed in range(25):
        ids, why = walk(compiled(json_schema=schema), seed, 300, end=3.0)
        if why == "eos":
            finished += 1
            jsonschema.Draft202012Validator(schema).validate(json.loads(VOCABULARY.text(ids)))
    assert finished > 5


def test_a_schema_may_be_text_or_true() -> None:
    assert json.loads(VOCABULARY.text(walk(compiled(json_schema='{"const": [1, {"a": "b"}]}'), 0, 50)[0])) == [1, {"a": "b"}]
    ids, why = walk(compiled(json_schema=True), 1, 200)
    assert why in ("eos", "length")
    if why == "eos":
        json.loads(VOCABULARY.text(ids))


REFUSED_SCHEMAS: list[tuple[Any, str]] = [
    (False, "json_schema is false, which no JSON fits"),
    ({"not": {"type": "string"}}, 'json_schema cannot be enforced: Unimplemented keys: \\["not"\\]'),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "array", "contains": {"const": 1}}, "contains"),
    ({"type": "string", "format": "weird"}, "Unknown format: weird"),
    ({"type": "objekt"}, "Invalid type: objekt"),
    ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ({"enum": []}, "Unsatisfiable"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
    ({"x-guidance": {"lenient": True}, "not": {}}, "not"),
    ({"type": "object", "properties": {"a": {"x-guidance": {"lenient": True}, "not": {}}}}, "not"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    ({"divisibleBy": 3}, "uses divisibleBy, which cannot be enforced"),
    ({"propertes": {"a": {}}}, "'propertes', which is no keyword; did you mean 'properties'"),
    ({"$ref": "#"}, "can never end: every value of '#'"),
    ({"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]}, "can never end"),
    (
        {"$defs": {"x": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/x"}}},
         "properties": {"a": {"$ref": "#/$defs/x"}}},
        "can never end: every value of '#/\\$defs/x'",
    ),
    ({"$ref": "http://example.org/z"}, "example.org"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "message"), REFUSED_SCHEMAS)
def test_a_schema_that_cannot_be_enforced_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        compiled(json_schema=schema)


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    schema = {
        "type": "object",
        "properties": {"extends": {"type": "null"}, "uniqueItems": False, "propertes": {"type": "null"}},
        "required": ["extends", "propertes"],
        "additionalProperties": False,
    }
    found = {VOCABULARY.text(walk(compiled(json_schema=schema), seed, 100)[0]).replace(" ", "") for seed in range(5)}
    assert found == {'{"extends":null,"propertes":null}'}


REGEXES = ["[a-c]{2,4}", "(yes|no) (the|a) cat", r"\d{3}-\d{2}", "^a+$", "é*x", r'"/\\', "(a|aa)*b", "[^a]{1,3}"]


@pytest.mark.parametrize("regex", REGEXES)
def test_what_is_generated_under_a_regex_matches_it_whole(regex: str) -> None:
    ends = set()
    for seed in range(30):
        ids, why = walk(compiled(regex=regex), seed, 60)
        ends.add(why)
        if why == "eos":
            assert re.fullmatch(regex, VOCABULARY.text(ids))
    assert "eos" in ends
    assert "dead" not in ends


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("[", "regex cannot be enforced: .*unclosed character class"),
        ("(?=a)b", "look-around"),
        (r"(a)\1", "backreferences are not supported"),
        (r"[^\s\S]", "regex allows no text at all"),
        ("(){3}", "regex allows only the empty text"),
        ("((a{1,200}){1,200}){1,200}", "regex is too complex to follow"),
    ],
)
def test_a_regex_that_cannot_be_enforced_is_refused(regex: str, message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        compiled(regex=regex)


def test_exactly_the_choices_are_generated_though_one_begins_another() -> None:
    choices = ["yes", "no", "yes please", "a/b\n", 'c"d\\é', "[x].*", "the cat"]
    found = set()
    for seed in range(200):
        ids, why = walk(compiled(choices=choices), seed, 40, lambda piece: 1.0)
        assert why == "eos"
        found.add(VOCABULARY.text(ids))
    assert found == set(choices)


def test_words_choose_among_the_choices() -> None:
    choices = ["a cat", "a dog", "the cat"]
    found = {
        VOCABULARY.text(walk(compiled(choices=choices, required_words=["CAT"], forbidden_words=["the"]), seed, 20)[0])
        for seed in range(20)
    }
    assert found == {"a cat"}
    with pytest.raises(ConstraintError, match="none of choices"):
        compiled(choices=choices, required_words=["bird"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_words_beside_a_regex_are_one_language_without_dead_ends(seed: int) -> None:
    constraint = compiled(regex="[a-z ]{8,30}", required_words=["Cat", "in"], forbidden_words=["THE", "catx"])
    ids, why = walk(constraint, seed, 60, end=20.0)
    text = VOCABULARY.text(ids)
    assert why == "eos"
    assert re.fullmatch("[a-z ]{8,30}", text)
    assert "cat" in text
    assert "in" in text
    assert "the" not in text
    assert "catx" not in text


def test_words_beside_a_regex_too_complex_to_be_one_language_bind_all_the_same() -> None:
    required = ["cat", "dog", "bird", "fish", "never", "ever"]
    constraint = compiled(regex="[a-z ]{20,60}", required_words=required, forbidden_words=["catx", "dogx", "the"])
    assert constraint.required is not None
    for seed in range(20):
        ids, why = walk(constraint, seed, 70)
        text = VOCABULARY.text(ids)
        assert "catx" not in text
        assert "the" not in text
        assert why != "eos" or all(word in text for word in required)


def test_a_regex_that_no_text_with_the_words_matches_is_refused() -> None:
    with pytest.raises(ConstraintError, match="regex with required_words allows no text"):
        compiled(regex="[a-z]{3}", required_words=["four"])
    with pytest.raises(ConstraintError, match="regex with forbidden_words allows only the empty text"):
        compiled(regex="a*", forbidden_words=["a"])


def test_words_beside_a_schema_bind_too() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "maxLength": 6}},
        "required": ["a"],
        "additionalProperties": False,
    }
    ends = []
    for seed in range(40):
        ids, why = walk(compiled(json_schema=schema, forbidden_words=["e", "the"]), seed, 60)
        ends.append(why)
        assert "e" not in VOCABULARY.text(ids).lower()
        ids, why = walk(compiled(json_schema=schema, required_words=["q"]), seed, 60)
        assert why != "eos" or "q" in VOCABULARY.text(ids).lower()
    assert "eos" in ends


ENDING = [
    'start: ("a" start)?',
    'start: "a" start | "b"',
    'start: "a" [start]',
    'start: item+\nitem: "(" start ")" | /[0-9]+/',
    'start: a b\n// c: x\na: "x:" a~0..2\nb: %json {"type":"object","a":{}}',
    '?start: expr\nexpr: expr "+" term | term\nterm: NUMBER\nNUMBER: /[0-9]+/',
    'start: a{0,3} "x" // : a\na: "y" a',
    'start: "a"*\n  | "b" start',
]


@pytest.mark.parametrize("grammar", ENDING[:6] + ENDING[7:])
def test_a_grammar_that_can_end_is_followed_to_its_end(grammar: str) -> None:
    ends = {walk(compiled(grammar=grammar), seed, 80, end=3.0)[1] for seed in range(12)}
    assert "eos" in ends
    assert "dead" not in ends


@pytest.mark.parametrize(
    ("grammar", "rule"),
    [
        ('start: "a" start', "start"),
        ('start: "b" | "a" x\nx: "a" x', "x"),
        ('start: x\nx: y\ny: x | "c" y', "start"),
        ('start: a b\na: "x" | a\nb: ("(" b ")" | b a)+', "start"),
        ('start: "x" (start | "y" start)', "start"),
        ('start: ("a" start)~2', "start"),
        ('start: "a" | b\n# b: "c"\nb: "d:" b // "e"', "b"),
        (ENDING[6], "a"),
    ],
)
def test_a_grammar_with_a_rule_that_can_never_end_is_refused(grammar: str, rule: str) -> None:
    with pytest.raises(ConstraintError, match=f"grammar can never end in rule '{rule}'"):
        compiled(grammar=grammar)


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ('foo: "a"', "no start rule found"),
        ("start: undefined_rule", "unknown name"),
        ('start: ""', "grammar allows only the empty text"),
        (r"start: T" "\n" r"T: /[^\s\S]/", "grammar allows no text at all"),
        ("start: (", "cannot be enforced"),
    ],
)
def test_a_grammar_that_cannot_be_enforced_is_refused(grammar: str, message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        compiled(grammar=grammar)


def test_eos_is_kept_only_where_the_text_may_end_and_then_alone() -> None:
    row = compiled(regex="ab?")
    a, b = (VOCABULARY.encode(letter)[0] for letter in "ab")

    def kept() -> list[int]:
        keep = row.keep(9)
        assert keep is not None
        assert keep.shape == (VOCABULARY.vocab_size,)
        return list(keep.nonzero().flatten().tolist())

    assert (kept(), row.satisfied) == ([a], False)
    row.advance(a)
    assert (kept(), row.satisfied) == ([2, 3, b], True)
    row.advance(b)
    assert (kept(), row.satisfied) == ([2, 3], True)


def test_a_token_outside_the_language_leaves_the_row_dead() -> None:
    row = compiled(regex="ab")
    row.advance(VOCABULARY.encode("x")[0])
    keep = row.keep(9)
    assert keep is not None
    assert not keep.any()
    assert (row.dead, row.satisfied) == (True, False)


def test_a_copied_row_goes_its_own_way() -> None:
    row = compiled(regex="ab|cd")
    twin = row.copy()
    row.advance(VOCABULARY.encode("a")[0])
    twin.advance(VOCABULARY.encode("c")[0])
    kept = [constraint.keep(9) for constraint in (row, twin)]
    assert [VOCABULARY.token_bytes[int(keep.nonzero())] for keep in kept if keep is not None] == [b"b", b"d"]


def test_eos_ids_of_the_config_take_the_place_of_the_models() -> None:
    constraint = compile_constraint(GenerationConfig.from_dict({"regex": "a*", "eos_token_id": 1}), VOCABULARY)
    assert constraint is not None
    keep = constraint.keep(9)
    assert keep is not None
    assert keep.nonzero().flatten().tolist() == [1, VOCABULARY.encode("a")[0]]
    constraint.advance(1)
    assert constraint.satisfied


def test_a_model_without_eos_cannot_end_a_grammar() -> None:
    vocabulary = SmallVocabulary(eos_token_ids=())
    vocabulary.llguidance = VOCABULARY.llguidance
    with pytest.raises(ConstraintError, match="this model has no EOS token"):
        compile_constraint(GenerationConfig(regex="a"), vocabulary)
