"""The ask/tell loop: a sampler asks for a point, the nearest feasible shape is measured."""

import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState, create_trial

from phonelm_search.core.errors import MeasurementError, StoreError, UnsupportedShapeError
from phonelm_search.core.judgement import rejection
from phonelm_search.core.latency import Latency
from phonelm_search.core.records import StudyShape
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.measure import Request
from phonelm_search.search.objectives import Goals
from phonelm_search.search.points import Points
from phonelm_search.search.samplers import distributions, grid_rows
from phonelm_search.space import Coordinates, FeasibleSet
from phonelm_search.store import Store, open_optuna_storage, optuna_calls

_REASON, _KIND, _SHAPE_ID = "reason", "kind", "shape_id"
_CUT_OFF = "the search was stopped before it was measured"
_MOST_REPEATS = 8


class Answer(Protocol):
    """What became of a request."""

    @property
    def latencies(self) -> Mapping[Workload, Latency]:
        """Of each workload; empty where the request failed."""
        ...

    @property
    def error(self) -> MeasurementError | UnsupportedShapeError | None:
        """Why it failed."""
        ...

    @property
    def unit_ms(self) -> float:
        """What its times are compared in with those of other shapes: see `Goals.values`."""
        ...


class LatencySource(Protocol):
    """Where latencies come from; `measure.Profiler` is one."""

    def measure(
        self, requests: Sequence[Request], *, on_round: Callable[[ModelShape], None]
    ) -> Sequence[Answer]:
        """Latencies of several shapes, an answer for each in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finished:
    """What became of a shape."""

    values: tuple[float, ...] | None
    reason: str | None
    transient: bool = False
    estimated: bool = False
    """Whether an earlier release has only estimated it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """What one trial gave, for showing progress."""

    number: int
    """Distinct shapes so far, this one included."""
    total: int
    """Distinct shapes that the study shall have."""
    shape: ModelShape
    """The decoded shape."""
    values: tuple[float, ...] | None
    """Values in the order of the objectives; None when it failed."""
    reason: str | None
    """Why it failed."""


_Asked = tuple[optuna.Trial, ModelShape]


