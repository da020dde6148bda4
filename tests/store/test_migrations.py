"""The tables: made by revisions, brought up from every version, whole whatever happens."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event
from sqlalchemy.schema import CreateTable

from phonelm_search.core.errors import StoreError, StoreVersionError
from phonelm_search.store import Store
from phonelm_search.store.engine import for_writing, open_engine
from phonelm_search.store.migrate import alembic_config
from phonelm_search.store.schema import SCHEMA_VERSION, VERSION_TABLE, metadata
from servers import Server

FIXTURES = Path(__file__).parent / "fixtures"
DUMPS = {n: f"phonelm-v{n}.sql" for n in (1, 2, 3, 5)}


def restore(folder: Path, version: int) -> None:
    text = (FIXTURES / DUMPS[version]).read_text(encoding="utf-8")
    with closing(sqlite3.connect(folder / "phonelm.db")) as connection:
        connection.executescript(text)


def ask(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "phonelm.db")) as connection:
        return connection.execute(query).fetchall()


def differences(folder: Path, url: str | None = None) -> list[Any]:
    """What alembic would still have to do."""
    with open_engine(url or f"sqlite:///{folder / 'phonelm.db'}").connect() as connection:
        options = {
            "version_table": VERSION_TABLE,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name.startswith("phonelm_"),
        }
        return list(
            compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        )


def tables(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Columns (name, type, not null, default, key), foreign keys and indexes of our tables."""
    names = ask(
        folder,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'phonelm_%' "
        f"AND name <> '{VERSION_TABLE}'",
    )
    return {
        name: tuple(
            sorted(ask(folder, f"SELECT {columns} FROM {pragma}('{name}')"))
            for pragma, columns in (
                ("pragma_table_info", 'name, type, "notnull", dflt_value, pk'),
                ("pragma_foreign_key_list", '"table", "from", "to"'),
                ("pragma_index_list", 'name, "unique", origin'),
            )
        )
        for (name,) in names
    }


def test_a_fresh_database_is_what_the_tables_say(tmp_path: Path) -> None:
    Store(tmp_path)
    assert differences(tmp_path) == []
    assert ask(tmp_path, "SELECT version FROM phonelm_schema") == [(SCHEMA_VERSION,)]
    assert ask(tmp_path, f"SELECT * FROM {VERSION_TABLE}") == [(f"{SCHEMA_VERSION:04}",)]


def test_tables_made_at_once_are_those_of_all_revisions(tmp_path: Path) -> None:
    Store(tmp_path)
    step_by_step = tmp_path / "revisions"
    step_by_step.mkdir()
    engine = for_writing(open_engine(f"sqlite:///{step_by_step / 'phonelm.db'}"))
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), "head")
    assert tables(tmp_path) == tables(step_by_step)
    query = f"SELECT sql FROM sqlite_master WHERE name = '{VERSION_TABLE}'"
    ((made,),), ((alembics,),) = ask(tmp_path, query), ask(step_by_step, query)
    assert made.split() == alembics.split()


@pytest.mark.xdist_group("postgresql")
def test_tables_of_a_new_server_are_those_of_all_revisions(tmp_path: Path, server: Server) -> None:
    url = server.url(server.new_database())
    Store(tmp_path, url=url)
    assert differences(tmp_path, url) == []
    with open_engine(url).begin() as connection:
        command.upgrade(alembic_config(connection), "head")  # nothing is left to do
    assert differences(tmp_path, url) == []


@pytest.mark.xdist_group("postgresql")
def test_tables_of_a_server_are_brought_up_by_who_writes(tmp_path: Path, server: Server) -> None:
    url = server.url(server.new_database())
    with open_engine(url).begin() as connection:
        command.upgrade(alembic_config(connection), "0008")
    with pytest.raises(StoreVersionError, match=r"schema 9 to be read, it is 8; .*studies upgr"):
        Store(tmp_path, url=url, create=False)
    Store(tmp_path, url=url, create=False, upgrade=True)
    assert differences(tmp_path, url) == []
    assert Store(tmp_path, url=url, create=False).studies() == []


def test_revisions_are_the_versions_one_after_another(tmp_path: Path) -> None:
    with open_engine(f"sqlite:///{tmp_path / 'x.db'}").connect() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
    revisions = [int(r.revision) for r in scripts.walk_revisions()]
    assert revisions == list(range(SCHEMA_VERSION, 0, -1))


@pytest.mark.parametrize("version", DUMPS)
def test_a_revision_makes_the_tables_of_its_release(tmp_path: Path, version: int) -> None:
    (tmp_path / "old").mkdir()
    restore(tmp_path / "old", version)
    engine = for_writing(open_engine(f"sqlite:///{tmp_path / 'phonelm.db'}"))
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), f"{version:04}")
    assert tables(tmp_path) == tables(tmp_path / "old")


