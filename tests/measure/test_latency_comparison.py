"""Rounds beside each other, by the process that they share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import SCENARIO, fake_profiler, latencies, small_shape
from phonelm_search.core.round_median import RoundMedian
from phonelm_search.measure import (
    REFERENCE,
    LatencyComparison,
    RoundColumns,
    cached_doubles,
    cached_singles,
    smallest_difference,
)
from phonelm_search.store import Store


def a_round(shape_id: str, ms: float, process: int, place: int, **changes: Any) -> RoundMedian:
    base = RoundMedian(
        shape_id=shape_id, twin=False, paired_ns=1e6 * ms, process=f"p{process}", place=place,
        serial=None, created_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return base._replace(**changes)


def rounds() -> list[RoundMedian]:
    """Shape b takes twice as long as a; every process is another 30 % slower.

    Sessions are made in turn: of one that is always made first nobody knows whether it is that.
    """
    return [
        a_round(shape_id, ms * 1.3**number, number, place)
        for number in range(4)
        for place, (shape_id, ms) in enumerate((("a", 1.0), ("b", 2.0))[:: (-1) ** number])
    ]


def test_a_ratio_knows_nothing_of_how_slow_a_process_was() -> None:
    found = LatencyComparison(RoundColumns.of(rounds()))
    assert len(found.rounds.processes) == 4
    ratio = found.ratio("b", "a")
    assert ratio.low < 2 < ratio.high
    assert ratio.high - ratio.low < 0.6
    usual = found.usual_ms("a")
    assert usual.low < 1.3**1.5 < usual.high
    assert "a" in found
    assert "c" not in found


def test_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        RoundColumns.of([])


def test_a_twin_is_another_model_of_the_same_shape() -> None:
    twins = [a_round("a", 1.05 * 1.3**number, number, 2, twin=True) for number in range(4)]
    found = LatencyComparison(RoundColumns.of([*rounds(), *twins]))
    assert (found.shape_ids, found.twins) == (("a", "b"), ("a",))
    ratio = found.twin_ratio("a")
    assert ratio.low < 1.05 < ratio.high
    with pytest.raises(KeyError):
        found.twin_ratio("b")


def test_phones_of_a_kind_need_not_be_equally_fast() -> None:
    """A shape each on a phone of its own, one of them half as fast, and the reference on both."""
    made = []
    for number in range(6):
        shape_id, ms, serial, factor = (("a", 1.0, "A", 1.0), ("b", 3.0, "B", 2.0))[number % 2]
        wander = 1.03 ** (number // 2)
        made += [
            a_round(shape_id, ms * factor * wander, number, number // 2 % 2, serial=serial),
            a_round("r", 5 * factor * wander, number, 1 - number // 2 % 2, serial=serial),
        ]
    ratio = LatencyComparison(RoundColumns.of(made)).ratio("b", "a")
    assert ratio.low < 3 < ratio.high
    assert ratio.high - ratio.low < 0.6


def test_draws_are_kept_and_taken_for_the_same_rounds_alone(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "draws.npz"
    first = LatencyComparison(RoundColumns.of(rounds()), file=file)
    np.testing.assert_allclose(
        LatencyComparison(RoundColumns.of(rounds()), file=file).log_ms("b"),
        first.log_ms("b"),
        atol=1e-6,
    )
    more = [*rounds(), a_round("a", 9.0, 4, 0), a_round("b", 18.0, 4, 1)]
    assert len(LatencyComparison(RoundColumns.of(more), file=file).effects.processes[0]) == 5
    file.write_bytes(file.read_bytes()[:1000])  # a disk that was full
    np.testing.assert_array_equal(
        LatencyComparison(RoundColumns.of(rounds()), file=file).log_ms("b"), first.log_ms("b")
    )


def test_the_smallest_difference_is_told_in_80_per_cent() -> None:
    random = np.random.default_rng(0)
    deviation = 0.01
    draws = deviation * random.standard_normal((4000, 6)) / np.sqrt(2)
    found = smallest_difference(draws + 0.3 * random.standard_normal((4000, 1)))
    assert found == pytest.approx(np.expm1(2.8016 * deviation), rel=0.05)
    told = np.abs(random.normal(np.log1p(found), deviation, 20_000)) > 1.96 * deviation
    assert told.mean() == pytest.approx(0.8, abs=0.02)
    assert smallest_difference(draws[:, :1]) is None


def test_measurements_keep_their_process_and_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shape = small_shape()
    latencies(fake_profiler(store), shape, SCENARIO.workloads)
    companions: dict[str | None, set[tuple[int | None, str]]] = {}
    for m in store.measurements():
        if not m.is_control:
            companions.setdefault(m.process, set()).add((m.place, m.shape_id))
    assert len(companions) == 3
    for found in companions.values():
        assert {place for place, _ in found} == {0, 1}
        assert {shape_id for _, shape_id in found} == {shape.shape_id, REFERENCE.shape_id}


def test_what_draws_come_to_is_kept_to_the_last_digit(tmp_path: Path) -> None:
    file = tmp_path / "ends.npz"
    ends = np.random.default_rng(0).random((5, 3))
    cached_doubles(file, "a", lambda: {"ends": ends})
    kept = cached_doubles(file, "a", lambda: pytest.fail("it was kept"))
    np.testing.assert_array_equal(kept["ends"], ends)
    other = cached_doubles(file, "b", lambda: {"ends": 2 * ends})
    np.testing.assert_array_equal(other["ends"], 2 * ends)
    np.testing.assert_array_equal(kept["ends"], ends)  # a reader keeps what it has
    single = cached_singles(file, "c", lambda: {"ends": ends})["ends"]
    np.testing.assert_array_equal(cached_singles(file, "c", dict)["ends"], single)
