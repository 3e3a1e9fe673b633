"""What an export writes, and that it writes all of it or nothing."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.conftest import Bring
from ramify.exchange.encryption import Decrypted
from ramify.exchange.exporting import export
from ramify.exchange.importing import ImportOptions, import_files
from ramify.exchange.templates import ExportTemplate, FacetShare, named_template, save_template, saved_templates, template
from ramify.store import Database, NewCompletion

F = (FacetShare(name="f"),)


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def fill(db: Database, count: int = 10, facet: str = "f", rating: int = 9, first: int = 0) -> list[int]:
    """So many samples with one good answer each."""
    if facet not in [each.name for each in db.facets.list()]:
        db.facets.add(facet)
    samples = db.samples.add_many([([{"role": "user", "content": f"q{i}"}], "", "") for i in range(first, first + count)])
    made = db.completions.add_many(
        [(s, NewCompletion(text=f"a{i}", finish_reason="written")) for i, s in enumerate(samples, first)]
    )
    db.judgements.rate_many(made, facet, rating)
    return made


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Database:
    db = Database.open(tmp_path_factory.mktemp("demo") / "w.ramify")
    names = ("glaive_toolcall_en_demo", "dpo_en_demo", "kto_en_demo")
    for name, facet in zip(names, ("tools", "pairs", "labels"), strict=True):
        import_files(db, [str(data / "preference" / "llamafactory" / f"{name}.json")], ImportOptions(facet=facet, limit=60))
    return db


@pytest.mark.parametrize(
    ("kind", "facet", "name"),
    [("sft", "tools", "glaive_toolcall_en_demo"), ("dpo", "pairs", "dpo_en_demo"), ("kto", "labels", "kto_en_demo")],
)
def test_llama_factory_files_are_its_own_demonstrations_field_by_field(
    demo: Database, data: Path, tmp_path: Path, kind: str, facet: str, name: str
) -> None:
    folder = data / "preference" / "llamafactory"
    theirs = json.loads((folder / f"{name}.json").read_text("utf-8"))[:60]
    export(
        demo,
        ExportTemplate(kind=kind, form="llama-factory", facets=(FacetShare(name=facet),), per_sample=9),
        tmp_path / "set.json",
    )
    ours = json.loads((tmp_path / "set.json").read_text("utf-8"))

    def form(row: Any) -> Any:
        """Names and types, without the values; a call's text is compared as JSON below."""
        return sorted((key, type(value).__name__) for key, value in row.items())

    assert [form(row) for row in ours] == [form(theirs[0])] * len(ours)
    spaced = [json.loads(json.dumps(row)) for row in theirs]
    turns = "messages" if kind == "kto" else "conversations"
    known = {_said(row, turns) for row in spaced}
    assert {_said(row, turns) for row in ours} == known
    entry = json.loads((folder / "dataset_info.json").read_text("utf-8"))[name]
    mine = json.loads((tmp_path / "dataset_info.json").read_text("utf-8"))["set"]
    for key, value in entry.items():  # Everything that their description says, ours says too.
        if isinstance(value, dict):
            assert value.items() <= mine[key].items()
        elif key != "file_name":
            assert mine[key] == value


def _said(row: Any, turns: str) -> str:
    """A row's turns in one text, JSON in them without its spaces."""

    def words(turn: Any) -> Any:
        role, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
        return [role, json.loads(text) if role == "function_call" else text]

    beside = [words(row[name]) for name in ("chosen", "rejected") if name in row]
    return json.dumps([[words(turn) for turn in row[turns]], beside, row.get("label"), json.loads(row.get("tools") or "[]")])


def test_a_dataset_info_keeps_what_it_had(db: Database, tmp_path: Path) -> None:
    fill(db)
    (tmp_path / "dataset_info.json").write_text('{"old": {"file_name": "old.json"}}')
    export(db, ExportTemplate(kind="sft", form="llama-factory", facets=F), tmp_path / "new.json")
    assert list(json.loads((tmp_path / "dataset_info.json").read_text())) == ["old", "new"]
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match=r"is no dataset_info\.json"):
        export(db, ExportTemplate(kind="sft", form="llama-factory", facets=F), tmp_path / "newer.json")
    assert sorted(each.name for each in tmp_path.glob("new*")) == ["new.json", "new.manifest.json"]


