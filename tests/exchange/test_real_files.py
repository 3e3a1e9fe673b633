"""Every file that others wrote, and how much it holds."""

from pathlib import Path

import pytest

from exchange.conftest import Bring
from ramify.exchange.importing import ImportReport
from ramify.store import Database

INSTRUCT, PREFERENCE, LMEVAL = "instruct/", "preference/llamafactory/", "lm_eval/"

TABLE = [
    # file, format, records, samples, completions, ratings, preferences, bad
    (INSTRUCT + "fastchat_dummy_conversation/dummy_conversation.json", "sharegpt", 500, 384, 500, 500, 0, 0),
    pytest.param(INSTRUCT + "gsm8k/test.jsonl", "gsm8k", 1319, 1319, 1319, 1319, 0, 0, marks=pytest.mark.slow),
    pytest.param(INSTRUCT + "gsm8k/test_socratic.jsonl", "gsm8k", 1319, 1319, 1319, 1319, 0, 0, marks=pytest.mark.slow),
    pytest.param(INSTRUCT + "gsm8k/train.jsonl", "gsm8k", 7473, 7473, 7473, 7473, 0, 0, marks=pytest.mark.slow),
    (INSTRUCT + "humaneval/HumanEval.jsonl.gz", "humaneval", 164, 164, 164, 164, 0, 0),
    (INSTRUCT + "ifeval/input_data.jsonl", "ifeval", 541, 541, 0, 0, 0, 0),
    (INSTRUCT + "llms_from_scratch/instruction-data.json", "alpaca", 1100, 1075, 1100, 1100, 0, 0),
    (INSTRUCT + "mt_bench/judge_prompts.jsonl", "mt-bench", 8, 8, 0, 0, 0, 0),
    (INSTRUCT + "mt_bench/question.jsonl", "mt-bench", 80, 80, 0, 0, 0, 0),
    (INSTRUCT + "mt_bench/reference_answer_gpt-4.jsonl", "mt-bench", 80, 110, 60, 60, 0, 0),
    (INSTRUCT + "self_instruct/seed_tasks.jsonl", "self-instruct", 175, 175, 175, 175, 0, 0),
    (INSTRUCT + "self_instruct/user_oriented_instructions.jsonl", "self-instruct", 252, 252, 252, 252, 0, 0),
    pytest.param(INSTRUCT + "truthfulqa/TruthfulQA.csv", "truthfulqa", 790, 790, 6026, 6026, 790, 0, marks=pytest.mark.slow),
    pytest.param(
        INSTRUCT + "truthfulqa/TruthfulQA-older.csv", "truthfulqa", 813, 813, 6166, 6166, 3350, 0, marks=pytest.mark.slow
    ),
    (INSTRUCT + "vicuna_bench/question.jsonl", "mt-bench", 80, 80, 0, 0, 0, 0),
    (INSTRUCT + "vicuna_bench/reference_answer_gpt-4.jsonl", "mt-bench", 80, 80, 10, 10, 0, 0),
    (PREFERENCE + "alpaca_en_demo.json", "alpaca", 999, 985, 985, 985, 0, 0),
    (PREFERENCE + "c4_demo.jsonl", "text", 300, 300, 0, 0, 0, 0),
    (PREFERENCE + "dpo_en_demo.json", "sharegpt", 300, 295, 590, 0, 295, 0),
    (PREFERENCE + "glaive_toolcall_en_demo.json", "sharegpt", 300, 264, 265, 265, 0, 0),
    (PREFERENCE + "identity.json", "alpaca", 91, 89, 91, 91, 0, 0),
    (PREFERENCE + "kto_en_demo.json", "openai", 300, 297, 300, 300, 0, 0),
    (PREFERENCE + "reason_tool_use_demo_50.jsonl", "openai", 50, 50, 50, 50, 0, 0),
    (PREFERENCE + "v1_dpo_demo.jsonl", "openai", 10, 10, 20, 0, 10, 0),
    (PREFERENCE + "v1_sft_demo.jsonl", "openai", 500, 498, 499, 499, 0, 0),
    (PREFERENCE + "wiki_demo.txt", "text", 30, 30, 0, 0, 0, 0),
    # Six of its pairs are equal, which is no preference.
    ("preference/llms_from_scratch/instruction-data-with-preference.json", "alpaca", 1094, 1069, 2188, 0, 1094, 6),
    (LMEVAL + "results_2025-09-09T13-31-53.431753.json", "lm-eval", 3, 3, 3, 3, 0, 0),
    (LMEVAL + "results_2025-09-09T13-42-42.857006.json", "lm-eval", 3, 3, 3, 3, 0, 0),
    (LMEVAL + "samples_gsm8k_2025-09-09T13-31-53.431753.jsonl", "lm-eval", 3, 3, 3, 3, 0, 0),
    (LMEVAL + "samples_gsm8k_2025-09-09T13-42-42.857006.jsonl", "lm-eval", 3, 3, 3, 3, 0, 0),
    (LMEVAL + "sharegpt-structured-output-json_10.json", "sharegpt", 10, 10, 10, 10, 0, 0),
    (LMEVAL + "sharegpt-structured-output-json_10.jsonl", "sharegpt", 10, 10, 10, 10, 0, 0),
    (LMEVAL + "sharegpt-structured-output-json_10.parquet", "sharegpt", 10, 10, 10, 10, 0, 0),
]


