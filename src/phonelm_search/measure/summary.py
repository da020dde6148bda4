"""Rounds of one measurement → one latency with its interval and verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import TypeVar

import numpy as np

from phonelm_search.core.judged_round import JudgedRound, Judgement
from phonelm_search.core.judgement import Verdict
from phonelm_search.core.latency import Extent, LatencySummary
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import Measurement
from phonelm_search.core.statistics import median_of_rounds, quantile_of_ordered
from phonelm_search.measure.latency_comparison import LatencyComparison
from phonelm_search.measure.reference import REFERENCE
from phonelm_search.measure.verdict import judge_rounds, too_wide

_Round = TypeVar("_Round", Measurement, Judgement)


def summarise(
    rounds: Sequence[Measurement], comparison: LatencyComparison | None
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
    counted = _counted(rounds)
    verdict, reasons = judge_rounds(counted, made=len(rounds))
    shape_id = rounds[0].shape_id
    samples_ms = [np.asarray(m.samples_ns) / 1e6 for m in counted]
    if comparison is None or shape_id not in comparison:
        middle = median_of_rounds(samples_ms)
        usual, relative = Extent(middle, middle, middle), None
    else:
        usual = comparison.usual_ms(shape_id)
        relative = beside_reference(shape_id, comparison)
    pooled = np.concatenate(samples_ms)
    pooled.sort()
    return LatencySummary(
        latency_ms=usual.value,
        ci_low_ms=usual.low,
        ci_high_ms=usual.high,
        relative=relative,
        p90_ms=float(quantile_of_ordered(pooled, 0.90)),
        p99_ms=float(quantile_of_ordered(pooled, 0.99)),
        rounds=len(counted),
        bandwidth_bytes_per_s=_bandwidth(m.bandwidth_bytes_per_s for m in counted),
        verdict=verdict,
        reasons=reasons,
        coverage=counted[0].coverage,
        notes=_notes(counted),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsJudgement:
    """What the judgements of the rounds of one measurement come to."""

    rounds: int
    """Number of rounds that count."""
    verdict: Verdict
    """How far to trust them."""
    reasons: tuple[Reason, ...]
    """Why they are not valid."""
    coverage: float | None
    """Share of the graph's nodes that the accelerator took; None on a processor."""
    notes: tuple[str, ...]
    """What is unusual about the graph."""

    def summary(self, ms: Extent, bandwidth_bytes_per_s: float | None) -> LatencySummary:
        """As `summarise`, without samples, for studies of thousands of shapes.

        Args:
            ms: Milliseconds that all rounds beside each other tell of the shape.
            bandwidth_bytes_per_s: See `judge_together`.
        """
        return LatencySummary(
            latency_ms=ms.value,
            ci_low_ms=ms.low,
            ci_high_ms=ms.high,
            rounds=self.rounds,
            bandwidth_bytes_per_s=bandwidth_bytes_per_s,
            verdict=self.verdict,
            reasons=self.reasons,
            coverage=self.coverage,
            notes=self.notes,
        )


def judge_together(rounds: Sequence[JudgedRound]) -> tuple[RoundsJudgement, float | None]:
    """What rounds of one key were judged together, and the read bandwidth of those that count."""
    counted, judgement = _judge_together(tuple([r.judgement for r in rounds]))
    return judgement, _bandwidth(rounds[i].bandwidth_bytes_per_s for i in counted)


@lru_cache(maxsize=1024)
def _judge_together(judgements: tuple[Judgement, ...]) -> tuple[tuple[int, ...], RoundsJudgement]:
    """Numbers of the rounds that count, and what they come to."""
    counted = _counted(judgements)
    verdict, reasons = judge_rounds(counted, made=len(judgements))
    numbers = tuple(i for i, j in enumerate(judgements) if j in counted)
    return numbers, RoundsJudgement(
        rounds=len(numbers),
        verdict=verdict,
        reasons=reasons,
        coverage=counted[0].coverage,
        notes=_notes(counted),
    )


def _counted(rounds: Sequence[_Round]) -> list[_Round]:
    """Those that are not rejected; where all are, all."""
    return [m for m in rounds if m.verdict != "rejected"] or list(rounds)


def _bandwidth(speeds: Iterable[float | None]) -> float | None:
    known = [s for s in speeds if s]
    if len(known) == 2:  # as nearly always
        return (known[0] + known[1]) / 2
    return float(median(known)) if known else None


def _notes(rounds: Iterable[Measurement | Judgement]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(n for m in rounds for n in m.notes))


def beside_reference(shape_id: str, comparison: LatencyComparison) -> Extent | None:
    """A shape's latency over the reference shape's; None where one of them has no round."""
    both = shape_id in comparison and REFERENCE.shape_id in comparison
    return comparison.ratio(shape_id, REFERENCE.shape_id) if both else None


def judged_alone(found: LatencySummary) -> LatencySummary:
    """A latency as an answer of its own: suspect where its interval is wide, too.

    The latency of a scenario is judged by the interval of the whole instead.
    """
    wide = too_wide(found.relative, "the reference shape") if found.relative else None
    if wide is None or found.verdict == "rejected":
        return found
    return replace(found, verdict="suspect", reasons=(*found.reasons, wide))
