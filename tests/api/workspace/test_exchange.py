"""Files in and training sets out, over HTTP: the look, the import, its errors and their mending, the export and its download."""

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.api.listening import Live
from tests.api.workspace.speaking import Speaker, events_of

ROWS = [{"Question": f"What is {n} and {n}?", "Answer": str(2 * n)} for n in range(1, 6)]
MAPPED = {"user": "Question", "completion": "Answer"}
ALPACA = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}"} for n in range(6)]


def lines(rows: list[Any]) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def bring(api: Speaker, content: bytes, name: str = "rows.jsonl", into: str | None = None) -> str:
    """The key of the upload."""
    answer = api.client.post(
        "/api/uploads",
        params={"name": name} | ({} if into is None else {"into": into}),
        content=content,
        headers={"content-type": "application/octet-stream"},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def test_a_file_is_looked_at_mapped_mended_and_imported(api: Speaker) -> None:
    upload = bring(api, lines([ROWS[0], b'{"Question": "What is', ROWS[2]]))
    found = api.post("/imports/look", upload=upload)
    assert (found["files"], found["entries"], found["columns"]) == ([], [], ["Question", "Answer"])
    assert "its columns are Question, Answer" in found["why"]
    assert "--" not in found["why"]
    assert found["suggested"] == MAPPED
    assert [(row["line"], row["cells"]["Answer"]) for row in found["rows"]] == [(1, "2"), (3, "6")]
    assert [(each["file"], each["line"]) for each in found["problems"]] == [("rows.jsonl", 2)]

    mapped = api.post("/imports/look", upload=upload, mapping=MAPPED)
    assert (mapped["why"], mapped["files"]) == (None, [{"file": "rows.jsonl", "format": "columns"}])
    (first, _) = mapped["entries"]
    assert (first["prompt"], first["turns"], [each["text"] for each in first["answers"]]) == ("What is 1 and 1?", 1, ["2"])

    # The bad record stops everything, and is named by the name that the user gave the file.
    status, code, message = api.refusal("POST", "/imports", {"upload": upload, "mapping": MAPPED, "wait": True})
    assert (status, code) == (400, "bad_record")
    assert message.startswith("rows.jsonl, line 2: it is no JSON")
    assert "skip_bad leaves such records out" in message
    (failed,) = api.get("/imports")["items"]
    assert (failed["state"], failed["problem"]["line"], failed["report"]) == ("failed", 2, None)
    assert api.get(f"/imports/{failed['key']}/problems")["items"] == [failed["problem"]]
    assert api.get("/workspace")["samples"] == 0

    # A dry run that skips it says what would happen, and does nothing.
    dry = api.post("/imports", upload=upload, mapping=MAPPED, skip_bad=True, dry_run=True, wait=True)
    assert (dry["state"], dry["report"]["samples_added"], dry["report"]["bad_records"]) == ("done", 2, 1)
    assert api.get("/workspace")["samples"] == 0
    assert api.get("/history")["items"] == []

    # The line is mended in the uploaded copy; then all of it comes in.
    (bad,) = api.get(f"/uploads/{upload}/lines", file="rows.jsonl", first=2)["items"]
    assert (bad["text"], bad["whole"]) == ('{"Question": "What is', True)
    api.put(f"/uploads/{upload}/lines", file="rows.jsonl", first=2, text=json.dumps(ROWS[1]))
    done = api.post("/imports", upload=upload, mapping=MAPPED, facet="sums", group="maths", tags=["easy"], wait=True)
    report = done["report"]
    assert (report["samples_added"], report["ratings_added"], report["bad_records"]) == (3, 3, 0)
    assert report["remarks"] == ["the facet 'sums' was made"]
    rows = api.get("/samples", group="maths")["items"]
    assert [(row["preview"], row["tags"]) for row in rows] == [(f"What is {n} and {n}?", ["easy"]) for n in (3, 2, 1)]
    (step,) = api.get("/history")["items"]
    assert (step["name"], step["detail"]) == ("import", "rows.jsonl")

    # A second time it adds nothing; one undo takes the first back.
    again = api.post("/imports", upload=upload, mapping=MAPPED, wait=True)["report"]
    assert (again["samples_added"], again["completions_added"], again["samples_matched"]) == (0, 0, 3)
    api.post("/undo")
    api.post("/undo")
    assert api.get("/workspace")["samples"] == 0
    api.delete(f"/uploads/{upload}")
    assert api.refusal("GET", f"/uploads/{upload}")[0] == 404


def test_an_import_tells_how_far_it_is_and_cancelled_leaves_nothing(api: Speaker) -> None:
    upload = bring(api, lines([{"instruction": f"Say {n}.", "input": "", "output": "x" * 50} for n in range(30_000)]))
    begun = api.post("/imports", upload=upload)
    assert begun["state"] == "running"
    assert api.refusal("DELETE", f"/uploads/{upload}")[:2] == (409, "busy")
    told = []
    with api.client.stream("GET", "/api/tasks/events", params={"task": begun["key"]}) as answer:
        for event in events_of(answer.iter_lines()):
            told.append(event)
            if event.data["done"] > 0 and event.name == "progress":
                api.post(f"/tasks/{begun['key']}/cancel")
    assert {event.name for event in told[:-1]} == {"progress"}
    last = told[-1]
    assert (last.name, last.data["state"], last.data["error"]["code"]) == ("end", "cancelled", "cancelled")
    assert last.data["total"] == api.get(f"/uploads/{upload}")["files"][0]["size_bytes"]
    assert [event.data["done"] for event in told] == sorted(event.data["done"] for event in told)
    assert (api.get("/workspace")["samples"], api.get("/history")["items"]) == (0, [])


def test_a_client_that_leaves_ends_the_import_that_it_waits_for(api: Speaker, served: Live) -> None:
    upload = bring(api, lines([{"instruction": f"Say {n}.", "input": "", "output": "x"} for n in range(30_000)]))
    with served.client() as other, pytest.raises(Exception, match="timed out"):
        other.post("/api/imports", json={"upload": upload, "wait": True}, timeout=1.0)
    (task,) = api.get("/imports")["items"]
    with api.client.stream("GET", "/api/tasks/events", params={"task": task["key"]}) as answer:
        last = list(events_of(answer.iter_lines()))[-1]
    assert last.data["state"] == "cancelled"
    assert api.get("/workspace")["samples"] == 0


def test_near_duplicates_are_left_out_and_listed(api: Speaker) -> None:
    upload = bring(api, lines([ALPACA[0], {**ALPACA[0], "instruction": "SAY 0!"}, ALPACA[1]]))
    done = api.post("/imports", upload=upload, duplicates="normalised", wait=True)
    assert (done["report"]["samples_added"], done["report"]["duplicates_left_out"]) == (2, 1)
    page = api.get(f"/imports/{done['key']}/duplicates")
    assert page == {"items": [{"file": "rows.jsonl", "line": 2, "of": "rows.jsonl, line 1", "similarity": 1.0}], "next": None}


def test_two_runs_of_lm_eval_are_compared_within_one_upload(api: Speaker) -> None:
    folder = Path(__file__).parents[4] / "shared" / "data" / "lm_eval"
    if not folder.is_dir():
        pytest.skip("the real files are not here")
    upload = None
    for file in sorted(folder.glob("*_2025-*")):
        upload = bring(api, file.read_bytes(), file.name, upload)
    done = api.post("/imports", upload=upload, facet="maths", wait=True)["report"]
    counts = [done[name] for name in ("shared_success", "shared_failure", "new_failure", "fixed")]
    assert (counts, done["compared"]) == ([1, 1, 1, 0], ["gemma3:12b-u1", "gemma3:12b-it-q4_K_M"])
    assert done["preferences_added"] == 1


# ---------------------------------------------------------------- what goes out


@pytest.fixture
def judged(api: Speaker) -> Speaker:
    """Six samples under a facet: four rated good, one of them truncated; one rated bad; one not rated."""
    api.post("/facets", name="brief")
    for n in range(6):
        sample = api.post("/samples", prompt=[{"role": "user", "content": f"Say {n}."}], group="odd" if n % 2 else "even")
        made = api.post(f"/samples/{sample['id']}/completions", text=str(n), truncated=n == 0)
        if n < 5:
            api.put(f"/completions/{made['id']}/rating", facet="brief", rating=2 if n == 4 else 8)
    return api


def test_a_dry_run_says_what_goes_out_and_which_samples_wait_for_what(judged: Speaker) -> None:
    api = judged
    dry = api.post("/exports", template={"kind": "sft", "facets": [{"name": "brief"}]}, dry_run=True, examples=2, wait=True)
    report = dry["report"]
    (facet,) = report["facets"]
    ids = {row["preview"]: row["id"] for row in api.get("/samples")["items"]}
    assert (report["rows"], facet["samples"], facet["available"], facet["taken"]) == (3, 6, 3, 3)
    assert {(each["reason"], each["count"], tuple(each["samples"])) for each in facet["reasons"]} == {
        ("truncated", 1, (ids["Say 0."],)),
        ("rated below 7", 1, (ids["Say 4."],)),
        ("not rated", 1, (ids["Say 5."],)),
    }
    assert [each["row"]["prompt"][0]["content"] for each in report["examples"]] == ["Say 1.", "Say 2."]
    assert dry["files"] == []
    assert api.refusal("GET", f"/exports/{dry['key']}/download")[:2] == (409, "not_ready")

    few = api.post(
        "/exports",
        template={"kind": "sft", "facets": [{"name": "brief", "share": 0.5}], "truncated": True, "good_rating": 8},
        dry_run=True,
        wait=True,
    )["report"]
    assert (few["rows"], few["facets"][0]["available"], few["facets"][0]["taken"]) == (2, 4, 2)
    odd = {"field": "group", "op": "under", "value": "odd"}
    filtered = api.post("/exports", template={"kind": "sft", "filter": odd}, dry_run=True, wait=True)["report"]
    assert filtered["rows"] == 3
    assert {each["reason"]: each["count"] for each in filtered["facets"][0]["reasons"]} == {"not matched by the filter": 3}


def test_an_export_is_downloaded_with_its_manifest_and_split(judged: Speaker) -> None:
    api = judged
    template = {"kind": "sft", "form": "alpaca", "facets": [{"name": "brief"}], "validation": 0.3, "seed": 7}
    kept = api.put("/exports/templates", name="brief ones", template=template)
    assert kept["template"]["facets"] == [{"name": "brief", "count": None, "share": None, "order": "oldest"}]
    made = api.post("/exports", saved="brief ones", file="brief.jsonl", wait=True)
    assert [each["name"] for each in made["files"]] == ["brief.manifest.json", "brief.train.jsonl", "brief.validation.jsonl"]
    answer = api.client.get(f"/api/exports/{made['key']}/download")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''brief.zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.testzip() is None
        train = [json.loads(line) for line in packed.read("brief.train.jsonl").splitlines()]
        manifest = json.loads(packed.read("brief.manifest.json"))
    assert len(train) == 2
    assert all(row["instruction"] == f"Say {row['output']}." for row in train)
    assert [each["rows"] for each in manifest["files"]] == [2, 1]
    assert api.client.get(f"/api/exports/{made['key']}/files/1").content == b"".join(
        json.dumps(row).encode() + b"\n" for row in train
    )
    assert api.refusal("GET", f"/exports/{made['key']}/files/9")[0] == 404
    # The same again is the same archive, to the byte.
    again = api.post("/exports", saved="brief ones", file="brief.jsonl", wait=True)
    assert api.client.get(f"/api/exports/{again['key']}/download").content == answer.content
    api.delete(f"/tasks/{made['key']}")
    assert api.refusal("GET", f"/exports/{made['key']}")[0] == 404
    assert api.client.delete("/api/exports/templates", params={"name": "brief ones"}).status_code == 204
    assert api.get("/exports/templates")["items"] == []


def test_an_encrypted_export_comes_back_in_with_its_password(judged: Speaker) -> None:
    api = judged
    made = api.post("/exports", template={"kind": "sft", "facets": [{"name": "brief"}]}, password="open sesame", wait=True)
    number, name = next((each["number"], each["name"]) for each in made["files"] if each["name"] == "training.jsonl.enc")
    content = api.client.get(f"/api/exports/{made['key']}/files/{number}").content
    assert b"Say" not in content
    upload = bring(api, content, name)
    status, _, message = api.refusal("POST", "/imports/look", {"upload": upload})
    assert (status, message) == (400, "training.jsonl.enc is encrypted; give its password (password_file, or RAMIFY_PASSWORD)")
    found = api.post("/imports/look", upload=upload, password="open sesame")
    assert [entry["prompt"] for entry in found["entries"]] == ["Say 1.", "Say 2.", "Say 3."]


def test_a_readiness_report_names_the_samples_and_comes_as_a_page(judged: Speaker) -> None:
    api = judged
    ready = api.post("/readiness", facet="brief", wait=True)
    report = ready["report"]
    assert (report["samples"], report["rated"], report["truncated"]) == (6, 5, 1)
    sft = next(kind for kind in report["kinds"] if kind["kind"] == "sft")
    assert sft["samples"] == 3
    assert {each["reason"] for each in sft["reasons"]} == {"truncated", "rated below 7", "not rated"}
    assert (report["ratings"]["count"], sum(report["ratings"]["counts"])) == (5, 5)
    page = api.client.get(f"/api/readiness/{ready['key']}/page")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "attachment" in page.headers["content-disposition"]
    assert "<svg" in page.text
    markdown = api.client.get(f"/api/readiness/{ready['key']}/page", params={"form": "markdown"})
    assert markdown.text.startswith("# Readiness of brief for ")
    assert api.refusal("POST", "/readiness", {"facet": "none such", "wait": True})[0] == 404


def test_duplicates_come_in_pages(api: Speaker) -> None:
    for text in ("One?", "one", "ONE!", "Two?", "two", "three"):
        api.post("/samples", prompt=text)
    found = api.post("/duplicates", wait=True)
    assert found["report"] == {"measure": "normalised", "near": None, "looked_at": 6, "clusters": 2, "spare": 3}
    first = api.get(f"/duplicates/{found['key']}/clusters", limit=1)
    assert [(each["text"], len(each["ids"])) for each in first["items"]] == [("One?", 3)]
    second = api.get(f"/duplicates/{found['key']}/clusters", limit=1, after=first["next"])
    assert ([each["text"] for each in second["items"]], second["next"]) == (["Two?"], None)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/exports", {"template": {}}, "the template has no kind"),
        ("/exports", {"template": {"kind": "dpo"}}, "name the facet under which they are"),
        ("/exports", {"template": {"kind": "sft", "form": "hh"}}, "hh has no form for sft"),
        ("/exports", {"template": {"kind": "sft"}, "file": "../x.jsonl"}, "without folders"),
        ("/exports", {"template": {"kind": "sft"}, "file": "x.docx", "wait": True}, "does not say what file it is"),
        ("/exports", {"template": {"kind": "sft"}, "wait": True}, "nothing can go out as sft"),
        ("/exports", {"template": {"kind": "sft"}, "examples": 3}, "set dry_run"),
        ("/exports", {"template": {"kind": "sft", "filter": {"field": "nothing"}}}, "nothing"),
        ("/imports", {}, "give an upload's key or paths"),
        ("/imports", {"paths": []}, "no file was named"),
        ("/imports", {"paths": ["x"], "good_rating": 1}, "bad must be below good"),
        ("/imports", {"paths": ["x"], "mapping": {"user": "a"}, "format": "alpaca"}, "mapping names the columns"),
        ("/duplicates", {"near": 0}, "near"),
    ],
)
def test_what_cannot_be_is_refused_in_the_words_of_the_api(api: Speaker, path: str, body: Any, said: str) -> None:
    status, _, message = api.refusal("POST", path, body)
    assert (status, "--" in message) == (400, False)
    assert said in message


