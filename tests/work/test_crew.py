"""Devices that share jobs: every job once, a lost device's job by another one."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import WORKLOADS, fake_device, small_shape
from phonelm_search.backends import Job, Result
from phonelm_search.core.errors import ConfigurationError, MeasurementError, TransportError
from phonelm_search.measure import Profiler, Request
from phonelm_search.store import Store
from phonelm_search.work import share
from recorder import Recorder, slower


@settings(max_examples=60, deadline=None)
@given(
    jobs=st.integers(0, 12),
    workers=st.integers(1, 4),
    losses=st.dictionaries(st.integers(0, 3), st.integers(0, 4)),
)
def test_every_job_is_done_once_while_a_worker_is_left(
    jobs: int, workers: int, losses: Mapping[int, int]
) -> None:
    """``losses``: after how many jobs of its own a worker is lost."""
    done: list[int] = []
    busy: dict[int, int] = dict.fromkeys(range(workers), 0)
    made = dict(busy)
    lost: list[int] = []

    def act(worker: int, job: int) -> None:
        busy[worker] += 1
        assert busy[worker] == 1  # one at a time
        time.sleep(0.0005)
        busy[worker] -= 1
        if worker in losses and made[worker] >= losses[worker]:
            raise TransportError(f"{worker} is gone")
        made[worker] += 1
        done.append(job)

    try:
        share(range(workers), range(jobs), act, on_lost=lambda w, _: lost.append(w))
    except TransportError:
        assert set(range(workers)) <= losses.keys()
        assert len(done) < jobs
    else:
        assert sorted(done) == list(range(jobs))
        assert len(lost) < workers
    assert len(set(done)) == len(done)
    assert set(lost) <= losses.keys()


def test_a_failure_ends_the_others_after_their_job() -> None:
    begun: list[int] = []
    finished: list[int] = []

    def act(worker: int, job: int) -> None:
        begun.append(job)
        time.sleep(0.02)
        if job == 0:
            raise MeasurementError("broken", stage="run")
        time.sleep(0.1)
        finished.append(job)

    with pytest.raises(MeasurementError, match="broken"):
        share([1, 2], list(range(5)), act, on_lost=lambda *_: None)
    assert sorted(begun) == [0, *finished]
    assert finished == [1]


class Unit(Recorder):
    """One phone of a kind."""

    def __init__(self, serial: str, factor: float = 1.0, *, lost_after: int = 10**9) -> None:
        super().__init__()
        self.serial, self.factor, self.lost_after = serial, factor, lost_after

    def run(self, job: Job, files: Mapping[str, bytes]) -> Result:
        if len(self.jobs) >= self.lost_after:
            raise TransportError(f"{self.serial} must be connected, adb does not find it")
        result = super().run(job, files)
        result = slower(result, self.factor)
        before = {"serial": self.serial}
        return result.model_copy(update={"conditions": {"before": before, "after": {}}})


def requests(count: int) -> list[Request]:
    shapes = [small_shape(num_hidden_layers=n + 1) for n in range(count)]
    return [Request(shape=s, workloads=WORKLOADS) for s in shapes]


def profiler(folder: Path, units: Sequence[Unit], notes: list[str]) -> Profiler:
    return Profiler(Store(folder), fake_device(), runtimes=units, note=notes.append)


def test_phones_share_the_rounds(tmp_path: Path) -> None:
    units = [Unit("a"), Unit("b")]
    notes: list[str] = []
    outcomes = profiler(tmp_path, units, notes).measure(requests(4))
    assert all(o.error is None for o in outcomes)
    assert {f.rounds for o in outcomes for f in o.latencies.values()} == {3}
    assert sum(len(u.jobs) for u in units) == 6
    assert all(u.jobs for u in units)
    assert {len(j.models) for u in units for j in u.jobs} == {3}  # two shapes and the reference
    assert notes == []


def test_phones_of_a_kind_need_not_be_equally_fast(tmp_path: Path) -> None:
    notes: list[str] = []
    unlike = profiler(tmp_path / "a", [Unit("a"), Unit("b", 1.3)], notes).measure(requests(4))
    alike = profiler(tmp_path / "b", [Unit("a"), Unit("b")], notes).measure(requests(4))
    for one, other in zip(unlike, alike, strict=True):
        for w, found in one.latencies.items():
            told, true = found.relative, other.latencies[w].relative
            assert found.verdict == "valid"
            assert told is not None
            assert true is not None
            assert told.low < true.value < told.high


def test_a_lost_phone_is_not_asked_again(tmp_path: Path) -> None:
    units = [Unit("a"), Unit("b", lost_after=0)]
    notes: list[str] = []
    measuring = profiler(tmp_path, units, notes)
    measuring.measure(requests(4))
    measuring.measure(requests(6))
    assert len(notes) == 1
    assert measuring.workers == 1


def test_a_lost_phone_gives_its_work_back(tmp_path: Path) -> None:
    units = [Unit("a"), Unit("b", lost_after=1)]
    notes: list[str] = []
    outcomes = profiler(tmp_path, units, notes).measure(requests(4))
    assert all(f.rounds == 3 for o in outcomes for f in o.latencies.values())
    (note,) = notes
    assert "b must be connected, adb does not find it" in note
    assert "the other phones go on" in note


def test_when_the_last_phone_is_lost_what_was_measured_is_kept(tmp_path: Path) -> None:
    units = [Unit("a", lost_after=2), Unit("b", lost_after=1)]
    notes: list[str] = []
    with pytest.raises(TransportError, match="must be connected"):
        profiler(tmp_path, units, notes).measure(requests(4))
    known = Store(tmp_path).measurements()
    shapes = {m.shape_id for m in known if m.workload in WORKLOADS} & {
        r.shape.shape_id for r in requests(4)
    }
    assert shapes
    fresh = [Unit("a"), Unit("b")]
    outcomes = profiler(tmp_path, fresh, notes).measure(requests(4))
    assert all(f.rounds == 3 for o in outcomes for f in o.latencies.values())
    assert sum(len(u.jobs) for u in fresh) < 6  # rounds made before are not made again


def test_phones_of_two_kinds_do_not_share(tmp_path: Path) -> None:
    class Other(Unit):
        def environment(self) -> dict[str, str]:
            return {**super().environment(), "soc": "another"}

    with pytest.raises(ConfigurationError, match=r"must be of one kind, soc: None → another"):
        profiler(tmp_path, [Unit("a"), Other("b")], [])
