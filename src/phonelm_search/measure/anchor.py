"""The reference shape, stepped in turn with what is measured: was the machine as usual?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from phonelm_search.core.reason import Reason
from phonelm_search.core.records import Measurement
from phonelm_search.core.workload import Workload

_REMEMBERED = 10  # readings; a machine that settled at another speed is the usual one soon


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a round's reference says of it."""

    drifts: dict[Workload, float]
    """How much slower the reference was than usual in each workload, as a share."""
    bandwidth_bytes_per_s: float | None
    """Median of the read bandwidth, where the runtime measures it."""
    bandwidth_drift: float | None
    """Its distance from the usual, as a share of it."""

    def complete(self, m: Measurement) -> Measurement:
        """A measurement of the same round with what the reference says of it."""
        return replace(
            m,
            drift=self.drifts.get(m.workload),
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            bandwidth_drift=self.bandwidth_drift,
        )


class Anchor:
    """Remembers the reference's rounds of one environment.

    Args:
        known: Earlier rounds, oldest first.
    """

    def __init__(self, known: Sequence[Measurement] = ()) -> None:
        self._medians: dict[Workload, list[float]] = {}
        self._bandwidths: list[float] = []
        for m in known:
            self._remember(m)

    def read(self, rounds: Sequence[Measurement]) -> Reading:
        """Take a round of the reference, a measurement of each workload, as the latest reading."""
        for m in rounds:
            self._remember(m)
        bandwidth = rounds[0].bandwidth_bytes_per_s if rounds else None
        return Reading(
            drifts={m.workload: drift(_median_ns(m), self._medians[m.workload]) for m in rounds},
            bandwidth_bytes_per_s=bandwidth,
            bandwidth_drift=None if bandwidth is None else abs(drift(bandwidth, self._bandwidths)),
        )

    def usual_ns(self, workload: Workload) -> float | None:
        """Median of the latest readings of a workload; None before the first."""
        medians = self._medians.get(workload)
        return float(np.median(medians)) if medians else None

    def _remember(self, m: Measurement) -> None:
        medians = self._medians.setdefault(m.workload, [])
        medians.append(_median_ns(m))
        del medians[:-_REMEMBERED]
        read = m.bandwidth_bytes_per_s
        if read is not None and read not in self._bandwidths[-1:]:  # the phases of a round share it
            self._bandwidths.append(read)
            del self._bandwidths[:-_REMEMBERED]


class Units:
    """Several phones of one kind: their latencies compare only where the phones are as fast.

    Args:
        limit: Largest distance of a phone's reference from the other phones', as a share.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit

    def judged(
        self, m: Measurement, anchors: Mapping[str | None, Anchor], serial: str | None
    ) -> Measurement:
        """A measurement, suspect where its phone is another in speed than the others."""
        own = anchors[serial].usual_ns(m.workload)
        others = [a.usual_ns(m.workload) for s, a in anchors.items() if s != serial]
        known = [ns for ns in others if ns is not None]
        if own is None or not known:
            return m
        distance = own / float(np.median(known)) - 1
        if abs(distance) <= self._limit:
            return m
        way = "slower" if distance > 0 else "faster"
        reason = Reason(
            kind=f"phone-{way}",
            what=f"phone {serial} is {abs(distance):.0%} {way} than the others by the reference "
            f"shape, more than {self._limit:.0%}: two of a kind are not alike",
            remedy="measure on one of them",
            about=serial,
        )
        verdict = "suspect" if m.verdict == "valid" else m.verdict
        return replace(m, verdict=verdict, reasons=(*m.reasons, reason))


def drift(value: float, readings: Sequence[float]) -> float:
    """How far a value is above the median of readings, itself among them, as a share of it.

    The median is the commoner speed of a machine that has two. A latency of positive drift is
    slower than usual, one of negative drift faster; 0 where the median is 0.
    """
    usual = float(np.median(readings))
    return value / usual - 1 if usual else 0.0


def _median_ns(m: Measurement) -> float:
    return float(np.median(m.samples_ns))
