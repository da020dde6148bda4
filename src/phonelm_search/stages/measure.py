"""The measuring half of a run: references, trials, and a front that its intervals allow."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from phonelm_search.core.deadline import Deadline
from phonelm_search.core.defaults import DEFAULT_SAMPLER
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.judgement import rejection
from phonelm_search.core.records import StudyShape
from phonelm_search.core.reporting import Reporter, RoundProgress
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_counted
from phonelm_search.measure import REFERENCE, Outcome, Profiler, Request
from phonelm_search.outputs.export import write_tables
from phonelm_search.reading import Place, Readings, StudyView
from phonelm_search.search import (
    LatencySource,
    SearchDriver,
    TrialReport,
    WorstDevice,
    check_sampler,
)
from phonelm_search.stages.affordable import affordable_shapes
from phonelm_search.stages.predict import telling_shapes
from phonelm_search.stages.race import race
from phonelm_search.stages.session import MeasuringSession, open_measuring
from phonelm_search.stages.setup import Setup
from phonelm_search.store import Store
from phonelm_search.work import Engine

_BATCH = 8  # trials that are measured together, so that companions change


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """How a search looks for shapes.

    Raises:
        UnknownNameError: If there is no such sampler.
    """

    trials: int
    """Distinct shapes that the study shall have in total."""
    sampler: str = DEFAULT_SAMPLER
    """Name of the sampler."""
    seed: int = 0
    """Its seed."""
    remeasure: bool = False
    """Measure what the study has already, too."""
    minutes: float | None = None
    """Time for measuring, and for training where that follows; None: as long as it takes."""

    def __post_init__(self) -> None:
        check_sampler(self.sampler)

    def deadline(self) -> Deadline:
        """From now on."""
        return Deadline() if self.minutes is None else Deadline(60 * self.minutes)


def run_search(
    store: Store,
    setup: Setup,
    plan: SearchPlan,
    *,
    report: Reporter,
    engine: Engine | None = None,
) -> StudyView:
    """Measure references and shapes, settle the front, and write the study's tables.

    Args:
        store: The database.
        setup: The study.
        plan: How to search.
        report: Shows progress.
        engine: What places rounds; None: this process does.

    Raises:
        StudyMismatchError: If the study exists with another configuration or environment.
        MeasurementError: If not one shape could be measured.
        StoreError: If the database cannot be used, or another process works on the study.
        ExportError: If a table cannot be written.
    """
    with open_measuring(store, setup, report=report, engine=engine) as session:
        deadline = plan.deadline()
        search(session, plan, deadline)
        race(session, deadline)
        write_tables(session.view, session.folder)
        return session.view


def search(session: MeasuringSession, plan: SearchPlan, deadline: Deadline) -> None:
    """Measure references and shapes: sampled ones, then those that may belong to the front.

    Raises:
        MeasurementError: If not one shape could be measured.
        StoreError: If the database cannot be used.
    """
    if plan.remeasure:
        _measure_again(session)
    trials = _Trials(session, plan, deadline)
    trials.retry()  # what an earlier run did not finish
    predicts = plan.sampler == "model"
    first = plan.trials - (plan.trials // 2 if predicts else 0)
    if predicts and plan.minutes is not None and first > 0:
        drawn = affordable_shapes(session, first, plan.minutes, seed=plan.seed)
        trials.begin_with(drawn)
    trials.sample(first)
    trials.fill(predicts=predicts)
    trials.measure_left()
    trials.retry()
    if not session.view.sampled and plan.trials > 0:
        reasons = [f.reason for f in session.view.failed]
        raise MeasurementError(
            f"at least one shape must be measured; all {len(reasons)} failed, the first: "
            f"{reasons[0] if reasons else 'unknown'}",
            stage="run",
        )


def search_on(session: MeasuringSession, plan: SearchPlan, deadline: Deadline) -> None:
    """Measure what is missing of a search's shapes, where time was left over.

    Raises:
        StoreError: If the database cannot be used.
    """
    trials = _Trials(session, plan, deadline)
    if trials.driver.finished() < plan.trials and trials.has_time():
        trials.fill(predicts=plan.sampler == "model")


def measure_chosen(session: MeasuringSession, shapes: Sequence[ModelShape]) -> None:
    """Measure references and given shapes of the space, as trials of the study.

    Raises:
        StudyMismatchError: If the study exists with another configuration or environment.
        StoreError: If the database cannot be used.
    """
    trials = _Trials(session, SearchPlan(trials=len(shapes)), Deadline())
    trials.retry()
    trials.measure_whole([s.shape_id for s in shapes], "measuring")
    trials.measure_left()
    trials.retry()


class _Accompanied:
    """A profiler that measures a study's references beside whatever it is asked for.

    All latencies are told as shares of the first one's, so it has a round more with every batch;
    it is measured a second time under another identity, which shows what a study cannot tell.

    Args:
        profiler: What measures.
        session: The study.
        deadline: When no process is started any more.
    """

    def __init__(self, profiler: Profiler, session: MeasuringSession, deadline: Deadline) -> None:
        setup = session.setup
        self._session, self._profiler, self._deadline = session, profiler, deadline
        self._workloads = setup.goals.workloads
        self._shapes = [r.shape(setup.space) for r in setup.space.references]
        self.errors: dict[str, str | None] = {}
        """Why a reference was left out, by its shape's id."""

    def measure(
        self, requests: Sequence[Request], *, on_round: Callable[[ModelShape], None]
    ) -> list[Outcome]:
        """See `Profiler.measure`."""
        beside = self._references()
        found = self._profiler.measure(
            [*requests, *beside], deadline=self._deadline, on_round=on_round
        )
        for request, outcome in zip(beside, found[len(requests) :], strict=True):
            if not request.twin:
                error = outcome.error or rejection(outcome.latencies.values())
                self.errors[request.shape.shape_id] = None if error is None else str(error)
        return found[: len(requests)]

    def _references(self) -> list[Request]:
        """The references, the first one twice; what failed before is not asked for again."""
        known = [s for s in self._shapes if not self.errors.get(s.shape_id)]
        usual = self._profiler.settings.rounds
        found = [Request(shape=s, workloads=self._workloads, rounds=usual) for s in known]
        if known:
            found.append(replace(found[0], twin=True))
            found[0] = replace(found[0], rounds=usual + self._batches())
        return found

    def _batches(self) -> int:
        """Batches of the study before this one, however often it was stopped."""
        parts = self._session.store.study_shapes(self._session.study)
        trials = sum(p.role == "trial" for p in parts)
        return max(0, trials - 1) // (_BATCH * self._profiler.workers)


