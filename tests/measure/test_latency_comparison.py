"""Stored rounds beside each other, by the process that they share."""

from dataclasses import replace
from pathlib import Path

import pytest

from helpers import SCENARIO, fake_profiler, latencies, measurement, small_shape
from phonelm_search.core.records import Measurement
from phonelm_search.core.workload import decode
from phonelm_search.measure import REFERENCE, LatencyComparison, process_of
from phonelm_search.store import Store


def rounds(*, named: bool) -> list[Measurement]:
    """Shape b takes twice as long as a; every process is another 30 % slower.

    Sessions are made in turn: of one that is always made first nobody knows whether it is that.
    """
    found = []
    for number in range(4):
        order = (("a", 1.0), ("b", 2.0))[:: (-1) ** number]
        for place, (shape_id, ms) in enumerate(order):
            m = measurement(
                [round(1e6 * ms * 1.3**number)] * 5, shape_id=shape_id, round=number,
                conditions={"before": {"load_1min": number}, "after": {}},
            )  # fmt: skip
            found.append(replace(m, process=f"p{number}", place=place) if named else m)
    return found


@pytest.mark.parametrize("named", [True, False], ids=["named", "from before it was kept"])
def test_a_ratio_knows_nothing_of_how_slow_a_process_was(*, named: bool) -> None:
    found = LatencyComparison(rounds(named=named))
    assert len(found.processes) == 4
    ratio = found.ratio("b", "a")
    assert ratio.low < 2 < ratio.high
    assert ratio.high - ratio.low < 0.6
    usual = found.usual_ms("a")
    assert usual.low < 1.3**1.5 < usual.high


def test_rounds_of_several_workloads_are_refused() -> None:
    first = rounds(named=True)
    with pytest.raises(ValueError, match="one workload at one place, got 2 kinds"):
        LatencyComparison([*first, replace(first[0], workload=decode(16))])
    with pytest.raises(ValueError, match="got 0 kinds"):
        LatencyComparison([])


def test_measurements_keep_their_process_and_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shape = small_shape()
    latencies(fake_profiler(store), shape, SCENARIO.workloads)
    kept = store.measurements()
    companions = {m.process: set() for m in kept}
    for m in kept:
        assert m.process == process_of(m)
        companions[m.process].add((m.place, m.shape_id))
    assert len(companions) == 3
    assert all(c == {(0, shape.shape_id), (1, REFERENCE.shape_id)} for c in companions.values())
