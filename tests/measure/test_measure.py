"""Statistics are pure functions of samples; the profiler remembers what it measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import WORKLOADS, fake_device, fake_profiler, measurement, small_shape
from phonelm_search.errors import MeasurementError, UnsupportedShapeError
from phonelm_search.measure import summarise
from phonelm_search.measure.statistics import bootstrap_median
from phonelm_search.measure.verdict import judge
from phonelm_search.runtimes.base import Job, Result
from phonelm_search.runtimes.fake import FakeRuntime
from phonelm_search.store import Store
from phonelm_search.workload import decode, prefill


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60))
def test_the_interval_holds_the_median_and_stays_within_the_samples(samples: list[int]) -> None:
    median, low, high = bootstrap_median(samples)
    assert min(samples) <= low <= median <= high <= max(samples)
    assert median == np.median(samples)
    assert bootstrap_median(samples) == (median, low, high)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        _, low, high = bootstrap_median(rng.lognormal(size=40))
        hits += low <= 1.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_empty_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="non-empty"):
        bootstrap_median([])


def judged(samples: list[int], **changes: Any) -> tuple[str, tuple[str, ...]]:
    base: dict[str, Any] = {
        "rounds": 3, "cold": True, "streamed_bytes": 100, "cache_bytes": 50,
    }  # fmt: skip
    return judge(samples, **{**base, **changes})


def test_steady_rounds_are_valid() -> None:
    assert judged([100, 101, 99, 100, 100, 102]) == ("valid", ())


@pytest.mark.parametrize(
    ("samples", "changes", "verdict", "reason"),
    [
        ([100] * 9, {"rounds": 1}, "suspect", "single round"),
        ([100] * 4, {}, "suspect", "only 4 samples"),
        ([100] * 5 + [200] * 5, {}, "suspect", "of the median, wider than 10%"),
        ([100] * 9, {"streamed_bytes": 99}, "suspect", "less than twice the cache of 50 B"),
        ([100] * 9 + [0], {}, "rejected", "clock cannot be trusted"),
    ],
)
def test_verdicts_have_reasons(
    samples: list[int], changes: dict[str, Any], verdict: str, reason: str
) -> None:
    found, reasons = judged(samples, **changes)
    assert found == verdict
    assert any(reason in r for r in reasons)


def test_a_warm_round_need_not_exceed_the_cache() -> None:
    assert judged([100] * 9, streamed_bytes=0, cold=False) == ("valid", ())


def test_rounds_are_pooled_and_rejected_ones_left_out() -> None:
    rounds = [
        measurement([1_000_000] * 3, verdict="suspect", reasons=("single round",)),
        measurement([9_000_000] * 5, verdict="rejected", reasons=("drift",), round=1),
    ]
    found = summarise(rounds)
    assert (found.median_ms, found.samples, found.verdict) == (1.0, 3, "suspect")
    assert found.reasons == ("single round",)
    assert summarise(rounds[1:]).verdict == "rejected"


def test_rounds_of_different_environments_never_mix() -> None:
    rounds = [measurement([1]), measurement([1], environment={"soc": "y"})]
    with pytest.raises(ValueError, match="rounds must be of one measurement"):
        summarise(rounds)


class CountingRuntime(FakeRuntime):
    """Counts jobs, and can change what comes back."""

    def __init__(self, change: dict[str, Any] | None = None) -> None:
        super().__init__(threads=2, execution_provider="CPUExecutionProvider")
        self.jobs: list[Job] = []
        self.change = change or {}

    def run(self, job: Job, model: bytes) -> Result:
        self.jobs.append(job)
        return super().run(job, model).model_copy(update=self.change)


def profiler_with(store: Store, runtime: FakeRuntime, **device: Any) -> Any:
    from phonelm_search.measure import Profiler

    return Profiler(store, fake_device(**device), runtime=runtime)


def test_what_is_known_is_not_measured_again(tmp_path: Path) -> None:
    runtime, store = CountingRuntime(), Store(tmp_path)
    profiler = profiler_with(store, runtime)
    first = profiler.latencies(small_shape(), WORKLOADS)
    assert profiler_with(Store(tmp_path), runtime).latencies(small_shape(), WORKLOADS) == first
    assert len(runtime.jobs) == 1
    # One more context is one more job, of that phase alone.
    profiler.latencies(small_shape(), [*WORKLOADS, decode(99)])
    assert [p.past_tokens for p in runtime.jobs[-1].phases] == [99]
    profiler.latencies(small_shape(), WORKLOADS, remeasure=True)
    assert len(runtime.jobs) == 3
    assert len(store.measurements()) == 3


@pytest.mark.parametrize("change", [{"precision": "int8-b32"}, {"cache": "warm"}, {"threads": 1}])
def test_another_precision_cache_or_environment_is_another_measurement(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    fake_profiler(store).latencies(small_shape(), WORKLOADS)
    fake_profiler(store, **change).latencies(small_shape(), WORKLOADS)
    assert len({m.key for m in store.measurements()}) == 4


def test_decode_rotates_over_copies_that_exceed_the_cache_twice(tmp_path: Path) -> None:
    runtime = CountingRuntime()
    shape = small_shape(hidden_size=256, vocab_size=4096)
    profiler_with(Store(tmp_path), runtime).latencies(shape, WORKLOADS)
    profiler_with(Store(tmp_path), runtime, cache="warm").latencies(shape, WORKLOADS)
    cold, warm = runtime.jobs
    streamed = shape.weight_bytes(fake_device().scheme).streamed
    assert cold.cache.copies * streamed >= 2 * runtime.cache_bytes()
    assert (cold.cache.copies - 1) * streamed < 2 * runtime.cache_bytes()
    assert (cold.cache.mode, warm.cache.mode, warm.cache.copies) == ("rotate", "warm", 1)


def test_a_single_round_is_suspect_and_says_so(tmp_path: Path) -> None:
    found = fake_profiler(Store(tmp_path)).latencies(small_shape(), WORKLOADS)
    assert {s.verdict for s in found.values()} == {"suspect"}
    assert all("single round" in s.reasons for s in found.values())


def test_an_environment_that_changes_while_measuring_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    changed = CountingRuntime({"environment": {"device_model": "fake", "threads": "4"}})
    with pytest.raises(MeasurementError, match="threads: 2 → 4"):
        profiler_with(store, changed).latencies(small_shape(), WORKLOADS)
    assert store.measurements() == []


def test_rejected_rounds_get_one_more_try(tmp_path: Path) -> None:
    class BrokenClock(CountingRuntime):
        def run(self, job: Job, model: bytes) -> Result:
            result = super().run(job, model)
            if len(self.jobs) > 1:
                return result
            phases = tuple(p.model_copy(update={"samples_ns": (0, 5)}) for p in result.phases)
            return result.model_copy(update={"phases": phases})

    runtime, store = BrokenClock(), Store(tmp_path)
    found = profiler_with(store, runtime).latencies(small_shape(), WORKLOADS)
    assert len(runtime.jobs) == 2
    assert {s.verdict for s in found.values()} != {"rejected"}
    assert [m.round for m in store.measurements()] == [0, 0, 1, 1]


def test_peak_memory_is_a_record_of_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    profiler = fake_profiler(store)
    peak = profiler.peak_bytes(small_shape(), prefill(16))
    assert peak == profiler.peak_bytes(small_shape(), prefill(16)) > 0
    (kept,) = store.measurements()
    assert (kept.weights_source, kept.peak_bytes) == ("file", peak)
    profiler.latencies(small_shape(), [prefill(16)])
    assert [m.weights_source for m in store.measurements()] == ["file", "memory"]


def test_a_head_dimension_off_the_fast_path_is_marked_in_the_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    slow = small_shape(head_dim=24)
    found = fake_profiler(store).latencies(slow, WORKLOADS)
    assert "head dimension 24 is not a multiple of 16" in found[WORKLOADS[0]].notes[0]
    assert all("separate rotary" in m.notes[0] for m in store.measurements())
    assert fake_profiler(store).latencies(small_shape(), WORKLOADS)[WORKLOADS[0]].notes == ()


def test_kernels_refusal_reaches_the_caller(tmp_path: Path) -> None:
    profiler = fake_profiler(Store(tmp_path), precision="int4-b128")
    with pytest.raises(UnsupportedShapeError, match="multiple of 128"):
        profiler.latencies(small_shape(), WORKLOADS)
