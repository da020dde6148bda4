"""A PostgreSQL server of the tests' own, on loopback, with a folder that goes with it."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

PASSWORD = "S3CR@T/pass:w%rd"
_DEBIAN = Path("/usr/lib/postgresql")
_USER = "phonelm"
_NOBODY = "nobody"
_OPTIONS = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "unix_socket_directories=")


def binaries() -> Path | None:
    """Where the newest ``initdb`` lies."""
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda p: float(p.parents[1].name))
    path = shutil.which("initdb")
    return found[-1].parent if found else Path(path).resolve().parent if path else None


class Server:
    """A server that may be stopped and started again at its port."""

    def __init__(self, programs: Path, folder: Path, host: str) -> None:
        self._programs, self._folder, self._host = programs, folder, host
        with closing(socket.socket()) as probe:
            probe.bind((host, 0))
            self.port = probe.getsockname()[1]
        self._count = 0

    def make(self) -> None:
        """Make its files; words are ordered as in a language, unlike those of SQLite."""
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:  # which no server wants to be
            for path in (self._folder, secret):
                shutil.chown(path, _NOBODY)
        words = ["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C.UTF-8"]
        words += ["--auth=scram-sha-256", f"--username={_USER}", f"--pwfile={secret}"]
        version = self._do("initdb", "--version").split()[-2:]
        if int(re.findall(r"\d+", " ".join(version))[0]) >= 15:
            words += ["--locale-provider=icu", "--icu-locale=en"]
        self._do("initdb", *words, str(self._data))
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {self._host}/24 scram-sha-256\n")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        options = (*_OPTIONS, f"port={self.port}", f"listen_addresses={self._host}")
        line = " ".join(f"-c {o}" for o in options)
        log = str(self._folder / "log")
        self._do("pg_ctl", "start", "-w", "-D", str(self._data), "-l", log, "-o", line)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        self._do("pg_ctl", "stop", "-w", "-D", str(self._data), "-m", mode)

    def _do(self, program: str, *words: str) -> str:
        as_nobody: Any = {}
        if os.geteuid() == 0:
            as_nobody = {"user": _NOBODY, "group": "nogroup", "extra_groups": []}
        done = subprocess.run(
            [str(self._programs / program), *words], cwd=self._folder, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if program == "initdb" else None,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, **as_nobody,
        )  # fmt: skip
        assert done.returncode == 0, (program, done.stdout)
        return done.stdout or ""

    def url(self, database: str) -> str:
        """As a person writes it."""
        secret = quote(PASSWORD, safe="")
        return f"postgresql://{_USER}:{secret}@{self._host}:{self.port}/{database}"

    def ask(self, database: str, query: str) -> list[Any]:
        """Rows of a query, or none."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def new_database(self, template: str = "template1") -> str:
        """Make one; returns its name."""
        self._count += 1
        name = f"d{self._count}"
        self.ask("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return name


@contextmanager
def running_server(host: str = "127.0.0.1") -> Iterator[Server | None]:
    """A server for as long as this lasts; None where PostgreSQL is not installed."""
    programs = binaries()
    if programs is None:
        yield None
        return
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=memory if memory.is_dir() else None))
    server = Server(programs, folder, host)
    try:
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
