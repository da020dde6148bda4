"""The ask/tell loop: a sampler asks for a point, the nearest feasible shape is measured."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from phonelm_search.errors import StoreError
from phonelm_search.measure import Outcome, Request
from phonelm_search.records import StudyShape
from phonelm_search.search.objectives import Goals
from phonelm_search.search.samplers import distributions, grid_points, make_sampler
from phonelm_search.shape import ModelShape
from phonelm_search.space import Coordinates, FeasibleSet
from phonelm_search.store import Store

_REASON = "reason"
_BATCH = 4  # trials whose rounds are made in turn, so that each is spread over time


class LatencySource(Protocol):
    """Where latencies come from; `measure.Profiler` is one."""

    def measure(
        self, requests: Sequence[Request], *, on_round: Callable[[ModelShape], None]
    ) -> list[Outcome]:
        """Latencies of several shapes, an outcome for each in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """What one trial gave, for showing progress."""

    number: int
    """Finished trials so far, this one included."""
    total: int
    """Trials that the study shall have."""
    shape: ModelShape
    """The decoded shape."""
    values: tuple[float, ...] | None
    """Values in the order of the objectives; None when it failed."""
    reason: str | None
    """Why it failed."""


class SearchDriver:
    """Runs the trials of one study.

    Args:
        store: The database; the Optuna study lives in it, too.
        study: Name of the study.
        feasible: The shapes.
        source: Where latencies come from.
        goals: Objectives and scenario.
        sampler: Name of the sampler.
        seed: Seed of the sampler.
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
        on_round: Callable[[ModelShape], None] = lambda shape: None,
    ) -> None:
        self._on_round = on_round
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._store, self._name, self._feasible = store, study, feasible
        self._source, self._goals, self._sampler = source, goals, sampler
        self._refused = {
            p.shape_id: p.reason
            for p in store.study_shapes(study)
            if p.role == "trial" and p.reason is not None
        }
        self._coordinates = Coordinates(feasible)
        self._distributions = distributions(self._coordinates)
        with _foreign("open"):
            storage = open_optuna_storage(store)
            self._study = optuna.create_study(
                study_name=study,
                storage=storage,
                directions=goals.directions,
                load_if_exists=True,
            )
            # A resumed study must not draw its first points once more.
            self._study.sampler = make_sampler(sampler, seed + len(self._study.trials))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(list(goals.objectives))
            self._fail_abandoned()

    def _fail_abandoned(self) -> None:
        """A trial left RUNNING belongs to a process that was killed."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)

    def finished(self) -> int:
        """Trials that count: measured, or failed for a reason of their own."""
        trials = self._study.get_trials(deepcopy=False)
        return sum(t.state == TrialState.COMPLETE or _REASON in t.user_attrs for t in trials)

    def run(self, trials: int, on_trial: Callable[[TrialReport], None]) -> None:
        """Run until the study has so many finished trials in all.

        Raises:
            StoreError: If the database cannot be written; what was finished is kept.
        """
        done = self.finished()
        if self._sampler == "grid" and done < trials:
            with _foreign("write"):
                points = grid_points(self._coordinates, len(self._feasible), trials)
                for point in points:
                    self._study.enqueue_trial(point, skip_if_exists=True)
        while done < trials:
            asked: list[tuple[optuna.Trial, ModelShape]] = []
            with _foreign("write"):
                for _ in range(min(_BATCH, trials - done)):
                    trial = self._study.ask(self._distributions)
                    row = self._coordinates.nearest(trial.params)
                    asked.append((trial, self._feasible.shape(row)))
            found = self._measure({shape.shape_id: shape for _, shape in asked})
            for trial, shape in asked:
                values, reason = found[shape.shape_id]
                with _foreign("write"):
                    self._record(trial, shape, values, reason)
                done += 1
                on_trial(
                    TrialReport(
                        number=done,
                        total=trials,
                        shape=shape,
                        values=None if values is None else tuple(values),
                        reason=reason,
                    )
                )

    def _measure(
        self, shapes: Mapping[str, ModelShape]
    ) -> dict[str, tuple[list[float] | None, str | None]]:
        """Values of shapes, or why there are none."""
        found: dict[str, tuple[list[float] | None, str | None]] = {
            i: (None, self._refused[i]) for i in shapes if i in self._refused
        }
        fresh = [s for i, s in shapes.items() if i not in found]
        requests = [Request(shape=s, workloads=self._goals.workloads) for s in fresh]
        outcomes = self._source.measure(requests, on_round=self._on_round)
        for shape, outcome in zip(fresh, outcomes, strict=True):
            found[shape.shape_id] = self._judge(shape, outcome)
        return found

    def _judge(self, shape: ModelShape, outcome: Outcome) -> tuple[list[float] | None, str | None]:
        if outcome.error is not None:
            return None, str(outcome.error)
        rejected = [s for s in outcome.latencies.values() if s.verdict == "rejected"]
        if rejected:
            return None, f"rejected: {'; '.join(rejected[0].reasons)}"
        return self._goals.values(shape, outcome.latencies), None

    def _record(
        self,
        trial: optuna.Trial,
        shape: ModelShape,
        values: list[float] | None,
        reason: str | None,
    ) -> None:
        for name, value in {**shape.columns(), "vocab_size": shape.vocab_size}.items():
            trial.set_user_attr(name, value)
        if reason is not None:
            self._refused[shape.shape_id] = reason
            trial.set_user_attr(_REASON, reason)
        part = StudyShape(shape_id=shape.shape_id, role="trial", reason=reason)
        self._store.set_study_shape(self._name, shape, part)
        if values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, values)


class _foreign:  # noqa: N801 - reads as a statement
    """Turns Optuna's and the database's failures into ours, with the action named."""

    def __init__(self, action: str) -> None:
        self._action = action

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SQLAlchemyError | optuna.exceptions.OptunaError):
            cause = error.__cause__ or error
            first = str(getattr(cause, "orig", None) or cause).splitlines()[0]
            raise StoreError(
                f"cannot {self._action} the study's trials: {first}; what was finished before is "
                "kept, run again to continue"
            ) from error


def open_optuna_storage(store: Store) -> optuna.storages.RDBStorage:
    """Optuna's own tables in the same database."""
    return optuna.storages.RDBStorage(store.url, engine_kwargs={"connect_args": store.connect_args})


def trials_of(store: Store, study: str) -> list[FrozenTrial]:
    """All trials of a study, in order; empty before the first search.

    Raises:
        StoreError: If the database cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _foreign("read"):
        storage = open_optuna_storage(store)
        names = {s.study_name for s in storage.get_all_studies()}
        if study not in names:
            return []
        return optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)
