"""A scenario's times from the latencies of its workloads: TTFT, TPOT and end to end."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from phonelm_search.core.judgement import Verdict, judged_together, worst_verdict
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import Kind, LatencyEstimate
from phonelm_search.core.statistics import Z_95
from phonelm_search.core.workload import Scenario, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """What the rounds of one measurement say together."""

    latency_ms: float
    """On the machine as it usually is."""
    ci_low_ms: float
    """Lower end of its 95 % interval."""
    ci_high_ms: float
    """Upper end."""
    relative: "Extent | None" = None
    """The same over the reference shape's latency, which shares its processes; None where a study
    is read, whose latencies are shares of its own baseline's."""
    p90_ms: float | None = None
    """90th percentile of all samples; None where a study is read, which leaves samples alone."""
    p99_ms: float | None = None
    """99th percentile, likewise."""
    rounds: int
    """Number of rounds that count."""
    bandwidth_bytes_per_s: float | None
    """Read bandwidth at the time, where it was measured."""
    verdict: Verdict
    """How far to trust it."""
    reasons: tuple[Reason, ...]
    """Why it is not valid."""
    coverage: float | None = None
    """Share of the graph's nodes that the accelerator took; None on a processor."""
    notes: tuple[str, ...] = ()
    """What is unusual about the graph or the way of measuring."""

    @property
    def kind(self) -> Kind:
        """What programs call it."""
        return "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPrediction:
    """What measured shapes tell of one that was not measured."""

    latency_ms: float
    """On the machine as it usually is."""
    ci_low_ms: float
    """Lower end of its 95 % interval."""
    ci_high_ms: float
    """Upper end."""
    verdict: Verdict = "valid"
    """Of no measurement: nothing speaks against it."""
    reasons: tuple[Reason, ...] = ()
    """None."""

    @property
    def kind(self) -> Kind:
        """What programs call it."""
        return "predicted"


Latency = LatencySummary | LatencyEstimate | LatencyPrediction


class Span(NamedTuple):
    """A time with its 95 % interval, in ms."""

    ms: float
    low_ms: float
    high_ms: float

    @property
    def deviation_ms(self) -> float:
        """Standard deviation of a normal error with an interval as wide."""
        return (self.high_ms - self.low_ms) / (2 * Z_95)


class Extent(NamedTuple):
    """A value with its 95 % interval, in a unit that stands beside it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioTime:
    """What the latencies of a scenario's workloads add up to.

    The intervals of different workloads are independent, so their widths add in squares.
    """

    scenario: Scenario
    """Prompt and answer."""
    prefill: Latency
    """Reading the prompt, which makes the first token."""
    steps: tuple[Latency, ...]
    """One decode step at each of `Scenario.contexts`."""

    @classmethod
    def of(cls, scenario: Scenario, latencies: Mapping[Workload, Latency]) -> "ScenarioTime | None":
        """From latencies by workload; None where one is missing."""
        if not set(scenario.workloads) <= latencies.keys():
            return None
        first, *steps = (latencies[w] for w in scenario.workloads)
        return cls(scenario=scenario, prefill=first, steps=tuple(steps))

    @property
    def ttft(self) -> Span:
        """Time to the first token."""
        return Span(self.prefill.latency_ms, self.prefill.ci_low_ms, self.prefill.ci_high_ms)

    @property
    def tpot(self) -> Span:
        """Time per output token: the mean over the answer, see `Scenario.contexts`."""
        count = len(self.steps)
        middle = sum(s.latency_ms for s in self.steps) / count
        low = math.hypot(*(s.latency_ms - s.ci_low_ms for s in self.steps)) / count
        high = math.hypot(*(s.ci_high_ms - s.latency_ms for s in self.steps)) / count
        return Span(middle, middle - low, middle + high)

    @property
    def end_to_end(self) -> Span:
        """The prefill and all further tokens."""
        first, step = self.ttft, self.tpot
        count = self.scenario.generated_tokens - 1
        middle = first.ms + count * step.ms
        low = math.hypot(first.ms - first.low_ms, count * (step.ms - step.low_ms))
        high = math.hypot(first.high_ms - first.ms, count * (step.high_ms - step.ms))
        return Span(middle, middle - low, middle + high)

    def scaled(self, factor: float) -> "ScenarioTime":
        """The same with every time so many times as long."""
        first, *steps = (_scaled(p, factor) for p in self.parts)
        return replace(self, prefill=first, steps=tuple(steps))

    @property
    def kind(self) -> Kind:
        """Measured whole, estimated from blocks, or predicted from other shapes."""
        return self.prefill.kind

    @property
    def parts(self) -> tuple[Latency, ...]:
        """All latencies, in the order of `Scenario.workloads`."""
        return self.prefill, *self.steps

    @property
    def verdict(self) -> Verdict:
        """The worst of the latencies'."""
        return worst_verdict(self.parts)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is not valid."""
        return judged_together(self.parts)[1]


def _scaled(found: Latency, factor: float) -> Latency:
    return replace(
        found,
        latency_ms=factor * found.latency_ms,
        ci_low_ms=factor * found.ci_low_ms,
        ci_high_ms=factor * found.ci_high_ms,
    )
