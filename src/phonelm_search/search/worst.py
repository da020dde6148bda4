"""Latencies over several devices: a shape is as fast as on the one where it is worst off."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from phonelm_search.core.errors import MeasurementError, UnsupportedShapeError
from phonelm_search.core.judgement import rejection
from phonelm_search.core.latency import Latency, ScenarioTime
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.measure import Request
from phonelm_search.search.driver import Answer, LatencySource


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstAnswer:
    """An `Answer` of the device where a shape is worst off."""

    latencies: Mapping[Workload, Latency]
    """Of each workload on that device."""
    error: MeasurementError | UnsupportedShapeError | None = None
    """Why there are none."""
    unit_ms: float = 1.0
    """Time of the baseline's whole scenario there."""


class WorstDevice:
    """A `LatencySource` over several others.

    Args:
        sources: One for each device.
        baselines: The time of a known model's whole scenario on each device, in ms; asked after
            measuring.
        scenario: By whose time devices are compared.
    """

    def __init__(
        self,
        sources: Sequence[LatencySource],
        baselines: Sequence[Callable[[], float | None]],
        scenario: Scenario,
    ) -> None:
        self._devices = list(zip(sources, baselines, strict=True))
        self._scenario = scenario

    def measure(
        self, requests: Sequence[Request], *, on_round: Callable[[ModelShape], None]
    ) -> list[WorstAnswer]:
        """Measure shapes on all devices, one device after another.

        Args:
            requests: Shapes, each once.
            on_round: Called after each round on the last device.

        Returns:
            An answer for each request, in order; an error where any device has one.
        """
        told: list[tuple[Sequence[Answer], float]] = []
        for source, baseline in self._devices:
            last = source is self._devices[-1][0]
            answers = source.measure(requests, on_round=on_round if last else _ignore)
            unit_ms = baseline()
            if unit_ms is None and requests and not all(a.error for a in answers):
                raise MeasurementError("a reference must be measured first", stage="run")
            told.append((answers, unit_ms or 1.0))
        return [self._worst([(a[i], unit) for a, unit in told]) for i in range(len(requests))]

    def _worst(self, answers: Sequence[tuple[Answer, float]]) -> WorstAnswer:
        for answer, _ in answers:
            if error := answer.error or rejection(answer.latencies.values()):
                return WorstAnswer(latencies={}, error=error)
        worst, unit_ms = max(answers, key=lambda a: self._relative(*a))
        return WorstAnswer(latencies=worst.latencies, unit_ms=unit_ms)

    def _relative(self, answer: Answer, unit_ms: float) -> float:
        time = ScenarioTime.of(self._scenario, answer.latencies)
        assert time is not None, "a device answers all workloads or tells why it does not"
        return time.end_to_end.ms / unit_ms


def _ignore(shape: ModelShape) -> None:
    """Rounds on all devices but the last are not counted as progress."""
