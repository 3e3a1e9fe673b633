"""A real PostgreSQL for the tests: its own data folder, a socket and no network, gone when the run ends."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, make_url

USER = "ramify_tests"


def binaries() -> Path:
    """The folder of initdb; PostgreSQL is installed first where it is missing and apt can."""
    if found := _found():
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        # Two test processes may come here at once: the second waits for the first one's lock.
        wait = ["-o", "DPkg::Lock::Timeout=600"]
        subprocess.run(["apt-get", "update", "-q"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "install", "-y", "-q", *wait, "postgresql"], check=True, stdout=subprocess.DEVNULL)
    if found := _found():
        return found
    raise RuntimeError("the tests need PostgreSQL's initdb and pg_ctl; install the package postgresql")


def _found() -> Path | None:
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *map(Path, os.environ["PATH"].split(os.pathsep))]
    return next((place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()), None)


@contextmanager
def running() -> Iterator[str]:
    """A server's URL; its databases are made with `fresh`."""
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # short: a socket's path has at most 107 bytes
    tools, drop = binaries(), []
    if os.geteuid() == 0:  # initdb refuses root
        if subprocess.run(["id", USER], capture_output=True).returncode:
            subprocess.run(["useradd", "-r", "-M", USER], check=True)
        shutil.chown(folder, USER, USER)
        drop = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]

    def do(*command: str) -> None:
        subprocess.run(
            [*drop, *command], check=True, stdout=subprocess.DEVNULL, cwd=folder, env={**os.environ, "HOME": str(folder)}
        )

    def control(*what: str) -> None:
        do(str(tools / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", *what)

    try:
        do(*f"{tools / 'initdb'} -D {folder}/data -U ramify -A trust --no-sync -E UTF8 --locale=C.UTF-8".split())
        options = "-c listen_addresses='' -c fsync=off -c shared_buffers=32MB -c max_connections=200"
        control("-o", f"-k {folder} {options}", "start")
        try:
            yield f"postgresql+psycopg://ramify@/postgres?host={folder}"
        finally:
            control("-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fresh(server: str, *, like: str | None = None) -> str:
    """The URL of a new database, empty or a copy of another."""
    name = f"w{uuid4().hex[:12]}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        template = "" if like is None else f" TEMPLATE {make_url(like).database}"
        connection.exec_driver_sql(f"CREATE DATABASE {name}{template}")
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)
