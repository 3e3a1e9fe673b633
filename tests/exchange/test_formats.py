"""Each format by a record of its own: the prompt, the answers, and which is better."""

import json
from pathlib import Path
from typing import Any

import pytest

from exchange.conftest import Bring
from ramify.exchange.entries import Answer, Entry
from ramify.exchange.formats import ROW_FORMATS, detected
from ramify.store import Database

USER = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello"}
CALL = {"type": "function", "function": {"name": "look", "arguments": '{"b": 1, "a": 2}'}}


def read(row: dict[str, Any]) -> tuple[str, list[Entry]]:
    found = detected([row], "file")
    return found.name, list(found.read(row))


def plain(text: str, **more: Any) -> Answer:
    return Answer(text=text, **more)


@pytest.mark.parametrize(
    ("row", "format", "prompt", "answers", "better"),
    [
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
            "sharegpt",
            [USER],
            ["Hello"],
            (),
        ),
        (
            {"conversations": [{"from": "human", "value": "Hi"}], "system": "Be kind"},
            "sharegpt",
            [{"role": "system", "content": "Be kind"}, USER],
            [],
            (),
        ),
        ({"messages": [USER, HELLO]}, "openai", [USER], ["Hello"], ()),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, HELLO]},
            "openai",
            [USER],
            ["Hello"],
            (),
        ),
        (
            {
                "input": {"messages": [USER]},
                "preferred_output": [HELLO],
                "non_preferred_output": [{"role": "assistant", "content": "No"}],
            },
            "openai",
            [USER],
            ["Hello", "No"],
            ((0, 1),),
        ),
        (
            {"text": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"},
            "chatml",
            [USER],
            ["Hello"],
            (),
        ),
        ({"text": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"}, "chatml", [USER], [], ()),
        ({"prompt": "Hi", "completion": " there"}, "trl", "Hi", [" there"], ()),
        ({"prompt": [USER], "completion": [HELLO]}, "trl", [USER], ["Hello"], ()),
        ({"prompt": "Hi", "chosen": " a", "rejected": " b"}, "trl", "Hi", [" a", " b"], ((0, 1),)),
        (
            {"chosen": [USER, HELLO], "rejected": [USER, {"role": "assistant", "content": "No"}]},
            "trl",
            [USER],
            ["Hello", "No"],
            ((0, 1),),
        ),
        ({"chosen": "The sky is blue.", "rejected": "The sky is green."}, "trl", "The sky is", [" blue.", " green."], ((0, 1),)),
        ({"prompt": [USER]}, "trl", [USER], [], ()),
        (
            {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: No"},
            "hh",
            [USER],
            ["Hello", "No"],
            ((0, 1),),
        ),
        ({"question": "1+1?", "answer": "2\n#### 2"}, "gsm8k", [{"role": "user", "content": "1+1?"}], ["2\n#### 2"], ()),
        ({"text": "Once upon a time"}, "text", "Once upon a time", [], ()),
    ],
)
def test_a_record_of_each_format(row: dict[str, Any], format: str, prompt: Any, answers: list[str], better: Any) -> None:
    name, (entry,) = read(row)
    assert name == format
    assert (entry.prompt, [each.text for each in entry.answers], entry.better) == (prompt, answers, better)


def test_alpaca_joins_instruction_and_input_and_remembers_where() -> None:
    row = {"instruction": "Add", "input": "1, 2", "output": "3", "system": "Sum", "history": [["Hi", "Hello"]]}
    _, (entry,) = read(row)
    assert entry.prompt == [{"role": "system", "content": "Sum"}, USER, HELLO, {"role": "user", "content": "Add\n1, 2"}]
    assert entry.answers == (plain("3", details={"input_start": 4}),)


def test_a_label_is_kept_as_good_or_bad() -> None:
    for label in (True, False):
        _, (entry,) = read({"prompt": "Hi", "completion": " there", "label": label})
        assert [each.good for each in entry.answers] == [label]


def test_steps_are_one_answer_with_a_label_each() -> None:
    _, (entry,) = read({"prompt": "1+1+1?", "completions": ["1+1=2", "2+1=4"], "labels": [True, False]})
    (answer,) = entry.answers
    assert (answer.text, answer.good) == ("1+1=2\n2+1=4", False)
    assert answer.details == {"steps": [5, 5], "step_labels": [True, False]}


def test_tool_turns_keep_their_arguments_to_the_letter() -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "Hi"},
            {"from": "function_call", "value": '{"name": "look", "arguments": {"b": 1, "a": 2}}'},
            {"from": "observation", "value": "42"},
            {"from": "gpt", "value": "It is 42."},
        ],
        "tools": '[{"name": "look"}]',
    }
    _, (entry,) = read(row)
    assert entry.prompt == [
        {**USER, "tools": '[{"name": "look"}]'},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "42"},
    ]
    assert [each.text for each in entry.answers] == ["It is 42."]


def test_a_call_as_the_last_turn_is_a_completion_that_spells_it() -> None:
    _, (entry,) = read({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}]})
    (answer,) = entry.answers
    assert answer.text == '{"name": "look", "arguments": {"b": 1, "a": 2}}'
    assert answer.details == {"content": "", "tool_calls": [CALL]}


