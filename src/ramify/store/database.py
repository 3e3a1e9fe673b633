"""A workspace's database: one SQLite file, or a PostgreSQL by URL. One writer at a time, many readers.

Writers wait for each other, across threads and processes, before they read what they are about to change: on SQLite by
BEGIN IMMEDIATE, on PostgreSQL by an advisory lock. So no update is lost and nobody is told that the database is locked.
A write is on disk when its `with` block ends (write-ahead log, synchronous=FULL).
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType

from sqlalchemy import URL, Connection, Engine, FromClause, create_engine, event, make_url
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from ramify.errors import InputError, WorkspaceError
from ramify.store.beams import Beams
from ramify.store.bulk import BulkRuns
from ramify.store.changes import Action, is_last
from ramify.store.completions import Completions
from ramify.store.facets import Facets
from ramify.store.files import Files
from ramify.store.filters import SavedFilters
from ramify.store.history import History
from ramify.store.job_leases import JobLeases
from ramify.store.jobs import Jobs
from ramify.store.judgements import Judgements
from ramify.store.labs import LabRuns
from ramify.store.logprobs import Logprobs
from ramify.store.migrations import HEAD, migrate, version_of
from ramify.store.samples import Samples
from ramify.store.search import Search
from ramify.store.settings import WorkspaceSettings
from ramify.store.tags import Tags
from ramify.store.tokenizations import Tokenizations
from ramify.store.unanswered import Unanswered
from ramify.store.words import contains_words

__all__ = ["Database"]

APPLICATION_ID = 0x52414D46
""""RAMF", in the header of every workspace file."""

BUSY_S = 120.0
"""How long a writer waits for the others."""

WRITERS_LOCK = 0x52414D46
"""The number of the advisory lock on PostgreSQL."""


class Database:
    """An open workspace. Safe to use from several threads. Close it, or use it as a context."""

    def __init__(self, engine: Engine, *, where: str, read_only: bool, author: str) -> None:
        self.engine = engine
        self.where = where
        """The file's path, or the URL without its password."""
        self.read_only = read_only
        self.author = author
        """Who the history says did it."""
        self._writers = threading.RLock()
        self._mine = threading.local()

    @classmethod
    def open(cls, path_or_url: str | Path, *, create: bool = True, read_only: bool = False, author: str = "") -> "Database":
        """Open a workspace, bringing an older one up to date; make it if it is not there and `create` says so.

        A file that cannot be written is opened for reading. Raises NewerWorkspaceError for one from a newer Ramify,
        WorkspaceError for anything that is no workspace, InputError for a URL that is neither SQLite nor PostgreSQL.
        """
        url = _url(path_or_url)
        where = url.render_as_string(hide_password=True) if url.database is None or not _is_sqlite(url) else url.database
        read_only = read_only or (_is_sqlite(url) and _look_at_file(Path(where), create))
        with _translated(where):
            engine = _sqlite(Path(where), read_only) if _is_sqlite(url) else _postgresql(url)
            database = cls(engine, where=where, read_only=read_only, author=author)
            try:
                database._bring_up_to_date(create)
            except BaseException:
                engine.dispose()
                raise
        return database

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------ transactions

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one moment of the workspace; inside an action, the action's own."""
        mine: Connection | None = getattr(self._mine, "connection", None)
        if mine is not None:
            yield mine
            return
        with _translated(self.where), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no other writer overlaps; what it wrote is on disk at the end, or all of it is gone."""
        if self.read_only:
            raise WorkspaceError(f"{self.where} is open for reading only; nothing can be changed in it")
        mine: Connection | None = getattr(self._mine, "connection", None)
        if mine is not None:
            yield mine
            return
        with self._writers, _translated(self.where), self.engine.connect() as connection:
            writer = connection.execution_options(ramify_writes=True)
            with _begun(writer):
                self._mine.connection = writer
                try:
                    yield writer
                finally:
                    self._mine.connection = None

    @contextmanager
    def action(self, name: str, detail: str = "", *, onto: int | None = None) -> Iterator[Action]:
        """One step of the history: everything written inside happens together and is undone together.

        An action inside another is part of the outer one. onto: go on with this step, if nothing was done or undone since.
        """
        outer: Action | None = getattr(self._mine, "action", None)
        if outer is not None:
            yield outer
            return
        with self.writing() as connection:
            number = onto if onto is not None and is_last(connection, onto) else None
            self._mine.action = Action(connection, name, detail, self.author, number)
            try:
                yield self._mine.action
            finally:
                self._mine.action = None

    # ------------------------------------------------------------ the rooms

    @cached_property
    def samples(self) -> Samples:
        return Samples(self)

    @cached_property
    def completions(self) -> Completions:
        return Completions(self)

    @cached_property
    def logprobs(self) -> Logprobs:
        return Logprobs(self)

    @cached_property
    def tokenizations(self) -> Tokenizations:
        return Tokenizations(self)

    @cached_property
    def facets(self) -> Facets:
        return Facets(self)

    @cached_property
    def judgements(self) -> Judgements:
        return Judgements(self)

    @cached_property
    def unanswered(self) -> Unanswered:
        return Unanswered(self)

    @cached_property
    def tags(self) -> Tags:
        return Tags(self)

    @cached_property
    def filters(self) -> SavedFilters:
        return SavedFilters(self)

    @cached_property
    def search(self) -> Search:
        return Search(self)

    @cached_property
    def beams(self) -> Beams:
        return Beams(self)

    @cached_property
    def bulk(self) -> BulkRuns:
        return BulkRuns(self)

    @cached_property
    def labs(self) -> LabRuns:
        return LabRuns(self)

    @cached_property
    def jobs(self) -> Jobs:
        return Jobs(self)

    @cached_property
    def leases(self) -> JobLeases:
        return JobLeases(self)

    @cached_property
    def files(self) -> Files:
        return Files(self)

    @cached_property
    def history(self) -> History:
        return History(self)

    @cached_property
    def settings(self) -> WorkspaceSettings:
        return WorkspaceSettings(self)

    # ------------------------------------------------------------ care

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self.engine.dialect.name

    def problems(self) -> list[str]:
        """What the database's own checks find wrong; empty when all is well."""
        if self.dialect != "sqlite":
            return []
        with self.reading() as connection:
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
            found += [
                f"a row of {row[0]} refers to nothing: {row[1]}" for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
            ]
        return found

    def tidy(self) -> None:
        """Let the database learn how its rows are spread; worth it after a large import."""
        with self.writing() as connection:
            connection.exec_driver_sql("ANALYZE")

    def back_up(self, path: str | Path) -> None:
        """Write the workspace, as it is at this moment, to a new SQLite file, while others go on working."""
        if self.dialect != "sqlite":
            raise InputError(f"{self.where} is a PostgreSQL database; pg_dump backs it up")
        if Path(path).exists():
            raise InputError(f"{path} is there already; choose a new name")
        with _translated(str(path)), closing(self.engine.raw_connection()) as connection:  # outside any transaction
            connection.cursor().execute("VACUUM INTO ?", (str(path),))

    def _bring_up_to_date(self, create: bool) -> None:
        with self.reading() as connection:
            version = version_of(connection)
        if version == HEAD:
            return
        if version is None and not create:
            raise WorkspaceError(f"there is no workspace at {self.where}; allow it to be created, or check the name")
        if self.read_only:
            raise WorkspaceError(
                f"{self.where} has the older form {version} and cannot be written; make it writable once to update it"
            )
        with self.writing() as connection:
            migrate(connection)


