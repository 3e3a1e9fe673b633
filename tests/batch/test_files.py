"""Every shape of input, every form of output; and what happens to a file that is torn, full, or somebody else's."""

import ctypes
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.batch.working import opener, outputs, processes, ran, run_to_the_end, spec

from ramify.batch import jobs, places
from ramify.errors import ForbiddenError, InputError, WorkspaceError
from ramify.store import Database

ROWS = [{"id": 1, "prompt": "one", "tag": "a"}, {"id": 2, "prompt": "two", "tag": None}, {"id": 3, "prompt": "three", "tag": "c"}]


def lines(rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def texts(db: Database, folder: Path, prompts: list[str]) -> list[str]:
    ran(db, spec(folder, "reference.json", overwrite=True), prompts)
    return [row["text"] for row in outputs(folder / "reference.json")]


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet", "in.csv", "in-without-ending"])
@pytest.mark.parametrize("out", ["out.jsonl", "out.json", "out.parquet"])
def test_rows_go_through_every_form_with_their_own_columns(db: Database, tmp_path: Path, name: str, out: str) -> None:
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / name)
    elif name.endswith("csv"):
        (tmp_path / name).write_text("id,prompt,tag\n1,one,a\n2,two,\n3,three,c\n")
    else:
        (tmp_path / name).write_text(lines(ROWS))
    job = ran(db, spec(tmp_path, out, input_path=str(tmp_path / name)))
    assert (job.state, job.done, job.total) == ("completed", 3, 3), job.error
    found = pq.read_table(tmp_path / out).to_pylist() if out.endswith("parquet") else outputs(tmp_path / out)
    assert [(str(row["id"]), row["prompt"]) for row in found] == [("1", "one"), ("2", "two"), ("3", "three")]
    assert [row["output"]["text"] for row in found] == texts(db, tmp_path, ["one", "two", "three"])


def test_document_002s_object_of_prompts_brings_its_own_settings(db: Database, tmp_path: Path) -> None:
    content = {"prompts": ["one", "two"], "max_new_tokens": 3, "temperature": 0.0, "return_token_log_probs": True}
    (tmp_path / "content").write_text(json.dumps(content, indent=1))
    job = ran(db, spec(tmp_path, "out", input_path=str(tmp_path / "content"), settings={"max_new_tokens": 99}))
    assert (job.state, job.spec["shape"], job.spec["settings"]["max_new_tokens"]) == ("completed", "content", 3)
    found = outputs(tmp_path / "out")
    assert all(len(row["tokens"]) == row["num_completion_tokens"] <= 3 for row in found)
    assert set(found[0]["tokens"][0]) == {"token", "log_prob"}


def test_a_bad_record_is_an_error_in_its_place(db: Database, tmp_path: Path) -> None:
    bad = ['{"prompt": "one"}', "{torn", '{"nothing": 1}', '{"prompt": 5}', '{"prompt": "x", "output": 1}', '{"prompt": "two"}']
    (tmp_path / "in.jsonl").write_text("\n".join(bad) + "\n")
    job = ran(db, spec(tmp_path, "out.jsonl", input_path=str(tmp_path / "in.jsonl")))
    assert (job.state, job.done, job.failed) == ("completed", 2, 4)
    found = outputs(tmp_path / "out.jsonl")
    told = [row.get("error", {}).get("message", "") for row in found]
    assert [message[:40] for message in told] == [
        "",
        "line 2: it is no JSON: Expecting propert",
        "line 3: it has none of the columns messa",
        "prompt is a int; a prompt is a text, or ",
        "line 5: it has a column 'output', where ",
        "",
    ]
    assert found[4] == {"record": {"prompt": "x", "output": 1}, "error": {"message": told[4], "code": "bad_record"}}


def test_columns_of_several_types_are_text_in_parquet(db: Database, tmp_path: Path) -> None:
    rows = [{"prompt": "one", "x": 1}, {"prompt": "two", "x": "b"}, {"prompt": "three", "x": {}, "y": [1]}, {"nothing": True}]
    (tmp_path / "in.jsonl").write_text(lines(rows))
    job = ran(db, spec(tmp_path, "out.parquet", input_path=str(tmp_path / "in.jsonl")))
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (job.state, [row["x"] for row in found]) == ("completed", ["1", '"b"', "{}", None])
    assert [bool(row["error"]) for row in found] == [False, False, False, True]