def test_axolotl_gets_the_lines_of_its_configuration(db: Database, tmp_path: Path) -> None:
    fill(db)
    export(db, ExportTemplate(kind="sft", form="axolotl", facets=F), tmp_path / "set.jsonl")
    wanted = "datasets:\n  - path: set.jsonl\n    ds_type: json\n    type: chat_template\n    field_messages: messages\n"
    assert (tmp_path / "set.axolotl.yml").read_text() == wanted


def test_calls_get_ids_in_the_apis_form_and_objects_in_trls(db: Database, bring: Bring, tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "Look"},
        {"from": "function_call", "value": '{"name": "look", "arguments": {"b": 1, "a": 2}}'},
        {"from": "observation", "value": "42"},
        {"from": "gpt", "value": "It is 42."},
    ]
    (tmp_path / "in.json").write_text(json.dumps([{"conversations": turns, "tools": '[{"name": "look"}]'}]))
    bring(tmp_path / "in.json", facet="f")
    export(db, ExportTemplate(kind="sft", form="openai", facets=F), tmp_path / "openai.jsonl")
    (row,) = rows(tmp_path / "openai.jsonl")
    assert row["tools"] == [{"type": "function", "function": {"name": "look"}}]
    call, answer = row["messages"][1]["tool_calls"][0], row["messages"][2]
    assert (call["id"], call["function"]["arguments"], answer["tool_call_id"]) == ("call_0", '{"b": 1, "a": 2}', "call_0")
    export(db, ExportTemplate(kind="sft", facets=F), tmp_path / "trl.jsonl")
    (row,) = rows(tmp_path / "trl.jsonl")
    assert row["prompt"][1]["tool_calls"][0]["function"]["arguments"] == {"b": 1, "a": 2}
    assert (row["completion"], json.loads(row["tools"])) == ([{"role": "assistant", "content": "It is 42."}], [{"name": "look"}])


def test_facets_go_in_order_with_counts_and_shares_and_a_sample_goes_once(db: Database, tmp_path: Path) -> None:
    made = fill(db, 10, "a")
    db.facets.add("b")
    db.judgements.rate_many(made, "b", 9)
    fill(db, 4, "b", first=10)
    shares = (FacetShare(name="a", count=3, order="newest"), FacetShare(name="b", share=0.5))
    report = export(db, ExportTemplate(kind="sft", facets=shares), tmp_path / "t.jsonl")
    assert [row["prompt"][0]["content"] for row in rows(tmp_path / "t.jsonl")] == ["q9", "q8", "q7", "q0", "q1", "q2", "q3", "q4"]
    assert [(each.samples, each.available, each.taken) for each in report.facets] == [(14, 10, 3), (11, 11, 5)]


def test_random_order_follows_the_seed(db: Database, tmp_path: Path) -> None:
    fill(db, 20)
    orders = []
    for seed in (1, 2):
        export(
            db, ExportTemplate(kind="sft", facets=(FacetShare(name="f", order="random"),), seed=seed), tmp_path / f"{seed}.jsonl"
        )
        orders.append([row["prompt"][0]["content"] for row in rows(tmp_path / f"{seed}.jsonl")])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_a_judgement_is_inherited_from_the_parent_and_its_own_comes_first(db: Database, tmp_path: Path) -> None:
    one, two = fill(db, 2, "parent")
    db.facets.add("child", parent="parent")
    db.judgements.rate(one, "child", 1)
    export(db, ExportTemplate(kind="sft", facets=(FacetShare(name="child"),)), tmp_path / "t.jsonl")
    assert [row["completion"][0]["content"] for row in rows(tmp_path / "t.jsonl")] == ["a1"]
    assert two > one