class SearchDriver:
    """Runs the trials of one study, which no other process works on.

    Trials that a stopped process left are continued, so that a study has the same ones however
    often it was stopped: a batch is asked, written down, and only then measured.

    Args:
        store: The database; the Optuna study lives in it, too.
        study: Name of the study.
        feasible: The shapes.
        source: Where the latencies of sampled shapes come from.
        goals: Objectives and scenario.
        sampler: Name of the sampler.
        seed: Seed of the sampler.
        batch: Trials that are measured together.
        on_round: Called after each round of a shape.

    Raises:
        StoreError: If the database cannot be used.
    """

    def __init__(
        self,
        store: Store,
        study: str,
        feasible: FeasibleSet,
        source: LatencySource,
        goals: Goals,
        *,
        sampler: str = "tpe",
        seed: int = 0,
        batch: int = 4,
        on_round: Callable[[ModelShape], None] = lambda shape: None,
    ) -> None:
        self._on_round, self._batch = on_round, batch
        self._store, self._name, self._feasible = store, study, feasible
        self._source, self._goals, self._sampler = source, goals, sampler
        self._coordinates = Coordinates(feasible)
        self._distributions = distributions(self._coordinates)
        with optuna_calls("open"):
            self._points = Points(sampler, seed, goals.directions, self._distributions)
            self._storage = open_optuna_storage(store)
            self._study = optuna.create_study(
                study_name=study,
                storage=self._storage,
                sampler=optuna.samplers.RandomSampler(seed),  # `Points` asks in its place
                directions=goals.directions,
                load_if_exists=True,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(list(goals.objectives))
            self._close_abandoned()
            self._known = self._finished_before()

    def _finished_before(self) -> dict[str, _Finished]:
        """Shapes of earlier runs; what was cut off or may not fail again counts as left out."""
        known: dict[str, _Finished] = {}
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if "shape_id" not in trial.user_attrs:  # a dashboard or another program added it
                continue
            shape_id = str(trial.user_attrs["shape_id"])
            estimated = trial.user_attrs.get(_KIND) == "estimated"
            known[shape_id] = _Finished(
                values=tuple(trial.values), reason=None, estimated=estimated
            )
        for part in self._store.study_shapes(self._name):
            if part.role != "trial" or (part.reason is None and part.shape_id in known):
                continue
            cut_off = part.reason is None
            known[part.shape_id] = _Finished(
                values=None, reason=part.reason or _CUT_OFF, transient=cut_off or part.transient
            )
        return known

    def _close_abandoned(self) -> None:
        """Put what a stopped process left RUNNING into the queue; who has the study has its lock.

        Of earlier releases' trials, nobody knows whether their point is whole: they have failed.
        """
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _SHAPE_ID in trial.user_attrs:
                self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)

    @contextmanager
    def _closed_on_stop(self) -> Iterator[None]:
        """Leave no trial RUNNING, whatever ends the process."""
        try:
            yield
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # they may hold an open transaction
            with suppress(StoreError), optuna_calls("write"):  # else the next process does it
                self._close_abandoned()
            raise

    def finished(self) -> int:
        """Distinct shapes of the study, measured or not."""
        return len(self._known)

    def run(
        self,
        trials: int,
        on_trial: Callable[[TrialReport], None],
        go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """Run until the study has so many distinct shapes in all, or the space has no more.

        A shape that is asked again is told its known values and counts no further; a sampler that
        asks nothing new for a while is given a shape that it has not asked yet.

        Args:
            trials: Distinct shapes, those of earlier runs among them.
            on_trial: Told of each trial.
            go_on: Asked before each batch.

        Raises:
            StoreError: If the database cannot be written; what was finished is kept.
        """
        wanted = min(trials, len(self._feasible))
        while self.finished() < wanted and go_on():
            with self._closed_on_stop():
                self._finish(self._ask_batch(wanted), wanted, on_trial)

    def measure_whole(
        self, shape_ids: Collection[str], on_trial: Callable[[TrialReport], None]
    ) -> None:
        """Measure shapes of the space whole, as trials; those that were measured are left out.

        Raises:
            StoreError: If the database cannot be written; what was finished is kept.
        """
        for shape_id in shape_ids:
            if shape_id in self._known and self._known[shape_id].estimated:
                del self._known[shape_id]
        with self._closed_on_stop():
            asked = self._left_asked()
            left = {shape.shape_id for _, shape in asked}
            rows = self._feasible.rows_of(set(shape_ids) - self._known.keys() - left)
            asked += [self._write_trial(self._coordinates.point(row), row) for row in rows]
            self._finish(asked, len(self._known.keys() | left) + len(rows), on_trial)

    def _left_asked(self) -> list[_Asked]:
        """What a stopped process has asked for and not finished, in order."""
        with optuna_calls("write"):
            queued = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            trials = [self._study.ask(self._distributions) for _ in queued]
        asked = [(t, self._feasible.shape(self._coordinates.nearest(t.params))) for t in trials]
        for _, shape in asked:
            known = self._known.get(shape.shape_id)
            if known is not None and known.reason == _CUT_OFF:
                del self._known[shape.shape_id]
        return asked

    def _write_trial(
        self, point: Mapping[str, Any], row: int, kept: Mapping[str, Any] | None = None
    ) -> _Asked:
        """Write a trial down in one transaction, with its point and the shape nearest to that.

        Args:
            point: Values of the space's dimensions.
            row: The shape's.
            kept: What the sampler keeps with it.
        """
        shape = self._feasible.shape(row)
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(point),
            distributions=self._distributions,
            user_attrs=_attributes(shape),
            system_attrs=dict(kept or {}),
        )
        template.datetime_start = datetime.now()  # as Optuna writes it: local, without a zone
        study_id = self._storage.get_study_id_from_name(self._name)
        with optuna_calls("write"):
            trial_id = self._storage.create_new_trial(study_id, template)
            return optuna.Trial(self._study, trial_id), shape

    def left_out(self) -> int:
        """How many shapes have no latency for reasons that may pass, as a noisy moment."""
        return sum(f.transient for f in self._known.values())

    def retry(self, on_trial: Callable[[TrialReport], None]) -> None:
        """Measure once more what `left_out` counts.

        Raises:
            StoreError: If the database cannot be written; what was finished is kept.
        """
        again = {i for i, f in self._known.items() if f.transient}
        for shape_id in again:
            del self._known[shape_id]
        self.measure_whole(again, on_trial)

    def _finish(
        self,
        asked: Sequence[_Asked],
        wanted: int,
        on_trial: Callable[[TrialReport], None],
    ) -> None:
        """Find the latencies of what was asked and tell the study."""
        found = self._measure({shape.shape_id: shape for _, shape in asked})
        for trial, shape in asked:
            outcome = found[shape.shape_id]
            with optuna_calls("write"):
                self._record(trial, shape, outcome)
            on_trial(
                TrialReport(
                    number=self.finished(),
                    total=wanted,
                    shape=shape,
                    values=outcome.values,
                    reason=outcome.reason,
                )
            )

    def _ask_batch(self, wanted: int) -> list[_Asked]:
        """Ask until the batch holds enough new shapes, or all that are wanted."""
        asked: list[_Asked] = []
        fresh: set[str] = set()
        repeats = 0

        def add(one: _Asked) -> None:
            nonlocal repeats
            shape_id = one[1].shape_id
            repeats = repeats + 1 if shape_id in fresh | self._known.keys() else 0
            if not repeats:
                fresh.add(shape_id)
            asked.append(one)

        for one in self._left_asked():
            add(one)
        with optuna_calls("read"):
            before = self._study.get_trials(deepcopy=False)
            self._points.begin(before)
        number = len(before)
        while len(fresh) < min(self._batch, wanted - self.finished()):
            if self._sampler == "grid" or repeats >= _MOST_REPEATS:
                row = self._unseen_row(wanted, fresh, number)
                add(self._write_trial(self._coordinates.point(row), row))
                self._points.add(self._storage.get_trial(asked[-1][0]._trial_id))
            else:
                with optuna_calls("ask for"):
                    point, kept = self._points.next(number)
                add(self._write_trial(point, self._coordinates.nearest(point), kept))
            number += 1
        return asked

    def _unseen_row(self, wanted: int, fresh: set[str], number: int) -> int:
        """A row of the space that was not asked yet: the grid's next, else one by the seed.

        Args:
            wanted: Distinct shapes that the study shall have.
            fresh: Shapes of the batch.
            number: Of the trial.
        """
        seen = fresh | self._known.keys()
        if self._sampler == "grid":
            for row in grid_rows(len(self._feasible), wanted):
                if self._feasible.shape(row).shape_id not in seen:
                    return row
        rows = self._points.random(number).permutation(len(self._feasible))
        return next(int(r) for r in rows if self._feasible.shape(int(r)).shape_id not in seen)

    def _measure(self, shapes: Mapping[str, ModelShape]) -> dict[str, _Finished]:
        """Values of shapes, or why there are none."""
        found = {i: self._known[i] for i in shapes if i in self._known}
        fresh = [s for i, s in shapes.items() if i not in found]
        # Before their rounds, so that the study has them, all or none, whatever happens.
        parts = [(s, StudyShape(shape_id=s.shape_id, role="trial")) for s in fresh]
        self._store.set_study_shapes(self._name, parts)
        requests = [Request(shape=s, workloads=self._goals.workloads) for s in fresh]
        answers = self._source.measure(requests, on_round=self._on_round)
        for shape, answer in zip(fresh, answers, strict=True):
            found[shape.shape_id] = self._judge(shape, answer)
        return found

    def _judge(self, shape: ModelShape, answer: Answer) -> _Finished:
        error = answer.error or rejection(answer.latencies.values())
        if error is not None:
            transient = isinstance(error, MeasurementError) and error.transient
            return _Finished(values=None, reason=str(error), transient=transient)
        values = tuple(self._goals.values(shape, answer.latencies, unit_ms=answer.unit_ms))
        return _Finished(values=values, reason=None)

    def _record(self, trial: optuna.Trial, shape: ModelShape, found: _Finished) -> None:
        if _SHAPE_ID not in trial.user_attrs:  # a point that came from a queue
            for name, value in _attributes(shape).items():
                trial.set_user_attr(name, value)
        if found.values is not None:
            trial.set_user_attr(_KIND, "measured")
        if found.reason is not None:
            trial.set_user_attr(_REASON, found.reason)
            part = StudyShape(
                shape_id=shape.shape_id,
                role="trial",
                reason=found.reason,
                transient=found.transient,
            )
            self._store.set_study_shape(self._name, shape, part)
        self._known[shape.shape_id] = found
        if found.values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(found.values))


def _attributes(shape: ModelShape) -> dict[str, str | int]:
    """What a trial keeps of its shape."""
    return {**shape.columns(), "vocab_size": shape.vocab_size}
