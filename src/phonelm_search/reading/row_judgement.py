"""How far to trust a row of a study: what its latencies on all devices come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phonelm_search.core.judgement import Judged, Verdict, judged_together, worst_verdict
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.reason import Reason
from phonelm_search.measure import RoundsJudgement


@dataclass(frozen=True, slots=True, kw_only=True)
class RowJudgement:
    """Verdict with its reasons."""

    verdict: Verdict
    """The worst of its latencies', on all devices, and of the whole."""
    reasons: tuple[Reason, ...]
    """Why it is not valid."""
    notes: tuple[str, ...]
    """What is unusual about the graph; estimates tell nothing of it."""
    phases: Mapping[str, tuple[Verdict, Verdict]]
    """By device: of the prefill, and the worst of the decode steps."""


def judge_row(
    parts: Sequence[tuple[str, tuple[Judged, ...]]], doubts: tuple[Reason, ...]
) -> RowJudgement:
    """Sum up the latencies of a row.

    Args:
        parts: Each device with its latencies, in the order of `Scenario.workloads`; first the one
            where the shape is worst off.
        doubts: Why the whole is suspect, whatever stands behind it.
    """
    everything = [p for _, of_device in parts for p in of_device]
    found, reasons = judged_together(everything)
    first = everything[0]
    return RowJudgement(
        verdict="suspect" if found == "valid" and doubts else found,
        reasons=(*doubts, *reasons),
        notes=first.notes if isinstance(first, LatencySummary | RoundsJudgement) else (),
        phases={
            device: (prefill.verdict, worst_verdict(steps)) for device, (prefill, *steps) in parts
        },
    )
