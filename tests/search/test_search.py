"""The ask/tell driver on a space with a known front, with latencies from a formula."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from helpers import SCENARIO
from phonelm_search.errors import MeasurementError, UnknownNameError
from phonelm_search.measure import LatencySummary, Outcome, Request
from phonelm_search.pareto import hypervolume, non_dominated
from phonelm_search.precision import get_precision
from phonelm_search.records import LatencyEstimate, StudyRecord
from phonelm_search.search.driver import SearchDriver, TrialReport, open_optuna_storage, trials_of
from phonelm_search.search.objectives import Goals, choose_objectives
from phonelm_search.search.selection import Measured, select_for_training
from phonelm_search.shape import ModelShape
from phonelm_search.space import Coordinates, FeasibleSet, SearchSpace, enumerate_space
from phonelm_search.store import Store
from phonelm_search.workload import Workload

SPACE = SearchSpace.model_validate(
    {
        "name": "s",
        "vocab_size": 512,
        "hidden_size": {"min": 64, "max": 640, "step": 32},
        "num_hidden_layers": {"min": 1, "max": 24},
        "head_dim": [32],
        "kv_groups": [1, 2, 4],
        "ffn_ratio": {"min": 1.0, "max": 5.0, "step": 0.25},
        "multiple_of": 16,
        "hidden_act": ["relu", "silu"],
    }
)
INT4 = get_precision("int4-b32")
FEASIBLE = enumerate_space(SPACE, INT4)


def summary(ms: float, verdict: Any = "valid") -> LatencySummary:
    return LatencySummary(
        latency_ms=ms, ci_low_ms=ms, ci_high_ms=ms, p90_ms=ms, p99_ms=ms, samples=9, rounds=3,
        bandwidth_bytes_per_s=None, verdict=verdict, reasons=("why",),
    )  # fmt: skip


def estimate(shape: ModelShape, workload: Workload, ms: float) -> LatencyEstimate:
    return LatencyEstimate(
        shape_id=shape.shape_id, device="d", precision="int4-b32", workload=workload,
        cache_mode="cold", environment_id="e", graph_version=1, protocol_version=3,
        latency_ms=ms, ci_low_ms=ms, ci_high_ms=ms, intercept_ms=0.0, slope_ms=1.0, depths=(1, 2),
        verdict="valid", reasons=(), created_at="2026-11-24",
    )  # fmt: skip


class PerShape(ABC):
    """A latency source that answers shape by shape."""

    @abstractmethod
    def latencies(
        self, shape: ModelShape, workloads: Sequence[Workload]
    ) -> dict[Workload, LatencySummary]:
        """Latency of each workload of one shape."""

    def measure(
        self, requests: Sequence[Request], *, on_round: Callable[[ModelShape], None]
    ) -> list[Outcome]:
        outcomes = []
        for request in requests:
            try:
                found = self.latencies(request.shape, request.workloads)
                outcomes.append(Outcome(latencies=found, error=None))
            except MeasurementError as error:
                outcomes.append(Outcome(latencies={}, error=error))
            on_round(request.shape)
        return outcomes


class Formula(PerShape):
    """Latency as a function of the shape; counts what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[ModelShape] = []

    def latencies(
        self, shape: ModelShape, workloads: Sequence[Workload]
    ) -> dict[Workload, LatencySummary]:
        self.asked.append(shape)
        prefill = shape.prefill_flops(64) / 1e8 + 0.4 * shape.num_hidden_layers
        decode = shape.weight_bytes(INT4).streamed / 1e7 + 0.05 * shape.num_hidden_layers
        return dict(zip(workloads, (summary(prefill), summary(decode)), strict=True))


def goals(*objectives: str, feasible: FeasibleSet = FEASIBLE) -> Goals:
    return Goals(
        objectives=choose_objectives(list(objectives), feasible), scenario=SCENARIO, precision=INT4
    )


def driver(
    folder: Path,
    source: Any,
    *,
    whole: Any = None,
    sampler: str = "tpe",
    seed: int = 0,
    wanted: Goals | None = None,
) -> SearchDriver:
    store = Store(folder)
    store.save_study(StudyRecord(name="st", config={}, environment_id="e"))
    return SearchDriver(
        store, "st", FEASIBLE, source, wanted or goals(), whole=whole, sampler=sampler, seed=seed
    )


