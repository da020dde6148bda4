"""How many shapes of a study were measured, failed and scored, without reading a sample."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Subquery,
    Table,
    and_,
    case,
    func,
    not_,
    or_,
    select,
)

from phonelm_search.core.workload import Workload
from phonelm_search.store import schema as t

Common = Mapping[Workload, Mapping[str, str | int]]
"""For each workload of a scenario, what its measurements at one place have in common: the columns
that their keys are made of, but for shape and workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCounts:
    """Numbers of shapes of a study."""

    measured: int
    """Sampled ones whose time is known, measured or estimated, on all its devices."""
    failed: int
    """Those, and references, that could not be measured or whose rounds were all rejected."""
    trained: int
    """Those of `measured` that have a score of their own; of a ladder, its trainings."""


def count_shapes(
    connection: Connection,
    study: str,
    places: Sequence[Common],
    *,
    settings_id: str,
    seeds: Collection[int],
) -> StudyCounts:
    """Count as `phonelm_search.reading.load_view` sorts shapes.

    Args:
        connection: The database.
        study: Name of the study.
        places: Where it measures, and what.
        settings_id: Settings of its scores.
        seeds: Seeds of its scores.
    """
    part, scored = t.study_shapes, _scored(settings_id, seeds)
    joined: FromClause = part.outerjoin(scored, scored.c.shape_id == part.c.shape_id)
    known: list[ColumnElement[bool]] = []
    rejected: list[ColumnElement[bool]] = []
    for place in places:
        whole = [_verdicts(t.measurements, *work) for work in place.items()]
        blocks = [_verdicts(t.estimates, *work) for work in place.items()]
        for source in (*whole, *blocks):
            joined = joined.outerjoin(source, source.c.shape_id == part.c.shape_id)
        measured = _complete(whole)
        known.append(or_(measured, _complete(blocks)))
        rejected.append(and_(measured, _any_bad(whole)))
        rejected.append(and_(not_(measured), _any_bad(blocks)))
    time = (
        select(part.c.name, scored.c.shape_id.label("scored"), or_(*rejected).label("rejected"))
        .select_from(joined)
        .where(part.c.study == study, part.c.reason.is_(None), _one_each(study), *known)
        .subquery()
    )
    sampled = and_(time.c.name.is_(None), not_(time.c.rejected))
    numbers = select(
        func.count().filter(sampled),
        func.count().filter(time.c.rejected),
        func.count().filter(sampled, time.c.scored.is_not(None)),
    )
    refused = select(func.count()).where(part.c.study == study, part.c.reason.is_not(None))
    measured_count, rejected_count, scored_count = connection.execute(numbers).one()
    return StudyCounts(
        measured=measured_count,
        failed=rejected_count + connection.execute(refused).scalar_one(),
        trained=scored_count,
    )


def _scored(settings_id: str, seeds: Collection[int]) -> Subquery:
    scores = t.scores.c
    return (
        select(scores.shape_id)
        .where(
            scores.settings_id == settings_id,
            scores.seed.in_(seeds),
            scores.bits_per_byte.is_not(None),
        )
        .distinct()
        .subquery()
    )


def _verdicts(table: Table, workload: Workload, common: Mapping[str, str | int]) -> Subquery:
    """Of each shape with a time of a workload, whether there is one that was not rejected."""
    columns = {**asdict(workload), **common}
    good = func.max(case((table.c.verdict != "rejected", 1), else_=0)).label("good")
    return (
        select(table.c.shape_id, good)
        .where(*(table.c[name] == value for name, value in columns.items() if name in table.c))
        .group_by(table.c.shape_id)
        .subquery()
    )


def _complete(sources: Iterable[Subquery]) -> ColumnElement[bool]:
    return and_(*(s.c.good.is_not(None) for s in sources))


def _any_bad(sources: Iterable[Subquery]) -> ColumnElement[bool]:
    return or_(*(s.c.good == 0 for s in sources))


def _one_each(study: str) -> ColumnElement[bool]:
    """A screened shape that was measured whole later has two parts; the later one counts."""
    part = t.study_shapes
    whole = select(part.c.shape_id).where(part.c.study == study, part.c.role == "trial")
    return or_(part.c.role != "screened", part.c.shape_id.not_in(whole))
