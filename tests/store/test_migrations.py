"""Every released form of a workspace opens in this one; a newer one is refused; half a migration never exists."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, inspect

from ramify.errors import NewerWorkspaceError, WorkspaceError
from ramify.store import Database, database, migrations, schema, tables
from ramify.store.migrations import HEAD, VERSIONS, freeze
from store import postgres
from store.stories import sample_with, state

SCHEMAS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))


def test_head_is_the_last_revision_and_each_has_its_schema_kept() -> None:
    script = ScriptDirectory(str(VERSIONS.parent), version_locations=[str(VERSIONS)])
    assert script.get_current_head() == HEAD
    assert [file.stem for file in SCHEMAS] == sorted(revision.revision for revision in script.walk_revisions())


def shape(connection: Connection) -> set[tuple[str, ...]]:
    """Every table with its columns, every index, view and trigger with its words, in no order."""
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        words = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND (type != 'table' OR sql LIKE 'CREATE VIRTUAL%')"
    else:
        words = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
            "UNION ALL SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'"
        )
    found = {(name, re.sub(r"\s+", " ", said)) for name, said in connection.exec_driver_sql(words)}
    looking = inspect(connection)
    for name in looking.get_table_names():
        found |= {(name, "column", str(sorted((k, str(v)) for k, v in each.items()))) for each in looking.get_columns(name)}
        found |= {(name, "to", str(sorted((k, str(v)) for k, v in each.items()))) for each in looking.get_foreign_keys(name)}
        found |= {(name, "check", re.sub(r"\s+", " ", str(each["sqltext"]))) for each in looking.get_check_constraints(name)}
    return {each for each in found if not each[0].startswith("alembic")}


def test_all_revisions_together_make_the_tables_that_we_work_with(db: Database, tmp_path: Path) -> None:
    with db.reading() as connection:
        migrated = shape(connection)
        if db.dialect == "sqlite":
            engine = create_engine(f"sqlite:///{tmp_path / 'afresh.db'}")
            with engine.begin() as fresh:
                for statement in freeze.ddl("sqlite"):
                    fresh.exec_driver_sql(statement)
                assert shape(fresh) == migrated
            engine.dispose()
            return
    with db.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
        for statement in freeze.ddl("postgresql"):
            connection.exec_driver_sql(statement.replace("%", "%%"))
        assert shape(connection) == migrated


def test_a_new_workspace_has_exactly_the_tables_that_we_work_with(db: Database) -> None:
    def ours(_: object, name: str | None, kind: str, *rest: object) -> bool:
        return kind != "table" or not str(name).startswith(("search_", "alembic"))

    with db.reading() as connection:
        options = {"include_object": ours, "compare_type": False}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)
        # What SQLAlchemy does not model: partial and full-text indexes of the one, generated columns of the other.
        assert [step for step in found if "words" not in str(step) and "search_" not in str(step)] == []
        for view in schema.VIEWS:
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {view}").scalar_one() == 0


def in_an_older_form(path: Path, old: Path) -> Path:
    """A workspace as an older Ramify left it."""
    plain = sqlite3.connect(path)
    plain.executescript(old.read_text("utf-8"))
    plain.close()
    return path


@pytest.mark.parametrize("old", SCHEMAS, ids=lambda file: file.stem)
def test_every_released_form_opens_with_all_that_was_in_it(old: Path, tmp_path: Path) -> None:
    check_it_opens_with_all_that_was_in_it(in_an_older_form(tmp_path / "old.ramify", old))


def check_it_opens_with_all_that_was_in_it(path: Path) -> None:
    with Database.open(path) as db:
        (sample,) = db.samples.list()
        records = db.completions.of(sample.id)
        assert (sample.title, sample.tags, sample.revision) == ("A tale", ("kept",), 1)
        assert [(r.text, r.model, r.finish_reason) for r in records] == [
            (" a hedgehog", "tiny", "eos"),
            ("By hand.", "manual", "written"),
        ]
        assert [round(t.logprob, 6) for t in db.logprobs.get(records[0].id, "tiny").tokens] == [-0.25, -1.5, -0.125]
        assert [(p.better_id, p.worse_id) for p in db.judgements.preferences(facet="legal")] == [(records[1].id, records[0].id)]
        assert [hit.id for hit in db.search.text("hedgehog")] == [records[0].id]
        assert db.problems() == []
        while db.history.undo():
            pass
        assert all(rows == [] for rows in state(db).values())


def test_the_first_forms_trees_keep_their_nodes_and_an_eos_that_was_spelt_writes_nothing(tmp_path: Path) -> None:
    path = in_an_older_form(tmp_path / "old.ramify", SCHEMAS[0])
    plain = sqlite3.connect(path)
    plain.execute(
        "INSERT INTO beam_trees (id, sample_id, prompt_id, model_id, title, prefill, created_at) "
        "SELECT 1, 1, id, (SELECT id FROM models WHERE name = 'tiny'), '', x'', '2026-01-01T00:00:00Z' FROM prompts"
    )
    for row in ((1, None, -1, 0, 0), (2, 1, 1, 1, 0), (3, 2, 7, 2, 1)):
        plain.execute(
            "INSERT INTO beam_nodes (id, tree_id, parent_id, token_id, depth, ended, origin, created_at) "
            "VALUES (?, 1, ?, ?, ?, ?, 'sampled', '2026-01-01T00:00:00Z')",
            row,
        )
    plain.execute("INSERT INTO vocabulary SELECT id, 7, CAST('<eos>' AS BLOB) FROM models WHERE name = 'tiny'")
    plain.commit()
    plain.close()
    with Database.open(path) as db:
        assert [(n.token_id, n.ended, n.next_entropy) for n in db.beams.nodes(1)] == [
            (-1, False, None),
            (1, False, None),
            (7, True, None),
        ]
        assert (db.beams.pieces(db.beams.get(1))[7], db.beams.pieces(db.beams.get(1))[1]) == (b"", b" a")
        db.beams.set_candidates(2, [(7, -0.5)], entropy=0.25)
        with db.reading() as connection:
            seen = connection.exec_driver_sql("SELECT next_entropy FROM v_beam_nodes ORDER BY id").scalars().all()
        assert (seen, db.problems()) == ([None, 0.25, None], [])


def test_a_workspace_from_a_newer_version_is_refused_untouched(file: Path) -> None:
    with Database.open(file) as db:
        sample_with(db, "one")
        with db.writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = file.read_bytes()
    with pytest.raises(NewerWorkspaceError, match="form 9999, made by a newer Ramify"):
        Database.open(file)
    assert file.read_bytes() == before


AFTER = f"{int(HEAD) + 1:04}"
NEXT = f"""
import os, signal
from alembic import op
revision, down_revision = "{AFTER}", "{HEAD}"

