"""Which shape of a study to take, and how sure that is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from phonelm_search.core.defaults import DEFAULT_RULE
from phonelm_search.core.errors import TrainingError, UnknownNameError
from phonelm_search.core.reason import in_one_line
from phonelm_search.core.statistics import Floats, less_probabilities, less_probability
from phonelm_search.core.units import format_count, format_counted, format_some
from phonelm_search.reading.budgets import (
    KEPT,
    keeping_probability,
    keeping_rows,
    memory_bytes,
    memory_text,
    nearest_row,
    standings,
    wants_speed,
)
from phonelm_search.reading.losses import TOKENS_PER_PARAMETER, extrapolations
from phonelm_search.reading.modelled import ModelledFront
from phonelm_search.reading.row import StudyRow, names_of
from phonelm_search.reading.table import Table
from phonelm_search.reading.view import StudyView

Rule = Literal["knee", "fastest", "best"]
RULES: tuple[Rule, ...] = get_args(Rule)
_TIED = (0.05, 0.95)
_PRIOR_ALONE = 0.95
"""Share of the prior's variance that own trainings may leave and still have told something."""
_QUICK_LOOK = 2.0
"""Below so many tokens per decoder parameter of its longest training a ladder is a quick look."""
_EQUAL = 0.01
"""Less than this on both axes does not matter."""
_NAMED = 3
"""Rivals that are named, the nearest in latency."""
_SHOWN = 8
"""Shapes that are named of those that are as good."""


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
    """Rivals that neither axis tells from the pick, fastest first."""
    equals: tuple[StudyRow, ...]
    """Those of them that are within 1 % of it on both axes: it does not matter which."""

    @property
    def equal_names(self) -> list[str]:
        """Of those, names that tell them from each other and from the pick."""
        return names_of([self.row, *self.equals])[1:]

    @property
    def equal_text(self) -> str:
        """Some of those names, and how many more there are; empty without any."""
        return format_some(self.equal_names, _SHOWN)


def choose(view: StudyView, rule: Rule | None = None) -> Pick:
    """Pick a shape of the front by the rule of the contract.

    With budgets: the lowest loss that keeps them all, or where loss is limited and no time is, the
    fastest shape that does. Else ``knee`` takes the point farthest from
    the chord of the front of all shapes, as models tell it, with both axes scaled to [0, 1]; where
    no model holds, of the measured front; with fewer than three points, the fastest of those whose
    loss cannot be told from the lowest.

    Args:
        view: The study.
        rule: By default the one that the study was last finished with.

    Raises:
        TrainingError: If no shape was measured.
    """
    rule = rule or view.record.config.get("pick", DEFAULT_RULE)
    front = view.front
    if not front:
        raise TrainingError(
            f"study '{view.record.name}' must have a measured shape to pick; run "
            "`phonelm-search search`"
        )
    best = front[-1]
    if view.budgets:
        row, why = _within_budgets(view)
    elif rule == "fastest":
        row, why = front[0], "the fastest shape of the front"
    elif rule == "best":
        row, why = best, "the shape of the front whose loss is lowest"
    elif len(front) >= 3:
        row, why = front[_knee(front, view.modelled)], f"the knee of a front of {len(front)} shapes"
    else:
        row = next(r for r in front if r is best or _tied(r.loss_draws, best.loss_draws))
        why = (
            "the lowest loss, which no faster shape reaches"
            if row is best
            else "the fastest shape whose loss cannot be told from the lowest"
        )
    tied = tuple(_rivals(view, row))
    equals = tuple(r for r in tied if _within(r, row))
    return Pick(
        row=row, why=why, provisional=tuple(_doubts(view, row, tied, equals)), tied=tied,
        equals=equals,
    )  # fmt: skip