class _Trials:
    """The trials of a search, with their progress.

    Args:
        session: The study.
        plan: Sampler, seed, and how many shapes.
        deadline: When no process is started any more.
    """

    def __init__(self, session: MeasuringSession, plan: SearchPlan, deadline: Deadline) -> None:
        self._session, self._deadline, self._trials = session, deadline, plan.trials
        self._report = session.report
        self._progress = RoundProgress(session.report)
        self._sources = [_Accompanied(p, session, deadline) for p in session.profilers]
        self.driver = SearchDriver(
            session.store,
            session.study,
            session.setup.feasible,
            _worst_of(session, self._sources),
            session.setup.goals,
            sampler=plan.sampler,
            seed=plan.seed,
            batch=_BATCH * max(p.workers for p in session.profilers),
            on_round=self._progress.on_round,
        )

    def has_time(self) -> bool:
        """Whether the next batch would have at least one round of each shape."""
        processes = _BATCH / min(p.settings.models for p in self._session.profilers)
        seconds = sum(p.process_seconds for p in self._session.profilers)
        return self._deadline.left > processes * seconds

    def sample(self, trials: int) -> None:
        """Run until the study has so many distinct shapes, or the time is used."""
        left = trials - self.driver.finished()
        if left > 0:
            self._begin("measuring", left)
            self.driver.run(trials, self._tell, self.has_time)
            self._end()

    def begin_with(self, shape_ids: Sequence[str]) -> None:
        """Measure shapes of the space, some at a time, as long as there is time."""
        if shape_ids:
            self._report.note(
                "some shapes are too large for these minutes; the first are smaller ones"
            )
        for start in range(0, len(shape_ids), _BATCH):
            if self.has_time():
                self.measure_whole(shape_ids[start : start + _BATCH], "measuring")

    def fill(self, *, predicts: bool) -> None:
        """Measure shapes until the study has all, or the time is used.

        Args:
            predicts: Whether they are those that are expected to tell most, until none tells more;
                else, and where no model holds, the sampler asks for them.
        """
        while predicts and self.has_time():
            finished = self.driver.finished()
            if finished >= self._trials:
                return
            chosen = telling_shapes(self._session, min(_BATCH, self._trials - finished))
            if chosen is None:  # a batch more, and perhaps a model holds
                self.sample(min(self._trials, finished + _BATCH))
            elif not chosen:
                self._report.note(
                    f"{finished} shapes are measured, not {self._trials}: no other is expected to "
                    "move the front by 0.01 %"
                )
                return
            else:
                self.measure_whole(chosen, "measuring shapes that are expected to tell most")
            if self.driver.finished() == finished:
                break
        self.sample(self._trials)

    def measure_whole(self, shape_ids: Collection[str], title: str) -> None:
        """Measure shapes of the space."""
        self._begin(title, len(shape_ids))
        self.driver.measure_whole(shape_ids, self._tell)
        self._end()

    def measure_left(self) -> None:
        """Measure references where no trial took them along."""
        for source in self._sources:
            if not source.errors:
                source.measure([], on_round=lambda shape: None)
        self._end()

    def retry(self) -> None:
        """Measure once more what was cut off or left out for a reason that may pass."""
        if (left := self.driver.left_out()) and self.has_time():
            self._begin(
                f"measuring {format_counted(left, 'shape')} again after being left out", left
            )
            self.driver.retry(self._tell)
            self._end()

    def _begin(self, title: str, shapes: int) -> None:
        rounds = self._session.profilers[0].settings.rounds
        self._progress.begin(title, shapes * rounds)

    def _end(self) -> None:
        self._progress.end()
        for reference in self._session.setup.space.references:
            shape = reference.shape(self._session.setup.space)
            told = [s.errors[shape.shape_id] for s in self._sources if shape.shape_id in s.errors]
            if told:
                self._tell_reference(reference.name, shape, next(filter(None, told), None))

    def _tell_reference(self, name: str, shape: ModelShape, reason: str | None) -> None:
        """What the runtime refuses is listed and never fatal."""
        part = StudyShape(shape_id=shape.shape_id, role="reference", name=name, reason=reason)
        if part in self._session.store.study_shapes(self._session.study):
            return
        if reason:
            self._report.note(f"reference {name} left out: {reason}")
        self._session.store.set_study_shape(self._session.study, shape, part)

    def _tell(self, trial: TrialReport) -> None:
        """Say why a trial was left out."""
        if trial.reason:
            self._report.note(f"{trial.shape.shape_id} left out: {trial.reason}")


