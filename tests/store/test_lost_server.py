"""A server that is restarted meanwhile: nothing is lost, nothing is written twice."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from formula import Formula, driver, ignore
from helpers import measurement, small_shape, trials_of
from phonelm_search.core.errors import StoreError
from phonelm_search.store import Store, open_optuna_storage, study_held
from servers import Server

pytestmark = pytest.mark.xdist_group("postgresql")
SHAPE = small_shape()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phonelm_search.store.steady.PAUSE_SECONDS", 0.05)


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, server_url: str, notes: list[str]) -> Iterator[Store]:
    store = Store(tmp_path, url=server_url)
    with store.noting(notes.append):
        yield store


def restarted(server: Server, mode: Any, seconds: float = 0.3) -> threading.Thread:
    """A server that is away for a while, from now on."""

    def restart() -> None:
        server.stop(mode)
        time.sleep(seconds)
        server.start()

    thread = threading.Thread(target=restart)
    thread.start()
    return thread


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_loses_nothing_and_doubles_nothing(
    store: Store, server: Server, notes: list[str], mode: str
) -> None:
    with study_held(store, "st", note=notes.append):
        search = driver(store.results, Formula(), store=store, sampler="random")
        search.run(1, ignore)
        thread = restarted(server, mode)
        search = driver(store.results, Formula(), store=store, sampler="random")
        number = 0
        while thread.is_alive() or number < 10:
            store.add_measurements(SHAPE, [measurement([number])])
            number += 1
        search.run(2, ignore)
        thread.join()
    assert [m.samples_ns for m in store.measurements()] == [(n,) for n in range(number)]
    assert [t.number for t in trials_of(store, "st")] == [0, 1]
    away, back = notes
    assert away.startswith(f"the database {store.name} does not answer (")
    assert away.endswith("); it is tried again for 2 min 00 s")
    assert back == f"the database {store.name} answers again"
    assert "S3CR" not in away


def without_answer(
    store: Any, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> Callable[[], int]:
    """Lose the server at the next commit, before or after it; returns a count of the losses."""
    dialect = store.engine.dialect
    plain, losses = dialect.do_commit, 0

    def do_commit(connection: Any) -> None:
        nonlocal losses
        if losses or not connection.info.get("phonelm_transaction"):
            plain(connection)
            return
        losses += 1
        if committed:
            plain(connection)
        connection.driver_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", do_commit)
    return lambda: losses


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_without_an_answer_is_made_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    losses = without_answer(store, monkeypatch, committed=committed)
    before = store.revision
    store.add_measurements(SHAPE, [measurement([1])])
    assert losses() == 1
    assert len(store.measurements()) == 1
    assert store.revision == before + 1


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("call", ["create_new_study", "create_new_trial", "set_trial_state_values"])
def test_a_trial_without_an_answer_is_made_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, committed: bool, call: str
) -> None:
    storage = open_optuna_storage(store)
    losses: list[Callable[[], int]] = []

    def lost_in(name: str) -> None:
        if name == call:
            losses.append(without_answer(storage, monkeypatch, committed=committed))

    lost_in("create_new_study")
    study = storage.create_new_study([StudyDirection.MINIMIZE], "x")
    lost_in("create_new_trial")
    trial = storage.create_new_trial(study, create_trial(state=TrialState.WAITING))
    lost_in("set_trial_state_values")
    assert storage.set_trial_state_values(trial, TrialState.RUNNING)
    assert [n() for n in losses] == [1]
    assert [s.study_name for s in storage.get_all_studies()] == ["x"]
    trials = storage.get_all_trials(study)
    assert [(t._trial_id, t.state) for t in trials] == [(trial, TrialState.RUNNING)]
    storage.engine.dispose()


def test_rows_go_on_after_those_that_were_read(
    store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.store.database._AT_ONCE", 7)
    made = [measurement([n]) for n in range(50)]
    store.add_measurements(SHAPE, made)
    where = made[0].environment_id
    rows = store.round_conditions(shape_ids=[SHAPE.shape_id], environment_id=where)
    first = [next(rows) for _ in range(10)]
    server.ask(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'",
    )
    assert [r.taken_ns - 9 for r in (*first, *rows)] == list(range(50))  # a warm-up of 9 ns


def test_a_server_that_stays_away_is_one_line(
    store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.store.steady.PATIENCE_SECONDS", 0.2)
    server.stop()
    try:
        told = r"must answer within 0 s, it did not; cannot reach the database .*; see that the ser"
        with pytest.raises(StoreError, match=told) as caught:
            store.studies()
        monkeypatch.setattr("phonelm_search.store.steady.PATIENCE_SECONDS", 600.0)
        with pytest.raises(StoreError, match="cannot reach the database"):
            store.studies()  # it was given up
        monkeypatch.setattr("phonelm_search.store.steady.OPENING_SECONDS", 0.2)
        with pytest.raises(StoreError, match=told):  # at the beginning it may be the wrong one
            Store(store.results, url=store.url)
    finally:
        server.start()
    assert "\n" not in str(caught.value)
    assert "S3CR" not in str(caught.value)
    assert store.studies() == []


@pytest.mark.parametrize("create", [True, False], ids=["who writes", "who reads"])
def test_a_server_that_starts_is_waited_for(store: Store, server: Server, create: bool) -> None:
    store.add_measurements(SHAPE, [measurement([1])])
    server.stop("immediate")
    later = threading.Timer(0.5, server.start)
    later.start()
    opened = Store(store.results, url=store.url, create=create)
    later.join()
    assert [m.samples_ns for m in opened.measurements()] == [(1,)]


def test_what_a_statement_says_is_no_absence(store: Store, notes: list[str]) -> None:
    with (
        pytest.raises(StoreError, match="cannot write the database"),
        store._transaction("write") as connection,
    ):
        connection.exec_driver_sql("SELECT CAST('timeout, connection refused' AS int)")
    assert notes == []
