"""What was measured is kept and used: reruns, cut-offs, failures, measuring again."""

from pathlib import Path
from typing import Any

import pytest

from helpers import WORKLOADS, fake_profiler, latencies, small_shape
from phonelm_search.backends import Result
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.workload import decode
from phonelm_search.measure import MeasureSettings, Request
from phonelm_search.store import Store
from recorder import Recorder, Throttled, profiler_with


def rows(store: Store, cache: str = "cold") -> list[Any]:
    shape_id = small_shape().shape_id
    return [m for m in store.measurements(shape_ids=[shape_id]) if m.cache_mode == cache]


def test_rejected_rounds_alone_are_made_again_by_the_next_call(tmp_path: Path) -> None:
    runtime, store = Throttled(*range(1, 6)), Store(tmp_path)
    found = latencies(profiler_with(store, runtime), small_shape(), WORKLOADS)
    assert {s.verdict for s in found.values()} == {"rejected"}
    assert len(runtime.jobs) == MeasureSettings().most_rounds
    found = latencies(profiler_with(store, runtime), small_shape(), WORKLOADS)
    assert {(s.rounds, s.verdict) for s in found.values()} == {(3, "valid")}
    made = len(runtime.jobs)
    latencies(profiler_with(store, runtime), small_shape(), WORKLOADS)
    assert len(runtime.jobs) == made
    # Measuring again while it throttles forgets nothing.
    runtime.processes = tuple(range(20))
    latencies(profiler_with(store, runtime), small_shape(), WORKLOADS, remeasure=True)
    assert [m.round for m in rows(store) if m.verdict == "valid"] == [5, 6, 7]


def test_what_is_known_is_not_measured_again(tmp_path: Path) -> None:
    runtime, store = Recorder(), Store(tmp_path)
    profiler = profiler_with(store, runtime)
    first = latencies(profiler, small_shape(), WORKLOADS)
    assert latencies(profiler_with(Store(tmp_path), runtime), small_shape(), WORKLOADS) == first
    assert len(runtime.jobs) == 3
    # One more context is three rounds of that phase alone.
    latencies(profiler, small_shape(), [*WORKLOADS, decode(99)])
    assert [p.past_tokens for p in runtime.jobs[-1].phases] == [99]
    assert len(runtime.jobs) == 6


def test_remeasuring_forgets_the_old_rounds_only_when_new_ones_are_there(tmp_path: Path) -> None:
    class Failing(Recorder):
        def spoil(self, result: Result) -> Result:
            if len(self.jobs) > 4:
                raise MeasurementError("unplugged", stage="transport")
            return result

    runtime, store = Failing(), Store(tmp_path)
    profiler = profiler_with(store, runtime)
    latencies(profiler, small_shape(), WORKLOADS)
    outcome = profiler.measure([Request(shape=small_shape(), workloads=WORKLOADS)], remeasure=True)[
        0
    ]
    assert outcome.error is None  # the round that was finished counts
    assert [m.round for m in rows(store)] == [0, 1, 2, 3]
    latencies(fake_profiler(store), small_shape(), WORKLOADS, remeasure=True)
    assert [m.round for m in rows(store)] == [4, 5, 6]


def test_a_cut_off_keeps_the_finished_rounds_and_goes_on_with_them(tmp_path: Path) -> None:
    class Cut(Recorder):
        def spoil(self, result: Result) -> Result:
            if len(self.jobs) == 3:
                raise KeyboardInterrupt
            return result

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        latencies(profiler_with(store, Cut()), small_shape(), WORKLOADS)
    assert [m.round for m in rows(store)] == [0, 1]
    runtime = Recorder()
    found = latencies(profiler_with(Store(tmp_path), runtime), small_shape(), WORKLOADS)
    assert len(runtime.jobs) == 1
    assert {(s.rounds, s.verdict) for s in found.values()} == {(3, "valid")}


def test_a_failure_after_good_rounds_leaves_them(tmp_path: Path) -> None:
    class Unplugged(Recorder):
        def spoil(self, result: Result) -> Result:
            if len(self.jobs) == 2:
                raise MeasurementError("unplugged", stage="transport")
            return result

    found = latencies(profiler_with(Store(tmp_path), Unplugged()), small_shape(), WORKLOADS)
    assert {(s.rounds, s.verdict) for s in found.values()} == {(1, "valid")}
    assert all(s.relative.high / s.relative.low > 1.01 for s in found.values() if s.relative)
