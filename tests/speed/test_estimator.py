"""The estimator on a runtime whose latencies are additive in layers by construction."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from helpers import fake_device, latencies, small_shape
from phonelm_search.backends import Job, Placement, Result
from phonelm_search.backends.fake import FakeRuntime
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.records import LatencyEstimate
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import decode, prefill
from phonelm_search.measure import Profiler, Request
from phonelm_search.speed import (
    BlockEstimator,
    BlockPlan,
    Estimated,
    device_costs,
    plan_blocks,
    planned_seconds,
)
from phonelm_search.speed.block import Block
from phonelm_search.store import Store
from recorder import depth

WORK = (prefill(16), decode(64))
SHAPES = [
    small_shape(num_hidden_layers=n, intermediate_size=f, num_key_value_heads=kv)
    for n in (8, 16, 24)
    for f in (128, 192, 256)
    for kv in (1, 2)
]


class Counting(FakeRuntime):
    """Counts jobs, and fails for some."""

    def __init__(self, *, fail_above: int = 10**12) -> None:
        super().__init__(placement=Placement(threads=2), execution_provider="CPUExecutionProvider")
        self.jobs: list[Job] = []
        self.fail_above = fail_above

    def run(self, job: Job, files: Mapping[str, bytes]) -> Result:
        self.jobs.append(job)
        if sum("down_proj.weight_q4" in t.name for t in job.weights.tensors) > self.fail_above:
            raise MeasurementError("out of memory", stage="memory")
        return super().run(job, files)


def estimate(
    store: Store, shapes: Sequence[ModelShape], runtime: FakeRuntime | None = None
) -> list[Estimated]:
    profiler = Profiler(store, fake_device(), runtimes=[runtime or Counting()])
    estimator = BlockEstimator(store, profiler, device_costs(store, profiler), whole=False)
    return estimator.estimate(shapes, WORK, estimator.plan(shapes, WORK))


def test_estimates_are_what_whole_models_measure(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found = estimate(store, SHAPES)
    profiler = Profiler(store, fake_device(), runtimes=[Counting()])
    checked = 0
    for shape, outcome in zip(SHAPES, found, strict=True):
        whole = latencies(profiler, shape, WORK)
        for workload in WORK:
            latency = outcome.latencies[workload]
            assert latency.latency_ms == pytest.approx(whole[workload].latency_ms, rel=0.01)
            assert latency.ci_low_ms <= latency.latency_ms <= latency.ci_high_ms
            checked += latency.kind == "estimated"
    assert checked >= 24


def test_estimates_are_never_measurements_and_are_kept_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found = estimate(store, SHAPES)
    estimated = {
        s.shape_id
        for s, o in zip(SHAPES, found, strict=True)
        if o.latencies[WORK[0]].kind == "estimated"
    }
    assert all(
        isinstance(latency, LatencyEstimate | LatencySummary)
        for o in found
        for latency in o.latencies.values()
    )
    measured = {m.shape_id for m in store.measurements()}
    assert estimated
    assert not estimated & measured
    environment = Profiler(store, fake_device(), runtimes=[Counting()]).environment_id
    kept = store.estimates(shape_ids=list(estimated), environment_id=environment)
    assert {e.shape_id for e in kept} == estimated
    assert all(e.intercept_ms > 0 and e.slope_ms > 0 and e.depths for e in kept)


def test_one_block_serves_every_depth_and_reruns_measure_nothing(tmp_path: Path) -> None:
    store, runtime = Store(tmp_path), Counting()
    estimate(store, SHAPES, runtime)
    profiler = Profiler(store, fake_device(), runtimes=[runtime])
    plans = plan_blocks(SHAPES, WORK, device_costs(store, profiler), whole=False)
    assert len(plans) == 6
    assert sum(len(p.depths) for p in plans) <= 2 * 6
    before = len(runtime.jobs)
    again = estimate(store, SHAPES, runtime)
    assert len(runtime.jobs) == before
    assert all(o.error is None for o in again)


def test_a_block_that_fails_is_its_shapes_failure_alone(tmp_path: Path) -> None:
    good = small_shape(num_hidden_layers=6)
    refused = small_shape(num_hidden_layers=6, hidden_size=80, head_dim=20)
    found = estimate(Store(tmp_path), [refused, good])
    assert found[0].latencies == {}
    assert "multiple of 32" in str(found[0].error)
    assert found[1].error is None


def test_a_width_that_cannot_be_fitted_says_so(tmp_path: Path) -> None:
    shape = small_shape(num_hidden_layers=24)
    found = estimate(Store(tmp_path), [shape], Counting(fail_above=0))
    assert "out of memory" in str(found[0].error)


def test_sampled_shapes_learn_from_blocks_of_their_width_that_were_measured_before(
    tmp_path: Path,
) -> None:
    store, runtime = Store(tmp_path), Counting()
    profiler = Profiler(store, fake_device(), runtimes=[runtime])
    rounds: list[ModelShape] = []

    def ask(*shapes: ModelShape) -> tuple[list[Estimated], list[tuple[int, ...]]]:
        estimator = BlockEstimator(store, profiler, device_costs(store, profiler), whole=False)
        plans = [p for p in estimator.plan(shapes, WORK) if p.block.depths]
        requests = [Request(shape=s, workloads=WORK) for s in shapes]
        return estimator.measure(requests, on_round=rounds.append), [p.depths for p in plans]

    first = [small_shape(num_hidden_layers=24, intermediate_size=f) for f in (128, 192)]
    _, depths = ask(*first)
    assert [len(d) for d in depths] == [2, 2]
    later = small_shape(num_hidden_layers=24, intermediate_size=256)
    (found,), depths = ask(later)
    assert [len(d) for d in depths] == [1]
    jobs = len(runtime.jobs)
    again = ask(*first, later)[0][2]  # known blocks are not measured again
    assert [e.latency_ms for e in again.latencies.values()] == pytest.approx(
        [e.latency_ms for e in found.latencies.values()]
    )
    assert len(runtime.jobs) == jobs
    assert rounds == []  # of truncated models only
    whole = Profiler(Store(tmp_path / "w"), fake_device(), runtimes=[Counting()])
    for workload, latency in latencies(whole, later, WORK).items():
        assert found.latencies[workload].kind == "estimated"
        assert found.latencies[workload].latency_ms == pytest.approx(latency.latency_ms, rel=0.01)


def test_what_is_known_costs_nothing_in_a_plan(tmp_path: Path) -> None:
    store = Store(tmp_path)
    profiler = Profiler(store, fake_device(), runtimes=[Counting()])
    estimator = BlockEstimator(store, profiler, device_costs(store, profiler), whole=False)
    plans = estimator.plan(SHAPES, WORK)
    assert planned_seconds(plans, WORK, estimator.costs) > 0
    estimator.estimate(SHAPES, WORK, plans)
    assert planned_seconds(estimator.plan(SHAPES, WORK), WORK, estimator.costs) == 0


class Disturbed(Counting):
    """Takes the processor away from given depths, or lets their rounds differ."""

    def __init__(self, *, busy: Sequence[int] = (), uneven: Sequence[int] = ()) -> None:
        super().__init__()
        self.busy, self.uneven = busy, uneven

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "spinning": "on"}

    def run(self, job: Job, files: Mapping[str, bytes]) -> Result:
        result = super().run(job, files)
        phases = []
        for p in result.phases:
            layers = depth(job.models[p.model].weights)
            factor = 1 + 0.2 * (len(self.jobs) % 3) if layers in self.uneven else 1.0
            samples = tuple(round(factor * s) for s in p.samples_ns)
            cpu = tuple((1 if layers in self.busy else 2) * s for s in samples)
            phases.append(p.model_copy(update={"samples_ns": samples, "cpu_ns": cpu}))
        return result.model_copy(update={"phases": tuple(phases)})


def plan_of(*depths: int, wanted: int = 24, ffn: int = 128) -> BlockPlan:
    layer = small_shape(num_hidden_layers=1, intermediate_size=ffn)
    return BlockPlan(block=Block(layer=layer, depths=(wanted,)), depths=depths)


def estimate_by(store: Store, runtime: FakeRuntime, plans: Sequence[BlockPlan]) -> list[Estimated]:
    profiler = Profiler(store, fake_device(), runtimes=[runtime])
    estimator = BlockEstimator(store, profiler, device_costs(store, profiler), whole=False)
    shapes = [p.block.at(p.block.greatest_depth) for p in plans]
    return estimator.estimate(shapes, WORK, plans)


def test_rejected_rounds_tell_no_intercept(tmp_path: Path) -> None:
    plans = [plan_of(2, 12), plan_of(14, ffn=192)]
    alone, told = estimate_by(Store(tmp_path), Disturbed(busy=[2]), plans)
    assert "of its cores' time" in str(alone.error)
    assert told.error is not None  # nothing tells the intercept of its width
    assert told.error.transient


def test_an_estimate_is_as_doubtful_as_what_told_its_intercept(tmp_path: Path) -> None:
    plans = [plan_of(2, 12), plan_of(14, ffn=192)]
    _, told = estimate_by(Store(tmp_path), Disturbed(uneven=[2]), plans)
    assert {e.verdict for e in told.latencies.values()} == {"suspect"}
    assert all("interval" in e.reasons[0].text for e in told.latencies.values())
    clean = estimate_by(Store(tmp_path / "clean"), Disturbed(), plans)
    assert {e.verdict for o in clean for e in o.latencies.values()} == {"valid"}


def test_a_wide_estimate_is_suspect_and_names_only_what_was_measured(tmp_path: Path) -> None:
    plans = [plan_of(2, 12), plan_of(1, 13, ffn=192)]
    runtime = Disturbed(busy=[13], uneven=[1])
    _, cut = estimate_by(Store(tmp_path), runtime, plans)
    for latency in cut.latencies.values():
        assert isinstance(latency, LatencyEstimate)
        assert latency.depths == (1,)
        assert latency.verdict == "suspect"
        assert "the estimate's interval is" in latency.reasons[0].text


def test_neighbouring_depths_do_not_tell_the_intercept_of_a_width(tmp_path: Path) -> None:
    profiler = Profiler(Store(tmp_path), fake_device(), runtimes=[Counting()])
    costs = device_costs(Store(tmp_path), profiler)
    layers = [small_shape(num_hidden_layers=1, intermediate_size=f) for f in (128, 192)]
    wanted = [small_shape(num_hidden_layers=24, intermediate_size=256)]
    for known, count in (((18, 19), 2), ((2, 19), 1)):
        plans = plan_blocks(wanted, WORK, costs, whole=False, known=dict.fromkeys(layers, known))
        (plan,) = [p for p in plans if p.block.depths]
        assert len(plan.depths) == count
