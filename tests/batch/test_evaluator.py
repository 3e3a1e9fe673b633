"""The code evaluator's loop, on a model whose every word is written down: real output takes the place of what it invented."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.batch.working import outputs, spec

from ramify.batch import jobs
from ramify.batch.evaluator import Evaluating, code_in
from ramify.batch.sandbox import Limits, Outcome, Sandbox, why_not
from ramify.batch.spec import JobSpec
from ramify.engine.model import Model
from ramify.errors import BadRequestError
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.store import Database

real = pytest.mark.skipif(why_not() is not None, reason=f"no sandbox here: {why_not()}")

PROMPT = "Q"
CALL = "Six times seven:\n```python\nprint(6 * 7)\n```\n"


def opener(*stories: str, window: int = 900) -> Any:
    """A model that tells the first story which begins with what was said so far, and then ends."""
    codec = ScriptedTokenizer([chr(code) for code in range(32, 127)] + ["\n"])

    def script(ids: tuple[int, ...]) -> list[float]:
        said = codec.decode(ids)
        story = next((each for each in stories if each.startswith(said)), None)
        more = story[len(said) :] if story is not None else ""
        best = codec.encode(more[0])[0] if more else codec.eos_token_ids[0]
        return [0.0 if i == best else -30.0 for i in range(codec.vocab_size)]

    @contextlib.contextmanager
    def open_model(_: JobSpec) -> Iterator[Model]:
        with Model(ScriptedBackend(script, codec, context_window=window)) as model:
            yield model

    return open_model


class Noted(Sandbox):
    """Answers from a list, and notes what it was given."""

    def __init__(self, *said: str | Outcome) -> None:
        self.said, self.given = list(said), list[tuple[str, tuple[str, ...]]]()

    def run(self, code: str, *, after: Sequence[str] = ()) -> Outcome:
        self.given.append((code, tuple(after)))
        said = self.said.pop(0)
        return said if isinstance(said, Outcome) else Outcome(status="ok", output=said, wall_s=0.0)


def ran(db: Database, folder: Path, opened: Any, sandbox: Sandbox | None = None, tool: Any = None, **settings: Any) -> Any:
    told = {"name": "code_evaluator", **(tool or {})}
    more = {"max_new_tokens": 400, "temperature": 0.0, **settings}
    wanted = spec(folder, settings=more, tool=told, logprobs=bool(more.pop("logprobs", False)), overwrite=True)
    key = jobs.create(db, wanted, prompts=[PROMPT]).key
    job = jobs.run(db, key, open_model=opened, asks=lambda kept: Evaluating(kept, sandbox=sandbox))
    assert job.state == "completed", job.error
    return outputs(folder / "out.json")[0]


@real
def test_output_takes_the_place_of_what_the_model_invented_and_the_model_goes_on(db: Database, tmp_path: Path) -> None:
    invented = f"{PROMPT}{CALL}43\n>>>\nnever read"
    goes_on = f"{PROMPT}{CALL}42\n>>>\nSo it is 42."
    found = ran(db, tmp_path, opener(goes_on, invented))
    assert found["text"] == f"{CALL}42\n>>>\nSo it is 42."
    assert found["executions"] == [{"status": "ok", "output": "42"}]
    assert (found["finish_reason"], found["num_prompt_tokens"]) == ("eos", 1)


def test_what_stands_behind_the_first_block_is_dropped_and_the_first_block_is_what_runs(db: Database, tmp_path: Path) -> None:
    two = f"{PROMPT}```python\na\n```\nwrong\n```python\nb\n```\nmore"
    sandbox = Noted("A")
    found = ran(db, tmp_path, opener(f"{PROMPT}```python\na\n```\nA\n>>>\nend", two), sandbox)
    assert (found["text"], sandbox.given) == ("```python\na\n```\nA\n>>>\nend", [("a", ())])


def test_several_turns_run_one_after_the_other_up_to_max_iterations(db: Database, tmp_path: Path) -> None:
    turn = "```python\nx\n```\n1\n>>>\n"
    sandbox = Noted(*"1111")
    found = ran(db, tmp_path, opener(PROMPT + turn * 9), sandbox, {"max_iterations": 3})
    assert len(sandbox.given) == 3
    # The last turn is told, and not run: no output is left without the words behind it.
    assert found["text"] == turn * 3 + "```python\nx\n```\n1"


def test_the_marker_always_stops_a_turn_whatever_the_callers_own_stops_are(db: Database, tmp_path: Path) -> None:
    story = f"{PROMPT}plain\n>>>\nbehind it. STOP here"
    assert ran(db, tmp_path, opener(story), Noted())["text"] == "plain"
    stopped = ran(db, tmp_path, opener(f"{PROMPT}one STOP two\n>>>\n"), Noted(), stop_strings=["STOP"])
    assert (stopped["text"], stopped["finish_reason"]) == ("one ", "stop")


def test_text_without_a_whole_block_is_left_as_it_is(db: Database, tmp_path: Path) -> None:
    for text in ("no code", "```python\nprint(1)", "```js\n1\n```\n", "print(1)\n```\n"):
        assert ran(db, tmp_path, opener(PROMPT + text), Noted())["text"] == text


def test_outputs_are_charged_to_the_rows_tokens_by_the_models_own_tokenizer(db: Database, tmp_path: Path) -> None:
    turn = "```python\nx\n```\n"
    sandbox = Noted("o" * 50, "p")
    found = ran(db, tmp_path, opener(f"{PROMPT}{turn}{'o' * 50}\n>>>\n" + "z" * 100), sandbox, max_new_tokens=100)
    assert found["num_completion_tokens"] == 100 - len("o" * 50 + "\n>>>\n")
    assert (found["text"].count("z"), found["finish_reason"]) == (found["num_completion_tokens"] - len(turn), "length")
    over = ran(db, tmp_path, opener(f"{PROMPT}{turn}"), Noted("o" * 500), max_new_tokens=100)
    assert (over["finish_reason"], over["text"]) == ("length", f"{turn}{'o' * 500}\n>>>\n")


def test_an_error_is_fed_back_and_a_missing_name_is_looked_for_in_the_turns_before(db: Database, tmp_path: Path) -> None:
    first, second = "```python\nx = 1\n```\n", "```python\nprint(x)\n```\n"
    error = Outcome(status="error", output="NameError: name 'x' is not defined", wall_s=0.0)
    sandbox = Noted("", error, "1")
    story = f"{PROMPT}{first}\n>>>\n{second}1\n>>>\ndone"
    found = ran(db, tmp_path, opener(story), sandbox)
    assert sandbox.given == [("x = 1", ()), ("print(x)", ()), ("print(x)", ("x = 1",))]
    assert found["text"].endswith("1\n>>>\ndone")
    without = Noted("", error)
    told = f"{PROMPT}{first}\n>>>\n{second}NameError: name 'x' is not defined\n>>>\noh"
    found = ran(db, tmp_path, opener(told, story), without, {"should_retry_on_error": False})
    assert found["text"].endswith("oh")
    assert found["executions"][1] == {"status": "error", "output": "NameError: name 'x' is not defined"}


@real
def test_definitions_of_earlier_turns_are_there_and_their_output_is_not_said_again(db: Database, tmp_path: Path) -> None:
    first = "```python\ndef f(n):\n    return n + 1\nprint('noise')\n```\n"
    second = "```python\nprint(f(1))\n```\n"
    story = f"{PROMPT}{first}noise\n>>>\n{second}2\n>>>\nTwo."
    found = ran(db, tmp_path, opener(story))
    assert [each["output"] for each in found["executions"]] == ["noise", "2"]


@real
def test_code_that_does_not_end_is_stopped_and_the_row_goes_on(db: Database, tmp_path: Path) -> None:
    code = "```python\nwhile True: pass\n```\n"
    story = f"{PROMPT}{code}[stopped after 1 s]\n>>>\nToo long."
    found = ran(db, tmp_path, opener(story), tool={"execution_timeout_seconds": 1})
    assert (found["text"][-9:], found["executions"][0]["status"]) == ("Too long.", "timeout")


def test_logprobs_are_of_the_models_own_tokens_that_stand_in_the_text(db: Database, tmp_path: Path) -> None:
    story = f"{PROMPT}```python\na\n```\nA\n>>>\nend"
    invented = f"{PROMPT}```python\na\n```\nwrong\n>>>\n"
    found = ran(db, tmp_path, opener(story, invented), Noted("A"), logprobs=True)
    assert "".join(each["token"] for each in found["tokens"]) == "```python\na\n```end"


def test_a_tool_that_is_none_is_refused() -> None:
    with pytest.raises(BadRequestError, match="name is 'calculator'"):
        Evaluating(spec(Path(), tool={"name": "calculator"}), sandbox=Noted())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```python\na\n```\n", ("```python\na", "a")),
        ("```python\na\n```", ("```python\na", "a")),
        ("x\n```python\na\n\nb\n```\ny", ("x\n```python\na\n\nb", "a\n\nb")),
        ("```python\na```\n", None),
        ("```python\n", None),
        ("", None),
    ],
)
def test_a_block_begins_and_ends_on_lines_of_their_own(text: str, found: tuple[str, str] | None) -> None:
    assert code_in(text) == found


@real
def test_answers_in_human_evals_way_are_run_with_their_tests(db: Database, tmp_path: Path) -> None:
    """A function, its check and a call of it, as a model that can program writes them."""
    task = 'def add(x: int, y: int):\n    """Add two numbers."""\n'
    answer = "    return x + y\n"
    check = (
        "def check(candidate):\n    assert candidate(0, 1) == 1\n    assert candidate(5, 7) == 12\ncheck(add)\nprint('passed')"
    )
    code = f"```python\n{task}{answer}{check}\n```\n"
    right = f"{PROMPT}{code}passed\n>>>\nIt passed."
    wrong_code = code.replace("x + y", "x - y")
    failed = Sandbox(Limits(wall_s=10)).run(wrong_code.removeprefix("```python\n").removesuffix("\n```\n"))
    assert "AssertionError" in failed.output
    found = ran(db, tmp_path, opener(right))
    assert (found["text"], json.dumps(found["executions"])) == (
        f"{code}passed\n>>>\nIt passed.",
        '[{"status": "ok", "output": "passed"}]',
    )
