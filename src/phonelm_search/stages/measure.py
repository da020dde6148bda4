"""The measuring half of a run: references, trials, and a front that its intervals allow."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from phonelm_search.core.defaults import DEFAULT_SAMPLER, DEFAULT_TOP
from phonelm_search.core.errors import ConfigurationError, MeasurementError
from phonelm_search.core.records import StudyShape, rejection
from phonelm_search.core.reporting import Reporter, ShapeProgress
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_seconds
from phonelm_search.measure import Profiler, Request
from phonelm_search.outputs.export import write_tables
from phonelm_search.reading import Place, Readings, StudyView, near_front
from phonelm_search.search import LatencySource, SearchDriver, TrialReport, WorstDevice
from phonelm_search.speed import BlockEstimator, device_costs
from phonelm_search.stages.screening import MOST_BLOCKS, ScreeningPlan, plan_screening, screen
from phonelm_search.stages.session import MeasuringSession, open_measuring
from phonelm_search.stages.setup import Setup
from phonelm_search.store import Store

_UNSURE = (0.05, 0.95)
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
    near_front: int = DEFAULT_TOP
    """Shapes of the near-front to measure whole after screening, for training."""
    sampler: str = DEFAULT_SAMPLER
    """Name of the sampler."""
    seed: int = 0
    """Its seed."""
    remeasure: bool = False
    """Measure what the study has already, too."""


def run_search(store: Store, setup: Setup, plan: SearchPlan, *, report: Reporter) -> StudyView:
    """Measure references and shapes, settle the front, and write the study's tables.

    Raises:
        StudyMismatchError: If the study exists with another configuration or environment.
        MeasurementError: If not one shape could be measured.
        StoreError: If the database cannot be used, or another process works on the study.
        ExportError: If a table cannot be written.
    """
    with open_measuring(store, setup, report=report) as session:
        search(session, plan)
        write_tables(session.view, session.folder)
        return session.view


def search(session: MeasuringSession, plan: SearchPlan) -> None:
    """Measure references and shapes, then settle the front.

    Raises:
        MeasurementError: If not one shape could be measured.
        StoreError: If the database cannot be used.
    """
    setup, report, profilers = session.setup, session.report, session.profilers
    if plan.remeasure:
        _measure_again(session)
    # What an accelerator's compiler makes of a layer is not the same in every depth.
    accelerated = any(d.accelerated for d in setup.devices)
    estimators = [
        BlockEstimator(session.store, p, device_costs(session.store, p)) for p in profilers
    ]
    trials = _Trials(session, profilers if accelerated else estimators, plan)
    trials.retry()  # what an earlier run did not finish
    screening = _screening(setup, estimators, plan, report)
    if screening is not None:
        report.stage("measuring references", len(setup.space.references))
        _measure_references(session)
        screen(session, screening)
    else:
        left = max(0, plan.trials - trials.driver.finished())
        report.stage("measuring", len(setup.space.references) + left)
        _measure_references(session)
        trials.sample(plan.trials)
    _measure_front_whole(session, trials, plan.near_front)
    trials.retry()
    if not session.view.sampled and plan.trials > 0:
        reasons = [f.reason for f in session.view.failed]
        raise MeasurementError(
            f"at least one shape must be measured; all {len(reasons)} failed, the first: "
            f"{reasons[0] if reasons else 'unknown'}",
            stage="run",
        )
    _settle_front(session)


def measure_chosen(session: MeasuringSession, shapes: Sequence[ModelShape]) -> None:
    """Measure references and given shapes of the space whole, as trials of the study.

    Raises:
        StudyMismatchError: If the study exists with another configuration or environment.
        StoreError: If the database cannot be used.
    """
    trials = _Trials(session, session.profilers, SearchPlan(trials=len(shapes)))
    trials.retry()
    session.report.stage("measuring", len(session.setup.space.references) + len(shapes))
    _measure_references(session)
    trials.measure_whole([s.shape_id for s in shapes])
    trials.retry()


class _Trials:
    """The trials of a search, with their progress.

    Args:
        session: The study.
        sources: Where latencies of sampled shapes come from, one for each device.
        plan: Sampler and seed.
    """

    def __init__(
        self,
        session: MeasuringSession,
        sources: Sequence[BlockEstimator] | Sequence[Profiler],
        plan: SearchPlan,
    ) -> None:
        self._report = session.report
        self._progress = ShapeProgress(session.report, session.profilers[0].settings.rounds)
        self.driver = SearchDriver(
            session.store,
            session.study,
            session.setup.feasible,
            _worst_of(session, sources),
            session.setup.goals,
            whole=_worst_of(session, session.profilers),
            sampler=plan.sampler,
            seed=plan.seed,
            batch=_BATCH * max(p.workers for p in session.profilers),
            on_round=self._progress.on_round,
        )

    def sample(self, trials: int) -> None:
        """Run until the study has so many distinct shapes."""
        self.driver.run(trials, self._tell)
        self._progress.restart()

    def measure_whole(self, shape_ids: Collection[str]) -> None:
        """Measure shapes of the space whole."""
        self.driver.measure_whole(shape_ids, self._tell)
        self._progress.restart()

    def retry(self) -> None:
        """Measure whole, once more, what was cut off or left out for a reason that may pass."""
        if left := self.driver.left_out():
            self._report.stage(f"measuring {left} shapes again that were left out", left)
            self._progress.restart()
            self.driver.retry(self._tell)
            self._progress.restart()

    def _tell(self, trial: TrialReport) -> None:
        """Count a trial as done, and say why one was left out."""
        if trial.reason:
            self._report.note(f"{trial.shape.shape_id} left out: {trial.reason}")
        self._progress.on_shape(trial.shape)


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


def _measure_front_whole(session: MeasuringSession, trials: _Trials, count: int) -> None:
    """Measure whole what belongs, or may belong, to the front of estimates; a few turns of it."""
    for _ in range(_WHOLE_TURNS):
        view = session.view
        likely = view.search_probabilities
        near = near_front(view.sampled, count)
        chosen = [
            r.shape.shape_id
            for r in view.sampled
            if r.kind == "estimated"
            and (likely[r.shape.shape_id] > _UNSURE[0] or r.shape.shape_id in near)
        ]
        # A shape with rounds whose trial still tells an estimate was cut off.
        chosen += trials.driver.estimated() & {r.shape.shape_id for r in view.measured}
        if not chosen:
            return
        session.report.stage(f"measuring {len(chosen)} shapes of the front whole", len(chosen))
        trials.measure_whole(chosen)


def _settle_front(session: MeasuringSession) -> None:
    """Measure again what may or may not belong to the front, before it is declared."""
    view, report = session.view, session.report
    likely = view.search_probabilities
    unsure = [r.shape for r in view.measured if _UNSURE[0] < likely[r.shape.shape_id] < _UNSURE[1]]
    if not unsure:
        return
    report.stage(f"measuring {len(unsure)} shapes again that may belong to the front", len(unsure))
    for profiler in session.profilers:
        profiler.measure(
            [Request(shape=s, workloads=session.setup.goals.workloads) for s in unsure],
            extra_rounds=1,
            on_round=lambda shape: report.advance(1 / len(session.profilers), shape.shape_id),
        )


def _measure_again(session: MeasuringSession) -> None:
    """Measure again what a study has whole; the sampler goes on with the values it was told."""
    profilers, report = session.profilers, session.report  # first: they may start the study
    shapes = [r.shape for r in session.view.rows if r.kind == "measured"]
    report.stage(f"measuring {len(shapes)} shapes again", len(shapes) * len(profilers))
    for profiler in profilers:
        progress = ShapeProgress(report, profiler.settings.rounds)
        profiler.measure(
            [Request(shape=s, workloads=session.setup.goals.workloads) for s in shapes],
            remeasure=True,
            on_round=progress.on_round,
        )


def _measure_references(session: MeasuringSession) -> None:
    """Measure the known models; what the runtime refuses is listed and never fatal."""
    setup, report = session.setup, session.report
    shapes = [r.shape(setup.space) for r in setup.space.references]
    requests = [Request(shape=s, workloads=setup.goals.workloads) for s in shapes]
    outcomes = [p.measure(requests) for p in session.profilers]
    for i, (reference, shape) in enumerate(zip(setup.space.references, shapes, strict=True)):
        errors = [o[i].error or rejection(o[i].latencies.values()) for o in outcomes]
        reason = next((str(e) for e in errors if e), None)
        if reason:
            report.note(f"reference {reference.name} left out: {reason}")
        part = StudyShape(
            shape_id=shape.shape_id, role="reference", name=reference.name, reason=reason
        )
        session.store.set_study_shape(session.study, shape, part)
        report.advance(1, reference.name)


def _worst_of(
    session: MeasuringSession, sources: Sequence[BlockEstimator] | Sequence[Profiler]
) -> LatencySource:
    """One source of latencies; of several devices the worst."""
    if len(sources) == 1:
        return sources[0]

    def reference_ms(place: Place) -> float | None:
        return Readings(session.store, place, session.setup.goals.scenario, ()).reference_ms

    references = [partial(reference_ms, place) for place in session.view.places]
    return WorstDevice(sources, references, session.setup.goals.scenario)
