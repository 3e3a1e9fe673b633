"""`ramify import`, `export`, `readiness`, `duplicates`, `decrypt`."""

import json
from pathlib import Path

import pytest

from cli.conftest import Run

PAIRS = "".join(json.dumps({"prompt": f"p{i}", "chosen": "a", "rejected": "b"}) + "\n" for i in range(4))


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    (tmp_path / "pairs.jsonl").write_text(PAIRS)
    return str(tmp_path / "pairs.jsonl")


def test_a_missing_workspace_and_a_missing_facet_are_made(ramify: Run, tmp_path: Path, pairs: str) -> None:
    where = str(tmp_path / "new.ramify")
    done = ramify("import", pairs, "--workspace", where, "--facet", "f")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "records            4",
        "samples added      4",
        "completions added  8",
        "preferences added  4",
    ]
    assert done.stderr == "the facet 'f' was made\n"
    assert len(ramify("samples", "list", "--json").stdout.splitlines()) == 4


def test_a_dry_run_makes_neither(ramify: Run, tmp_path: Path, pairs: str) -> None:
    done = ramify("import", pairs, "-w", str(tmp_path / "new.ramify"), "--facet", "f", "--dry-run", "--json")
    report = json.loads(done.stdout)
    assert (report["dry_run"], report["samples_added"], report["preferences_added"]) == (True, 4, 4)
    assert not (tmp_path / "new.ramify").exists()