def _within_budgets(view: StudyView) -> tuple[StudyRow, str]:
    """The best that keeps all budgets, else the shape that misses least."""
    told = " and ".join(b.text for b in view.budgets)
    kept = keeping_rows(view)
    if len(kept):
        fast = wants_speed(view.budgets)
        row = kept[int(np.argmin((kept.latency if fast else kept.loss)[:, 0]))]
        which = (
            "the only measured shape that keeps"
            if len(kept) == 1
            else f"the {'fastest' if fast else 'lowest loss'} of {len(kept):,} measured shapes "
            "that keep"
        )
        held = f"{which} {told} with at least {KEPT:.0%} probability"
        return row, f"{held}{memory_text(view, row)}"
    row = nearest_row(view)
    if len(view.sampled) == 1:
        return row, f"the only measured shape, which does not keep {told}"
    return row, f"none of {len(view.sampled):,} measured shapes keeps {told}, it is the nearest"


def _missed(view: StudyView, row: StudyRow) -> Iterator[str]:
    """Budgets that the pick does not keep."""
    if not view.budgets or keeping_probability(view, row) >= KEPT:
        return
    missed = [s for s in standings(view, row) if s.excess > 0]
    if missed:
        yield f"no measured shape keeps all budgets; it misses {', '.join(s.text for s in missed)}"
    else:
        yield (
            f"no measured shape keeps all budgets with {KEPT:.0%} probability; it does with "
            f"{keeping_probability(view, row):.0%}"
        )


def _beyond_memory(view: StudyView, row: StudyRow) -> Iterator[str]:
    """A budget of memory that weights and cache keep, and the measured peak does not."""
    for budget in view.budgets:
        held, peak = memory_bytes(view, row.shape), row.peak_bytes
        if budget.quantity == "memory" and peak and held <= budget.limit < peak:
            yield (
                f"its weights and KV cache keep {budget.text}, its measured peak of "
                f"{budget.shown(peak)} does not, in which activations and the runtime itself "
                "count; if the device must hold that, lower --max-memory by the difference"
            )


def current_pick(view: StudyView) -> Pick | None:
    """The pick where there is one yet; else None."""
    return choose(view) if view.front else None


def near_in_time(view: StudyView, row: StudyRow) -> list[StudyRow]:
    """Other sampled shapes that may be faster than a row, or slower, fastest first."""
    return [r for r in _near_in_time(view, row) if r is not row]


def front_pairs(view: StudyView) -> list[dict[str, Any]]:
    """Every pair of the front: how its two shapes differ on both axes, and how sure that is.

    Faster shapes come first in a pair and in the list.
    """
    rows: list[dict[str, Any]] = []
    for i, a in enumerate(view.front[:-1], start=1):
        others = view.front[i:]
        times = np.stack([b.draws for b in others])
        losses = np.stack([b.loss_draws for b in others])
        told = zip(
            others,
            np.median(a.draws / times, axis=1).tolist(),
            np.median(a.loss_draws / losses, axis=1).tolist(),
            strict=True,
        )
        rows += [
            {
                "shape_id": a.shape.shape_id,
                "other_shape_id": b.shape.shape_id,
                "latency_ratio": latency,
                "faster_probability": less_probability(a.draws, b.draws),
                "loss_ratio": loss,
                "better_probability": less_probability(a.loss_draws, b.loss_draws),
            }
            for b, latency, loss in told
        ]
    return rows


def law_text(view: StudyView, row: StudyRow) -> str:
    """Where what is said of a shape's loss comes from."""
    count = len(view.evidence)
    known = "published trainings"
    if view.record.config.get("law"):
        known += f" with {view.prior.sources[-1]}"
    if not count:
        return f"by {known} alone"
    return f"by {known} and {count} of this study, which left {row.prior_share:.0%} of the variance"


def tokens_text(view: StudyView) -> str:
    """Where the number of tokens comes from that losses are told for, and how to change it."""
    tokens, name = format_count(view.train_tokens), view.record.name
    if view.record.config.get("train_tokens"):
        return f"{tokens} tokens: as --train-tokens said"
    return (
        f"{tokens} tokens: {TOKENS_PER_PARAMETER} for each decoder parameter of the median shape; "
        f"`phonelm-search score {name} --train-tokens 300B` takes another number"
    )


