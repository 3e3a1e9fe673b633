"""What was acknowledged is on disk; what was not is not there at all."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from ramify.errors import InputError, WorkspaceError
from ramify.store import Database
from store import writer
from store.stories import sample_with, sampled, state

HERE = str(Path(__file__).parents[1])


def python(*arguments: str) -> "subprocess.Popen[str]":
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def kill_while_writing(file: Path, name: str, steps: int, wait_s: float) -> list[tuple[int, int, int]]:
    """What a writer acknowledged before it was killed, a while after so many steps (a busy machine may see none in a while)."""
    reading, writing = os.pipe()
    child = os.fork()  # a fresh interpreter would take a second to import what it needs
    if child == 0:
        os.dup2(writing, 1)
        sys.stdout = os.fdopen(1, "w")
        try:
            writer.main(str(file), name, 1_000_000)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as heard:
        assert heard.readline() == "open\n"
        first = "".join(heard.readline() for _ in range(steps))
        time.sleep(wait_s)
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        said = first + heard.read()
    whole = said[: said.rfind("\n") + 1].splitlines()
    return [(int(a), int(b), int(c)) for a, b, c in (line.split() for line in whole)]


def check_nothing_is_half_written(db: Database) -> None:
    assert db.problems() == []
    with db.reading() as connection:
        for whole, part in (
            ("samples", "prompts"),
            ("completions", "completion_bodies"),
            ("completions", "logprobs"),
            ("samples", "completions"),
        ):
            counts = [connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in (whole, part)]
            assert counts[0] == counts[1], (whole, part)
        assert int(db.settings.get("counted", 0)) == counts[0]
    with db.writing() as connection:
        connection.exec_driver_sql("INSERT INTO search_completions(search_completions) VALUES ('integrity-check')")


def kill_many_times(file: Path, times: int) -> None:
    rng, acknowledged = random.Random(0), []
    for n in range(times):
        acknowledged += [(f"w{n}", *line) for line in kill_while_writing(file, f"w{n}", n % 4, rng.random() * 0.2)]
        with Database.open(file) as db:
            check_nothing_is_half_written(db)
    with Database.open(file) as db:
        assert acknowledged
        for name, n, sample_id, completion_id in acknowledged:
            assert db.samples.get(sample_id).prompt == f"{name} {n}"
            assert db.completions.get(completion_id).text == f"text {name} {n}"
            assert len(db.logprobs.get(completion_id, "tiny").tokens) == 3


def test_killing_a_writer_at_any_instant_loses_nothing_it_acknowledged(file: Path) -> None:
    kill_many_times(file, 20)


@pytest.mark.slow
def test_killing_a_writer_at_200_instants_loses_nothing_it_acknowledged(file: Path) -> None:
    kill_many_times(file, 200)


def test_two_processes_write_at_once_and_no_update_is_lost(where: str) -> None:
    writers = [python("-m", "store.writer", where, name, "25") for name in ("a", "b")]
    for each in writers:
        out, err = each.communicate(timeout=120)
        assert (each.returncode, err) == (0, "")
        assert len(out.splitlines()) == 26
    with Database.open(where) as db:
        assert db.settings.get("counted") == 50
        assert db.samples.count() == 50
        assert len({record.id for record in db.search.completions(limit=100)}) == 50
        assert db.problems() == []


def test_threads_write_and_read_one_workspace_together(db: Database) -> None:
    sample, _ = sample_with(db, "first")
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for n in range(10):
                with db.action(name):
                    db.completions.add(sample.id, sampled(f"{name} {n}"))
                    db.settings.set("counted", int(db.settings.get("counted", 0)) + 1)
                db.search.completions({"field": "text", "value": name})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, db.settings.get("counted"), len(db.completions.of(sample.id))) == ([], 30, 31)


def test_a_reader_sees_one_moment_while_others_write(file: Path) -> None:
    with Database.open(file) as db, Database.open(file) as other:
        sample, _ = sample_with(db, "one")
        with db.reading() as connection:
            query = "SELECT count(*) FROM completions"
            assert connection.exec_driver_sql(query).scalar_one() == 1
            other.completions.add(sample.id, sampled())
            assert connection.exec_driver_sql(query).scalar_one() == 1
        assert len(db.completions.of(sample.id)) == 2


def test_a_full_disk_is_told_and_nothing_of_the_change_is_kept(file: Path) -> None:
    def fill(db: Database, sample_id: int) -> None:
        with db.action("too much"):
            for _ in range(200):
                db.completions.add(sample_id, sampled("words " * 400))

    with Database.open(file) as db:
        sample, _ = sample_with(db, "one")
        before = state(db)
        with db.reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        # Every new connection finds the file at its largest, which SQLite reports as a full disk.
        event.listen(db.engine, "connect", lambda raw, _: raw.execute(f"PRAGMA max_page_count={pages + 3}"))
        db.engine.dispose()
        with pytest.raises(WorkspaceError, match="is full; nothing of this change was written"):
            fill(db, sample.id)
        assert state(db) == before
    with Database.open(file) as db:
        assert (state(db), db.problems()) == (before, [])
        db.completions.add(sample.id, sampled())


def test_a_disk_that_takes_no_more_bytes_is_told_and_the_workspace_opens_again(file: Path) -> None:
    with Database.open(file) as db:
        sample, _ = sample_with(db, "one")
    # A limit on the size of files is the nearest to a full disk that needs no file system of its own.
    code = f"""