@pytest.mark.parametrize("version", DUMPS)
def test_an_older_database_is_brought_up(tmp_path: Path, version: int) -> None:
    restore(tmp_path, version)
    before = ask(tmp_path, "SELECT id, key, samples_ns FROM phonelm_measurements ORDER BY id")
    Store(tmp_path, create=False, upgrade=True)
    assert differences(tmp_path) == []
    after = ask(tmp_path, "SELECT id, key, samples_ns FROM phonelm_measurements ORDER BY id")
    assert after == before
    assert ask(tmp_path, "SELECT version FROM phonelm_schema") == [(SCHEMA_VERSION,)]
    assert ask(tmp_path, f"SELECT * FROM {VERSION_TABLE}") == [(f"{SCHEMA_VERSION:04}",)]


def test_optunas_own_revision_is_left_alone(tmp_path: Path) -> None:
    import optuna

    url = f"sqlite:///{tmp_path / 'phonelm.db'}"
    optuna.create_study(storage=url, study_name="x")
    before = ask(tmp_path, "SELECT * FROM alembic_version")
    Store(tmp_path)
    assert ask(tmp_path, "SELECT * FROM alembic_version") == before
    assert [s.study_name for s in optuna.get_all_study_summaries(url)] == ["x"]


@pytest.mark.parametrize(
    ("version", "names"),
    [
        (None, ["phonelm_schema", "phonelm_shapes", "phonelm_measurements"]),
        (1, ["phonelm_numerics", "phonelm_estimates"]),
    ],
)
def test_what_an_older_release_was_killed_in_is_completed(
    tmp_path: Path, version: int | None, names: list[str]
) -> None:
    """Before there were revisions, each table, index and column was committed by itself."""
    statements = [str(CreateTable(metadata.tables[name])) for name in names]
    if version is not None:
        restore(tmp_path, version)
        statements.append("ALTER TABLE phonelm_measurements ADD COLUMN settled BOOLEAN")
        statements.append("ALTER TABLE phonelm_measurements ADD COLUMN drift FLOAT")
    with closing(sqlite3.connect(tmp_path / "phonelm.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    Store(tmp_path)
    assert differences(tmp_path) == []


@contextmanager
def at_statement(number: int, action: Callable[[], None]) -> Iterator[list[str]]:
    """Act before one of the statements that are executed within."""
    seen: list[str] = []

    def before(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if len(seen) == number:
            action()
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", before)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", before)


class Cut(Exception):
    """Ends what is under way."""


def cut() -> None:
    raise Cut


@pytest.mark.parametrize("version", [None, 1])
def test_cut_off_at_any_statement_nothing_has_changed(tmp_path: Path, version: int | None) -> None:
    def begun(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        if version is not None:
            restore(folder, version)
        return folder

    with at_statement(-1, cut) as statements:
        Store(begun("whole"))
    changing = [
        i for i, s in enumerate(statements) if not s.lstrip().startswith(("PRAGMA", "SELECT"))
    ]
    assert len(changing) > 20
    for number in sorted({*changing[::4], changing[-1]}):
        folder = begun(str(number))
        before = ask(folder, "SELECT sql FROM sqlite_master")
        with pytest.raises(Cut), at_statement(number, cut):
            Store(folder)
        assert ask(folder, "SELECT sql FROM sqlite_master") == before
    Store(folder)
    assert differences(folder) == []


def test_killed_while_the_tables_are_made_the_next_start_makes_them(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from sqlalchemy import Engine, event\n"
        "from phonelm_search.store import Store\n"
        "def before(connection, cursor, statement, *rest):\n"
        "    if 'ADD COLUMN stopped' in statement: os.kill(os.getpid(), 9)\n"
        "event.listen(Engine, 'before_cursor_execute', before)\n"
        "Store(pathlib.Path(sys.argv[1]))\n"
    )
    restore(tmp_path, 2)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert ask(tmp_path, "SELECT version FROM phonelm_schema") == [(2,)]
    Store(tmp_path)
    assert differences(tmp_path) == []


def test_a_database_of_this_version_opens_without_alembic(tmp_path: Path) -> None:
    Store(tmp_path)
    code = (
        "import pathlib, sys; from phonelm_search.store import Store\n"
        "Store(pathlib.Path(sys.argv[1]), create=False)\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_database_that_may_only_be_read_opens(tmp_path: Path) -> None:
    Store(tmp_path)
    url = f"sqlite:///file:{tmp_path / 'phonelm.db'}?mode=ro&uri=true"
    assert Store(tmp_path, url=url).studies() == []


def test_a_revision_of_another_release_is_one_line(tmp_path: Path) -> None:
    Store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "phonelm.db")) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = 'x'")
        connection.execute("UPDATE phonelm_schema SET version = 3")
        connection.commit()
    with pytest.raises(StoreError, match=r"made by this release or an older one: Can't locate"):
        Store(tmp_path)


def test_two_processes_may_make_the_tables_at_once(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from phonelm_search.store import Store\n"
        "import alembic.command\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "Store(pathlib.Path(sys.argv[1]))\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ},
        )
        for _ in range(2)
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    for child in children:
        child.communicate(b"\n", timeout=60)
    assert [c.returncode for c in children] == [0, 0]
    assert differences(tmp_path) == []