def ignore(_: TrialReport) -> None:
    return None


def test_trials_carry_the_decoded_shape_and_its_values(tmp_path: Path) -> None:
    source = Formula()
    reports: list[TrialReport] = []
    driver(tmp_path, source).run(5, reports.append)
    trials = trials_of(Store(tmp_path), "st")
    assert [r.number for r in reports] == [1, 2, 3, 4, 5]
    for trial, report in zip(trials, reports, strict=True):
        shape = report.shape
        assert trial.user_attrs["shape_id"] == shape.shape_id
        assert trial.user_attrs["num_hidden_layers"] == shape.num_hidden_layers
        latencies = source.latencies(shape, SCENARIO.workloads)
        assert trial.values == goals().values(shape, latencies) == list(report.values or ())
        assert trial.values[1] == shape.decoder_parameters


def test_trials_are_a_total_and_a_rerun_continues(tmp_path: Path) -> None:
    source = Formula()
    driver(tmp_path, source).run(6, ignore)
    driver(tmp_path, source).run(6, ignore)
    assert len(source.asked) == 6
    driver(tmp_path, source).run(9, ignore)
    trials = trials_of(Store(tmp_path), "st")
    assert len(trials) == 9
    # The continued sampler does not draw its first points once more.
    assert trials[6].params != trials[0].params


def test_a_trial_left_running_by_a_killed_process_is_failed(tmp_path: Path) -> None:
    first = driver(tmp_path, Formula())
    first.run(2, ignore)
    first._study.ask(first._distributions)
    second = driver(tmp_path, Formula())
    assert [t.state for t in trials_of(Store(tmp_path), "st")][-1] == TrialState.FAIL
    assert second.finished() == 2
    second.run(3, ignore)
    assert second.finished() == 3


class Refusing(Formula):
    """Fails for deep shapes and rejects wide ones."""

    def latencies(
        self, shape: ModelShape, workloads: Sequence[Workload]
    ) -> dict[Workload, LatencySummary]:
        found = super().latencies(shape, workloads)
        if shape.num_hidden_layers > 20:
            raise MeasurementError("the kernels refuse it", stage="load")
        if shape.num_hidden_layers > 12:
            raise MeasurementError("the child process was ended by SIGKILL", stage="memory")
        if shape.hidden_size > 400:
            return {w: summary(1.0, "rejected") for w in found}
        return found


def test_failed_shapes_are_failed_trials_with_a_reason_and_not_tried_again(tmp_path: Path) -> None:
    source = Refusing()
    reports: list[TrialReport] = []
    driver(tmp_path, source, sampler="random").run(30, reports.append)
    reasons = {r.reason for r in reports if r.reason}
    assert "the child process was ended by SIGKILL (stage: memory)" in reasons
    assert "why (stage: rejected)" in reasons
    failed = [t for t in trials_of(Store(tmp_path), "st") if t.state == TrialState.FAIL]
    assert len(failed) == sum(r.reason is not None for r in reports) > 5
    asked = len(source.asked)
    bad = next(r.shape for r in reports if "kernels refuse" in (r.reason or ""))
    again = driver(tmp_path, source)
    refused = again._measure({bad.shape_id: bad}, source)[bad.shape_id]
    assert refused.values is None
    assert refused.reason == "the kernels refuse it (stage: load)"
    assert len(source.asked) == asked


class TwoBowls(PerShape):
    """Prefill and decode are squared distances to two shapes: the front is known, and narrow."""

    coordinates = Coordinates(FEASIBLE)
    bowls = (4000, 20000)

    def position(self, shape: ModelShape) -> np.ndarray:
        point = {
            "hidden_size": shape.hidden_size,
            "num_hidden_layers": shape.num_hidden_layers,
            "kv_groups": shape.kv_groups,
            "ffn_ratio": shape.ffn_ratio,
            "hidden_act": SPACE.hidden_act.index(shape.hidden_act),
        }
        scaled = [(point[d.name] - d.low) / (d.high - d.low) for d in self.coordinates.dimensions]
        return np.array(scaled)

    def distances(self, shape: ModelShape) -> list[float]:
        centres = [self.position(FEASIBLE.shape(row)) for row in self.bowls]
        return [float(np.square(self.position(shape) - c).sum()) for c in centres]

    def latencies(
        self, shape: ModelShape, workloads: Sequence[Workload]
    ) -> dict[Workload, LatencySummary]:
        return {w: summary(d) for w, d in zip(workloads, self.distances(shape), strict=True)}


