"""The reference shape, measured between rounds: did the machine change meanwhile?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phonelm_search.measure.reference import REFERENCE_WORKLOADS, drift, usual
from phonelm_search.records import Measurement
from phonelm_search.workload import Phase

_REMEMBERED = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One round of the reference."""

    medians_ms: dict[Phase, float]
    """Median of each phase."""
    bandwidth_bytes_per_s: float | None
    """Median of the read bandwidth, where the runtime measures it."""


class Anchor:
    """Measures the reference and says how far it moved.

    Args:
        measure: Runs the reference once; returns its rounds, one a phase.
        known: Earlier rounds of the reference in this environment, oldest first.
    """

    def __init__(self, measure: Callable[[], list[Measurement]], known: list[Measurement]) -> None:
        self._measure = measure
        self._earlier: dict[Phase, list[float]] = {w.phase: [] for w in REFERENCE_WORKLOADS}
        for m in known:
            self._remember(m)
        self._bandwidths: list[float] = [
            m.bandwidth_bytes_per_s for m in known if m.bandwidth_bytes_per_s is not None
        ]
        self.latest: Reading | None = None

    def read(self) -> Reading:
        """Measure the reference now."""
        found = self._measure()
        for m in found:
            self._remember(m)
        self.latest = Reading(
            medians_ms={m.workload.phase: _median_ms(m) for m in found},
            bandwidth_bytes_per_s=found[0].bandwidth_bytes_per_s,
        )
        if self.latest.bandwidth_bytes_per_s is not None:
            self._bandwidths.append(self.latest.bandwidth_bytes_per_s)
        return self.latest

    def _remember(self, m: Measurement) -> None:
        earlier = self._earlier[m.workload.phase]
        earlier.append(_median_ms(m))
        del earlier[:-_REMEMBERED]

    def drift(self, phase: Phase, before: Reading, after: Reading) -> float:
        """How far a phase of the reference moved around a round; see `reference.drift`."""
        return drift(before.medians_ms[phase], after.medians_ms[phase], usual(self._earlier[phase]))

    def bandwidth_drift(self, before: Reading, after: Reading) -> float | None:
        """Larger distance of the two readings' bandwidth from the usual, as a share of it."""
        read = [r.bandwidth_bytes_per_s for r in (before, after)]
        if not self._bandwidths or None in read:
            return None
        usually = float(np.median(self._bandwidths[-2 * _REMEMBERED :]))
        return max(abs(b / usually - 1) for b in read if b is not None)


def bandwidth_around(before: Reading, after: Reading) -> float | None:
    """Mean of two readings' bandwidth; None where one has none."""
    first, last = before.bandwidth_bytes_per_s, after.bandwidth_bytes_per_s
    return None if first is None or last is None else (first + last) / 2


def _median_ms(m: Measurement) -> float:
    return float(np.median(m.samples_ns)) / 1e6
