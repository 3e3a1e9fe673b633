"""`ramify why-not` on a model whose probabilities are written down: what was removed, by which rule, and what no rule removed."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ramify.cli.main import app
from ramify.engine.model import Model
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.store import Database, NewCompletion, SpanRecord


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After every word: "a " has .5, "b " .3, "c " .2."""
    from ramify.cli import options

    codec = ScriptedTokenizer(("a ", "b ", "c "), bos="<s>")

    def script(ids: tuple[int, ...]) -> list[float]:
        row = [-1e9] * codec.vocab_size
        row[:3] = [math.log(p) for p in (0.5, 0.3, 0.2)]
        return row

    monkeypatch.setattr(options, "open_model", lambda name, **how: Model(ScriptedBackend(script, codec)))
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))


def why(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["why-not", *arguments], prog_name="ramify")


def answered(*arguments: str) -> Any:
    result = why(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


SETTINGS = ("-p", "a ", "--max-new-tokens", "4", "--top-p", "0.6", "--nucleus-rule", "exclusive", "--seed", "1")


def test_the_rule_is_named_and_the_whole_place_told() -> None:
    found = answered("b ", *SETTINGS, "--at", "2", "--suppress-tokens", "2")
    # Without "c " the mass is .8; of .625 and .375 the exclusive nucleus of .6 keeps the first alone.
    assert [(c["token"], c["removed_by"], round(c["left"], 6)) for c in found["candidates"]][:3] == [
        ("a ", None, 1.0),
        ("b ", "top_p", 0.0),
        ("c ", "suppress_tokens", 0.0),
    ]
    assert (found["chosen"], found["before"], found["position"]) == ("a ", "a a ", 2)
    assert found["asked"]["says"] == "top_p removed it: the model gave it 30 %."
    told = why("b ", *SETTINGS, "--at", "2")
    assert told.stdout.splitlines()[-1] == "b·: top_p removed it: the model gave it 30 %."
    assert "a· ◂" in told.stdout


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ((), "No processor removed it: it had 30 % (the model gave it 30 %), and another was likelier."),
        (("--do-sample",), "and the draw fell on another."),
        (("--num-beams", "2"), "and beam search chose another way."),
        (("--guidance-scale", "2"), "what guidance made of it is not read again."),
    ],
)
def test_where_no_rule_did_it_the_search_is_named(settings: tuple[str, ...], says: str) -> None:
    # Some place of twelve where it does not stand.
    asked = ("b ", "-p", "a ", "--max-new-tokens", "12", "--seed", "3", *settings)
    found = [answered(*asked, "--at", str(at))["asked"]["says"] for at in range(12)]
    assert any(each.endswith(says) for each in found), found


def test_without_a_token_the_place_alone_is_told() -> None:
    assert answered(*SETTINGS)["asked"] is None
    assert "stayed" in why(*SETTINGS).stdout


def test_a_completion_of_the_workspace_is_read_with_its_own_settings(tmp_path: Path) -> None:
    where = str(tmp_path / "w.ramify")
    with Database.open(where) as db:
        sample = db.samples.add("a ")
        made = NewCompletion(
            text="c a a ",
            model="scripted",
            fingerprint="scripted",
            finish_reason="length",
            generated_start=2,
            token_ids=(2, 0, 0),
            spans=[SpanRecord(0, 1, "prefill"), SpanRecord(1, 3, "sampled")],
            config={"top_k": 1, "max_new_tokens": 2},
            seed=1,
        )
        row = db.completions.add(sample, made).id
        hand = db.completions.add(sample, NewCompletion(text="a ", finish_reason="written")).id
    found = answered("b ", "--completion", str(row), "--at", "2", "-w", where)
    assert (found["position"], found["asked"]["removed_by"]) == (2, "top_k")
    for arguments, says in (
        (("--completion", str(row), "--at", "0"), "token 0 is of the prefill"),
        (("--completion", str(row), "--at", "3"), "--at is 3; the completion has tokens 1 to 2"),
        (("--completion", str(row), "--top-p", "0.5"), "leave top_p out"),
        (("--completion", str(row), "-p", "a "), "one of the two"),
        ((), "one of the two"),
        (("--completion", str(hand)), "name one with --model"),
        (("a b ", "-p", "a "), "'a b ' is 2 tokens of scripted"),
    ):
        refused = why(*arguments, "-w", where)
        assert (refused.exit_code, says in refused.stderr) == (2, True), (arguments, refused.output)