def test_nsga2_reaches_later_generations_and_beats_random_on_a_known_front(
    tmp_path: Path,
) -> None:
    source = TwoBowls()
    far = source.distances(FEASIBLE.shape(TwoBowls.bowls[0]))[1]
    every = np.array([source.distances(FEASIBLE.shape(r)) for r in range(len(FEASIBLE))])
    best = hypervolume(every[non_dominated(every)], [far, far])
    shares: dict[str, list[float]] = {"nsga2": [], "random": []}
    for sampler, found in shares.items():
        for seed in (0, 1):
            folder = tmp_path / f"{sampler}{seed}"
            wanted = goals("prefill", "decode")
            driver(folder, source, sampler=sampler, seed=seed, wanted=wanted).run(120, ignore)
            values = [t.values for t in trials_of(Store(folder), "st")]
            found.append(hypervolume(values, [far, far]) / best)
    assert min(shares["nsga2"]) > max(shares["random"])
    storage = open_optuna_storage(Store(tmp_path / "nsga20"))
    generations = []
    for trial in trials_of(Store(tmp_path / "nsga20"), "st"):
        attributes = storage.get_trial_system_attrs(trial._trial_id)
        generations += [v for k, v in attributes.items() if "generation" in k]
    assert max(generations) >= 2


def test_what_was_left_out_in_a_noisy_moment_is_measured_once_more(tmp_path: Path) -> None:
    class Noisy(Formula):
        noisy = True

        def latencies(
            self, shape: ModelShape, workloads: Sequence[Workload]
        ) -> dict[Workload, LatencySummary]:
            found = super().latencies(shape, workloads)
            return {w: summary(1.0, "rejected") for w in found} if self.noisy else found

    source = Noisy()
    search = driver(tmp_path, source, sampler="grid")
    search.run(4, ignore)
    assert search.left_out() == 4
    source.noisy = False
    reports: list[TrialReport] = []
    search.retry(reports.append)
    assert [r.reason for r in reports] == [None] * 4
    assert (search.left_out(), search.finished()) == (0, 4)
    assert [p.reason for p in Store(tmp_path).study_shapes("st")] == [None] * 4


class Estimating(Formula):
    """Answers with estimates that are a fifth too low."""

    def latencies(self, shape: ModelShape, workloads: Sequence[Workload]) -> Any:
        found = super().latencies(shape, workloads)
        return {w: estimate(shape, w, 0.8 * f.latency_ms) for w, f in found.items()}


def test_estimated_shapes_are_measured_whole_where_that_is_wanted(tmp_path: Path) -> None:
    estimates, whole = Estimating(), Formula()
    search = driver(tmp_path, estimates, whole=whole)
    reports: list[TrialReport] = []
    search.run(4, reports.append)
    chosen = reports[0].shape
    again = driver(tmp_path, estimates, whole=whole)  # as another process would go on
    again.measure_whole([chosen.shape_id], reports.append)
    again.measure_whole([chosen.shape_id], reports.append)
    assert (len(estimates.asked), whole.asked) == (4, [chosen])
    assert again.finished() == 4
    trials = trials_of(Store(tmp_path), "st")
    assert [t.user_attrs["kind"] for t in trials] == ["estimated"] * 4 + ["measured"]
    assert trials[4].user_attrs["shape_id"] == chosen.shape_id
    assert trials[4].values == goals().values(chosen, whole.latencies(chosen, SCENARIO.workloads))
    assert trials[0].values[0] == pytest.approx(0.8 * trials[4].values[0])