def trust(view: StudyView) -> str:
    """One sentence that stands below every loss of a study."""
    name = view.record.name
    if not view.evidence:
        return (
            "trust: nothing was trained here, the law knows published trainings alone; "
            f"`phonelm-search score {name}` tries it on your text"
        )
    rung = view.held_out
    if rung is None:
        return (
            f"trust: {format_counted(len(view.evidence), 'training')}, too few of the largest size "
            f"to hold the law against; `phonelm-search score {name} --validate` trains a larger one"
        )
    return f"trust: {rung.summary}"


def _doubts(
    view: StudyView, row: StudyRow, tied: Sequence[StudyRow], equals: Sequence[StudyRow]
) -> Iterator[str]:
    yield from _missed(view, row)
    yield from _beyond_memory(view, row)
    near = set(map(id, equals))  # rows are one object each; to compare them takes their shapes'
    rivals = [r for r in tied if id(r) not in near]
    if rivals:
        nearest = sorted(rivals, key=lambda r: abs(r.latency.value - row.latency.value))[:_NAMED]
        names = zip(names_of([row, *nearest])[1:], nearest, strict=True)
        named = [f"{name} ({r.latency_text})" for name, r in names]
        told = format_some(named, _NAMED, total=len(rivals))
        yield f"neither its latency nor its loss is told from that of {told}"
    if not view.evidence:
        yield "nothing was trained for it: its loss is told from published trainings alone"
    else:
        longest = max(r.tokens_per_parameter for r in view.trainings)
        if longest < _QUICK_LOOK:
            yield (
                f"a quick look: nothing was trained on more than {longest:.2g} tokens for each "
                f"decoder parameter, fewer than {_QUICK_LOOK:.0f}"
            )
        if row.prior_share > _PRIOR_ALONE:
            yield f"its loss is hardly more than the prior's: told {law_text(view, row)}"
    for reason in extrapolations(row.shape, view.prior, view.evidence):
        yield f"its loss is an extrapolation: {reason}"
    if row.kind == "estimated":
        yield "its latency was estimated from blocks, not measured whole"
    if row.verdict == "suspect":
        yield f"its latency is suspect: {in_one_line(row.reasons)}"


def _rivals(view: StudyView, row: StudyRow) -> list[StudyRow]:
    """Other sampled shapes that neither axis tells from a row, fastest first."""
    near = _near_in_time(view, row)
    rivals = near.only(_tied(near.loss_draws(), row.loss_draws))
    return [r for r in rivals if r is not row]


def _near_in_time(view: StudyView, row: StudyRow) -> Table:
    """Sampled shapes that may be faster than a row, or slower; the row itself among them."""
    near = view.sampled.near(row.latency)  # a few of a large study: draws of others tell
    return near.only(_tied(near.draws(), row.draws))


def _within(a: StudyRow, b: StudyRow) -> bool:
    shares = (a.latency.value / b.latency.value, a.loss.value / b.loss.value)
    return all(abs(share - 1) <= _EQUAL for share in shares)


def _tied(draws: Floats, own: Floats) -> npt.NDArray[np.bool_]:
    """Which of ``[..., draws]`` leave open whether they are less than ``[draws]``."""
    less = less_probabilities(draws, own)
    return np.asarray((_TIED[0] < less) & (less < _TIED[1]))


def _knee(rows: Sequence[StudyRow], modelled: ModelledFront | None) -> int:
    """Index of the point farthest below the chord of the front."""
    points = np.array([[r.latency.value, r.loss.value] for r in rows], float)
    ends = points
    if modelled is not None:
        front = modelled.front()
        ends = np.stack([modelled.latency[front], modelled.loss[front]], axis=1)
    span = np.ptp(ends, axis=0)
    scaled = (points - ends.min(axis=0)) / np.where(span > 0, span, 1)
    # After scaling the chord runs from (0, 1) to (1, 0): x + y = 1.
    return int(np.argmax(1 - scaled.sum(axis=1)))