def upgrade():
    op.execute("CREATE TABLE half (x INTEGER)")
    op.execute("UPDATE samples SET title = 'changed'")
    {{end}}
"""

MIGRATE = f"""
import sys
from pathlib import Path
from ramify.store import database, migrations
migrations.HEAD = database.HEAD = "{AFTER}"
old = database.migrate
database.migrate = lambda connection: old(connection, versions=Path(sys.argv[2]), head="{AFTER}")
database.Database.open(sys.argv[1]).close()
"""


def migrated(file: Path, folder: Path, end: str) -> "subprocess.CompletedProcess[str]":
    """The workspace opened by a Ramify that has one revision more."""
    folder.mkdir()
    (folder / "next.py").write_text(NEXT.format(end=end))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", MIGRATE, str(file), str(folder)], capture_output=True, text=True, env=env)


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "raise RuntimeError('no')"])
def test_a_migration_that_is_killed_or_fails_leaves_the_old_workspace(file: Path, tmp_path: Path, end: str) -> None:
    with Database.open(file) as db:
        sample_with(db, "one")
        before = state(db)
    done = migrated(file, tmp_path / "versions", end)
    assert done.returncode in (-signal.SIGKILL, 1)
    with Database.open(file) as db:
        assert (state(db), db.problems()) == (before, [])
        with db.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE name = 'half'").scalar_one() == 0
            assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == HEAD


def killed_after(where: str, statements: int) -> bool:
    """Open a workspace in a process that is killed after so many statements of its migration; False where there were fewer."""
    child = os.fork()  # a fresh interpreter would take a second to import what it needs
    if child == 0:
        try:
            left, begin = [statements], database.migrate

            def count(*_: object) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            def migrate(connection: Connection) -> None:
                event.listen(connection.engine, "after_cursor_execute", count)
                begin(connection)
                event.remove(connection.engine, "after_cursor_execute", count)

            database.migrate = migrate  # type: ignore[assignment]
            Database.open(where).close()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def everything_in(path: Path) -> list[str]:
    plain = sqlite3.connect(path)
    said = list(plain.iterdump())
    plain.close()
    return said


OLDEST, *LATER = SCHEMAS[:-1]
OLD = [OLDEST, *(pytest.param(file, marks=pytest.mark.slow) for file in LATER)]
"""The oldest goes through every revision; the others through some of the same."""


@pytest.mark.parametrize("old", OLD, ids=lambda file: f"from {file.stem}")
def test_a_real_migration_that_is_killed_after_any_statement_leaves_the_old_workspace(old: Path, tmp_path: Path) -> None:
    path = in_an_older_form(tmp_path / "old.ramify", old)
    before, statements = everything_in(path), 0
    assert f"INSERT INTO \"alembic_version\" VALUES('{old.stem}');" in before
    while killed_after(str(path), statements + 1):
        statements += 1
        assert everything_in(path) == before
    assert statements > 3 * (len(SCHEMAS) - 1 - SCHEMAS.index(old))
    check_it_opens_with_all_that_was_in_it(path)


@pytest.mark.parametrize("file", OLD, ids=lambda file: f"from {file.stem}")
def test_a_real_migration_that_is_killed_on_postgresql_leaves_the_old_workspace(file: Path, postgresql: str) -> None:
    old = file.stem
    where = postgres.fresh(postgresql)
    engine = create_engine(where)
    with engine.begin() as connection:
        migrations.migrate(connection, head=old)
        before = shape(connection)
    statements = 0
    while killed_after(where, statements + 1):
        statements += 1
        with engine.connect() as connection:
            assert (migrations.version_of(connection), shape(connection)) == (old, before)
    assert statements
    with engine.connect() as connection:
        assert migrations.version_of(connection) == HEAD
    engine.dispose()


def test_a_new_workspace_that_is_killed_while_it_is_made_is_made_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "new.ramify"
    for statements in (1, 2, 10, 40, 80):
        assert killed_after(str(path), statements)
        with pytest.raises(WorkspaceError, match="there is no workspace"):
            Database.open(path, create=False)
    with Database.open(path) as db:
        sample_with(db, "one")
        assert db.problems() == []


def test_a_migration_that_ends_changes_the_workspace_and_this_version_then_refuses_it(file: Path, tmp_path: Path) -> None:
    with Database.open(file) as db:
        sample_with(db, "one")
    done = migrated(file, tmp_path / "versions", "pass")
    assert done.returncode == 0, done.stderr
    plain = sqlite3.connect(file)
    assert plain.execute("SELECT title FROM samples").fetchall() == [("changed",)]
    assert plain.execute("SELECT count(*) FROM half").fetchone() == (0,)
    with pytest.raises(NewerWorkspaceError, match=AFTER):
        Database.open(file)


def test_an_older_form_that_cannot_be_written_is_refused(file: Path) -> None:
    with Database.open(file) as db, db.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(WorkspaceError, match="older form 0000"):
        Database.open(file, read_only=True)
