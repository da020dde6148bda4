"""The profiler makes rounds, repeats bad ones, and remembers what it measured."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import WORKLOADS, fake_device, fake_profiler, latencies, small_shape
from phonelm_search.backends import Job, Result
from phonelm_search.core.deadline import Deadline
from phonelm_search.core.errors import MeasurementError, TransportError, UnsupportedShapeError
from phonelm_search.core.workload import prefill
from phonelm_search.measure import REFERENCE, MeasureSettings, Request
from phonelm_search.measure.jobs import drawn_order, memory_bytes
from phonelm_search.measure.recording import BY_FLUSH
from phonelm_search.store import Store
from recorder import (
    Recorder,
    Throttled,
    depth,
    is_reference,
    measured_depths,
    profiler_with,
    slower,
)


def rows(store: Store, cache: str = "cold") -> list[Any]:
    shape_id = small_shape().shape_id
    return [m for m in store.measurements(shape_ids=[shape_id]) if m.cache_mode == cache]


def test_three_rounds_in_processes_of_their_own_between_readings_of_the_reference(
    tmp_path: Path,
) -> None:
    runtime, store = Recorder(), Store(tmp_path)
    found = latencies(profiler_with(store, runtime), small_shape(), WORKLOADS)
    assert runtime.order == ["gate", "probe", "probe", *(["round"] * 3)]  # a flat one is read on
    assert all(sum(map(is_reference, j.models)) == 1 for j in runtime.jobs)
    readings = [m for m in store.measurements(shape_ids=[REFERENCE.shape_id]) if not m.is_control]
    assert {m.workload for m in readings} == set(WORKLOADS)
    assert len(readings) == 3 * len(WORKLOADS)
    assert {(s.rounds, s.verdict) for s in found.values()} == {(3, "valid")}
    assert [m.round for m in rows(store)] == [0, 1, 2]
    for m in rows(store):
        assert m.paired_ns == pytest.approx(np.median(m.samples_ns), rel=0.01)
        assert m.bandwidth_bytes_per_s == 10e9
        assert m.protocol["rounds"] == 3


def requests(*depths: int, **changes: Any) -> list[Request]:
    shapes = [small_shape(num_hidden_layers=n) for n in depths]
    return [Request(shape=s, workloads=WORKLOADS, **changes) for s in shapes]


def test_shapes_share_processes_and_each_keeps_its_own_samples(tmp_path: Path) -> None:
    runtime, store = Recorder(), Store(tmp_path)
    outcomes = profiler_with(store, runtime).measure(requests(1, 2, 3, 4, 5))
    sizes = [len(measured_depths(j)) for j in runtime.jobs]
    assert sizes == [4, 4, 4, 3]  # five shapes of three rounds
    assert sorted(d for j in runtime.jobs for d in measured_depths(j)) == sorted(
        [1, 2, 3, 4, 5] * 3
    )
    seeds = [m.weights.seed for m in runtime.jobs[0].models]
    assert len(set(seeds)) == 5
    assert min(b - a for a, b in pairwise(seeds)) > runtime.jobs[0].cache.copies
    alone = [
        latencies(
            fake_profiler(Store(tmp_path / str(n))), small_shape(num_hidden_layers=n), WORKLOADS
        )
        for n in (1, 2, 3, 4, 5)
    ]
    for outcome, single in zip(outcomes, alone, strict=True):
        for w in WORKLOADS:
            assert outcome.latencies[w].latency_ms == pytest.approx(single[w].latency_ms, rel=0.02)


def test_companions_and_the_order_of_sessions_are_drawn_for_every_process(tmp_path: Path) -> None:
    runtime = Recorder()
    wanted = [replace(r, rounds=8) for r in requests(*range(1, 9))]
    profiler_with(Store(tmp_path), runtime).measure(wanted)
    companions = {tuple(measured_depths(j)) for j in runtime.jobs}
    assert len(companions) > 8  # in fixed groups there would be two
    first = [depth(j.models[0].weights) for j in runtime.jobs]
    places = [[is_reference(m) for m in j.models].index(True) for j in runtime.jobs]
    assert len(set(first)) > 3
    assert len(set(places)) > 2
    for job in runtime.jobs:  # as its name says, so that it can be told again
        assert drawn_order(job.tag, 5) == drawn_order(job.tag, 5)
        assert drawn_order(job.tag, 5).index(4) == [is_reference(m) for m in job.models].index(True)


def test_more_rounds_than_there_are_can_be_asked_for(tmp_path: Path) -> None:
    runtime, store = Recorder(), Store(tmp_path)
    profiler = profiler_with(store, runtime)
    (request,) = requests(2)
    profiler.measure([request])
    profiler.measure([replace(request, more=1)])
    profiler.measure([replace(request, more=1)])
    assert [m.round for m in rows(store)] == [0, 1, 2, 3, 4]


def test_a_twin_is_measured_and_kept_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (request,) = requests(2)
    first, second = fake_profiler(store).measure([request, replace(request, twin=True)])
    assert first.error is second.error is None
    found = rows(store)
    assert sorted((m.twin, m.round) for m in found) == [
        (t, n) for t in (False, True) for n in (0, 1, 2)
    ]
    assert len({m.key for m in found}) == 2
    assert fake_profiler(store).measure([request])[0].latencies[WORKLOADS[1]].rounds == 3


def test_nothing_begins_after_the_deadline(tmp_path: Path) -> None:
    runtime = Recorder()
    profiler = profiler_with(Store(tmp_path), runtime)
    (outcome,) = profiler.measure(requests(1), deadline=Deadline(0))
    assert runtime.jobs == []
    assert outcome.error is not None
    assert outcome.error.transient
    assert "time was used up" in str(outcome.error)


def test_copies_are_fewer_where_models_share_a_process(tmp_path: Path) -> None:
    runtime = Recorder()
    profiler_with(Store(tmp_path), runtime).measure(requests(1, 2, 3, 4))
    job = runtime.jobs[0]
    scheme = fake_device().scheme
    company = [*(small_shape(num_hidden_layers=n) for n in (1, 2, 3, 4)), REFERENCE]
    streamed = sum(s.weight_bytes(scheme).streamed for s in company)
    assert job.cache.copies * streamed >= 6 * runtime.cache_bytes()
    assert (job.cache.copies - 1) * streamed < 6 * runtime.cache_bytes()


def test_little_memory_takes_fewer_models_a_process(tmp_path: Path) -> None:
    class Small(Recorder):
        def available_bytes(self) -> int:
            company = [small_shape(num_hidden_layers=n) for n in (1, 2)]
            return 2 * memory_bytes([*company, REFERENCE], fake_device(), WORKLOADS, copies=1)

    runtime = Small()
    profiler_with(Store(tmp_path), runtime).measure(requests(1, 2, 3, 4))
    needed = [
        memory_bytes(
            [*(small_shape(num_hidden_layers=n) for n in measured_depths(j)), REFERENCE],
            fake_device(), WORKLOADS, copies=1,
        )
        for j in runtime.jobs
    ]  # fmt: skip
    assert max(needed) <= runtime.available_bytes() / 2 or all(
        len(measured_depths(j)) == 1
        for j, n in zip(runtime.jobs, needed, strict=True)
        if n > runtime.available_bytes() / 2
    )
    assert {len(measured_depths(j)) for j in runtime.jobs} <= {1, 2}


def test_a_round_that_fails_together_is_made_one_by_one(tmp_path: Path) -> None:
    class Picky(Recorder):
        def spoil(self, result: Result) -> Result:
            if 3 in measured_depths(self.jobs[-1]):
                raise MeasurementError("out of memory", stage="memory")
            return result

    runtime = Picky()
    outcomes = profiler_with(Store(tmp_path), runtime).measure(requests(1, 2, 3))
    assert [type(o.error) for o in outcomes] == [type(None), type(None), MeasurementError]
    assert {f.rounds for o in outcomes[:2] for f in o.latencies.values()} == {3}
    assert [len(measured_depths(j)) for j in runtime.jobs] == [3, 1, 1, 1, 2, 2]


def test_a_lost_connection_is_not_tried_once_more_for_each_shape(tmp_path: Path) -> None:
    class Unplugged(Recorder):
        def spoil(self, result: Result) -> Result:
            raise TransportError("unplugged")

    runtime = Unplugged()
    with pytest.raises(TransportError, match="unplugged"):
        profiler_with(Store(tmp_path), runtime).measure(requests(1, 2, 3))
    assert len(runtime.jobs) == 1


def test_controls_are_made_once_in_an_environment(tmp_path: Path) -> None:
    store = Store(tmp_path)
    latencies(fake_profiler(store), small_shape(), WORKLOADS)
    latencies(fake_profiler(store), small_shape(num_hidden_layers=3), WORKLOADS)
    for control in ("one-copy", "tiny"):
        (m,) = rows(store, control)
        assert (m.round, m.copies, m.workload.phase) == (0, 1, "decode")
    assert len(rows(store, "warm")) == 3  # prefill
    controls = [m for m in store.measurements() if m.is_control]
    assert len({m.process for m in controls}) == 1


def test_a_round_in_which_the_device_throttled_is_made_again(tmp_path: Path) -> None:
    runtime, store = Throttled(2), Store(tmp_path)
    found = latencies(profiler_with(store, runtime), small_shape(), WORKLOADS)
    assert [m.verdict for m in rows(store)] == ["valid", "rejected", "valid", "valid"]
    assert "highest frequencies fell by 25%" in rows(store)[1].reasons[0].text
    assert {(s.rounds, s.verdict) for s in found.values()} == {(3, "valid")}


def test_a_process_that_was_slow_as_a_whole_moves_nothing(tmp_path: Path) -> None:
    class Wandering(Recorder):
        def spoil(self, result: Result) -> Result:
            return slower(result, 1.4 ** (len(self.jobs) % 3))

    runtime, calm = Wandering(), Recorder()
    found, expected = (
        profiler_with(Store(tmp_path / name), r).measure(requests(1, 2, 3, 4, 5, 6))
        for name, r in (("a", runtime), ("b", calm))
    )
    for outcome, other in zip(found, expected, strict=True):
        for w in WORKLOADS:
            told, true = outcome.latencies[w].relative, other.latencies[w].relative
            assert told is not None
            assert true is not None
            assert told.value == pytest.approx(true.value, rel=0.01)
            assert outcome.latencies[w].verdict == "valid"


def test_a_model_that_was_disturbed_alone_in_one_round_counts_less(tmp_path: Path) -> None:
    class Burst(Recorder):
        def spoil(self, result: Result) -> Result:
            alone = [i for i, m in enumerate(self.jobs[-1].models) if depth(m.weights) == 3]
            hit = len(self.jobs) == 3 and alone
            return slower(result, 1.5, *alone) if hit else result

    wanted = [replace(r, rounds=5) for r in requests(1, 2, 3, 4)]
    found = profiler_with(Store(tmp_path / "a"), Burst()).measure(wanted)
    calm = profiler_with(Store(tmp_path / "b"), Recorder()).measure(wanted)
    for w in WORKLOADS:
        told, true = (o[2].latencies[w].relative for o in (found, calm))
        assert told is not None
        assert true is not None
        assert told.value == pytest.approx(true.value, rel=0.02)


def test_repeats_end_at_the_limit_and_the_verdict_says_why(tmp_path: Path) -> None:
    runtime, store = Throttled(2, 3, 4, 5), Store(tmp_path)
    found = latencies(profiler_with(store, runtime), small_shape(), WORKLOADS)
    assert len(runtime.jobs) == MeasureSettings().most_rounds
    assert [m.verdict for m in rows(store)] == ["valid", *["rejected"] * 4]
    assert {(s.rounds, s.verdict) for s in found.values()} == {(1, "suspect")}
    assert all("only 1 of 5 rounds is good" in s.reasons[0].text for s in found.values())


def test_one_failing_shape_does_not_stop_the_others(tmp_path: Path) -> None:
    bad, good = small_shape(hidden_size=80, head_dim=20), small_shape()
    outcomes = fake_profiler(Store(tmp_path), precision="int4-b32").measure(
        [Request(shape=s, workloads=WORKLOADS) for s in (bad, good)]
    )
    assert isinstance(outcomes[0].error, UnsupportedShapeError)
    assert len(outcomes[1].latencies) == 2


def test_a_lone_prefill_needs_no_copies(tmp_path: Path) -> None:
    runtime = Recorder()
    latencies(profiler_with(Store(tmp_path), runtime), small_shape(), [prefill(16)])
    assert {(j.cache.mode, j.cache.copies) for j in runtime.jobs} == {("warm", 1)}


@pytest.mark.parametrize(
    "change",
    [{"precision": "int8-b32"}, {"threads": 1}, {"provider_options": {"arena": "off"}}],
)
def test_another_precision_or_environment_is_another_measurement(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    latencies(fake_profiler(store), small_shape(), WORKLOADS)
    latencies(fake_profiler(store, **change), small_shape(), WORKLOADS)
    assert len({m.key for m in rows(store)}) == 2


def test_decode_rotates_over_copies_that_exceed_the_cache_six_times(tmp_path: Path) -> None:
    class Large(Recorder):
        def cache_bytes(self) -> int:
            return 16 * 2**20

    runtime = Large()
    shape = small_shape(hidden_size=256, vocab_size=4096)
    latencies(profiler_with(Store(tmp_path), runtime), shape, WORKLOADS)
    cold = runtime.jobs[0]
    latencies(profiler_with(Store(tmp_path), runtime, cache="warm"), shape, WORKLOADS)
    warm = runtime.jobs[-1]
    streamed = sum(s.weight_bytes(fake_device().scheme).streamed for s in (shape, REFERENCE))
    assert cold.cache.copies * streamed >= 6 * runtime.cache_bytes()
    assert (cold.cache.copies - 1) * streamed < 6 * runtime.cache_bytes()
    assert (cold.cache.mode, warm.cache.mode, warm.cache.copies) == ("rotate", "warm", 1)


def test_little_memory_falls_back_to_a_flush_with_a_pause_control(tmp_path: Path) -> None:
    shape = small_shape(hidden_size=256, vocab_size=4096)

    class Small(Recorder):
        def available_bytes(self) -> int:
            return memory_bytes([shape, REFERENCE], fake_device(), WORKLOADS, copies=2)

        def cache_bytes(self) -> int:
            return 2**28

    runtime, store = Small(), Store(tmp_path)
    latencies(profiler_with(store, runtime), shape, WORKLOADS)
    job = runtime.jobs[0]
    assert (job.cache.mode, job.cache.copies) == ("flush", 1)
    assert job.cache.flush_bytes == 6 * runtime.cache_bytes()
    assert [p.control for p in job.phases] == [None, None, "warm", "tiny", "pause"]
    first = next(
        m for m in store.measurements(shape_ids=[shape.shape_id]) if m.cache_mode == "cold"
    )
    assert BY_FLUSH in first.notes
    assert any("pause alone makes a step" in n for n in first.notes)
    assert first.verdict == "valid"


def test_an_environment_that_changes_while_measuring_is_refused(tmp_path: Path) -> None:
    class Changed(Recorder):
        def spoil(self, result: Result) -> Result:
            other = {"device_model": "fake", "threads": "4"}
            return result.model_copy(update={"environment": other})

    store = Store(tmp_path)
    with pytest.raises(MeasurementError, match="threads: 2 → 4"):
        latencies(profiler_with(store, Changed()), small_shape(), WORKLOADS)
    assert rows(store) == []


def test_peak_memory_is_a_record_of_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    profiler = fake_profiler(store)
    peak = profiler.peak_bytes(small_shape(), prefill(16))
    assert peak == profiler.peak_bytes(small_shape(), prefill(16)) > 0
    (kept,) = store.measurements()
    assert (kept.weights_source, kept.peak_bytes) == ("file", peak)
    assert profiler.peak_bytes(small_shape(), prefill(16), remeasure=True) == peak
    assert [m.round for m in store.measurements()] == [1]


def test_a_head_dimension_off_the_fast_path_is_marked_in_the_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    slow = small_shape(head_dim=24)
    found = latencies(fake_profiler(store), slow, WORKLOADS)
    assert "head dimension 24 is not a multiple of 16" in found[WORKLOADS[0]].notes[0]
    usual = latencies(fake_profiler(store), small_shape(), WORKLOADS)
    assert not any("head dimension" in n for n in usual[WORKLOADS[0]].notes)


def test_kernels_refusal_reaches_the_caller(tmp_path: Path) -> None:
    profiler = fake_profiler(Store(tmp_path), precision="int4-b128")
    with pytest.raises(UnsupportedShapeError, match="multiple of 128"):
        latencies(profiler, small_shape(), WORKLOADS)


class Ended(Recorder):
    """Processes that others end, so often one after the other, then none."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left, self.tries = times, 0

    def run(self, job: Job, files: Mapping[str, bytes]) -> Result:
        self.tries += 1
        if self.left:
            self.left -= 1
            raise MeasurementError("ended by a signal", stage="stopped")
        return super().run(job, files)


def test_a_process_that_others_end_is_run_again(tmp_path: Path) -> None:
    runtime = Ended(2)
    found = latencies(profiler_with(Store(tmp_path), runtime), small_shape(), WORKLOADS)
    assert {s.rounds for s in found.values()} == {3}
    assert runtime.left == 0


def test_a_process_that_is_always_ended_is_an_accident_of_no_shape(tmp_path: Path) -> None:
    runtime = Ended(10**6)
    with pytest.raises(MeasurementError, match="ended by a signal") as caught:
        latencies(profiler_with(Store(tmp_path), runtime), small_shape(), WORKLOADS)
    assert caught.value.transient
    assert runtime.tries == 3
