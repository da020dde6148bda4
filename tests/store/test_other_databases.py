"""Databases of other programs are left as they are; what goes wrong comes with what helps."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from formula import Formula, driver, ignore
from helpers import fake_device, measurement, small_shape, study_record
from phonelm_search.core.errors import (
    StoreError,
    StoreMissingError,
    StoreVersionError,
    StudyMismatchError,
)
from phonelm_search.stages import finished_shapes, prepare
from phonelm_search.stages.setup import open_study
from phonelm_search.store import Store, check_trials, open_optuna_storage
from phonelm_search.store.faults import store_error
from phonelm_search.store.schema import SCHEMA_VERSION

SHAPE = small_shape()


def run(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE notes (text TEXT)",
        "CREATE VIEW one AS SELECT 1",
        "CREATE TABLE studies (patient TEXT)",  # no table of Optuna's, but for its name
        "CREATE VIRTUAL TABLE words USING fts5(text)",
    ],
)
def test_another_programs_file_is_refused_and_stays_as_it_is(
    tmp_path: Path, statement: str, create: bool
) -> None:
    file = tmp_path / "phonelm.db"
    run(file, statement)
    before = file.read_bytes()
    with pytest.raises(StoreError, match=r"must be empty or made by phonelm-search.*give another"):
        Store(tmp_path, create=create)
    with pytest.raises(StoreError, match="must be empty"):
        finished_shapes(tmp_path, None, prepare("tiny", ["host-cpu"], study="st"))
    assert file.read_bytes() == before
    assert not list(tmp_path.glob("*schema*"))


def test_an_empty_file_and_one_of_optunas_take_our_tables(tmp_path: Path) -> None:
    (tmp_path / "phonelm.db").touch()
    assert Store(tmp_path).studies() == []
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    optuna.create_study(storage=url, study_name="theirs")
    with pytest.raises(StoreMissingError, match="there is no study in"):
        Store(tmp_path, url=url, create=False)
    assert Store(tmp_path, url=url).studies() == []
    assert optuna.get_all_study_names(url) == ["theirs"]


def test_a_file_that_an_earlier_release_shared_with_another_program_opens(tmp_path: Path) -> None:
    Store(tmp_path)
    run(tmp_path / "phonelm.db", "CREATE TABLE notes (text TEXT)")
    assert Store(tmp_path).studies() == []


def test_a_study_of_another_program_is_refused_before_ours_is_begun(tmp_path: Path) -> None:
    store = Store(tmp_path)
    setup = prepare("tiny", ["host-cpu"], study="st")
    optuna.create_study(storage=store.url, study_name="st").add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(StudyMismatchError, match=r"'st' of Optuna's .* another program's"):
        open_study(store, setup, [{"soc": "x"}])
    assert store.studies() == []
    assert len(optuna.load_study(storage=store.url, study_name="st").trials) == 1


def test_a_study_that_was_begun_goes_on_with_its_own_directions_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    check_trials(store, "st", ["minimize"], started=True)  # Optuna has none yet
    optuna.create_study(storage=store.url, study_name="st", directions=["minimize", "maximize"])
    check_trials(store, "st", ["minimize", "maximize"], started=True)
    with pytest.raises(StudyMismatchError, match=r"\(minimize, maximize\); use another --study"):
        check_trials(store, "st", ["minimize"], started=True)


@pytest.mark.parametrize(
    ("revision", "remedy"),
    [("v2.6.0.a", r"optuna storage upgrade --storage"), ("v99", r"pip install -U optuna")],
)
def test_optuna_tables_of_another_release_say_what_brings_them_up(
    tmp_path: Path, revision: str, remedy: str
) -> None:
    store = Store(tmp_path)
    open_optuna_storage(store).engine.dispose()
    run(tmp_path / "phonelm.db", f"UPDATE alembic_version SET version_num = '{revision}'")
    setup = prepare("tiny", ["host-cpu"], study="st")
    with pytest.raises(StoreError, match=rf"must be of Optuna .*{remedy}"):
        open_study(store, setup, [{"soc": "x"}])
    assert store.studies() == []


def damaged(folder: Path) -> None:
    file = folder / "phonelm.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))


def no_database(folder: Path) -> None:
    (folder / "phonelm.db").write_text("hello " * 1000)


def a_folder(folder: Path) -> None:
    (folder / "phonelm.db").unlink()
    (folder / "phonelm.db").mkdir()


def half_of_its_tables(folder: Path) -> None:
    run(folder / "phonelm.db", "DROP TABLE phonelm_studies")


def no_json(folder: Path) -> None:
    run(folder / "phonelm.db", "UPDATE phonelm_studies SET config = '{'")


def no_shape(folder: Path) -> None:
    run(folder / "phonelm.db", "UPDATE phonelm_shapes SET config = '{\"x\": 1}'")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (damaged, "malformed; it is damaged"),
        (no_database, "file is not a database; it is damaged, or of another program"),
        (a_folder, "unable to open database file; its file and folder must be there and writable"),
        (half_of_its_tables, "no such table: phonelm_studies; it is damaged"),
        (no_json, "must hold JSON where they should: .*; it is damaged: bring back a copy"),
        (no_shape, "rows of phonelm_shapes must be as this release"),
    ],
)
def test_advice_fits_the_fault(tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    store = Store(tmp_path)
    store.save_study(study_record(fake_device(), {"soc": "x"}))
    store.add_measurements(SHAPE, [])
    store.engine.dispose()
    spoil(tmp_path)
    with pytest.raises(StoreError, match=told) as caught:  # noqa: PT012 - one of them sees it
        again = Store(tmp_path)
        again.studies()
        again.shapes([SHAPE.shape_id])
    assert "run again" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_locked_database_says_who_to_wait_for(tmp_path: Path) -> None:
    Store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "phonelm.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        url = f"sqlite:///{tmp_path / 'phonelm.db'}?timeout=0.01"
        with pytest.raises(StoreError, match="database is locked; another process has held it"):
            Store(tmp_path, url=url)


def test_a_database_that_is_not_writable_says_so_when_it_is_written(tmp_path: Path) -> None:
    Store(tmp_path)
    store = Store(tmp_path, url=f"sqlite:///file:{tmp_path / 'phonelm.db'}?mode=ro&uri=true")
    with pytest.raises(StoreError, match="readonly database; its file and folder must be") as told:
        store.add_measurements(SHAPE, [measurement([1])])
    assert "run again" not in str(told.value)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ('FATAL:  password authentication failed for user "x"', "correct user and password"),
        ("failed to resolve host 'x': [Errno -2] Name or service not known", "correct the host"),
        ('could not translate host name "ss" to address', "correct the host"),
        ('connection to server at "::1", port 5 failed: Connection refused', "see that the server"),
        ("connection timeout expired", "see that the server runs"),
        ('FATAL:  database "x" does not exist', "createdb"),
        ("terminating connection due to administrator command", "run again to continue"),
        ("FATAL:  sorry, too many clients already", "wait for it"),
        ("cannot execute INSERT in a read-only transaction", "that takes writes"),
        ("permission denied for schema public", "grant this user"),
        ('could not extend file "base/1": No space left on device', "make room"),
        ("something else", "what was finished before is kept"),
    ],
)
def test_what_a_server_says_has_its_advice(said: str, advice: str) -> None:
    told = str(store_error("open the database x", RuntimeError(f"{said}\n\tmore")))
    assert told.startswith(f"cannot open the database x: {said}; ")
    assert advice in told


def test_a_database_of_a_server_is_not_brought_up_by_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr(store.engine.dialect, "name", "postgresql")
    with pytest.raises(StoreVersionError, match=rf"of schema {SCHEMA_VERSION} to be read, it is 5; "
                       "`phonelm-search studies upgrade"):  # fmt: skip
        store._read_copy(5)


def test_a_studys_files_lie_within_the_results(tmp_path: Path) -> None:
    from phonelm_search.cli.main import run_command

    results = tmp_path / "a" / "b"
    store = Store(results)
    record = replace(study_record(fake_device(), {"soc": "x"}), name="../../esc")
    store.save_study(record)
    for command in ("report", "pareto", "studies check"):
        run_command([*command.split(), "../../esc", "--results", str(results)])
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
    assert store.folder("../../esc").parent == results
    assert (store.folder("../../esc") / "report.html").exists()


def test_trials_that_another_program_added_are_no_shapes_of_ours(tmp_path: Path) -> None:
    driver(tmp_path, Formula()).run(1, ignore)
    trials = optuna.load_study(study_name="st", storage=Store(tmp_path).url)
    trials.add_trial(optuna.trial.create_trial(values=[1.0] * len(trials.directions)))
    again = driver(tmp_path, Formula())
    assert again.finished() == 1
    again.run(2, ignore)
    assert again.finished() == 2