def test_drafts_never_go_out(db: Database, tmp_path: Path) -> None:
    fill(db, 1)
    db.completions.add(db.samples.list()[0].id, NewCompletion(text="draft", draft=True))
    report = export(db, ExportTemplate(kind="sft", per_sample=9), tmp_path / "t.jsonl")
    assert (report.rows, "draft" in (tmp_path / "t.jsonl").read_text()) == (1, False)


def test_no_prompt_is_on_both_sides_of_the_split(db: Database, tmp_path: Path) -> None:
    fill(db, 40)
    for i in range(20):  # The same questions again, in other samples and other letters.
        sample = db.samples.add([{"role": "user", "content": f" Q{i}!"}])
        made = db.completions.add(sample.id, NewCompletion(text=f"b{i}", finish_reason="written"))
        db.judgements.rate(made.id, "f", 9)
    export(db, ExportTemplate(kind="sft", facets=F, validation=0.25, seed=3), tmp_path / "t.jsonl")
    sides = [
        {row["prompt"][0]["content"].strip(" !").lower() for row in rows(tmp_path / f"t.{side}.jsonl")}
        for side in ("train", "validation")
    ]
    assert (len(sides[0]), len(sides[1]), sides[0] & sides[1]) == (30, 10, set())


def test_the_manifest_leads_every_row_back(db: Database, tmp_path: Path) -> None:
    import hashlib

    fill(db, 12)
    made = ExportTemplate(kind="sft", facets=F, validation=0.5)
    export(db, made, tmp_path / "t.jsonl")
    told = json.loads((tmp_path / "t.manifest.json").read_text("utf-8"))
    assert template(told["template"]) == made
    for side, file in enumerate(told["files"]):
        content = (tmp_path / file["file"]).read_bytes()
        assert (file["sha256"], file["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        mine = [row for row in told["rows"] if row["file"] == side]
        assert [row["row"] for row in mine] == list(range(1, file["rows"] + 1))
        for row, line in zip(mine, rows(tmp_path / file["file"]), strict=True):
            assert db.completions.get(row["completion"]).text == line["completion"][0]["content"]
            assert list(db.samples.get(row["sample"]).prompt) == [dict(turn) for turn in line["prompt"]]


def test_raw_and_chat_prompts_in_one_file_are_refused_until_told_how(db: Database, tmp_path: Path) -> None:
    fill(db, 2)
    db.completions.add(db.samples.add("Once").id, NewCompletion(text=" more", finish_reason="written"))
    with pytest.raises(ValueError, match="1 prompts are raw text and 2 are messages"):
        export(db, ExportTemplate(kind="sft"), tmp_path / "t.jsonl")
    counts = {}
    for how in ("raw", "messages", "as-user"):
        counts[how] = export(db, ExportTemplate(kind="sft", prompts=how), tmp_path / f"{how}.jsonl").rows
    assert counts == {"raw": 1, "messages": 2, "as-user": 3}
    db.samples.archive([each.id for each in db.samples.list() if not isinstance(each.prompt, str)])
    with pytest.raises(ValueError, match="raw text, and alpaca holds conversations"):
        export(db, ExportTemplate(kind="sft", form="alpaca"), tmp_path / "t.jsonl")


def test_length_is_counted_by_what_was_handed_in(db: Database, tmp_path: Path) -> None:
    fill(db, 12)
    made = ExportTemplate(kind="sft", facets=F, max_tokens=4)
    with pytest.raises(ValueError, match="needs the target's tokenizer"):
        export(db, made, tmp_path / "t.jsonl")
    asked = []

    def count(model: str, prompt: Any, text: str) -> int:
        asked.append(model)
        return len(prompt[0]["content"]) + len(text)

    report = export(db, made, tmp_path / "t.jsonl", count_tokens=count)
    assert (report.rows, report.facets[0].reasons["too long"], set(asked)) == (10, 2, {"tiny"})


def test_nothing_to_export_is_an_error_with_reasons_and_no_file(db: Database, tmp_path: Path) -> None:
    fill(db, 3, rating=1)
    with pytest.raises(ValueError, match=r"nothing can go out as sft \(3: rated below 7\); nothing was written"):
        export(db, ExportTemplate(kind="sft", facets=F), tmp_path / "t.jsonl")
    assert [each.name for each in tmp_path.iterdir() if "ramify" not in each.name] == []


def test_files_that_are_there_stay_unless_allowed(db: Database, tmp_path: Path) -> None:
    fill(db, 3)
    (tmp_path / "t.jsonl").write_text("mine")
    with pytest.raises(ValueError, match=r"there is a file .* already"):
        export(db, ExportTemplate(kind="sft", facets=F), tmp_path / "t.jsonl")
    assert (tmp_path / "t.jsonl").read_text() == "mine"
    assert export(db, ExportTemplate(kind="sft", facets=F), tmp_path / "t.jsonl", overwrite=True).rows == 3


def test_an_export_that_fails_midway_leaves_what_was_there(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(db, 3)
    made = ExportTemplate(kind="sft", facets=F)
    export(db, made, tmp_path / "t.jsonl")
    before = {each.name: each.read_bytes() for each in tmp_path.glob("t.*")}
    fill(db, 3, first=3)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        export(db, made, tmp_path / "t.jsonl", overwrite=True)
    assert {each.name: each.read_bytes() for each in tmp_path.glob("t.*")} == before
    assert list(tmp_path.glob(".*part")) == []


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_encryption_covers_every_file_and_comes_in_again(
    db: Database, make: Callable[[str], Database], tmp_path: Path, ending: str
) -> None:
    fill(db, 5)
    made = ExportTemplate(kind="sft", form="llama-factory", facets=F)
    report = export(db, made, tmp_path / f"t.{ending}", password="open sesame")
    assert {each.name for each in tmp_path.iterdir() if "ramify" not in each.name} == {f"t.{ending}.enc", "t.manifest.json.enc"}
    for each in tmp_path.glob("*.enc"):
        assert b'"q1"' not in each.read_bytes()  # four bytes: two stand in a ciphertext by chance
        assert b"conversations" not in each.read_bytes()
    export(db, made, tmp_path / f"plain.{ending}")
    with Decrypted((tmp_path / f"t.{ending}.enc").open("rb"), "open sesame") as content:
        assert content.read() == (tmp_path / f"plain.{ending}").read_bytes()
    assert report.files[0]["file"].endswith(f"t.{ending}.enc")
    other = make("other")
    assert import_files(other, [report.files[0]["file"]], ImportOptions(password="open sesame")).completions_added == 5


def test_templates_are_kept_by_name_and_changed_when_used(db: Database) -> None:
    fill(db, 1)
    made = ExportTemplate(kind="kto", form="alpaca", facets=F, seed=4)
    save_template(db, "mine", made)
    assert saved_templates(db) == {"mine": made}
    assert named_template(db, "mine", {"seed": 5}) == ExportTemplate(kind="kto", form="alpaca", facets=F, seed=5)
    with pytest.raises(ValueError, match="there is no template 'yours'"):
        named_template(db, "yours", {})
    with pytest.raises(ValueError, match="'sft' is no name for a template"):
        save_template(db, "sft", made)


def test_percentiles_are_of_what_the_target_measured(db: Database, tmp_path: Path) -> None:
    from ramify.store import TokenLogprob

    for place, number in enumerate(fill(db, 10)):
        token = TokenLogprob(token_id=1, token_bytes=b"x", logprob=-1.0 - place, rank=1, entropy=0.0)
        db.logprobs.put(number, "tiny", "", [token])
    assert export(db, ExportTemplate(kind="sft", facets=F, percentile=30), tmp_path / "t.jsonl").rows == 7
    with pytest.raises(ValueError, match="needs logprobs under other"):
        export(db, ExportTemplate(kind="sft", facets=F, percentile=30, target_model="other"), tmp_path / "u.jsonl")