# ---------------------------------------------------------------- where it is


def _url(path_or_url: str | Path) -> URL:
    if isinstance(path_or_url, str) and "://" in path_or_url:
        try:
            url = make_url(path_or_url)
        except ArgumentError:
            raise InputError(
                f"{path_or_url.split('@')[-1]!r} is no database URL; give a path, or postgresql://user@host/name"
            ) from None
        kind = url.get_backend_name()
        if kind == "postgresql":
            return url.set(drivername="postgresql+psycopg")
        if kind == "sqlite" and url.database:
            return url
        raise InputError(f"a workspace is a SQLite file or a PostgreSQL database; {kind}:// is neither")
    if str(path_or_url) in ("", ":memory:"):
        raise InputError("a workspace needs a file; give a path")
    return URL.create("sqlite+pysqlite", database=str(Path(path_or_url).expanduser()))


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _look_at_file(path: Path, create: bool) -> bool:
    """Whether the file can only be read. Raises WorkspaceError where there is nothing to open."""
    if path.is_dir():
        raise WorkspaceError(f"{path} is a folder; a workspace is a file in one")
    if not path.exists():
        if not create:
            raise WorkspaceError(f"there is no workspace at {path}; allow it to be created, or check the name")
        if not path.parent.is_dir():
            raise WorkspaceError(f"there is no folder {path.parent}; make it first")
        return False
    try:
        with path.open("r+b"):
            return False
    except PermissionError:
        return True
    except OSError as error:
        if error.errno == 30:  # EROFS: a read-only file system
            return True
        raise WorkspaceError(f"{path} cannot be opened: {error.strerror}") from error


