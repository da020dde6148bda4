"""How far to trust a number, and what several of them come to together."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, Protocol

from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.reason import Reason, in_one_line

Verdict = Literal["valid", "suspect", "rejected"]
VERDICTS: tuple[Verdict, ...] = ("valid", "suspect", "rejected")
"""From the best to the worst."""


class Judged(Protocol):
    """What carries a verdict."""

    @property
    def verdict(self) -> Verdict:
        """How far to trust it."""
        ...

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is not valid."""
        ...


def worst_verdict(parts: Iterable[Judged]) -> Verdict:
    """The worst of several."""
    return max((p.verdict for p in parts), key=VERDICTS.index)


def judged_together(parts: Iterable[Judged]) -> tuple[Verdict, tuple[Reason, ...]]:
    """The worst verdict of several and all their reasons, each once, and each advice once.

    An advice for several rounds is another one than the same for one round.
    """
    judged = list(parts)
    worst = worst_verdict(judged)
    if not any(p.reasons for p in judged):  # most of them
        return worst, ()
    reasons: list[Reason] = []
    advices: set[tuple[str, int]] = set()
    for reason in dict.fromkeys(r for p in judged for r in p.reasons):
        if reason.remedy is None:
            reasons.append(reason)
            continue
        advice = reason.remedy, reason.rounds
        repeated = advice in advices
        reasons.append(replace(reason, remedy=None, rounds=1) if repeated else reason)
        advices.add(advice)
    return worst, tuple(reasons)


def rejection(parts: Iterable[Judged]) -> MeasurementError | None:
    """Why something must be left out; None where none of its parts is rejected."""
    rejected = [p for p in parts if p.verdict == "rejected"]
    if not rejected:
        return None
    return MeasurementError(in_one_line(judged_together(rejected)[1]), stage="rejected")
