"""How much a round was disturbed, from counters that were read beside its samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """Shares are of the time of the measured cores; None where the system does not tell."""

    cpu_share: float | None
    """Processor time of the runner over wall time × threads; near 1 with spinning workers."""
    foreign_share: float | None
    """Processor time of other processes."""
    steal_share: float | None
    """Time that the hypervisor gave to others."""


def disturbance(
    samples_ns: Sequence[int], counters: Mapping[str, Any], *, threads: int
) -> Disturbance:
    """Sum up one round.

    Args:
        samples_ns: Timed runs.
        counters: ``cpu_ns`` for each sample, and ``windows``; any may be missing.
        threads: Threads that compute.
    """
    cpu_ns = counters.get("cpu_ns") or []
    windows = counters.get("windows") or []
    wall_ns = sum(samples_ns)
    observed_ns = sum(w["wall_ns"] for w in windows)

    def mean(name: str) -> float | None:
        if not observed_ns:
            return None
        return float(sum(w[name] * w["wall_ns"] for w in windows) / observed_ns)

    return Disturbance(
        cpu_share=sum(cpu_ns) / (wall_ns * threads) if cpu_ns and wall_ns else None,
        foreign_share=mean("foreign_share"),
        steal_share=mean("steal_share"),
    )