def _sqlite(path: Path, read_only: bool) -> Engine:
    """Connections in autocommit as far as the driver knows; we say BEGIN ourselves, plain or IMMEDIATE.

    The file is read by pages and not mapped: for a page of a mapping the system may fetch megabytes ahead.
    """
    address = path.absolute().as_uri()
    if read_only:
        # Without a log beside it nobody is writing, and SQLite may read the file without making one.
        address += "?mode=ro" if Path(f"{path}-wal").exists() else "?immutable=1"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        for pragma in ("foreign_keys=ON", "synchronous=FULL", "temp_store=MEMORY", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")
        # SQLite's own knows only ASCII.
        connection.create_function("lower", 1, lambda text: None if text is None else str(text).lower(), deterministic=True)
        connection.create_function("contains_words", 2, contains_words, deterministic=True)
        if not read_only:
            _claim(connection, path)
        return connection

    engine = create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=56, pool_reset_on_return="rollback"
    )
    engine.dialect.statement_compiler = _Hinted
    event.listen(engine, "begin", _begin_sqlite)
    return engine


class _Hinted(SQLiteCompiler):
    """Says `with_hint`'s words behind a table, such as INDEXED BY; SQLAlchemy's own leaves them out."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:
        return text


def _claim(connection: sqlite3.Connection, path: Path) -> None:
    """Make a new file ours, refuse another program's, and see that it keeps a write-ahead log."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    if mark != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables:
            connection.close()
            raise WorkspaceError(f"{path} is a SQLite database, but not a Ramify workspace; nothing was changed in it")
        connection.execute("PRAGMA page_size=8192")
    deadline = time.monotonic() + BUSY_S
    while True:  # switching modes does not wait by itself
        try:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            if mode != "wal":
                connection.execute("PRAGMA journal_mode=WAL")
            if mark != APPLICATION_ID:
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("ramify_writes") else "BEGIN")


def _postgresql(url: URL) -> Engine:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise WorkspaceError("a workspace in PostgreSQL needs psycopg: pip install 'psycopg[binary]'") from None
    engine = create_engine(url, pool_size=8, max_overflow=56, isolation_level="REPEATABLE READ")
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("ramify_writes"):
        # A snapshot is taken by the first query; the lock is asked for outside one, so that we see what the last writer wrote.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")


@contextmanager
def _begun(connection: Connection) -> Iterator[None]:
    with connection.begin():
        yield


# ---------------------------------------------------------------- what may go wrong


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Database errors in the reader's words."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        said = str(error.orig if isinstance(error, DBAPIError) else error)
        for sign, message in _MESSAGES:
            if sign in said:
                raise WorkspaceError(message.format(where=where, said=said)) from error
        raise WorkspaceError(f"{where}: the database said: {said}") from error


_MESSAGES: tuple[tuple[str, str], ...] = (
    (
        "database or disk is full",
        "the disk of {where} is full; nothing of this change was written. Free some space and repeat it",
    ),
    ("disk I/O error", "{where} cannot be written ({said}); nothing of this change was kept. Is the disk full or gone?"),
    ("readonly database", "{where} is read-only; nothing was changed. Make the file and its folder writable"),
    ("not a database", "{where} is not a workspace: it is no SQLite file"),
    ("malformed", "{where} is damaged ({said}); restore a backup, or save what can be read with sqlite3's .recover"),
    ("unable to open", "{where} cannot be opened; are the file and its folder readable and writable?"),
    ("is locked", f"{{where}} was busy for {BUSY_S:.0f} seconds; another program holds it open for writing"),
)
