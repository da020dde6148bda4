"""More rounds where the decision is open: a race, not a quota."""

import math
from collections.abc import Iterator

from phonelm_search.core.deadline import Deadline
from phonelm_search.core.reporting import RoundProgress
from phonelm_search.core.units import format_counted, format_some
from phonelm_search.measure import Request
from phonelm_search.reading import StudyRow, StudyView
from phonelm_search.stages.session import MeasuringSession

_OPEN = (0.05, 0.95)
_MOST_ROUNDS, _MOST_ROUNDS_IN_TIME = 4, 16
"""Of a shape in one race, without a deadline and with one."""


def race(session: MeasuringSession, deadline: Deadline) -> None:
    """Give rounds to shapes whose place is open, until none is or the time is used.

    Open is a shape that belongs to the front with a probability between 5 and 95 %, and one whose
    latency is suspect; of several the most open ones first, a process at a time. The baseline is in
    every process: all latencies are shares of its own, so its error is in each of them.

    Raises:
        StoreError: If the database cannot be used.
    """
    progress = RoundProgress(session.report)
    begun = False
    made: dict[str, int] = {}
    most = _MOST_ROUNDS_IN_TIME if deadline.ends else _MOST_ROUNDS
    while chosen := _most_open(session, made, most):
        seconds = sum(p.process_seconds for p in session.profilers)
        if deadline.left < seconds:
            break
        if not begun:
            seconds_left = deadline.left if deadline.ends else 0
            progress.begin("more rounds where the front is open", len(chosen), seconds_left)
            begun = True
        _one_round(session, chosen, made, progress, deadline)
    progress.end()
    if told := _what_more_would_tell(session.view):
        session.report.note(told)


def _one_round(
    session: MeasuringSession,
    chosen: list[StudyRow],
    made: dict[str, int],
    progress: RoundProgress,
    deadline: Deadline,
) -> None:
    """A process of the rows, and of what they are shares of, on each device."""
    shapes = [r.shape for r in chosen]
    beside = [r.shape for r in _baseline(session.view) if r.shape not in shapes]
    for profiler in session.profilers:
        workloads = session.setup.goals.workloads
        requests = [Request(shape=s, workloads=workloads, more=1) for s in (*shapes, *beside)]
        profiler.measure(requests, deadline=deadline, on_round=progress.on_round)
    for shape in shapes:
        made[shape.shape_id] = made.get(shape.shape_id, 0) + 1


def _most_open(session: MeasuringSession, made: dict[str, int], most: int) -> list[StudyRow]:
    """Rows for the next process, the most open first; none where all is settled."""
    view = session.view
    models = min(p.settings.models * p.workers for p in session.profilers)
    models = max(1, models - len(_baseline(view)))
    order = sorted(_open_rows(view), key=lambda pair: -pair[1])
    rows = [row for row, _ in order if made.get(row.shape.shape_id, 0) < most]
    return rows[:models]


def _baseline(view: StudyView) -> list[StudyRow]:
    """The reference that latencies are shares of; none where it is what every round measures."""
    return list(view.table.only([name == view.baseline for name in view.table.names]))


def _open_rows(view: StudyView) -> Iterator[tuple[StudyRow, float]]:
    """Rows that are not settled, and how open they are: front before suspect."""
    likely, rows = view.speed_probabilities, view.measured
    middle, low, high = rows.latency.T
    told = zip(rows.ids, ((high - low) / middle).tolist(), rows.judgements, strict=True)
    for i, (shape_id, width, judgement) in enumerate(told):
        chance = likely.get(shape_id, 0.0)
        if _OPEN[0] < chance < _OPEN[1]:
            yield rows[i], 1 + _entropy(chance) * width
        elif judgement.verdict == "suspect" and rows[i].doubts:
            yield rows[i], width


def _entropy(chance: float) -> float:
    return -chance * math.log2(chance) - (1 - chance) * math.log2(1 - chance)


def _what_more_would_tell(view: StudyView) -> str | None:
    """One sentence on what is left open; None where nothing is."""
    rows = list(_open_rows(view))
    front = [r for r, openness in rows if openness >= 1]
    wide = [r for r, openness in rows if openness < 1]
    parts = []
    if front:
        parts.append(f"{format_counted(len(front), 'shape')} may or may not belong to the front")
    if wide:
        has = "has an interval" if len(wide) == 1 else "have intervals"
        parts.append(f"{len(wide)} {has} wider than ± 3 %")
    if not parts:
        return None
    listed = format_some([r.shape.shape_id for r in front or wide], 3)
    return f"{' and '.join(parts)} ({listed}): more --minutes would tell"
