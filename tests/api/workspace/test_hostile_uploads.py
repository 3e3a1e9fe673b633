"""Files that are damaged or mean harm, through HTTP: a clear refusal with file and line, and nothing half-imported."""

import bz2
import gzip
import io
import json
import socket
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.listening import Live
from tests.api.workspace.speaking import Speaker
from tests.api.workspace.test_exchange import bring

from ramify.exchange import files

GOOD = b'{"prompt": "a", "completion": "b"}'
AFTER = b'{"prompt": "c", "completion": "d"}'
BAD = {
    "cut short": (b'{"prompt": "a", "compl', "it is no JSON"),
    "no object": (b"[1, 2]", "a record is an object"),
    "NaN": (b'{"prompt": "a", "completion": "b", "x": NaN}', "NaN is no JSON number"),
    "twice": (b'{"prompt": "a", "prompt": "b", "completion": "c"}', "'prompt' stands twice"),
    "surrogate": (b'{"prompt": "a\\ud800", "completion": "b"}', "a lone surrogate"),
    "NUL": (b'{"prompt": "a\\u0000", "completion": "b"}', "a NUL character"),
    "not UTF-8": (b'{"prompt": "\xff", "completion": "b"}', "is not UTF-8"),
    "deep": (b'{"prompt": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", "nested too deep"),
    "long": (b'{"prompt": "' + b"x" * (3 << 20) + b'", "completion": "b"}', "it is longer than 2 MiB"),
    "digits": (b'{"prompt": "a", "completion": "b", "x": ' + b"9" * 1_000_000 + b"}", "digits"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_a_400_with_file_and_line_and_the_rest_comes_in_when_asked(
    api: Speaker, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from ramify.exchange import json_records

    monkeypatch.setattr(json_records, "RECORD_BYTES", 2 << 20)
    line, said = BAD[name]
    upload = bring(api, b"\n".join([GOOD, line, AFTER]) + b"\n", "odd ones.jsonl")
    status, code, message = api.refusal("POST", "/imports", {"upload": upload, "wait": True})
    assert (status, code) == (400, "bad_record")
    assert message.startswith("odd ones.jsonl, line 2: ")
    assert said in message
    assert len(message) < 1500
    assert api.get("/workspace")["samples"] == 0
    (bad,) = api.post("/imports/look", upload=upload)["problems"]
    assert (bad["file"], bad["line"]) == ("odd ones.jsonl", 2)
    report = api.post("/imports", upload=upload, skip_bad=True, wait=True)["report"]
    assert (report["records"], report["bad_records"], report["samples_added"]) == (2, 1, 2)


def packed(open: Callable[..., Any], content: bytes) -> bytes:
    out = io.BytesIO()
    with open(out, "wb") as file:
        file.write(content)
    return out.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


SWELLING = GOOD + b"\n" + b" " * (40 << 20)
REFUSED = {
    "gzip bomb": ("t.jsonl.gz", packed(gzip.open, SWELLING), "t.jsonl.gz unpacks to more than 200 times its size"),
    "bzip2 bomb": ("t.jsonl.bz2", packed(bz2.open, SWELLING), "unpacks to more than 200 times"),
    "zip bomb": ("t.zip", zipped("t.jsonl", SWELLING), "unpacks to more than 200 times"),
    "zip slip": ("t.zip", zipped("../../t.jsonl", GOOD), "leads out of it; nothing was read"),
    "cut gzip": ("t.jsonl.gz", gzip.compress(GOOD + b"\n")[:-9], "damaged or cut short"),
    "no zip": ("t.zip", b"PK\x03\x04 no", "is no readable zip"),
    "no parquet": ("t.parquet", b"no such thing", "t.parquet"),
    "no arrow": ("t.arrow", b"no such thing", "t.arrow"),
    "UTF-16": ("t.jsonl", GOOD.decode().encode("utf-16"), "UTF-16; save it as UTF-8"),
    "empty": ("t.jsonl", b"", "has no records"),
    "no ending": ("t.docx", b"x", "ends in '.docx'"),
    "header twice": ("t.csv", b"prompt,prompt\na,b\n", "two columns named 'prompt'"),
    "names outside": (
        "dataset_info.json",
        json.dumps({"x": {"file_name": "/etc/passwd"}}).encode(),
        "names the file '/etc/passwd', which leads out of its folder",
    ),
    "no workspace": ("w.ramify", b"SQLite format 3\0" + b"\xff" * 5000, "w.ramify"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_a_400_that_names_the_file_and_shows_no_place_of_the_server(
    api: Speaker, served: Live, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(files, "BOMB_BYTES", 8 << 20)
    file, content, said = REFUSED[name]
    upload = bring(api, content, file)
    folder = str(served.app.state.desk.uploads.folder())
    status, _, message = api.refusal("POST", "/imports", {"upload": upload, "skip_bad": True, "wait": True})
    assert status == 400, message
    assert said in message
    assert folder not in message
    assert api.get("/workspace")["samples"] == 0
    assert api.get("/history")["items"] == []


NAMES = [
    "../x.jsonl",
    "/etc/x.jsonl",
    "a/b.jsonl",
    "a\\b.jsonl",
    "..",
    ".",
    ".hidden.jsonl",
    "",
    " ",
    "a\x00.jsonl",
    "a\n.jsonl",
    "x" * 300,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_files_name_leads_nowhere(api: Speaker, served: Live, tmp_path: Path, name: str) -> None:
    key = bring(api, GOOD, "good.jsonl")
    folder = served.app.state.desk.uploads.folder()
    before = sorted(folder.rglob("*"))
    for query in ({"name": name}, {"name": name, "into": key}):
        answer = api.client.post("/api/uploads", params=query, content=GOOD, headers={"content-type": "application/octet-stream"})
        assert answer.status_code == 400, name
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert sorted(folder.rglob("*")) == before
    assert api.refusal("GET", f"/uploads/{key}/lines", file=name)[0] in (400, 404)
    assert api.refusal("POST", "/imports/look", {"upload": key, "files": [name]})[0] in (400, 404)


def test_an_upload_too_large_or_unfinished_leaves_nothing(api: Speaker, served: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    from ramify.api.workspace import upload_folders

    folder = served.app.state.desk.uploads.folder() if hasattr(served.app.state, "desk") else None
    bring(api, GOOD)
    folder = served.app.state.desk.uploads.folder()
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(upload_folders, "MOST_BYTES", 1 << 20)
    answer = api.client.post(
        "/api/uploads",
        params={"name": "big.jsonl"},
        content=b"x" * (2 << 20),
        headers={"content-type": "application/octet-stream"},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "full")
    # One that is larger than a file may be is refused before it comes; one whose sender leaves is forgotten.
    host, port = served.url.removeprefix("http://").split(":")
    head = (
        f"POST /api/uploads?name=x.jsonl HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {served.token}\r\n"
        "content-type: application/octet-stream\r\n"
    )
    with socket.create_connection((host, int(port))) as stated:
        stated.sendall(f"{head}content-length: {2**40}\r\n\r\n".encode())
        assert stated.recv(1000).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection((host, int(port))) as leaving:
        leaving.sendall(f"{head}content-length: 500000\r\n\r\n".encode() + b"x" * 1000)
    for _ in range(200):
        if sorted(folder.rglob("*")) == before:
            break
        api.get("/workspace")
    assert sorted(folder.rglob("*")) == before
    wrong = api.client.post("/api/uploads", params={"name": "x.jsonl"}, json={"prompt": "a"})
    assert wrong.status_code == 415


def test_a_large_upload_and_its_endless_line_need_little_memory(
    api: Speaker, served: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """96 MiB in one line; client and server are one process here, so that both are measured."""
    from ramify.exchange import json_records

    monkeypatch.setattr(json_records, "RECORD_BYTES", 1 << 20)
    piece = b"x" * (1 << 20)

    def endless() -> Iterator[bytes]:
        yield GOOD + b'\n{"prompt": "'
        for _ in range(96):
            yield piece
        yield b'"}\n' + AFTER + b"\n"

    api.get("/workspace")
    tracemalloc.start()
    try:
        answer = api.client.post(
            "/api/uploads",
            params={"name": "long.jsonl"},
            content=endless(),
            headers={"content-type": "application/octet-stream"},
            timeout=300,
        )
        upload = answer.json()["key"]
        report = api.post("/imports", upload=upload, skip_bad=True, wait=True)["report"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.json()["files"][0]["size_bytes"] > 96 << 20
    assert (report["records"], report["bad_records"]) == (2, 1)
    assert peak < 24 << 20


def test_nothing_of_an_upload_stays_when_the_server_stops(api: Speaker, served: Live) -> None:
    bring(api, GOOD)
    uploads = served.app.state.desk.uploads
    folder = uploads.folder()
    assert folder.is_dir()
    served.app.state.desk.close()
    assert not folder.exists()