def test_a_compared_pair_prints_its_four_counts_by_name(ramify: Run, stories: Path, tmp_path: Path) -> None:
    for time, values in (("1", (1, 0, 0, 1)), ("2", (1, 0, 1, 0))):
        rows = [
            {
                "doc_id": i,
                "arguments": {"gen_args_0": {"arg_0": f"q{i}"}},
                "resps": [[f"{value} by {time}"]],
                "metrics": ["acc"],
                "acc": value,
            }
            for i, value in enumerate(values)
        ]
        name = f"2025-01-01T00-00-00.{time}"
        (tmp_path / f"results_{name}.json").write_text(json.dumps({"results": {}, "configs": {}, "model_name": f"m{time}"}))
        (tmp_path / f"samples_t_{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = sorted(str(each) for each in tmp_path.glob("results_*"))
    report = json.loads(ramify("import", *files, "--facet", "f", "--json").stdout)
    names = ("shared_success", "shared_failure", "new_failure", "fixed")
    assert [report[name] for name in names] == [1, 1, 1, 1]
    assert (report["preferences_added"], report["compared"]) == (2, ["m1", "m2"])


def test_a_bad_record_stops_the_import_with_its_place_or_is_named(ramify: Run, stories: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"prompt": "p", "completion": "c"}\n{"prompt": \n')
    done = ramify("import", str(file))
    assert (done.exit_code, f"{file}, line 2: it is no JSON" in done.stderr) == (2, True)
    done = ramify("import", str(file), "--skip-bad")
    assert (done.exit_code, "bad records left out  1" in done.stdout, f"{file}, line 2" in done.stderr) == (0, True, True)


def test_columns_are_named_and_formats_listed(ramify: Run, stories: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("q,a\nHi,Hello\n")
    assert ramify("import", str(tmp_path / "t.csv")).exit_code == 2
    done = ramify(
        "import", str(tmp_path / "t.csv"), "--map", "user=q", "--map", "completion=a", "--group", "g", "--tag", "x", "--json"
    )
    assert json.loads(done.stdout)["completions_added"] == 1
    assert "sharegpt" in ramify("import", "--as", "list").stdout
    nothing = ramify("import")
    assert (nothing.exit_code, "no file was named; give FILE" in nothing.stderr) == (2, True)
    assert "write FIELD=COLUMN" in ramify("import", str(tmp_path / "t.csv"), "--map", "q").stderr


def test_out_with_a_split_a_saved_template_and_a_password(ramify: Run, stories: Path, tmp_path: Path, pairs: str) -> None:
    assert ramify("import", pairs, "--facet", "f").exit_code == 0
    out = tmp_path / "set.jsonl"
    done = ramify("export", "dpo", str(out), "--facet", "f=50%", "--validation", "0.5", "--seed", "3", "--save", "mine", "--json")
    report = json.loads(done.stdout)
    assert [each["rows"] for each in report["files"]] == [1, 1]
    assert (report["facets"][0]["available"], report["facets"][0]["taken"]) == (4, 2)
    again = json.loads(ramify("export", "mine", str(out), "--overwrite", "--json").stdout)
    assert again["files"] == report["files"]
    assert ramify("export", "mine", str(out)).exit_code == 2
    (tmp_path / "password").write_text("open sesame\n")
    told = ("--password-file", str(tmp_path / "password"))
    assert ramify("export", "dpo", str(tmp_path / "p.jsonl"), "--facet", "f", "--encrypt", *told).exit_code == 0
    assert ramify("decrypt", str(tmp_path / "p.jsonl.enc"), str(tmp_path / "p.jsonl"), *told).exit_code == 0
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 4
    assert "no password was given" in ramify("export", "dpo", str(tmp_path / "q.jsonl"), "--facet", "f", "--encrypt").stderr


def test_a_template_from_a_file_and_a_dry_run(ramify: Run, stories: Path, tmp_path: Path, pairs: str) -> None:
    ramify("import", pairs, "--facet", "f")
    (tmp_path / "t.json").write_text('{"kind": "reward", "facets": ["f"]}')
    done = ramify("export", f"@{tmp_path / 't.json'}", str(tmp_path / "x.jsonl"), "--prompts", "as-user", "--dry-run")
    assert done.stdout.splitlines() == ["rows that would go out  4", "f: 4 of 4 samples that could go out, 4 rows"]
    assert not (tmp_path / "x.jsonl").exists()


def test_what_is_wrong_with_an_export_is_said(ramify: Run, stories: Path, tmp_path: Path, pairs: str) -> None:
    ramify("import", pairs, "--facet", "f")
    for arguments, said in (
        (("dpo", "x.jsonl"), "name the facet under which they are"),
        (("dpo", "x.doc", "--facet", "f"), "let it end in .jsonl, .json or .parquet"),
        (("ppo", "x.jsonl"), "there is no template 'ppo'"),
        (("dpo", "x.jsonl", "--facet", "g"), "there is no facet 'g'"),
        (("dpo", "x.jsonl", "--facet", "f=many"), "write NAME, NAME=100 or NAME=25%"),
    ):
        done = ramify("export", *arguments)
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_readiness_as_text_json_and_a_page(ramify: Run, stories: Path, tmp_path: Path, pairs: str) -> None:
    ramify("import", pairs, "--facet", "f")
    assert "| dpo | 4 | 4 |" in ramify("readiness", "--facet", "f").stdout
    assert json.loads(ramify("readiness", "--facet", "f", "--json").stdout)["kinds"]["dpo"]["rows"] == 4
    assert ramify("readiness", "--facet", "f", "--out", str(tmp_path / "r.md")).exit_code == 0
    assert (tmp_path / "r.md").read_text().startswith("# Readiness of f for tiny")
    assert ramify("readiness", "--facet", "f", "--out", str(tmp_path / "r.pdf")).exit_code == 2


def test_duplicates_in_clusters(ramify: Run, stories: Path) -> None:
    ramify("samples", "add", "A!")
    assert ramify("duplicates").stdout.splitlines()[-1] == "2 samples, 1 clusters, 1 could go"
    assert json.loads(ramify("duplicates", "--kind", "exact", "--json").stdout)["clusters"] == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--only", "fixed"), "--only is about lm-evaluation-harness (lm-eval), and no file is that"),
        (("--metric", "acc"), "--metric is about lm-evaluation-harness"),
        (("--filter", "strict"), "--filter is about lm-evaluation-harness"),
        (("--dataset", "a"), "--dataset is about the data sets of a dataset_info.json (llama-factory)"),
    ],
)
def test_an_option_about_other_files_is_refused(
    ramify: Run, stories: Path, tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "b", "completion": "c"}\n', "utf-8")
    result = ramify("import", str(tmp_path / "rows.jsonl"), *options)
    assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