def test_a_file_that_is_nothing_fails_the_job_with_what_may_be(db: Database, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello\n")
    job = ran(db, spec(tmp_path, "out.jsonl", input_path=str(tmp_path / "in.txt")))
    assert job.state == "failed"
    assert "no record that can be read; a job takes a JSON object with `prompts`" in str(job.error)


def test_an_input_that_changed_while_it_was_taken_is_refused(db: Database, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(lines(ROWS))
    key = jobs.create(db, spec(tmp_path, "out.jsonl", input_path=str(source))).key
    db.jobs.take(key, 0, [(json.dumps(ROWS[0]), None)])
    db.jobs.note(key, source=places.identity(str(source)))
    source.write_text(lines(ROWS * 2))
    job = jobs.run(db, key, open_model=opener())
    assert (job.state, "was changed since 1 of its rows were taken" in str(job.error)) == ("failed", True)


def test_rows_that_were_taken_before_a_crash_are_not_taken_again(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "TAKEN_AT_ONCE", 2)
    source = tmp_path / "in.jsonl"
    source.write_text(lines({"prompt": f"p{i}"} for i in range(7)))
    key = jobs.create(db, spec(tmp_path, "out.jsonl", input_path=str(source))).key
    take, calls = db.jobs.take, []

    def crashing(key: str, start: int, taken: Any) -> int:
        calls.append(start)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return take(key, start, taken)

    with monkeypatch.context() as crash:
        crash.setattr(db.jobs, "take", crashing)
        with pytest.raises(KeyboardInterrupt):
            jobs.take_in(db, key)
    monkeypatch.setattr(jobs, "TAKEN_AT_ONCE", 3)
    jobs.take_in(db, key)
    assert [json.loads(row.request)["prompt"] for row in db.jobs.walk(key)] == [f"p{i}" for i in range(7)]
    assert db.jobs.get(key).total == 7


def test_an_output_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("old")

    def half() -> None:
        with places.written(str(tmp_path / "out.json"), "job-1") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert [(path.name, path.read_text()) for path in tmp_path.glob("out*")] == [("out.json", "old")]
    (tmp_path / ".out.json.job-1.999999999.part").write_text("left by one that was killed")
    with places.written(str(tmp_path / "out.json"), "job-1") as file:
        file.write(b"whole")
    assert [(path.name, path.read_text()) for path in tmp_path.glob("*out*")] == [("out.json", "whole")]


def _on_a_small_disk(folder: str, where: str, key: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    os.setgroups([]) if os.geteuid() == 0 else None
    if libc.unshare(0x00020000 | (0 if os.geteuid() == 0 else 0x10000000)) or libc.mount(None, b"/", None, 0x44000, None):
        os._exit(77)
    if libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"size=4k"):
        os._exit(77)
    run_to_the_end(where, key, None, 0.0)


def test_a_full_disk_fails_the_job_and_retry_writes_what_is_in_the_workspace(db: Database, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    key = jobs.create(db, spec(full), prompts=[f"Row {i} says" for i in range(60)]).key
    child = processes().Process(target=_on_a_small_disk, args=(str(full), db.where, key))
    child.start()
    child.join(120)
    if child.exitcode == 77:
        pytest.skip("no small disk can be mounted here")
    job = db.jobs.get(key)
    assert (job.state, job.done) == ("failed", 60)
    assert "out.json cannot be written: No space left on device. The results are kept in the workspace" in str(job.error)
    assert list(full.iterdir()) == []
    db.jobs.retry(key)

    def not_asked(_: object) -> Any:
        raise AssertionError("every row is done")

    assert jobs.run(db, key, open_model=not_asked).state == "completed"
    assert len(outputs(full / "out.json")) == 60


def test_any_url_that_fsspec_opens_is_a_place(db: Database, tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://bucket/in.jsonl", "w") as file:
        file.write(lines(ROWS))
    job = ran(db, spec(tmp_path, input_path="memory://bucket/in.jsonl", output_path="memory://bucket/deep/out.jsonl"))
    assert job.state == "completed", job.error
    with fsspec.open("memory://bucket/deep/out.jsonl", "r") as file:
        assert [json.loads(line)["id"] for line in file] == [1, 2, 3]
    assert [name for name in fsspec.filesystem("memory").find("/bucket") if "part" in name] == []


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("s3://my-path", "names a bucket or folder and no file in it; give a file, such as s3://my-path/output.json"),
        ("nowhere://x/y", "cannot be opened"),
        ("out.jsonl.gz", "a job writes .json, .jsonl or .parquet; pack it afterwards"),
    ],
)
def test_a_place_that_is_none_is_refused_before_anything_runs(db: Database, path: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        jobs.create(db, spec(Path(), output_path=path), prompts=["a"])


def test_requests_of_a_server_reach_only_what_lies_under_its_roots(tmp_path: Path) -> None:
    root = tmp_path / "open"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    roots = [str(root), "s3://bucket/in"]
    assert places.allowed(str(root / "a.json"), roots) == str(root / "a.json")
    assert places.allowed("s3://bucket/in/x.json", roots) == "s3://bucket/in/x.json"
    for path in (
        str(tmp_path / "a"),
        str(root / ".." / "a"),
        str(root / "link" / "a"),
        f"{root}er/a",
        "s3://bucket/inner",
        "/etc/passwd",
    ):
        with pytest.raises(ForbiddenError, match="reads and writes only under"):
            places.allowed(path, roots)
    for path in ("s3://bucket/in/../out", "simplecache::s3://bucket/in/x", "s3://bucket/in/%2e%2e/x"):
        with pytest.raises((InputError, ForbiddenError)):
            places.allowed(path, roots)
    with pytest.raises(ForbiddenError, match=r"under none\. --batch-root names a folder or URL"):
        places.allowed(str(root), [])


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="cannot be written"), places.written(str(tmp_path / "gone" / "out.json"), "job-1"):
        pass
