"""Several devices in one search: the worst counts, in the reference's time there."""

from collections.abc import Callable, Sequence

import pytest

from formula import FEASIBLE, goals, summary
from helpers import SCENARIO
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.shape import ModelShape
from phonelm_search.measure import Outcome, Request
from phonelm_search.search.worst import WorstDevice

REQUEST = Request(shape=FEASIBLE.shape(0), workloads=SCENARIO.workloads)


class Device:
    """Answers every request with the same times."""

    def __init__(self, prefill_ms: float, decode_ms: float, verdict: str = "valid") -> None:
        times = (summary(prefill_ms, verdict), summary(decode_ms, verdict))
        self.latencies: dict[object, LatencySummary] = dict(
            zip(SCENARIO.workloads, times, strict=True)
        )

    def measure(
        self, requests: Sequence[Request], *, on_round: Callable[[ModelShape], None]
    ) -> list[Outcome]:
        return [Outcome(latencies=self.latencies, error=None) for _ in requests]  # type: ignore[arg-type]


def worst_of(*devices: tuple[Device, float | None]) -> WorstDevice:
    references = [lambda ms=ms: ms for _, ms in devices]
    return WorstDevice([d for d, _ in devices], references, SCENARIO)


def test_an_answer_keeps_its_milliseconds_and_says_what_they_are_compared_in() -> None:
    slow, near = Device(100.0, 20.0), Device(9.0, 3.0)
    worst = worst_of((slow, 200.0), (near, 20.0))  # 240/200 against 30/20 of the references
    (answer,) = worst.measure([REQUEST], on_round=lambda shape: None)
    assert answer.latencies == near.latencies
    assert answer.unit_ms == 20.0
    assert answer.error is None


def test_objectives_are_multiples_of_the_unit_and_sizes_are_not() -> None:
    (answer,) = worst_of((Device(9.0, 3.0), 20.0)).measure([REQUEST], on_round=lambda shape: None)
    wanted = goals("latency", "prefill", "decode", "parameters")
    shape = REQUEST.shape
    values = wanted.values(shape, answer.latencies, unit_ms=answer.unit_ms)
    assert values == pytest.approx([30 / 20, 9 / 20, 3 / 20, shape.decoder_parameters])
    alone = wanted.values(shape, answer.latencies)
    assert alone == pytest.approx([30.0, 9.0, 3.0, shape.decoder_parameters])


def test_a_device_that_rejects_a_shape_leaves_it_out_and_a_lost_reference_is_told() -> None:
    good, bad = Device(9.0, 3.0), Device(9.0, 3.0, "rejected")
    (answer,) = worst_of((good, 20.0), (bad, 20.0)).measure([REQUEST], on_round=lambda shape: None)
    assert answer.latencies == {}
    assert str(answer.error) == "why (stage: rejected)"
    with pytest.raises(MeasurementError, match="a reference must be measured first"):
        worst_of((good, None)).measure([REQUEST], on_round=lambda shape: None)