def test_thoughts_are_part_of_the_text() -> None:
    parts = [{"type": "reasoning", "value": "Hm."}, {"type": "text", "value": "Hello"}]
    _, (entry,) = read({"messages": [USER, {"role": "assistant", "content": parts}]})
    assert [each.text for each in entry.answers] == ["<think>\nHm.\n</think>\n\nHello"]


def test_truthfulqa_prefers_the_best_answer_to_the_best_incorrect_one() -> None:
    row = {
        "Category": "Myths",
        "Question": "Why?",
        "Best Answer": "A",
        "Best Incorrect Answer": "Z",
        "Correct Answers": "A; B",
        "Incorrect Answers": "Y; Z",
        "Source": "s",
    }
    _, (entry,) = read(row)
    assert [(each.text, each.good) for each in entry.answers] == [("A", True), ("B", True), ("Z", False), ("Y", False)]
    assert (entry.better, entry.group) == (((0, 2),), "Myths")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Hi", "chosen": "a", "rejected": "a"}, "chosen and rejected are equal"),
        ({"messages": [HELLO]}, "an answer without a question"),
        ({"messages": [{"role": "wizard", "content": "Hi"}]}, "the role 'wizard'"),
        ({"conversations": [{"from": "human", "value": 3}]}, "text is a number; it must be a text"),
        ({"prompt": "Hi", "completions": ["a"], "labels": [True, False]}, "1 steps have 2 labels"),
        ({"prompt": "Hi", "completion": "x", "label": "perhaps"}, "label is 'perhaps'; it must be true or false"),
        ({"instruction": "", "output": "x"}, "instruction and input are both empty"),
    ],
)
def test_a_record_that_cannot_be_used_says_why(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(row)


def test_an_unknown_layout_is_refused_with_its_columns_and_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"its columns are a, b\. Name the format with --as .* or the columns with --map"):
        detected([{"a": 1, "b": 2}], "file")


def test_formats_tell_each_other_apart() -> None:
    rows = {
        "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}]},
        "openai": {"messages": [USER]},
        "alpaca": {"instruction": "a", "output": "b"},
        "trl": {"prompt": "a", "completion": "b"},
        "gsm8k": {"question": "a", "answer": "#### 1"},
        "ifeval": {"prompt": "a", "instruction_id_list": [], "kwargs": []},
    }
    for name, row in rows.items():
        assert next(each for each, format in ROW_FORMATS.items() if format.detect(row)) == name


# ---------------------------------------------------------------- by columns


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_columns_are_mapped_by_name_also_inside_objects(tmp_path: Path, bring: Bring, db: Database) -> None:
    (tmp_path / "t.csv").write_text('q;"who";stars\n"a; b";Ann;9\n', "utf-8")
    mapping = {"user": "q", "model": "who", "completion": "q", "rating": "stars"}
    report = bring(tmp_path / "t.csv", mapping=mapping, facet="f")
    (sample,) = db.samples.list()
    (made,) = db.completions.of(sample.id)
    assert (sample.prompt, made.text, made.model) == (({"role": "user", "content": "a; b"},), "a; b", "Ann")
    assert (report.ratings_added, db.judgements.ratings_of(made.id)[0].rating) == (1, 9)
    file = lines(tmp_path / "t.jsonl", {"x": {"y": "Once"}, "z": " more"})
    bring(file, mapping={"prompt": "x.y", "completion": "z"})
    assert db.samples.list()[0].prompt == "Once"


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"promt": "a"}, "--map knows no 'promt'"),
        ({"label": "a"}, "has no prompt"),
        ({"prompt": "a", "chosen": "b"}, "chosen and rejected go together"),
        ({"prompt": "nothing"}, "no column 'nothing'; it has a"),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path: Path, bring: Bring, mapping: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bring(lines(tmp_path / "t.jsonl", {"a": "b"}), mapping=mapping)


# ---------------------------------------------------------------- whole files


def test_batch_answers_find_their_requests_by_id(tmp_path: Path, bring: Bring, db: Database) -> None:
    asked = lines(tmp_path / "in.jsonl", *({"custom_id": i, "body": {"messages": [USER | {"content": i}]}} for i in "abc"))
    reply = {"model": "m", "choices": [{"message": HELLO, "finish_reason": "length"}]}
    told = lines(
        tmp_path / "out.jsonl",
        {"custom_id": "b", "response": {"status_code": 200, "body": reply}, "error": None},
        {"custom_id": "c", "response": None, "error": {"message": "no"}},
        {"custom_id": "d", "response": {"status_code": 200, "body": reply}},
    )
    report = bring(told, asked, skip_bad=True)
    assert (report.samples_added, report.completions_added) == (2, 1)
    assert [(each["line"], each["reason"][:22]) for each in report.problems] == [
        (2, "the request failed: {'"),
        (3, "no request has the cus"),
    ]
    (made,) = [each for sample in db.samples.list() for each in db.completions.of(sample.id)]
    assert (made.text, made.model, made.truncated, made.finish_reason) == ("Hello", "m", True, "imported")


