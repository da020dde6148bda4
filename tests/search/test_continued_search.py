"""A search goes on where it was: failures, noise, cut-offs, leftovers of killed processes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from formula import FEASIBLE, Formula, driver, goals, ignore, summary
from helpers import SCENARIO, trials_of
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.search import TrialReport
from phonelm_search.store import Store
from phonelm_search.store.engine import for_writing


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
    refused = again._measure({bad.shape_id: bad})[bad.shape_id]
    assert refused.values is None
    assert refused.reason == "the kernels refuse it (stage: load)"
    assert len(source.asked) == asked


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


def test_shapes_that_an_earlier_release_estimated_are_measured_where_that_is_wanted(
    tmp_path: Path,
) -> None:
    first = driver(tmp_path, Formula())
    reports: list[TrialReport] = []
    first.run(4, reports.append)
    chosen = reports[0].shape
    trial = first._study.ask(first._distributions)
    trial.set_user_attr("shape_id", chosen.shape_id)
    trial.set_user_attr("kind", "estimated")
    first._study.tell(trial, [0.5, float(chosen.decoder_parameters)])
    source = Formula()
    again = driver(tmp_path, source)  # as another process would go on
    again.measure_whole([chosen.shape_id], reports.append)
    again.measure_whole([chosen.shape_id], reports.append)
    assert source.asked == [chosen]
    assert again.finished() == 4
    last = trials_of(Store(tmp_path), "st")[-1]
    assert (last.user_attrs["kind"], last.user_attrs["shape_id"]) == ("measured", chosen.shape_id)
    assert last.values == goals().values(chosen, source.latencies(chosen, SCENARIO.workloads))


def test_a_search_goes_on_no_longer_than_it_is_told(tmp_path: Path) -> None:
    asked: list[int] = []
    search = driver(tmp_path, Formula())

    def go_on() -> bool:
        asked.append(search.finished())
        return len(asked) < 3

    search.run(40, ignore, go_on)
    assert asked == [0, 4, 8]  # batches of four
    assert search.finished() == 8


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


def test_a_point_left_in_the_queue_is_told_its_own_values(tmp_path: Path) -> None:
    search = driver(tmp_path, Formula())
    search.run(4, ignore)
    left, wanted = (FEASIBLE.shape(row) for row in (100, 2000))
    search._study.enqueue_trial(search._coordinates.point(100))  # and then the process was killed
    source = Formula()
    again = driver(tmp_path, source)
    again.measure_whole([wanted.shape_id], ignore)
    assert source.asked == [left, wanted]
    for trial in trials_of(Store(tmp_path), "st")[4:]:
        shape = next(s for s in (left, wanted) if s.shape_id == trial.user_attrs["shape_id"])
        assert trial.values == goals().values(shape, Formula().latencies(shape, SCENARIO.workloads))


class Killed(BaseException):
    """Nothing is told any more, as after SIGKILL."""


@pytest.mark.usefixtures("trials_in_memory")
@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "grid"])
def test_however_often_it_is_killed_the_same_seed_asks_for_the_same_shapes(
    tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Formula()
    driver(tmp_path / "whole", whole, sampler=sampler, seed=3).run(26, ignore)
    draw, source, restarts = np.random.default_rng(1), Formula(), 0

    def run() -> bool:
        """Whether it came to its end before it was killed."""
        left = int(draw.integers(1, 25))

        def go_on(*_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        search = driver(tmp_path / "killed", source, sampler=sampler, seed=3)
        create, latencies = search._storage.create_new_trial, source.latencies
        with monkeypatch.context() as patch:
            patch.setattr(search, "_close_abandoned", lambda: None)
            patch.setattr(search._storage, "create_new_trial", lambda *a: (go_on(), create(*a))[1])
            patch.setattr(source, "latencies", lambda *a: (go_on(), latencies(*a))[1])
            try:
                if search.left_out():
                    search.retry(ignore)
                search.run(26, ignore)
            except Killed:
                return False
        return True

    while not run():
        restarts += 1
    assert restarts > 2
    assert {s.shape_id for s in source.asked} == {s.shape_id for s in whole.asked}
    told = [trials_of(Store(tmp_path / name), "st") for name in ("whole", "killed")]
    assert [t.params for t in told[1]] == [t.params for t in told[0]]
    assert [t.values for t in told[1]] == [t.values for t in told[0]]
    assert {t.state for t in told[1]} == {TrialState.COMPLETE}  # no abandoned one piles up


def test_a_stopped_search_leaves_no_trial_open(tmp_path: Path) -> None:
    class Stopped(Formula):
        def latencies(self, shape: ModelShape, workloads: Sequence[Workload]) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver(tmp_path, Stopped()).run(4, ignore)
    states = [t.state for t in trials_of(Store(tmp_path), "st")]
    assert states == [TrialState.WAITING] * 4


def test_a_stop_amid_a_transaction_leaves_no_trial_open(tmp_path: Path) -> None:
    class Stopped(Formula):
        def latencies(self, shape: ModelShape, workloads: Sequence[Workload]) -> Any:
            connection = for_writing(Store(tmp_path).engine).connect()
            connection.begin()
            connection.exec_driver_sql("DELETE FROM phonelm_scores")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver(tmp_path, Stopped()).run(4, ignore)
    states = [t.state for t in trials_of(Store(tmp_path), "st")]
    assert states == [TrialState.WAITING] * 4
