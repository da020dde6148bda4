"""Who reads a database changes nothing in it; who writes keeps it as it was beside it."""

import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from helpers import small_shape
from phonelm_search.cli.main import run_command
from phonelm_search.core.errors import StoreError
from phonelm_search.core.records import StudyRecord, StudyShape
from phonelm_search.reading import count_shapes, load_view
from phonelm_search.store import Store, open_optuna_storage, optuna_calls
from phonelm_search.store.schema import SCHEMA_VERSION

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = [1, 2, 3, 5]
STUDY = "tiny.fake-phone"


def restore(folder: Path, version: int) -> Path:
    file = folder / "phonelm.db"
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((FIXTURES / f"phonelm-v{version}.sql").read_text("utf-8"))
    return file


def version_of(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        (version,) = connection.execute("SELECT version FROM phonelm_schema").fetchone()
    return int(version)


@pytest.mark.parametrize("version", VERSIONS)
def test_readers_leave_an_old_file_as_it_is(tmp_path: Path, version: int) -> None:
    old, new = restore(tmp_path / "old", version), restore(tmp_path / "new", version)
    before = old.read_bytes()
    read = Store(old.parent, create=False)
    brought_up = Store(new.parent)
    assert read.measurements() == brought_up.measurements()
    assert read.studies() == brought_up.studies()
    (record,) = read.studies()
    assert count_shapes(read, record) == count_shapes(brought_up, record)
    assert read.study_shapes(STUDY) == brought_up.study_shapes(STUDY)
    assert old.read_bytes() == before
    assert list(old.parent.iterdir()) == [old]


def test_an_old_file_is_read_where_nothing_may_be_written(tmp_path: Path) -> None:
    file = restore(tmp_path, 1)
    uri = f"sqlite:///file:{file}?mode=ro&uri=true"
    assert load_view(Store(tmp_path / "elsewhere", url=uri, create=False), STUDY).rows
    with pytest.raises(StoreError, match="its file and folder must be there and writable"):
        Store(tmp_path, url=uri)
    assert version_of(file) == 1


@pytest.mark.parametrize("version", [1, 5])
def test_an_upgrade_keeps_the_file_beside(tmp_path: Path, version: int) -> None:
    file = restore(tmp_path, version)
    rows = Store(tmp_path, create=False).measurements()
    store = Store(tmp_path)
    copy = tmp_path / f"phonelm-schema{version}.db"
    assert store.kept_copy == copy
    assert (version_of(file), version_of(copy)) == (SCHEMA_VERSION, version)
    assert Store(tmp_path, url=f"sqlite:///{copy}", create=False).measurements() == rows
    assert Store(tmp_path).kept_copy is None
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"phonelm.db", copy.name, ".phonelm.db.lock"}
    # Another file of that version gets another copy, the same one does not.
    for number, text in ((1, None), (2, "UPDATE phonelm_studies SET environment_id = 'e'")):
        file.unlink()
        restore(tmp_path, version)
        if text:
            with closing(sqlite3.connect(file)) as connection:
                connection.execute(text)
                connection.commit()
        assert Store(tmp_path).kept_copy == (
            copy if number == 1 else copy.with_stem(f"phonelm-schema{version}-2")
        )


def test_without_a_copy_nothing_is_brought_up(tmp_path: Path) -> None:
    file = restore(tmp_path, 3)
    (tmp_path / ".phonelm.db.part").mkdir()  # where the copy would be made
    before = file.read_bytes()
    with pytest.raises(StoreError, match=r"copied beside itself .* from schema 3: .*; make room"):
        Store(tmp_path)
    assert file.read_bytes() == before
    assert Store(tmp_path, create=False).studies()


def test_studies_upgrade_tells_where_the_file_as_it_was_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = restore(tmp_path, 2)
    for command in (["studies", "list"], ["studies", "show", STUDY], ["studies", "check", STUDY]):
        assert run_command([*command, "--results", str(tmp_path)]) == 0
    assert version_of(file) == 2
    assert run_command(["studies", "upgrade", "--results", str(tmp_path)]) == 0
    assert "phonelm-schema2.db is the file as it was" in " ".join(capsys.readouterr().err.split())
    assert version_of(file) == SCHEMA_VERSION
    assert run_command(["studies", "upgrade", "--results", str(tmp_path / "none")]) == 1


def _start(folder: Path, number: int, barrier: Any, failures: Any) -> None:
    barrier.wait()
    try:
        store = Store(folder)
        name = f"st{number}"
        with optuna_calls("open"):
            storage = open_optuna_storage(store)
            storage.create_new_study([], name)
        store.save_study(
            StudyRecord(name=name, config={}, environment_id="e", environment={"k": "v"})
        )
        shape = small_shape()
        store.set_study_shape(name, shape, StudyShape(shape_id=shape.shape_id, role="trial"))
    except (StoreError, SQLAlchemyError, RuntimeError) as error:
        failures.put(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize(("version", "attempts"), [(None, 2), (1, 1)])
def test_processes_that_start_together_make_the_tables_once(
    tmp_path: Path, version: int | None, attempts: int
) -> None:
    fork = multiprocessing.get_context("fork")  # what they import is there
    for attempt in range(attempts):
        folder = tmp_path / str(attempt)
        if version is not None:
            restore(folder, version)
        barrier, failures = fork.Barrier(4), fork.Queue()
        processes = [
            fork.Process(target=_start, args=(folder, n, barrier, failures)) for n in range(4)
        ]
        for p in processes:
            p.start()
        for p in processes:
            p.join(timeout=60)
        assert failures.empty(), failures.get()
        assert [p.exitcode for p in processes] == [0] * 4
        store = Store(folder, create=False)
        ours = {s.name for s in store.studies()} - {STUDY}
        theirs = {s.study_name for s in open_optuna_storage(store).get_all_studies()} - {STUDY}
        assert ours == theirs == {f"st{n}" for n in range(4)}
