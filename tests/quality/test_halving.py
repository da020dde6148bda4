"""Successive halving: bins, survivors, and the Optuna study that keeps them."""

import logging
from pathlib import Path

import numpy as np
import optuna
from hypothesis import given
from hypothesis import strategies as st

from helpers import small_shape
from phonelm_search.quality.halving import Halving, depth_bins, plan_rungs, survivors
from phonelm_search.store import Store, open_optuna_storage
from phonelm_search.train import Candidate, TrainingSettings

PLAN = TrainingSettings(corpus="x", vocab_size=512, tokens=200_000, budget=None, width_factor=1.0)


def candidates(count: int) -> list[Candidate]:
    shapes = [small_shape(num_hidden_layers=i + 1) for i in range(count)]
    return [Candidate(shape=s, trained=s, notes=()) for s in shapes]


def halve(halving: Halving, values: dict[str, float], finalists: int) -> list[set[str]]:
    """Who was stopped at each rung when these values are reported at all of them."""
    stopped = []
    for rung in plan_rungs(PLAN, candidates=len(values), finalists=finalists):
        for shape_id in halving.running():
            if halving.value(shape_id, rung) is None:
                halving.report(shape_id, rung, values[shape_id])
        weak = halving.weak(rung)
        for shape_id in weak:
            halving.stop(shape_id)
        stopped.append(set(weak))
    return stopped


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 8))
def test_bins_are_of_equal_count_and_ordered_by_depth(depths: list[int], finalists: int) -> None:
    bins = depth_bins(depths, finalists)
    counts = np.bincount(bins)
    assert counts.max() - counts.min() <= 1
    assert len(counts) == 1 or counts.min() >= 4
    assert len(counts) <= max(1, finalists // 2)
    for low in range(len(counts) - 1):
        inside = [d for d, b in zip(depths, bins, strict=True) if b == low]
        above = [d for d, b in zip(depths, bins, strict=True) if b == low + 1]
        assert max(inside) <= min(above)


@given(st.dictionaries(st.text(min_size=1), st.floats(1, 5), min_size=1), st.integers(1, 6))
def test_the_better_half_goes_on_and_never_fewer_than_the_finalists(
    values: dict[str, float], finalists: int
) -> None:
    kept = survivors(values, finalists, last=False)
    assert len(kept) == min(len(values), max(finalists, (len(values) + 1) // 2))
    ends = survivors(values, finalists, last=True)
    assert len(ends) == min(len(values), finalists)
    assert ends <= kept
    gone = values.keys() - kept
    assert not gone or max(values[k] for k in kept) <= min(values[g] for g in gone)


def test_all_train_to_the_end_where_all_can_be_finalists() -> None:
    assert plan_rungs(PLAN, candidates=4, finalists=4) == []
    rungs = plan_rungs(PLAN, candidates=5, finalists=4)
    assert [r.step for r in rungs] == [17, 34]
    assert PLAN.trunk_steps == 69
    assert [r.tokens for r in rungs] == [17 * 2048, 34 * 2048]


def test_shallow_shapes_don_t_win_by_learning_fast(tmp_path: Path) -> None:
    found = candidates(16)
    # The deeper, the worse at this horizon: without bins only shallow shapes would be left.
    values = {c.shape.shape_id: 2 + c.shape.num_hidden_layers / 10 for c in found}
    halving = Halving(Store(tmp_path), "s", PLAN, found, seed=0, finalists=4)
    halve(halving, values, 4)
    left = halving.running()
    depths = sorted(c.shape.num_hidden_layers for c in found if c.shape.shape_id in left)
    assert depths == [1, 2, 9, 10]


def test_a_halving_goes_on_where_it_was(tmp_path: Path) -> None:
    found = candidates(9)
    values = {c.shape.shape_id: 3 - c.shape.num_hidden_layers / 10 for c in found}
    store = Store(tmp_path)
    first = Halving(store, "s", PLAN, found, seed=0, finalists=4)
    rung, _ = plan_rungs(PLAN, candidates=9, finalists=4)
    for shape_id in sorted(values)[:5]:
        first.report(shape_id, rung, values[shape_id])
    again = Halving(store, "s", PLAN, found, seed=0, finalists=4)
    assert {i for i in values if again.value(i, rung) is not None} == set(sorted(values)[:5])
    stopped = halve(again, values, 4)
    assert [len(s) for s in stopped] == [4, 1]
    assert Halving(store, "s", PLAN, found, seed=0, finalists=4).running() == again.running()
    for shape_id in again.running():
        again.finish(shape_id, values[shape_id])
    (name,) = optuna.get_all_study_names(open_optuna_storage(store))
    trials = optuna.load_study(study_name=name, storage=open_optuna_storage(store)).trials
    states = [t.state.name for t in trials]
    assert (states.count("PRUNED"), states.count("COMPLETE")) == (5, 4)
    assert {t.params["num_hidden_layers"] for t in trials} == set(range(1, 10))
    anew = Halving(store, "s", PLAN, found, seed=0, finalists=4, anew=True)
    assert len(anew.running()) == 9


def test_who_was_stopped_is_told_why(tmp_path: Path) -> None:
    found = candidates(9)
    halving = Halving(Store(tmp_path), "s", PLAN, found, seed=0, finalists=4)
    rung, _ = plan_rungs(PLAN, candidates=9, finalists=4)
    for c in found:
        halving.report(c.shape.shape_id, rung, 3.0 + c.shape.num_hidden_layers / 100)
    why = halving.weak(rung)[found[8].shape.shape_id]
    assert why == (
        "stopped by halving after 34816 tokens at 3.090 bits per byte (undecayed), behind 2 of 4 "
        "candidates of 6 to 9 layers"
    )


def test_a_failed_candidate_leaves_the_others_alone(tmp_path: Path) -> None:
    found = candidates(8)
    halving = Halving(Store(tmp_path), "s", PLAN, found, seed=0, finalists=4)
    rung, _ = plan_rungs(PLAN, candidates=8, finalists=4)
    halving.finish(found[0].shape.shape_id, None)
    for c in found[1:]:
        halving.report(c.shape.shape_id, rung, float(c.shape.num_hidden_layers))
    assert found[0].shape.shape_id not in halving.running()
    # Of the three that are left in the first bin of four two go on.
    weak = halving.weak(rung)
    depths = sorted(c.shape.num_hidden_layers for c in found if c.shape.shape_id in weak)
    assert depths == [4, 7, 8]


def test_as_many_finalists_are_left_as_were_asked_for(tmp_path: Path) -> None:
    found = candidates(16)
    values = {c.shape.shape_id: c.shape.num_hidden_layers / 10 for c in found}
    halving = Halving(Store(tmp_path), "s", PLAN, found, seed=0, finalists=2)
    assert [len(s) for s in halve(halving, values, 2)] == [8, 6]
    assert len(halving.running()) == 2


def test_a_later_rung_that_is_half_reported_decides_nothing(tmp_path: Path) -> None:
    found = candidates(16)
    values = {c.shape.shape_id: c.shape.num_hidden_layers / 10 for c in found}
    store = Store(tmp_path)
    first = Halving(store, "s", PLAN, found, seed=0, finalists=2)
    for shape_id in first.running():
        first.report(shape_id, first.rungs[0], values[shape_id])
    for shape_id in first.weak(first.rungs[0]):
        first.stop(shape_id)
    # At the next rung the order turns; three of eight have reported when it is killed.
    left = sorted(first.running(), key=lambda i: values[i])
    for shape_id in left[:3]:
        first.report(shape_id, first.rungs[1], 10 - values[shape_id])
    again = Halving(store, "s", PLAN, found, seed=0, finalists=2)
    assert again.weak(again.rungs[0]) == {}
    for shape_id in left[3:]:
        again.report(shape_id, again.rungs[1], 10 - values[shape_id])
    assert set(again.weak(again.rungs[1])) == set(left[:6])


def test_another_seed_is_another_halving(tmp_path: Path) -> None:
    found = candidates(9)
    store = Store(tmp_path)
    first = Halving(store, "s", PLAN, found, seed=0, finalists=4)
    first.report(found[0].shape.shape_id, first.rungs[0], 2.0)
    other = Halving(store, "s", PLAN, found, seed=1, finalists=4)
    assert other.value(found[0].shape.shape_id, other.rungs[0]) is None


def test_what_optuna_logs_stays_the_host_programs_choice(
    tmp_path: Path, optuna_records: list[logging.LogRecord]
) -> None:
    people = candidates(8)
    halving = Halving(Store(tmp_path), "st", PLAN, people, seed=0, finalists=2)
    halve(halving, {c.shape.shape_id: 1.0 + i for i, c in enumerate(people)}, 2)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert optuna_records == []