def test_what_may_not_fail_again_is_tried_by_the_next_run(tmp_path: Path) -> None:
    class OutOfMemory(Formula):
        full = True

        def latencies(
            self, shape: ModelShape, workloads: Sequence[Workload]
        ) -> dict[Workload, LatencySummary]:
            if self.full:
                raise MeasurementError("ended by SIGKILL", stage="memory")
            return super().latencies(shape, workloads)

    source = OutOfMemory()
    driver(tmp_path, source, sampler="grid").run(4, ignore)
    parts = Store(tmp_path).study_shapes("st")
    assert [p.transient for p in parts] == [True] * 4
    source.full = False
    again = driver(tmp_path, source, sampler="grid")
    assert again.left_out() == 4
    again.retry(ignore)
    assert (again.left_out(), again.finished()) == (0, 4)
    again.run(4, ignore)
    assert {s.shape_id for s in source.asked} == {p.shape_id for p in parts}
    assert all(p.reason is None for p in Store(tmp_path).study_shapes("st"))


def test_what_was_cut_off_is_measured_by_the_next_run(tmp_path: Path) -> None:
    class Stopped(Formula):
        def latencies(
            self, shape: ModelShape, workloads: Sequence[Workload]
        ) -> dict[Workload, LatencySummary]:
            if len(self.asked) == 5:
                raise KeyboardInterrupt
            return super().latencies(shape, workloads)

    with pytest.raises(KeyboardInterrupt):
        driver(tmp_path, Stopped()).run(8, ignore)
    parts = {p.shape_id for p in Store(tmp_path).study_shapes("st")}
    source = Formula()
    again = driver(tmp_path, source)
    assert (len(parts), again.finished(), again.left_out()) == (8, 8, 4)
    again.retry(ignore)
    again.run(8, ignore)
    assert len(source.asked) == 4
    assert {s.shape_id for s in source.asked} < parts


def test_a_shape_that_was_estimated_and_then_rejected_is_tried_again(tmp_path: Path) -> None:
    class Noisy(Formula):
        def latencies(self, shape: ModelShape, workloads: Sequence[Workload]) -> Any:
            return {w: summary(1.0, "rejected") for w in workloads}

    first = driver(tmp_path, Estimating(), whole=Noisy())
    reports: list[TrialReport] = []
    first.run(4, reports.append)
    chosen = reports[0].shape
    first.measure_whole([chosen.shape_id], ignore)
    whole = Formula()
    again = driver(tmp_path, Estimating(), whole=whole)
    assert again.left_out() == 1
    again.retry(ignore)
    assert (again.left_out(), whole.asked) == (0, [chosen])


def test_a_point_left_in_the_queue_is_told_its_own_values(tmp_path: Path) -> None:
    whole = Formula()
    search = driver(tmp_path, Estimating(), whole=whole)
    search.run(4, ignore)
    left, wanted = (FEASIBLE.shape(row) for row in (100, 2000))
    search._study.enqueue_trial(search._coordinates.point(100))  # and then the process was killed
    again = driver(tmp_path, Estimating(), whole=whole)
    again.measure_whole([wanted.shape_id], ignore)
    assert whole.asked == [left, wanted]
    for trial in trials_of(Store(tmp_path), "st")[4:]:
        shape = next(s for s in (left, wanted) if s.shape_id == trial.user_attrs["shape_id"])
        assert trial.values == goals().values(shape, Formula().latencies(shape, SCENARIO.workloads))


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "grid"])
def test_trials_are_distinct_shapes_until_a_space_is_exhausted(
    tmp_path: Path, sampler: str
) -> None:
    small = SPACE.model_copy(
        update={"hidden_size": (64, 128), "num_hidden_layers": (2, 3), "ffn_ratio": (2.0, 3.0)}
    )
    feasible = enumerate_space(small, INT4)
    store, source = Store(tmp_path), Formula()
    store.save_study(StudyRecord(name="st", config={}, environment_id="e"))
    wanted = goals(feasible=feasible)
    found = SearchDriver(store, "st", feasible, source, wanted, sampler=sampler)
    found.run(10, ignore)
    assert len({s.shape_id for s in source.asked}) == len(source.asked) == 10
    found.run(1000, ignore)
    assert len(source.asked) == len(feasible)


