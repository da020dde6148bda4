"""Rounds of one measurement → one latency with its interval and verdict."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from phonelm_search.core.judged_round import JudgedRound
from phonelm_search.core.latency import Extent, LatencySummary
from phonelm_search.core.records import Measurement
from phonelm_search.core.statistics import median_of_rounds, quantile_of_ordered
from phonelm_search.measure.latency_comparison import LatencyComparison
from phonelm_search.measure.reference import REFERENCE
from phonelm_search.measure.verdict import judge_rounds, too_wide


def summarise(
    rounds: Sequence[Measurement | JudgedRound], comparison: LatencyComparison | None
) -> LatencySummary:
    """Sum up the rounds of one measurement.

    Args:
        rounds: Of one key.
        comparison: Of the same workload and place, these rounds among the others; None where all
            were rejected.

    Raises:
        ValueError: If there is no round, or if they are not of one key.
    """
    if not rounds or len({m.key for m in rounds}) != 1:
        raise ValueError(
            f"rounds must be of one measurement, got {sorted({m.key for m in rounds})}"
        )
    counted = [m for m in rounds if m.verdict != "rejected"] or rounds
    verdict, reasons = judge_rounds(counted, made=len(rounds))
    shape_id = rounds[0].shape_id
    samples_ms = [np.asarray(m.samples_ns) / 1e6 for m in counted]
    if comparison is None or shape_id not in comparison:
        middle = median_of_rounds(samples_ms)
        usual, relative = Extent(middle, middle, middle), None
    else:
        usual = comparison.usual_ms(shape_id)
        relative = (
            comparison.ratio(shape_id, REFERENCE.shape_id)
            if REFERENCE.shape_id in comparison
            else None
        )
    pooled = np.concatenate(samples_ms)
    pooled.sort()
    bandwidths = [m.bandwidth_bytes_per_s for m in counted if m.bandwidth_bytes_per_s]
    return LatencySummary(
        latency_ms=usual.value,
        ci_low_ms=usual.low,
        ci_high_ms=usual.high,
        relative=relative,
        p90_ms=float(quantile_of_ordered(pooled, 0.90)),
        p99_ms=float(quantile_of_ordered(pooled, 0.99)),
        samples=len(pooled),
        rounds=len(counted),
        bandwidth_bytes_per_s=float(median(bandwidths)) if bandwidths else None,
        verdict=verdict,
        reasons=reasons,
        coverage=counted[0].coverage,
        notes=tuple(dict.fromkeys(n for m in counted for n in m.notes)),
    )


def judged_alone(found: LatencySummary) -> LatencySummary:
    """A latency as an answer of its own: suspect where its interval is wide, too.

    The latency of a scenario is judged by the interval of the whole instead.
    """
    wide = too_wide(found.relative, "the reference shape") if found.relative else None
    if wide is None or found.verdict == "rejected":
        return found
    return replace(found, verdict="suspect", reasons=(*found.reasons, wide))
