"""The measuring half of a run: references, trials, and a front that its intervals allow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from phonelm_search.core.errors import ConfigurationError, MeasurementError
from phonelm_search.core.records import StudyShape, rejection
from phonelm_search.core.reporting import Reporter, ShapeProgress
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_seconds
from phonelm_search.measure import MeasureSettings, Profiler, Request
from phonelm_search.reading import Place, Readings, StudyView, load_view, near_front, places_of
from phonelm_search.search import LatencySource, SearchDriver, TrialReport, WorstDevice
from phonelm_search.speed import BlockEstimator, device_costs
from phonelm_search.stages.compile import calibration_tokens
from phonelm_search.stages.screening import MOST_BLOCKS, ScreeningPlan, plan_screening, screen
from phonelm_search.stages.setup import Setup, open_study
from phonelm_search.store import Store, study_lock

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


def measure_chosen(
    store: Store, setup: Setup, shapes: Sequence[ModelShape], *, report: Reporter
) -> StudyView:
    """Measure references and given shapes of the space whole, as trials of the study.

    Raises:
        StudyMismatchError: If the study exists with another configuration or environment.
        StoreError: If the database cannot be used, or another process works on the study.
    """
    with study_lock(store.results, setup.study):
        profilers = _profilers(store, setup, report)
        open_study(store, setup, [p.environment for p in profilers])
        progress = ShapeProgress(report, _SETTINGS.rounds)
        source = _worst_of(store, setup, profilers)
        driver = SearchDriver(
            store, setup.study, setup.feasible, source, setup.goals, on_round=progress.on_round
        )
        on_trial = _telling(report, progress)
        _retry(driver, on_trial, report, progress)
        report.stage("measuring", len(setup.space.references) + len(shapes))
        _measure_references(store, setup, profilers, report)
        driver.measure_whole([s.shape_id for s in shapes], on_trial)
        progress.restart()
        _retry(driver, on_trial, report, progress)
        return load_view(store, setup.study)


def _profilers(store: Store, setup: Setup, report: Reporter) -> list[Profiler]:
    return [
        Profiler(
            store,
            device,
            settings=_SETTINGS,
            serials=setup.serials.get(device.name, ()),
            note=report.note,
            calibration=partial(calibration_tokens, store),
        )
        for device in setup.devices
    ]


def _telling(report: Reporter, progress: ShapeProgress) -> Callable[[TrialReport], None]:
    """Counts a trial as done, and says why one was left out."""

    def on_trial(trial: TrialReport) -> None:
        if trial.reason:
            report.note(f"{trial.shape.shape_id} left out: {trial.reason}")
        progress.on_shape(trial.shape)

    return on_trial


def _search(store: Store, setup: Setup, plan: SearchPlan, report: Reporter) -> StudyView:
    profilers = _profilers(store, setup, report)
    open_study(store, setup, [p.environment for p in profilers])
    if plan.remeasure:
        _measure_again(store, setup, profilers, report)
    progress = ShapeProgress(report, _SETTINGS.rounds)
    # What an accelerator's compiler makes of a layer is not the same in every depth.
    accelerated = any(d.accelerated for d in setup.devices)
    estimators = [BlockEstimator(store, p, device_costs(store, p)) for p in profilers]
    driver = SearchDriver(
        store,
        setup.study,
        setup.feasible,
        _worst_of(store, setup, profilers if accelerated else estimators),
        setup.goals,
        whole=_worst_of(store, setup, profilers),
        sampler=plan.sampler,
        seed=plan.seed,
        batch=_BATCH * max(p.workers for p in profilers),
        on_round=progress.on_round,
    )
    on_trial = _telling(report, progress)
    _retry(driver, on_trial, report, progress)  # what an earlier run did not finish
    screening = _screening(setup, estimators, plan, report)
    if screening is not None:
        report.stage("measuring references", len(setup.space.references))
        _measure_references(store, setup, profilers, report)
        screen(store, setup, profilers[0], screening, report)
    else:
        done = driver.finished()
        report.stage("measuring", len(setup.space.references) + max(0, plan.trials - done))
        _measure_references(store, setup, profilers, report)
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
    return settle_front(store, setup, profilers, report)


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
    setup: Setup, estimators: Sequence[BlockEstimator], plan: SearchPlan, report: Reporter
) -> ScreeningPlan | None:
    """The plan of the blocks where they are wanted, or quick; None: sample."""
    if setup.beside and plan.strategy == "blocks":
        raise ConfigurationError(
            f"--strategy blocks is for one device, got {len(setup.devices)}; leave it out"
        )
    if setup.device.accelerated and plan.strategy == "blocks":
        raise ConfigurationError(
            f"--strategy blocks is for processors, {setup.device.name} runs "
            f"{' and '.join(setup.device.accelerated_phases)} on an accelerator; leave it out"
        )
    if setup.beside or setup.device.accelerated or plan.strategy == "sample":
        return None
    (estimator,) = estimators
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


def settle_front(
    store: Store, setup: Setup, profilers: Sequence[Profiler], report: Reporter
) -> StudyView:
    """Measure again what may or may not belong to the front, before it is declared."""
    view = load_view(store, setup.study)
    likely = view.search_probabilities()
    unsure = [r.shape for r in view.measured if _UNSURE[0] < likely[r.shape.shape_id] < _UNSURE[1]]
    if not unsure:
        return view
    report.stage(f"measuring {len(unsure)} shapes again that may belong to the front", len(unsure))
    for profiler in profilers:
        profiler.measure(
            [Request(shape=s, workloads=setup.goals.workloads) for s in unsure],
            extra_rounds=1,
            on_round=lambda shape: report.advance(1 / len(profilers), shape.shape_id),
        )
    return load_view(store, setup.study)


def _measure_again(
    store: Store, setup: Setup, profilers: Sequence[Profiler], report: Reporter
) -> None:
    """Measure again what a study has whole; the sampler goes on with the values it was told."""
    shapes = [r.shape for r in load_view(store, setup.study).rows if r.kind == "measured"]
    report.stage(f"measuring {len(shapes)} shapes again", len(shapes) * len(profilers))
    for profiler in profilers:
        progress = ShapeProgress(report, profiler.settings.rounds)
        profiler.measure(
            [Request(shape=s, workloads=setup.goals.workloads) for s in shapes],
            remeasure=True,
            on_round=progress.on_round,
        )


def _measure_references(
    store: Store, setup: Setup, profilers: Sequence[Profiler], report: Reporter
) -> None:
    """Measure the known models; what the runtime refuses is listed and never fatal."""
    shapes = [r.shape(setup.space) for r in setup.space.references]
    requests = [Request(shape=s, workloads=setup.goals.workloads) for s in shapes]
    outcomes = [p.measure(requests) for p in profilers]
    for i, (reference, shape) in enumerate(zip(setup.space.references, shapes, strict=True)):
        errors = [o[i].error or rejection(o[i].latencies.values()) for o in outcomes]
        reason = next((str(e) for e in errors if e), None)
        if reason:
            report.note(f"reference {reference.name} left out: {reason}")
        part = StudyShape(
            shape_id=shape.shape_id, role="reference", name=reference.name, reason=reason
        )
        store.set_study_shape(setup.study, shape, part)
        report.advance(1, reference.name)


def _worst_of(
    store: Store, setup: Setup, sources: Sequence[BlockEstimator] | Sequence[Profiler]
) -> LatencySource:
    """One source of latencies; of several devices the worst."""
    if len(sources) == 1:
        return sources[0]

    def reference_ms(place: Place) -> float | None:
        return Readings(store, place, setup.goals.scenario, ()).reference_ms

    places = places_of(store.study(setup.study))
    references = [partial(reference_ms, place) for place in places]
    return WorstDevice(sources, references, setup.goals.scenario)
