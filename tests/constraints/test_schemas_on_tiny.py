"""Whatever the schema and the seed, what comes out is valid; what cannot be enforced is refused before anything runs."""

import copy
import json
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from constraints.schemas_made_here import UNENFORCEABLE, made
from ramify.errors import ConstraintError

SEEDS = 5
EVERY = [pytest.param(5, id="every fifth"), pytest.param(1, id="all", marks=pytest.mark.slow)]
MOST = 120
"""Tokens of a completion: enough for nine of ten, so that babble to a far limit costs nothing."""
REPORT = Path(".cache/refused_schemas.txt")


def chosen(every: int) -> list[dict[str, Any]]:
    """Every so-many-th schema, and all that cannot be enforced."""
    return [schema for i, schema in enumerate(made()) if i % every == 0 or schema in UNENFORCEABLE]


@pytest.fixture(scope="module", params=EVERY)
def asked(request: Any, load: Any) -> tuple[list[tuple[dict[str, Any], Any]], list[tuple[dict[str, Any], str]]]:
    """Every schema that is accepted with its five completions, and every refused one with the reason."""
    model = load("tiny")
    waiting, refused = [], []
    for schema in chosen(request.param):
        prompt = "<|im_start|>user\nWrite a JSON object.<|im_end|>\n<|im_start|>assistant\n"
        settings = {"json_schema": schema, "do_sample": True, "seed": 0, "n": SEEDS, "max_new_tokens": MOST}
        try:
            handle = model.submit(model.request(prompt, logprobs=None, **settings))
        except ConstraintError as error:
            refused.append((schema, str(error)))
        else:
            waiting.append((schema, handle))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("".join(f"{json.dumps(schema)}\n    {reason}\n" for schema, reason in refused))
    return [(schema, result) for schema, handle in waiting for result in handle.future.result()], refused


FORMATS = copy.deepcopy(jsonschema.Draft202012Validator.FORMAT_CHECKER)


@FORMATS.checks("date", raises=ValueError)
def is_date(value: object) -> bool:
    """RFC 3339 has a year 0000; Python's calendar, which the checker would ask, has not. It was a leap year, as 2000."""
    return not isinstance(value, str) or bool(date.fromisoformat(value.replace("0000-", "2000-", 1)))


def test_every_finished_completion_parses_and_fits_its_schema(asked: Any) -> None:
    for schema, result in asked[0]:
        if result.finish_reason == "eos":
            jsonschema.Draft202012Validator(schema, format_checker=FORMATS).validate(json.loads(result.text))


def test_nine_of_ten_completions_finish_uncut(asked: Any) -> None:
    results = [result for _, result in asked[0]]
    assert {result.finish_reason for result in results} <= {"eos", "length"}
    finished = sum(result.finish_reason == "eos" for result in results)
    print(f"{finished} of {len(results)} finished uncut")
    assert finished >= 0.9 * len(results)


def test_what_cannot_be_enforced_is_refused_and_listed(asked: Any) -> None:
    refused = [schema for schema, _ in asked[1]]
    print(f"{len(refused)} of {len(made())} schemas refused; see {REPORT}")
    # All of these, and nothing that people ordinarily ask for.
    assert refused == list(UNENFORCEABLE)
    assert all(len(reason) > 20 for _, reason in asked[1])