def test_paths_are_read_under_the_servers_folders_only(api: Speaker, served: Live, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "rows.jsonl").write_bytes(lines(ALPACA))
    (inside / "link.jsonl").symlink_to(outside / "rows.jsonl")
    assert api.refusal("POST", "/imports/look", {"paths": [str(inside / "rows.jsonl")]})[:2] == (403, "not_allowed")
    served.server.folders = (inside,)
    try:
        assert len(api.post("/imports/look", paths=["rows.jsonl"])["entries"]) == 6
        assert api.post("/imports", paths=[str(inside / "rows.jsonl")], wait=True)["report"]["samples_added"] == 6
        for path in (
            str(outside / "rows.jsonl"),
            "../outside/rows.jsonl",
            "link.jsonl",
            "/etc/passwd",
            "hf:../outside",
            "hf:/etc",
        ):
            assert api.refusal("POST", "/imports/look", {"paths": [path]})[:2] == (403, "not_allowed"), path
        assert api.refusal("POST", "/imports/look", {"paths": ["nothing.jsonl"]})[0] == 400
    finally:
        served.server.folders = ()


def test_more_tasks_than_a_server_takes_are_told_to_wait(api: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    from ramify.api.workspace import tasks

    monkeypatch.setattr(tasks, "MOST_RUNNING", 0)
    assert api.refusal("POST", "/duplicates", {})[0] == 429


def test_old_reports_make_room_for_new_ones_and_running_ones_stay(api: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    from ramify.api.workspace import tasks

    monkeypatch.setattr(tasks, "MOST_KEPT", 2)
    keys = [api.post("/duplicates", wait=True)["key"] for _ in range(4)]
    deadline = time.monotonic() + 10
    while len(api.get("/tasks")["items"]) > 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [each["key"] for each in api.get("/tasks")["items"]] == keys[:0:-1]
    assert api.refusal("GET", f"/duplicates/{keys[0]}")[0] == 404
