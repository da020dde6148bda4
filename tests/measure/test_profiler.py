"""The profiler makes rounds, repeats bad ones, and remembers what it measured."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from helpers import WORKLOADS, fake_device, fake_profiler, small_shape
from phonelm_search.errors import MeasurementError, UnsupportedShapeError
from phonelm_search.measure import MeasureSettings, Profiler, Request
from phonelm_search.measure.executor import BY_FLUSH
from phonelm_search.measure.reference import REFERENCE
from phonelm_search.runtimes.base import Job, Result, WeightsJob, needed_bytes
from phonelm_search.runtimes.fake import FakeRuntime
from phonelm_search.store import Store
from phonelm_search.workload import decode, prefill


class Recorder(FakeRuntime):
    """Keeps jobs apart from those of the gate and of the reference, and can spoil results."""

    def __init__(self) -> None:
        super().__init__(threads=2, execution_provider="CPUExecutionProvider")
        self.jobs: list[Job] = []
        self.order: list[str] = []

    def run(self, job: Job, files: Mapping[str, bytes]) -> Result:
        result = super().run(job, files)
        if job.vocab_size == REFERENCE.vocab_size:
            self.order.append("reference")
            return self.spoil_reference(result)
        if job.warmup.most == 0 and job.weights.source == "memory":
            self.order.append("gate")
            return result
        self.order.append("round")
        self.jobs.append(job)
        return self.spoil(result)

    def spoil(self, result: Result) -> Result:
        return result

    def spoil_reference(self, result: Result) -> Result:
        return result


def slower(result: Result, factor: float) -> Result:
    phases = tuple(
        p.model_copy(update={"samples_ns": tuple(round(factor * s) for s in p.samples_ns)})
        for p in result.phases
    )
    return result.model_copy(update={"phases": phases})


def profiler_with(store: Store, runtime: FakeRuntime, **device: Any) -> Profiler:
    return Profiler(store, fake_device(**device), runtime=runtime)


def rows(store: Store, cache: str = "cold") -> list[Any]:
    shape_id = small_shape().shape_id
    return [m for m in store.measurements(shape_ids=[shape_id]) if m.cache_mode == cache]


def test_three_rounds_in_processes_of_their_own_between_readings_of_the_reference(
    tmp_path: Path,
) -> None:
    runtime, store = Recorder(), Store(tmp_path)
    found = profiler_with(store, runtime).latencies(small_shape(), WORKLOADS)
    assert runtime.order == ["gate", *(["reference", "round"] * 3), "reference"]
    assert {(s.rounds, s.verdict) for s in found.values()} == {(3, "valid")}
    assert [m.round for m in rows(store)] == [0, 1, 2]
    for m in rows(store):
        assert m.drift == 0.0
        assert m.bandwidth_bytes_per_s == 10e9
        assert m.protocol["rounds"] == 3


def requests(*depths: int, **changes: Any) -> list[Request]:
    shapes = [small_shape(num_hidden_layers=n) for n in depths]
    return [Request(shape=s, workloads=WORKLOADS, **changes) for s in shapes]


def depth(weights: WeightsJob) -> int:
    return sum("down_proj.weight_q4" in t.name for t in weights.tensors)


def test_shapes_share_the_process_of_a_round_and_each_keeps_its_own_samples(
    tmp_path: Path,
) -> None:
    runtime, store = Recorder(), Store(tmp_path)
    outcomes = profiler_with(store, runtime).measure(requests(1, 2, 3, 4, 5))
    by_job = [[depth(m.weights) for m in j.models] for j in runtime.jobs]
    assert by_job == [[1, 2, 3, 4]] * 3 + [[5]] * 3
    seeds = [m.weights.seed for m in runtime.jobs[0].models]
    assert len(set(seeds)) == 4
    assert min(b - a for a, b in pairwise(seeds)) > runtime.jobs[0].cache.copies
    alone = [
        fake_profiler(Store(tmp_path / str(n))).latencies(
            small_shape(num_hidden_layers=n), WORKLOADS
        )
        for n in (1, 2, 3, 4, 5)
    ]
    for outcome, single in zip(outcomes, alone, strict=True):
        for w in WORKLOADS:
            assert outcome.latencies[w].latency_ms == pytest.approx(single[w].latency_ms, rel=0.01)
    notes = {w.phase: f.notes for w, f in outcomes[0].latencies.items()}
    assert notes == {"prefill": (), "decode": ("stepped in turn with 3 other models",)}


def test_copies_are_fewer_where_models_share_a_process(tmp_path: Path) -> None:
    runtime = Recorder()
    profiler_with(Store(tmp_path), runtime).measure(requests(1, 2, 3, 4))
    job = runtime.jobs[0]
    scheme = fake_device().scheme
    streamed = sum(
        small_shape(num_hidden_layers=n).weight_bytes(scheme).streamed for n in (1, 2, 3, 4)
    )
    assert job.cache.copies * streamed >= 6 * runtime.cache_bytes()
    assert (job.cache.copies - 1) * streamed < 6 * runtime.cache_bytes()


def test_truncated_models_take_fewer_samples_and_are_apart_from_whole_ones(tmp_path: Path) -> None:
    runtime, store = Recorder(), Store(tmp_path)
    wanted = [*requests(*range(1, 14), truncated=True), *requests(20)]
    profiler_with(store, runtime).measure(wanted)
    first = [j for j in runtime.jobs if j.repetitions > 20]
    assert [(len(j.models), j.repetitions, j.max_seconds) for j in first] == [
        (12, 30, 0.3),
        (1, 30, 0.3),
        (1, 100, 1.0),
    ]
    assert {m.protocol["repetitions"] for m in rows(store)} == {30, 20}


def test_little_memory_takes_fewer_models_a_process(tmp_path: Path) -> None:
    class Small(Recorder):
        def available_bytes(self) -> int:
            total = small_shape(num_hidden_layers=1).weight_bytes(fake_device().scheme).total
            return 2 * needed_bytes(5 * total, 1)

    runtime = Small()
    profiler_with(Store(tmp_path), runtime).measure(requests(1, 2, 3, 4))
    assert [len(j.models) for j in runtime.jobs] == [2, 1, 1] * 3


def test_a_round_that_fails_together_is_made_one_by_one(tmp_path: Path) -> None:
    class Picky(Recorder):
        def spoil(self, result: Result) -> Result:
            if any(depth(m.weights) == 3 for m in self.jobs[-1].models):
                raise MeasurementError("out of memory", stage="memory")
            return result

    runtime = Picky()
    outcomes = profiler_with(Store(tmp_path), runtime).measure(requests(1, 2, 3))
    assert [type(o.error) for o in outcomes] == [type(None), type(None), MeasurementError]
    assert {f.rounds for o in outcomes[:2] for f in o.latencies.values()} == {3}
    assert [len(j.models) for j in runtime.jobs] == [3, 1, 1, 1, 2, 2]


def test_a_lost_connection_is_not_tried_once_more_for_each_shape(tmp_path: Path) -> None:
    class Unplugged(Recorder):
        def spoil(self, result: Result) -> Result:
            raise MeasurementError("unplugged", stage="transport")

    runtime = Unplugged()
    outcomes = profiler_with(Store(tmp_path), runtime).measure(requests(1, 2, 3))
    assert all(o.error for o in outcomes)
    assert len(runtime.jobs) == 1


def test_controls_belong_to_the_first_round_and_are_stored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fake_profiler(store).latencies(small_shape(), WORKLOADS)
    for control in ("warm", "tiny"):
        (m,) = [m for m in rows(store, control) if m.workload.phase == "decode"]
        assert (m.round, m.copies) == (0, 1)
    assert len(rows(store, "warm")) == 3 + 1  # prefill is warm anyway


def test_a_round_around_which_the_reference_moved_is_rejected_and_repeated(tmp_path: Path) -> None:
    class Burst(Recorder):
        def spoil_reference(self, result: Result) -> Result:
            return slower(result, 1.5 if self.order.count("reference") == 2 else 1.0)

    runtime, store = Burst(), Store(tmp_path)
    found = profiler_with(store, runtime).latencies(small_shape(), WORKLOADS)
    verdicts = [m.verdict for m in rows(store)]
    assert verdicts == ["rejected", "rejected", "valid", "valid", "valid"]
    assert "reference shape drifted by 40.0%" in rows(store)[0].reasons[0]
    assert {(s.rounds, s.verdict) for s in found.values()} == {(3, "valid")}


def test_repeats_end_at_the_limit_and_the_verdict_says_why(tmp_path: Path) -> None:
    class Restless(Recorder):
        def spoil_reference(self, result: Result) -> Result:
            return slower(result, 1.0 + self.order.count("reference") % 2)

    runtime, store = Restless(), Store(tmp_path)
    found = profiler_with(store, runtime).latencies(small_shape(), WORKLOADS)
    assert len(runtime.jobs) == MeasureSettings().most_rounds
    assert {s.verdict for s in found.values()} == {"rejected"}
    assert all("drifted" in s.reasons[0] for s in found.values())


def test_rejected_rounds_alone_are_made_again_by_the_next_call(tmp_path: Path) -> None:
    class Restless(Recorder):
        quiet = False

        def spoil_reference(self, result: Result) -> Result:
            return slower(result, 1.0 + (not self.quiet) * (self.order.count("reference") % 2))

    runtime, store = Restless(), Store(tmp_path)
    profiler_with(store, runtime).latencies(small_shape(), WORKLOADS)
    assert {m.verdict for m in rows(store)} == {"rejected"}
    runtime.quiet = True
    found = profiler_with(store, runtime).latencies(small_shape(), WORKLOADS)
    assert {(s.rounds, s.verdict) for s in found.values()} == {(3, "valid")}
    made = len(runtime.jobs)
    profiler_with(store, runtime).latencies(small_shape(), WORKLOADS)
    assert len(runtime.jobs) == made


def test_wide_intervals_get_more_rounds(tmp_path: Path) -> None:
    class Uneven(Recorder):
        def spoil(self, result: Result) -> Result:
            return slower(result, 1.0 + 0.06 * len(self.jobs))

    runtime = Uneven()
    profiler_with(Store(tmp_path), runtime).latencies(small_shape(), WORKLOADS)
    assert len(runtime.jobs) == MeasureSettings().most_rounds


def test_later_rounds_take_as_many_samples_as_the_spread_asks_for(tmp_path: Path) -> None:
    runtime = Recorder()
    profiler_with(Store(tmp_path), runtime).latencies(small_shape(), WORKLOADS)
    repetitions = [j.repetitions for j in runtime.jobs]
    assert repetitions == [100, 20, 20]  # the fake wobbles by one per cent


def test_what_is_known_is_not_measured_again(tmp_path: Path) -> None:
    runtime, store = Recorder(), Store(tmp_path)
    profiler = profiler_with(store, runtime)
    first = profiler.latencies(small_shape(), WORKLOADS)
    assert profiler_with(Store(tmp_path), runtime).latencies(small_shape(), WORKLOADS) == first
    assert len(runtime.jobs) == 3
    # One more context is three rounds of that phase alone.
    profiler.latencies(small_shape(), [*WORKLOADS, decode(99)])
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
    profiler.latencies(small_shape(), WORKLOADS)
    outcome = profiler.measure([Request(shape=small_shape(), workloads=WORKLOADS)], remeasure=True)[
        0
    ]
    assert outcome.error is None  # the round that was finished counts
    assert [m.round for m in rows(store)] == [0, 1, 2, 3]
    fake_profiler(store).latencies(small_shape(), WORKLOADS, remeasure=True)
    assert [m.round for m in rows(store)] == [4, 5, 6]


def test_a_cut_off_keeps_the_finished_rounds_and_goes_on_with_them(tmp_path: Path) -> None:
    class Cut(Recorder):
        def spoil(self, result: Result) -> Result:
            if len(self.jobs) == 3:
                raise KeyboardInterrupt
            return result

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        profiler_with(store, Cut()).latencies(small_shape(), WORKLOADS)
    assert [m.round for m in rows(store)] == [0, 1]
    runtime = Recorder()
    found = profiler_with(Store(tmp_path), runtime).latencies(small_shape(), WORKLOADS)
    assert len(runtime.jobs) == 1
    assert {(s.rounds, s.verdict) for s in found.values()} == {(3, "valid")}


def test_a_cut_off_before_the_reference_keeps_the_round(tmp_path: Path) -> None:
    class Cut(Recorder):
        def spoil_reference(self, result: Result) -> Result:
            if self.order.count("reference") == 2:
                raise KeyboardInterrupt
            return result

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        profiler_with(store, Cut()).latencies(small_shape(), WORKLOADS)
    assert [(m.round, m.drift) for m in rows(store)] == [(0, None)]


def test_a_failure_after_good_rounds_leaves_them(tmp_path: Path) -> None:
    class Unplugged(Recorder):
        def spoil(self, result: Result) -> Result:
            if len(self.jobs) == 2:
                raise MeasurementError("unplugged", stage="transport")
            return result

    found = profiler_with(Store(tmp_path), Unplugged()).latencies(small_shape(), WORKLOADS)
    assert {(s.rounds, s.verdict) for s in found.values()} == {(1, "suspect")}


def test_one_failing_shape_does_not_stop_the_others(tmp_path: Path) -> None:
    bad, good = small_shape(hidden_size=80, head_dim=20), small_shape()
    outcomes = fake_profiler(Store(tmp_path), precision="int4-b32").measure(
        [Request(shape=s, workloads=WORKLOADS) for s in (bad, good)]
    )
    assert isinstance(outcomes[0].error, UnsupportedShapeError)
    assert len(outcomes[1].latencies) == 2


def test_a_lone_prefill_needs_no_copies(tmp_path: Path) -> None:
    runtime = Recorder()
    profiler_with(Store(tmp_path), runtime).latencies(small_shape(), [prefill(16)])
    assert {(j.cache.mode, j.cache.copies) for j in runtime.jobs} == {("warm", 1)}


@pytest.mark.parametrize(
    "change",
    [{"precision": "int8-b32"}, {"threads": 1}, {"provider_options": {"arena": "off"}}],
)
def test_another_precision_or_environment_is_another_measurement(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    fake_profiler(store).latencies(small_shape(), WORKLOADS)
    fake_profiler(store, **change).latencies(small_shape(), WORKLOADS)
    assert len({m.key for m in rows(store)}) == 2


def test_decode_rotates_over_copies_that_exceed_the_cache_six_times(tmp_path: Path) -> None:
    runtime = Recorder()
    shape = small_shape(hidden_size=256, vocab_size=4096)
    profiler_with(Store(tmp_path), runtime).latencies(shape, WORKLOADS)
    cold = runtime.jobs[0]
    profiler_with(Store(tmp_path), runtime, cache="warm").latencies(shape, WORKLOADS)
    warm = runtime.jobs[-1]
    streamed = shape.weight_bytes(fake_device().scheme).streamed
    assert cold.cache.copies * streamed >= 6 * runtime.cache_bytes()
    assert (cold.cache.copies - 1) * streamed < 6 * runtime.cache_bytes()
    assert (cold.cache.mode, warm.cache.mode, warm.cache.copies) == ("rotate", "warm", 1)


def test_little_memory_falls_back_to_a_flush_with_a_pause_control(tmp_path: Path) -> None:
    shape = small_shape(hidden_size=256, vocab_size=4096)
    total = shape.weight_bytes(fake_device().scheme).total

    class Small(Recorder):
        def available_bytes(self) -> int:
            return needed_bytes(total, 2)

        def cache_bytes(self) -> int:
            return 20 * total

    runtime, store = Small(), Store(tmp_path)
    profiler_with(store, runtime).latencies(shape, WORKLOADS)
    job = runtime.jobs[0]
    assert (job.cache.mode, job.cache.copies) == ("flush", 1)
    assert job.cache.flush_bytes == 6 * runtime.cache_bytes()
    assert [p.control for p in job.phases] == [None, None, "warm", "tiny", "pause"]
    (first, *_) = [
        m for m in store.measurements(shape_ids=[shape.shape_id]) if m.cache_mode == "cold"
    ]
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
        profiler_with(store, Changed()).latencies(small_shape(), WORKLOADS)
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
    found = fake_profiler(store).latencies(slow, WORKLOADS)
    assert "head dimension 24 is not a multiple of 16" in found[WORKLOADS[0]].notes[0]
    usual = fake_profiler(store).latencies(small_shape(), WORKLOADS)
    assert not any("head dimension" in n for n in usual[WORKLOADS[0]].notes)


def test_kernels_refusal_reaches_the_caller(tmp_path: Path) -> None:
    profiler = fake_profiler(Store(tmp_path), precision="int4-b128")
    with pytest.raises(UnsupportedShapeError, match="multiple of 128"):
        profiler.latencies(small_shape(), WORKLOADS)