def test_a_continued_grid_fills_the_gaps_of_the_finer_one(tmp_path: Path) -> None:
    source = Formula()
    driver(tmp_path, source, sampler="grid").run(5, ignore)
    driver(tmp_path, source, sampler="grid").run(9, ignore)
    expected = {FEASIBLE.shape(round(i * (len(FEASIBLE) - 1) / 8)).shape_id for i in range(9)}
    assert {s.shape_id for s in source.asked} == expected
    states = {t.state for t in trials_of(Store(tmp_path), "st")}
    assert states == {TrialState.COMPLETE}


def test_grid_spreads_over_the_enumeration(tmp_path: Path) -> None:
    source = Formula()
    driver(tmp_path, source, sampler="grid").run(7, ignore)
    expected = [FEASIBLE.shape(round(i * (len(FEASIBLE) - 1) / 6)) for i in range(7)]
    assert source.asked == expected


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_the_same_seed_asks_the_same_shapes(tmp_path: Path, sampler: str) -> None:
    asked = []
    for run in ("a", "b"):
        source = Formula()
        driver(tmp_path / run, source, sampler=sampler, seed=5).run(14, ignore)
        asked.append(source.asked)
    assert asked[0] == asked[1]


def test_objectives_are_chosen_by_name_or_by_what_differs() -> None:
    sized = SPACE.model_copy(update={"num_hidden_layers": (3,), "hidden_size": (64,),
                                     "ffn_ratio": (2.0,), "kv_groups": (1,)})  # fmt: skip
    one_size = enumerate_space(sized, INT4)
    assert choose_objectives([], FEASIBLE) == ("latency", "parameters")
    assert choose_objectives([], one_size) == ("latency",)
    assert goals("memory", "prefill").objectives == ("prefill", "memory")
    assert goals("prefill", "parameters").directions == ["minimize", "maximize"]
    with pytest.raises(UnknownNameError, match="unknown objective 'speed'; known: latency"):
        choose_objectives(["speed"], FEASIBLE)
    with pytest.raises(ValueError, match="objectives must be distinct"):
        choose_objectives(["latency", "latency"], FEASIBLE)


def test_memory_counts_weights_and_the_cache_of_the_scenario() -> None:
    shape = FEASIBLE.shape(0)
    (memory,) = goals("memory").values(shape, Formula().latencies(shape, SCENARIO.workloads))
    cache = 24 * shape.kv_bytes_per_token(4)
    assert memory == shape.weight_bytes(INT4).total + cache


def test_studies_open_in_optuna_dashboard(tmp_path: Path) -> None:
    import optuna_dashboard

    driver(tmp_path, Formula()).run(3, ignore)
    app = optuna_dashboard.wsgi(optuna.storages.RDBStorage(Store(tmp_path).url))
    status: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "SERVER_NAME": "x",
        "SERVER_PORT": "1", "wsgi.url_scheme": "http", "QUERY_STRING": "",
    }  # fmt: skip
    body = b"".join(app(environ, lambda s, h, e=None: status.append(s)))
    assert status == ["200 OK"]
    assert b'"st"' in body


def measured(latency: float, size: int, depth: int) -> Measured:
    return Measured(
        shape_id=f"{latency}-{size}-{depth}", latency_ms=latency, decoder_parameters=size,
        num_hidden_layers=depth,
    )  # fmt: skip


def test_training_takes_the_front_and_near_front_spread_over_depth() -> None:
    shapes = [measured(10 + d, 100, d) for d in range(4, 24)]
    shapes += [measured(30 + d, 90, d) for d in range(4, 24)]  # dominated everywhere
    chosen = select_for_training(shapes, 4)
    assert chosen == ["14-100-4", "19-100-9", "24-100-14", "29-100-19"]


def test_training_takes_no_more_than_there_is() -> None:
    shapes = [measured(1.0, 5, 4), measured(2.0, 6, 4)]
    assert len(select_for_training(shapes, 6)) == 2
    assert select_for_training(shapes, 1) == ["1.0-5-4"]
    assert select_for_training([], 3) == []
