"""Which shape of a scored study to take, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np

from phonelm_search.core.defaults import DEFAULT_RULE
from phonelm_search.core.errors import TrainingError, UnknownNameError
from phonelm_search.core.reason import in_one_line
from phonelm_search.quality import QUICK_LOOK, Comparison, Score
from phonelm_search.reading.view import StudyRow, StudyView

Rule = Literal["knee", "fastest", "best"]
RULES: tuple[Rule, ...] = get_args(Rule)


def check_rule(name: str) -> Rule:
    """The pick's rule by name.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in RULES:
        raise UnknownNameError("pick rule", name, list(RULES))
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """The shape that a study recommends."""

    row: StudyRow
    """The shape with its evidence."""
    why: str
    """One sentence."""
    provisional: tuple[str, ...]
    """Why the pick may change; empty when it is sure."""
    tied: tuple[StudyRow, ...]
    """Scored shapes that the score cannot tell from the pick, fastest first."""


def choose(view: StudyView, rule: Rule | None = None) -> Pick:
    """Pick a shape by the rule of the contract.

    A slower shape is dropped when a faster one is no worse by two paired deviations. Of what is
    left, ``knee`` takes the point farthest from the chord with both axes scaled to [0, 1], or,
    with fewer than three, the fastest of those tied with the best.

    Args:
        view: The study.
        rule: By default the one that the study was last finished with.

    Raises:
        TrainingError: If no shape was scored.
    """
    rule = rule or view.record.config.get("pick", DEFAULT_RULE)
    rows = view.scored
    if not rows:
        reasons = [
            r.score.reason
            for r in view.sampled
            if r.score and r.score.reason and not r.score.first.stopped
        ]
        why = f"; trainings failed: {reasons[0]}" if reasons else "; run `phonelm-search score`"
        raise TrainingError(f"study '{view.record.name}' must have a scored shape to pick{why}")
    judge = _Judge(view.comparison)
    untied = judge.untied(rows)
    best = min(rows, key=lambda r: r.bits_per_byte or 0.0)
    tied_with_best = [r for r in rows if judge.no_worse(r, best)]
    if rule == "fastest":
        row, why = rows[0], "the fastest of the scored shapes"
    elif rule == "best":
        row, why = best, "the lowest bits per byte of the scored shapes"
    elif len(untied) >= 3:
        row = untied[_knee(untied)]
        why = f"the knee of {len(untied)} shapes that the score tells apart"
    else:
        row = tied_with_best[0]
        others = len(tied_with_best) - 1
        why = (
            f"the fastest of {others + 1} shapes that the score cannot tell from the best"
            if others
            else "the best score, which no faster shape reaches"
        )
    tied = tuple(r for r in rows if r is not row and judge.tie(r, row))
    return Pick(row=row, why=why, provisional=_doubts(row, tied, judge), tied=tied)


def score_pairs(view: StudyView) -> list[dict[str, Any]]:
    """Every pair of scored shapes: difference in bits per byte, its deviation, whether it is a tie.

    Faster shapes come first in a pair and in the list.
    """
    comparison = view.comparison
    rows = []
    for a, b in combinations(view.scored, 2):
        scores = _scores(a, b)
        difference, deviation = comparison.difference(*scores)
        rows.append(
            {
                "shape_id": a.shape.shape_id,
                "other_shape_id": b.shape.shape_id,
                "difference_bits_per_byte": difference,
                "deviation_bits_per_byte": deviation,
                "tied": comparison.tie(*scores),
            }
        )
    return rows


def current_pick(view: StudyView) -> Pick | None:
    """The pick where there is one yet; else None."""
    return choose(view) if view.scored else None


def trust(view: StudyView) -> str:
    """One sentence that stands below every score of a study."""
    found = view.validation
    name = view.record.name
    if found is None:
        return f"trust: not validated; `phonelm-search score {name} --validate` tells"
    if found.settings_id != (view.record.config.get("score") or {}).get("settings_id"):
        return (
            f"trust: validated at {found.tokens_per_parameter:.2g} tokens per parameter, not with "
            f"these settings; `phonelm-search score {name} --validate` tells"
        )
    return f"trust: {found.summary}"


def _doubts(row: StudyRow, tied: Sequence[StudyRow], judge: "_Judge") -> tuple[str, ...]:
    doubts = []
    assert row.score is not None
    first = row.score.first
    if first.tokens_per_parameter < QUICK_LOOK:
        doubts.append(
            f"a quick look: trained on {first.tokens_per_parameter:.2g} tokens per decoder "
            f"parameter, fewer than {QUICK_LOOK:.0f}"
        )
    if tied:
        names = ", ".join(f"{r.label} ({r.latency_text})" for r in tied)
        doubts.append(
            f"tied within two paired deviations ({judge.comparison.seed_deviation}; seeds: "
            f"{len(row.score.finished)}): {names}"
        )
    if row.verdict == "suspect":
        doubts.append(f"its latency is suspect: {in_one_line(row.reasons)}")
    return tuple(doubts)


class _Judge:
    """Tells which rows of one study differ."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def untied(self, rows: Sequence[StudyRow]) -> list[StudyRow]:
        """Rows, fastest first, without those that a faster one is no worse than."""
        return [
            row
            for i, row in enumerate(rows)
            if not any(self.no_worse(faster, row) for faster in rows[:i])
        ]

    def no_worse(self, a: StudyRow, b: StudyRow) -> bool:
        """Whether a is not worse than b by two paired deviations."""
        return a is b or self.comparison.no_worse(*_scores(a, b))

    def tie(self, a: StudyRow, b: StudyRow) -> bool:
        """Whether neither is better than the other by two paired deviations."""
        return self.comparison.tie(*_scores(a, b))


def _scores(a: StudyRow, b: StudyRow) -> tuple[Score, Score]:
    assert a.score is not None
    assert b.score is not None
    return a.score, b.score


def _knee(rows: Sequence[StudyRow]) -> int:
    """Index of the point farthest below the chord from the first to the last."""
    points = np.array([[r.latency.value, r.bits_per_byte] for r in rows], float)
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1)
    # After scaling the chord runs from (0, 1) to (1, 0): x + y = 1.
    return int(np.argmax(1 - scaled.sum(axis=1)))