def lm_record(doc_id: int, filter: str, value: float, text: str, arguments: Any = "Question: 1+1?\nAnswer:") -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "doc": {"q": "1+1?"},
        "target": "2",
        "arguments": {"gen_args_0": {"arg_0": arguments, "arg_1": {"until": ["\n"]}}},
        "resps": [[text]],
        "filtered_resps": [text[-1]],
        "filter": filter,
        "metrics": ["exact_match"],
        "doc_hash": f"d{doc_id}",
        "exact_match": value,
    }


def test_several_filters_of_one_answer_are_one_completion(tmp_path: Path, bring: Bring, db: Database) -> None:
    file = lines(
        tmp_path / "samples_sums_2025-01-01T00-00-00.000001.jsonl",
        lm_record(0, "strict", 0.0, "it is 2"),
        lm_record(0, "flexible", 1.0, "it is 2"),
    )
    assert bring(file, facet="f").completions_added == 1
    (made,) = db.completions.of(db.samples.list()[0].id)
    assert made.details["lm_eval"]["filters"] == {
        "strict": {"exact_match": 0.0, "filtered": "2"},
        "flexible": {"exact_match": 1.0, "filtered": "2"},
    }
    assert (made.details["target"], made.details["doc"]) == ("2", {"q": "1+1?"})
    assert db.judgements.ratings_of(made.id)[0].rating == 2
    with pytest.raises(ValueError, match="not judged by the filter 'odd'; it has strict, flexible"):
        bring(file, facet="f", filter="odd")


@pytest.mark.parametrize(
    ("arguments", "prompt"),
    [
        ("Question: 1+1?", "Question: 1+1?"),
        (['[{"role": "user", "content": "Hi"}]'], ({"content": "Hi", "role": "user"},)),
        ([{"role": "user", "content": "Hi"}], ({"content": "Hi", "role": "user"},)),
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", ({"content": "Hi", "role": "user"},)),
        ("<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", ({"content": "Hi", "role": "user"},)),
        ("<|im_start|>user\nHi, half open", ({"content": "Hi, half open", "role": "user"},)),
    ],
)
def test_arguments_in_every_shape(tmp_path: Path, bring: Bring, db: Database, arguments: Any, prompt: Any) -> None:
    bring(lines(tmp_path / "samples_t_2025-01-01T00-00-00.1.jsonl", lm_record(0, "none", 1.0, "Hello", arguments)))
    assert db.samples.list()[0].prompt == prompt


def test_a_choice_is_the_likeliest_continuation(tmp_path: Path, bring: Bring, db: Database) -> None:
    row = {
        "doc_id": 3,
        "doc": {},
        "target": "1",
        "arguments": {f"gen_args_{i}": {"arg_0": "The sky is", "arg_1": text} for i, text in enumerate((" green", " blue"))},
        "resps": [[["-9.5", "False"]], [["-0.5", "True"]]],
        "filtered_resps": [["-9.5", "False"], ["-0.5", "True"]],
        "filter": "none",
        "metrics": ["acc"],
        "acc": 1.0,
    }
    bring(lines(tmp_path / "samples_sky_2025-01-01T00-00-00.1.jsonl", row), facet="f")
    (made,) = db.completions.of(db.samples.list()[0].id)
    assert (made.text, db.judgements.ratings_of(made.id)[0].rating) == (" blue", 8)


def test_answers_beside_their_questions_are_joined(tmp_path: Path, bring: Bring, db: Database) -> None:
    lines(tmp_path / "question.jsonl", {"question_id": 1, "category": "c", "turns": ["Hi", "Again"]})
    answers = lines(
        tmp_path / "a.jsonl", {"question_id": 1, "model_id": "gpt-4", "choices": [{"turns": ["Hello", "Hello again"]}]}
    )
    assert bring(answers, facet="f").samples_added == 2
    last, first = db.samples.list()
    assert first.prompt == ({"content": "Hi", "role": "user"},)
    assert [each["content"] for each in last.prompt] == ["Hi", "Hello", "Again"]  # type: ignore[index]
    assert [each.model for each in db.completions.of(last.id)] == ["gpt-4"]


def test_a_dataset_info_that_leads_out_of_its_folder_is_refused(tmp_path: Path, bring: Bring, db: Database) -> None:
    (tmp_path / "dataset_info.json").write_text('{"x": {"file_name": "../secret.json"}}')
    with pytest.raises(ValueError, match="leads out of its folder; nothing was read"):
        bring(tmp_path / "dataset_info.json")


def test_a_saved_hugging_face_folder_and_the_same_through_the_library(tmp_path: Path, bring: Bring, db: Database) -> None:
    import datasets

    rows = [{"prompt": f"p{i}", "completion": f" c{i}"} for i in range(5)]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    assert bring(tmp_path / "saved").completions_added == 5
    (tmp_path / "plain").mkdir()
    lines(tmp_path / "plain" / "train.jsonl", *rows)
    assert bring(f"hf:{tmp_path / 'plain'}").completions_matched == 5