def added(report: ImportReport) -> tuple[int, int, int, int]:
    return report.samples_added, report.completions_added, report.ratings_added, report.preferences_added


@pytest.mark.parametrize(("file", "format", "records", "samples", "completions", "ratings", "preferences", "bad"), TABLE)
def test_a_file_comes_in_whole_and_a_second_time_adds_nothing(
    data: Path,
    bring: Bring,
    file: str,
    format: str,
    records: int,
    samples: int,
    completions: int,
    ratings: int,
    preferences: int,
    bad: int,
) -> None:
    first = bring(data / file, facet="f", skip_bad=True)
    assert first.files[0]["format"] == format
    assert (first.records, first.bad_records) == (records, bad)
    assert added(first) == (samples, completions, ratings, preferences)
    if samples < 270:
        assert added(bring(data / file, facet="f", skip_bad=True)) == (0, 0, 0, 0)


def test_every_data_file_is_in_the_table(data: Path) -> None:
    named = {row.values[0] if hasattr(row, "values") else row[0] for row in TABLE}
    endings = (".json", ".jsonl", ".csv", ".gz", ".txt", ".parquet")
    there = {
        str(each.relative_to(data))
        for folder in ("instruct", "preference", "lm_eval")
        for each in (data / folder).rglob("*")
        if each.name.endswith(endings) and "LICENSE" not in each.name and each.name != "dataset_info.json"
    }
    assert there == named


@pytest.mark.slow
def test_a_dataset_info_brings_what_lies_beside_it_and_names_what_does_not(data: Path, bring: Bring) -> None:
    report = bring(data / PREFERENCE / "dataset_info.json", facet="f")
    assert [each["format"].removeprefix("llama-factory: ") for each in report.files[1:]] == [
        "identity",
        "alpaca_en_demo",
        "glaive_toolcall_en_demo",
        "dpo_en_demo",
        "kto_en_demo",
        "wiki_demo",
        "c4_demo",
    ]
    assert report.records == 91 + 999 + 300 + 300 + 300 + 30 + 300
    assert report.preferences_added == 295
    assert "the file alpaca_zh_demo.json of alpaca_zh_demo is not there" in report.remarks


def test_chosen_data_sets_of_a_dataset_info_alone(data: Path, bring: Bring) -> None:
    assert bring(data / PREFERENCE / "dataset_info.json", datasets=("identity", "wiki_demo")).records == 91 + 30


def test_a_pair_of_runs_is_compared_and_the_answer_that_alone_is_right_is_preferred(
    data: Path, bring: Bring, db: Database
) -> None:
    report = bring(*sorted((data / "lm_eval").glob("results_*.json")), facet="maths")
    counts = (report.shared_success, report.shared_failure, report.new_failure, report.fixed)
    assert counts == (1, 1, 1, 0)
    assert report.compared == ["gemma3:12b-u1", "gemma3:12b-it-q4_K_M"]
    (said,) = db.judgements.preferences(facet="maths")
    better, worse = db.completions.get(said.better_id), db.completions.get(said.worse_id)
    assert (better.model, worse.model) == ("gemma3:12b-it-q4_K_M", "gemma3:12b-u1")
    assert [r.rating for i in (better.id, worse.id) for r in db.judgements.ratings_of(i)] == [8, 2]
    assert better.details["lm_eval"]["filters"]["strict-match"]["exact_match"] == 1.0
    assert worse.details["target"].endswith("#### 7")
    sample = db.samples.get(better.sample_id)
    assert (sample.title, sample.group, sample.tags) == ("gsm8k/18", "gsm8k", ("new_failure",))
    assert sample.prompt[0]["role"] == "user"  # type: ignore[index]


def test_only_the_outcomes_asked_for_come_in(data: Path, bring: Bring, db: Database) -> None:
    report = bring(*sorted((data / "lm_eval").glob("results_*.json")), facet="maths", only=("new_failure",))
    assert (report.shared_success, report.samples_added, report.completions_added) == (1, 1, 2)
