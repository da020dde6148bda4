"""The measuring half of a run: references, trials, and a front that its intervals allow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from phonelm_search.errors import MeasurementError
from phonelm_search.latency import BlockEstimator, device_costs
from phonelm_search.measure import MeasureSettings, Profiler, Request
from phonelm_search.records import StudyShape, rejection
from phonelm_search.reporting import Reporter, ShapeProgress
from phonelm_search.screening import MOST_BLOCKS, ScreeningPlan, plan_screening, screen
from phonelm_search.search.driver import SearchDriver, TrialReport
from phonelm_search.shortlist import near_front
from phonelm_search.store import Store, study_lock
from phonelm_search.study import Setup, open_study
from phonelm_search.tables import StudyView, load_view
from phonelm_search.units import format_seconds

_UNSURE = (0.05, 0.95)
# One bad round is made again; more of them only for shapes that may belong to the front.
_SETTINGS = MeasureSettings(most_rounds=4)
_WHOLE_TURNS = 5
_BATCH = 4  # trials whose rounds are made in turn, so that each is spread over time
_QUICK_SECONDS = 600.0
Strategy = Literal["sample", "blocks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """How a search looks for shapes."""

    trials: int
    """Distinct shapes that the study shall have in total."""
    strategy: Strategy | None = None
    """Sample the space, or measure all its blocks; None: blocks where that is quick. Sampled
    shapes are estimated from their blocks, too, where that is quicker than measuring them whole."""
    near_front: int = 4
    """Shapes of the near-front to measure whole after screening, for training."""
    sampler: str = "tpe"
    """Name of the sampler."""
    seed: int = 0
    """Its seed."""
    remeasure: bool = False
    """Measure what the study has already, too."""


def run_search(store: Store, setup: Setup, plan: SearchPlan, *, report: Reporter) -> StudyView:
    """Measure references and shapes, then settle the front.

    Raises:
        StudyMismatchError: If the study exists with another configuration or environment.
        MeasurementError: If not one shape could be measured.
        StoreError: If the database cannot be used, or another process works on the study.
    """
    with study_lock(store.results, setup.study):
        return _search(store, setup, plan, report)


def _search(store: Store, setup: Setup, plan: SearchPlan, report: Reporter) -> StudyView:
    profiler = Profiler(
        store, setup.device, settings=_SETTINGS, serials=setup.serials, note=report.note
    )
    open_study(store, setup, profiler.environment)
    if plan.remeasure:
        _measure_again(store, setup, profiler, report)
    progress = ShapeProgress(report, profiler.settings.rounds)
    estimator = BlockEstimator(store, profiler, device_costs(store, profiler))
    driver = SearchDriver(
        store,
        setup.study,
        setup.feasible,
        estimator,
        setup.goals,
        whole=profiler,
        sampler=plan.sampler,
        seed=plan.seed,
        batch=_BATCH * profiler.workers,
        on_round=progress.on_round,
    )

    def on_trial(trial: TrialReport) -> None:
        if trial.reason:
            report.note(f"{trial.shape.shape_id} left out: {trial.reason}")
        progress.on_shape(trial.shape)

    _retry(driver, on_trial, report, progress)  # what an earlier run did not finish
    screening = _screening(setup, estimator, plan, report)
    if screening is not None:
        report.stage("measuring references", len(setup.space.references))
        _measure_references(store, setup, profiler, report)
        screen(store, setup, profiler, screening, report)
    else:
        done = driver.finished()
        report.stage("measuring", len(setup.space.references) + max(0, plan.trials - done))
        _measure_references(store, setup, profiler, report)
        driver.run(plan.trials, on_trial)
        progress.restart()
    _measure_whole(store, setup, driver, plan.near_front, on_trial, report)
    _retry(driver, on_trial, report, progress)
    view = load_view(store, setup.study)
    if not view.sampled and plan.trials > 0:
        reasons = [f.reason for f in view.failed]
        raise MeasurementError(
            f"at least one shape must be measured; all {len(reasons)} failed, the first: "
            f"{reasons[0] if reasons else 'unknown'}",
            stage="run",
        )
    return settle_front(store, setup, profiler, report)


def _retry(
    driver: SearchDriver,
    on_trial: Callable[[TrialReport], None],
    report: Reporter,
    progress: ShapeProgress,
) -> None:
    """Measure whole, once more, what was cut off or left out for a reason that may pass."""
    if left := driver.left_out():
        report.stage(f"measuring {left} shapes again that were left out", left)
        progress.restart()
        driver.retry(on_trial)
        progress.restart()


def _screening(
    setup: Setup, estimator: BlockEstimator, plan: SearchPlan, report: Reporter
) -> ScreeningPlan | None:
    """The plan of the blocks where they are wanted, or quick; None: sample."""
    if plan.strategy == "sample":
        return None
    if plan.strategy is None and setup.feasible.block_count() > MOST_BLOCKS:
        return None
    screening = plan_screening(setup, estimator)
    if plan.strategy is None and screening.seconds > _QUICK_SECONDS:
        return None
    report.note(
        f"{screening.wanted} blocks tell all {len(screening.shapes)} shapes: about "
        f"{format_seconds(screening.seconds)}, whole models about "
        f"{format_seconds(screening.whole_seconds)}"
    )
    return screening


def _measure_whole(
    store: Store,
    setup: Setup,
    driver: SearchDriver,
    count: int,
    on_trial: Callable[[TrialReport], None],
    report: Reporter,
) -> None:
    """Measure whole what belongs, or may belong, to the front of estimates; a few turns of it."""
    for _ in range(_WHOLE_TURNS):
        view = load_view(store, setup.study)
        likely = view.search_probabilities()
        near = near_front(view.sampled, count)
        chosen = [
            r.shape.shape_id
            for r in view.sampled
            if r.kind == "estimated"
            and (likely[r.shape.shape_id] > _UNSURE[0] or r.shape.shape_id in near)
        ]
        # A shape with rounds whose trial still tells an estimate was cut off.
        chosen += driver.estimated() & {r.shape.shape_id for r in view.measured}
        if not chosen:
            return
        report.stage(f"measuring {len(chosen)} shapes of the front whole", len(chosen))
        driver.measure_whole(chosen, on_trial)


def settle_front(store: Store, setup: Setup, profiler: Profiler, report: Reporter) -> StudyView:
    """Measure again what may or may not belong to the front, before it is declared."""
    view = load_view(store, setup.study)
    likely = view.search_probabilities()
    unsure = [r.shape for r in view.measured if _UNSURE[0] < likely[r.shape.shape_id] < _UNSURE[1]]
    if not unsure:
        return view
    report.stage(f"measuring {len(unsure)} shapes again that may belong to the front", len(unsure))
    profiler.measure(
        [Request(shape=s, workloads=setup.goals.workloads) for s in unsure],
        extra_rounds=1,
        on_round=lambda shape: report.advance(1, shape.shape_id),
    )
    return load_view(store, setup.study)


def _measure_again(store: Store, setup: Setup, profiler: Profiler, report: Reporter) -> None:
    """Measure again what a study has whole; the sampler goes on with the values it was told."""
    shapes = [r.shape for r in load_view(store, setup.study).rows if r.kind == "measured"]
    progress = ShapeProgress(report, profiler.settings.rounds)
    report.stage(f"measuring {len(shapes)} shapes again", len(shapes))
    profiler.measure(
        [Request(shape=s, workloads=setup.goals.workloads) for s in shapes],
        remeasure=True,
        on_round=progress.on_round,
    )


def _measure_references(store: Store, setup: Setup, profiler: Profiler, report: Reporter) -> None:
    """Measure the known models; what the runtime refuses is listed and never fatal."""
    shapes = [r.shape(setup.space) for r in setup.space.references]
    requests = [Request(shape=s, workloads=setup.goals.workloads) for s in shapes]
    outcomes = profiler.measure(requests)
    for reference, shape, outcome in zip(setup.space.references, shapes, outcomes, strict=True):
        error = outcome.error or rejection(outcome.latencies.values())
        reason = str(error) if error else None
        if reason:
            report.note(f"reference {reference.name} left out: {reason}")
        part = StudyShape(
            shape_id=shape.shape_id, role="reference", name=reference.name, reason=reason
        )
        store.set_study_shape(setup.study, shape, part)
        report.advance(1, reference.name)