import resource, signal, sys
from ramify.errors import WorkspaceError
from ramify.store import Database
from store.stories import sampled
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
db = Database.open({str(file)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    for n in range(10_000):
        made = db.completions.add({sample.id}, sampled(f"{{n}} " + "words " * 400))
        print(made.id, flush=True)
except WorkspaceError as error:
    print("refused:", error)
"""
    out, err = python("-c", code).communicate(timeout=60)
    lines = out.splitlines()
    assert lines[-1].startswith("refused:"), out + err
    assert "nothing of this change" in lines[-1]
    with Database.open(file) as db:
        assert db.problems() == []
        assert [record.id for record in db.completions.of(sample.id)][1:] == [int(line) for line in lines[:-1]]
        db.completions.add(sample.id, sampled())


@pytest.mark.parametrize("open_for_reading", [True, False])
def test_a_workspace_that_cannot_be_written_is_read_and_says_so(file: Path, open_for_reading: bool) -> None:
    with Database.open(file) as db:
        sample, _ = sample_with(db, "one")
    if open_for_reading:
        with Database.open(file, read_only=True) as db:
            assert db.samples.get(sample.id) == sample
            with pytest.raises(WorkspaceError, match="for reading only"):
                db.samples.add("x")
        return
    # Root may write anything, so somebody else is asked.
    place = Path("/tmp") / f"ramify-{os.getpid()}"
    place.mkdir()
    try:
        shutil.copy(file, place / "w.ramify")
        (place / "w.ramify").chmod(0o444)
        place.chmod(0o555)
        code = f"""
import os
from ramify.errors import WorkspaceError
from ramify.store import Database
Database.open({str(file)!r}).close()  # all that is needed is loaded while it still may be
if os.getuid() == 0: os.setgid(65534); os.setuid(65534)
db = Database.open({str(place / "w.ramify")!r})
print(db.read_only, db.samples.get({sample.id}).prompt)
try: db.samples.add("x")
except WorkspaceError as error: print(error)
"""
        out, err = python("-c", code).communicate(timeout=60)
        assert out.splitlines()[0] == f"True {sample.prompt}", out + err
        assert "for reading only" in out.splitlines()[1]
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("Dear diary, " * 900), "no SQLite file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: None, "there is no workspace at"),
    ],
)
def test_what_is_no_workspace_is_refused(tmp_path: Path, make: object, said: str) -> None:
    path = tmp_path / "w.ramify"
    make(path)  # type: ignore[operator]
    with pytest.raises(WorkspaceError, match=said):
        Database.open(path, create=False)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(WorkspaceError, match="not a Ramify workspace"):
        Database.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("url", ["mysql://u@h/x", "sqlite://", ":memory:", "nonsense://x"])
def test_what_is_neither_sqlite_nor_postgresql_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        Database.open(url)


def test_a_password_in_a_url_is_never_shown() -> None:
    with pytest.raises(WorkspaceError) as caught:
        Database.open("postgresql://ann:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(caught.value)


SECRETS = [
    {"api_key": "abc-never-123"},
    {"headers": {"Authorization": "Bearer abc-never-123"}},
    {"nested": [{"password": "abc-never-123"}]},
    {"base_url": "https://ann:abc-never-123@host/v1"},
    {"x": "sk-abc-never-123-abc-never-123"},
]


@pytest.mark.parametrize("config", SECRETS)
def test_keys_and_passwords_are_never_stored(file: Path, config: dict[str, object]) -> None:
    with Database.open(file) as db:
        sample = db.samples.add("Once")
        for act in (
            lambda: db.completions.add(sample.id, sampled(config=config)),
            lambda: db.completions.add(sample.id, sampled(details=config)),
            lambda: db.settings.set("remote", config),
            lambda: db.beams.tree(sample.id, "tiny", config=config),
        ):
            with pytest.raises(InputError, match="not kept in a workspace"):
                act()
    written = b"".join(path.read_bytes() for path in file.parent.glob("w.ramify*"))
    assert b"Once" in written
    assert b"abc-never-123" not in written


def test_a_backup_is_a_whole_workspace(file: Path, tmp_path: Path) -> None:
    with Database.open(file) as db:
        sample_with(db, "one", "two")
        expected = state(db)
        db.back_up(tmp_path / "copy.ramify")
        with pytest.raises(InputError, match="there already"):
            db.back_up(tmp_path / "copy.ramify")
    with Database.open(tmp_path / "copy.ramify") as copy:
        assert state(copy) == expected
