"""A study on a server is leased: one process works on it, and the next one goes on with it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from optuna.trial import TrialState
from sqlalchemy import func, select, update

from formula import Formula, driver, ignore
from helpers import Told, measurement, small_shape, trials_of
from phonelm_search.core.errors import StoreError
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.records import StudyRecord
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.stages.session import open_session
from phonelm_search.store import Store, study_held
from phonelm_search.store import schema as t

pytestmark = pytest.mark.xdist_group("postgresql")
SHAPE = small_shape()
HOLDER = """
import pathlib, sys, time
from phonelm_search.store import Store, lease, study_held
lease.LEASE_SECONDS = float(sys.argv[2])
with study_held(Store(pathlib.Path("."), url=sys.argv[1]), "st", note=print):
    print("held", flush=True)
    time.sleep(60)
"""


def ignored(_: str) -> None:
    return None


@pytest.fixture
def store(tmp_path: Path, server_url: str) -> Store:
    return Store(tmp_path, url=server_url)


@contextmanager
def holder(url: str, folder: Path, seconds: float) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that holds the study."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url, str(seconds)], cwd=folder, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == b"held\n"
        try:
            yield child
        finally:
            child.kill()


def run_out(store: Store, study: str = "st") -> None:
    """Let a lease run out, as if its owner had not been heard for long."""
    past = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 5)
    with store.engine.begin() as connection:
        connection.execute(update(t.leases).where(t.leases.c.study == study).values(expiry=past))


def test_a_second_process_is_refused_with_owner_and_age(store: Store) -> None:
    other = Store(store.results, url=store.url)
    with study_held(store, "st", note=ignored):
        told = (
            rf"study 'st' must be run by one process at a time, process {os.getpid()} on \S+ has "
            r"been at it for \d s and was heard \d s ago; wait for it or use another --study"
        )
        with pytest.raises(StoreError, match=told), study_held(other, "st", note=ignored):
            pass
        with study_held(other, "another", note=ignored):
            pass
    with study_held(other, "st", note=ignored):
        pass
    with store.engine.connect() as connection:
        assert connection.execute(select(t.leases)).all() == []


def test_a_lease_is_renewed_while_its_owner_lives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.store.lease.LEASE_SECONDS", 0.8)
    with study_held(store, "st", note=ignored):
        for _ in range(200):
            with store.engine.connect() as connection:
                row = connection.execute(select(t.leases)).one()
            if row.heartbeat > row.acquired:
                break
            time.sleep(0.05)
    assert row.heartbeat > row.acquired
    assert (row.expiry - row.heartbeat).total_seconds() == pytest.approx(0.8, abs=0.01)


def test_after_a_kill_the_lease_runs_out_and_the_next_one_takes_over(
    store: Store, tmp_path: Path
) -> None:
    with holder(store.url, tmp_path, 1.0) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    told = rf"process {child.pid} on .*\(if it was killed, wait \d s\)"
    with (
        pytest.raises(StoreError, match=told),
        study_held(store, "st", note=ignored),
    ):
        pass
    notes: list[str] = []
    time.sleep(1.1)
    with study_held(store, "st", note=notes.append):
        assert len(notes) == 1
        assert f"process {child.pid} on " in notes[0]
        assert re.search(r"was last heard \d+ s ago: study 'st' goes on here$", notes[0])


def test_who_lost_its_lease_writes_nothing_more(store: Store) -> None:
    second = Store(store.results, url=store.url)
    store.add_measurements(SHAPE, [measurement([1])])
    first = driver(store.results, Formula(), store=store)
    with study_held(store, "st", note=ignored):
        first.run(1, ignore)
        run_out(store)
        with study_held(second, "st", note=ignored):
            told = (
                rf"process {os.getpid()} on \S+ has taken it over, as this one was not heard for "
                "1 min 00 s; what it finished before is kept, nothing more is written$"
            )
            for write in (
                lambda: store.add_measurements(SHAPE, [measurement([2])]),
                lambda: store.save_study(StudyRecord(name="x", config={}, environment_id="e")),
                lambda: first.run(2, ignore),
            ):
                with pytest.raises(StoreError, match=told) as caught:
                    write()
                assert "\n" not in str(caught.value)
            (fence,) = store._fences
            assert not fence.__self__._renew()  # type: ignore[attr-defined]
            second.add_measurements(SHAPE, [measurement([3])])
        with pytest.raises(StoreError, match="another one has taken it over"):
            store.add_measurements(SHAPE, [measurement([4])])
    assert [m.samples_ns for m in second.measurements()] == [(1,), (3,)]
    assert [s.name for s in second.studies()] == ["st"]
    assert len(trials_of(second, "st")) == 1


def test_a_take_over_waits_for_what_is_being_committed(store: Store) -> None:
    second = Store(store.results, url=store.url)
    order: list[str] = []

    def take_over() -> None:
        with study_held(second, "st", note=ignored):
            order.append("taken over")

    with study_held(store, "st", note=ignored):
        run_out(store)
        (fence,) = store._fences
        with store.engine.begin() as connection:
            fence(connection)
            thread = threading.Thread(target=take_over)
            thread.start()
            thread.join(0.3)
            order.append("committed")
        thread.join()
    assert order == ["committed", "taken over"]


class Stopping(Formula):
    """Is killed while it measures its second shape."""

    def latencies(
        self, shape: ModelShape, workloads: Sequence[Workload]
    ) -> dict[Workload, LatencySummary]:
        if self.asked:
            raise KeyboardInterrupt
        return super().latencies(shape, workloads)


def test_the_next_driver_goes_on_with_the_trials_of_its_study_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = driver(store.results, Formula(), store=store, study="other")
    alive = other._study.ask(other._distributions)
    killed = driver(store.results, Stopping(), store=store, sampler="random")
    with monkeypatch.context() as patch:
        patch.setattr(killed, "_close_abandoned", lambda: None)  # as SIGKILL leaves them
        with pytest.raises(KeyboardInterrupt):
            killed.run(2, ignore)
    before = trials_of(store, "st")
    assert [t.state for t in before] == [TrialState.RUNNING] * 2
    again = driver(store.results, Formula(), store=store, sampler="random")
    again.retry(ignore)
    after = trials_of(store, "st")
    assert [t.params for t in after] == [t.params for t in before]
    assert [t.state for t in after] == [TrialState.COMPLETE] * 2
    states = {t.number: t.state for t in trials_of(store, "other")}
    assert states == {alive.number: TrialState.RUNNING}


def test_a_stage_holds_its_study_by_a_lease_and_tells_of_it(store: Store) -> None:
    told = Told()
    with study_held(store, "study", note=ignored):
        run_out(store, "study")
        with open_session(Store(store.results, url=store.url), "study", report=told):
            pass
    assert len(told.notes) == 1
    assert "study 'study' goes on here" in told.notes[0]