def _measure_again(session: MeasuringSession) -> None:
    """Measure again what a study has; the sampler goes on with the values it was told."""
    profilers, workloads = session.profilers, session.setup.goals.workloads  # may start the study
    shapes = [r.shape for r in session.view.rows if r.kind == "measured"]
    progress = RoundProgress(session.report)
    rounds = sum(p.settings.rounds for p in profilers)
    progress.begin(f"measuring {format_counted(len(shapes), 'shape')} again", len(shapes) * rounds)
    for profiler in profilers:
        requests = [Request(shape=s, workloads=workloads) for s in shapes]
        profiler.measure(requests, remeasure=True, on_round=progress.on_round)
    progress.end()


def _worst_of(session: MeasuringSession, sources: Sequence[LatencySource]) -> LatencySource:
    """One source of latencies; of several devices the worst."""
    if len(sources) == 1:
        return sources[0]

    setup = session.setup
    known = [r.shape(setup.space).shape_id for r in setup.space.references]

    def baseline_ms(place: Place) -> float | None:
        """Time of the first reference that was measured there, else of the rounds' own."""
        ids = [*known, REFERENCE.shape_id]
        readings = Readings(session.store, place, setup.goals.scenario, ids)
        found = (readings.end_to_end_draws(i) for i in ids)
        return next((float(np.median(d)) for d in found if d is not None), None)

    baselines = [partial(baseline_ms, place) for place in session.view.places]
    return WorstDevice(sources, baselines, setup.goals.scenario)
