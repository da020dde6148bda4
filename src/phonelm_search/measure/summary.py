"""Rounds of one measurement → one latency with its interval and verdict."""

from collections.abc import Sequence

import numpy as np

from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.records import Measurement
from phonelm_search.core.statistics import interval
from phonelm_search.measure.verdict import judge_rounds


def good_rounds(rounds: Sequence[Measurement], *, enough: int) -> tuple[Measurement, ...]:
    """The rounds that count.

    The undisturbed ones where there are ``enough``; else all but the rejected ones; else all.
    The choice looks at verdicts and never at latencies, so it does not bias them.
    """
    valid = tuple(m for m in rounds if m.verdict == "valid")
    if len(valid) >= enough:
        return valid
    return tuple(m for m in rounds if m.verdict != "rejected") or tuple(rounds)


def summarise(rounds: Sequence[Measurement]) -> LatencySummary:
    """Sum up the rounds of one measurement.

    Raises:
        ValueError: If there is no round, or if they are not of one key.
    """
    if not rounds or len({m.key for m in rounds}) != 1:
        raise ValueError(
            f"rounds must be of one measurement, got {sorted({m.key for m in rounds})}"
        )
    wanted = max(int(m.protocol.get("rounds", 1)) for m in rounds)
    counted = good_rounds(rounds, enough=wanted)
    samples_ms = [np.asarray(m.samples_ns) / 1e6 for m in counted]
    found = interval(samples_ms)
    verdict, reasons = judge_rounds(
        counted, wanted=wanted, made=len(rounds), relative_width=found.relative_width
    )
    pooled = np.concatenate(samples_ms)
    bandwidths = [m.bandwidth_bytes_per_s for m in counted if m.bandwidth_bytes_per_s]
    return LatencySummary(
        latency_ms=found.median,
        ci_low_ms=found.low,
        ci_high_ms=found.high,
        p90_ms=float(np.quantile(pooled, 0.90)),
        p99_ms=float(np.quantile(pooled, 0.99)),
        samples=len(pooled),
        rounds=len(counted),
        bandwidth_bytes_per_s=float(np.median(bandwidths)) if bandwidths else None,
        verdict=verdict,
        reasons=reasons,
        coverage=counted[0].coverage,
        notes=tuple(dict.fromkeys(n for m in counted for n in m.notes)),
    )
