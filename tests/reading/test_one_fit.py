"""Milliseconds and shares of one table come from one fit."""

import csv
from pathlib import Path

import numpy as np
import pytest

from helpers import SCENARIO, measurement, small_shape, study
from phonelm_search.core.workload import Workload
from phonelm_search.measure import REFERENCE
from phonelm_search.outputs import study_rows
from phonelm_search.outputs.export import write_tables
from phonelm_search.reading import StudyView, load_view

SHAPES = [small_shape(num_hidden_layers=n + 1, intermediate_size=160 + n) for n in range(14)]


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> StudyView:
    """Shapes a few per cent apart, each of whose last rounds err by a tenth on their own."""
    times = [10.0 + 0.3 * n for n in range(len(SHAPES))]
    store, first = study(
        tmp_path_factory.mktemp("noisy"), [(ms, None) for ms in times], shapes=SHAPES
    )
    device, random = first.device, np.random.default_rng(0)
    for number in range(3, 6):
        for place, (shape, ms) in enumerate(zip((REFERENCE, *SHAPES), (10.0, *times), strict=True)):
            error = 1.0 if shape == REFERENCE else np.exp(0.1 * random.standard_normal())

            def ns(workload: Workload, ms: float = ms, error: float = error) -> int:
                step = (ms - 1) / (SCENARIO.generated_tokens - 1)
                return round(1e6 * error * (1.0 if workload.phase == "prefill" else step))

            rounds = [
                measurement(
                    [ns(w)] * 9, round=number, place=(place + number) % 15, workload=w,
                    shape_id=shape.shape_id, device=device.name, environment={"soc": "x"},
                    cache_mode=device.cache_mode(w),
                )
                for w in SCENARIO.workloads
            ]  # fmt: skip
            store.add_measurements(shape, rounds)
    return load_view(store, "study")


def test_shares_and_milliseconds_have_one_order(view: StudyView) -> None:
    rows = view.rows
    own = [view.readings[0].own_time(r.shape.shape_id) for r in rows]
    alone = [t.end_to_end.ms for t in own if t is not None]
    assert np.argsort(alone).tolist() != list(range(len(rows)))  # by own rounds it is another one
    milliseconds = [r.end_to_end_ms for r in rows]
    assert milliseconds == sorted(milliseconds)
    assert [r.latency.value for r in rows] == sorted(r.latency.value for r in rows)
    shares = np.array([r.latency.value for r in rows])
    assert np.array(milliseconds) / shares == pytest.approx(np.full(len(rows), view.unit_ms))
    # The baseline is the reference shape, of 10 ms.
    assert view.unit_ms == pytest.approx(10, rel=0.05)


def test_every_table_tells_the_same(view: StudyView, tmp_path: Path) -> None:
    write_tables(view, tmp_path / "tables")
    with (tmp_path / "tables/trials.csv").open(newline="") as file:
        stored = [
            (float(r["latency_ms"]), float(r["relative_latency"])) for r in csv.DictReader(file)
        ]
    assert stored == [(r["latency_ms"], r["relative_latency"]) for r in study_rows(view)]
    steps = SCENARIO.generated_tokens - 1
    for row in study_rows(view):
        assert row["latency_ms"] == pytest.approx(row["relative_latency"] * view.unit_ms)
        assert row["latency_ms"] == pytest.approx(row["prefill_ms"] + steps * row["decode_ms"])
        assert row["ci_low_ms"] < row["latency_ms"] < row["ci_high_ms"]
        assert row["tokens_per_s"] == pytest.approx(1000 / row["decode_ms"])
