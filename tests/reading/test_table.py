"""A later reading of a study takes what was kept, and makes the rows that are looked at."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import measurement, small_shape, study
from phonelm_search.core.pareto import membership_probability
from phonelm_search.measure import REFERENCE
from phonelm_search.outputs import study_rows
from phonelm_search.reading import StudyView, load_view, shares
from phonelm_search.reading.chances import front_chances
from phonelm_search.reading.table import Table
from phonelm_search.store import Store

SHAPES = [small_shape(num_hidden_layers=n + 1, intermediate_size=160 + n) for n in range(14)]
TIMES = [10.0 + 0.3 * n + 5 * (n % 2) for n in range(len(SHAPES))]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return study(tmp_path, [(ms, None) for ms in TIMES], shapes=SHAPES)[0]


def looked_at(view: StudyView) -> int:
    return len(view.table._columns.made)


def test_rows_are_made_when_they_are_looked_at(store: Store) -> None:
    view = load_view(store, "study")
    assert len(view.rows) == len(view.sampled) == len(SHAPES)
    assert looked_at(view) == 0
    front = view.front
    assert 0 < looked_at(view) == len(front) < len(SHAPES)
    assert front[0] is view.rows[0] is view.sampled[0]  # each is one object
    assert view.table.ids == [r.shape.shape_id for r in view.rows]
    assert [tuple(e) for e in view.table.loss] == [r.loss for r in view.rows]
    np.testing.assert_array_equal(view.table.draws(), [r.draws for r in view.rows])
    np.testing.assert_array_equal(view.table.loss_draws(), [r.loss_draws for r in view.rows])


def test_a_later_reading_says_the_same_from_what_was_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.dumps(study_rows(load_view(store, "study")))
    monkeypatch.setattr(shares, "middles_and_ends", None)
    monkeypatch.setattr("phonelm_search.reading.pooled.middles_and_ends", None)
    monkeypatch.setattr("phonelm_search.reading.view.front_chances", None)
    assert json.dumps(study_rows(load_view(store, "study"))) == first


def test_what_was_kept_is_not_taken_after_a_new_round(store: Store) -> None:
    before = load_view(store, "study")
    _ = before.front_probabilities
    shape = SHAPES[3]
    for number in (3, 4):
        for place, (of, ms) in enumerate(((REFERENCE, 10.0), (shape, 2 * TIMES[3]))):
            rounds = [
                measurement(
                    [round(1e6 * ms / 8)] * 9, round=number, place=(place + number) % 2,
                    workload=w, shape_id=of.shape_id, device="fake-phone",
                    cache_mode=before.device.cache_mode(w),
                )
                for w in before.scenario.workloads
            ]  # fmt: skip
            store.add_measurements(of, rounds)
    after = load_view(store, "study")
    assert after.table.digest != before.table.digest
    assert not np.array_equal(after.table.latency, before.table.latency)
    told = json.dumps(study_rows(after))
    shutil.rmtree(store.results / "cache")
    assert json.dumps(study_rows(load_view(store, "study"))) == told


def test_rows_that_were_changed_have_chances_of_their_own(store: Store) -> None:
    view = load_view(store, "study")
    best = view.rows[-1]  # the slowest, which a better one dominates
    assert view.front_probabilities[best.shape.shape_id] < 1
    better = replace(best, draw_loss=lambda: 0.1 * best.loss_draws)
    other = replace(view, rows=(*view.rows[:-1], better))
    assert other.table.digest is None
    assert other.front_probabilities[best.shape.shape_id] == 1.0


def test_chances_are_those_of_all_shapes_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phonelm_search.reading.chances._CHUNK", 7)
    random = np.random.default_rng(0)
    common = np.exp(0.3 * random.standard_normal(200))
    times = random.uniform(1, 3, (60, 1)) * common * np.exp(0.02 * random.normal(size=(60, 200)))
    losses = random.uniform(1, 2, (60, 1)) * np.exp(0.01 * random.normal(size=(60, 200)))
    found = front_chances(lambda rows: times[rows], lambda rows: losses[rows], 60)
    expected = membership_probability(times.T, losses.T)
    np.testing.assert_array_equal(found, expected)
    assert 0 < np.count_nonzero(expected) < 60
    fixed = front_chances(lambda rows: times[rows], lambda rows: losses[rows, 0], 60)
    np.testing.assert_array_equal(fixed, membership_probability(times.T, losses[:, 0]))


def test_a_part_of_a_table_keeps_its_order(store: Store) -> None:
    view = load_view(store, "study")
    rows = Table.of(view.rows)
    assert [r.shape for r in rows[2:5]] == rows.shapes[2:5]
    assert [r.shape for r in rows.at([4, 1])] == [rows.shapes[4], rows.shapes[1]]
    near = rows.near(rows[3].latency)
    assert rows[3] in list(near)
    assert all(r.latency.low <= rows[3].latency.high for r in near)
    assert view.rows[0] not in list(rows.only([i > 0 for i in range(len(rows))]))
