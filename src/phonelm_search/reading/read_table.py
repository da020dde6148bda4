"""The rows of a study from what was measured and trained for it."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from phonelm_search.core.latency import Extent, ScenarioTime
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import StudyShape, identity
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.measure import too_wide
from phonelm_search.quality import Score
from phonelm_search.reading.baseline import Baseline
from phonelm_search.reading.losses import RelativeLosses
from phonelm_search.reading.readings import Readings
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.row_judgement import RowJudgement, judge_row
from phonelm_search.reading.shares import share_draws, shares_of
from phonelm_search.reading.table import RowColumns, Rows, Table
from phonelm_search.reading.times import TimeColumns


def read_table(
    parts: Sequence[StudyShape],
    shapes: Mapping[str, ModelShape],
    readings: Sequence[Readings],
    baseline: Baseline,
    losses: RelativeLosses,
    scores: Mapping[str, Score],
    *,
    file: Path,
) -> Table:
    """Rows of shapes that have a time at every place, fastest first.

    Args:
        parts: Of the shapes.
        shapes: By id.
        readings: Of each place.
        baseline: What latencies are shares of.
        losses: Of all shapes.
        scores: Of those that an earlier release trained.
        file: Where shares are kept for the next reading.
    """
    ids = [p.shape_id for p in parts]
    depends = {"times": [r.digest for r in readings], "baseline": baseline.shape_id, "shapes": ids}
    digest = identity(depends)
    shares = shares_of(baseline, readings, ids, digest=digest, file=file)
    order = np.lexsort((np.array(ids, str), shares.extents[:, 0]))
    parts, ids = [parts[i] for i in order], [ids[i] for i in order]
    extents, worst, middles = shares.extents[order], shares.worst[order], shares.middles[order]
    baseline_ms = [baseline.ms(i) for i in range(len(readings))]

    def draws(rows: Rows) -> Floats:
        return share_draws(baseline, readings, [ids[i] for i in rows])

    names = [r.place.device.name for r in readings]
    ends, places = extents.tolist(), worst.tolist()
    orders = [list(dict.fromkeys([i, *range(len(readings))])) for i in range(len(readings))]
    judged = lru_cache(maxsize=1024)(judge_row)  # of thousands most are judged alike

    @cache
    def times(device: str) -> TimeColumns:
        """Times whose wholes are their shares of the baseline's, here in milliseconds.

        So shares and milliseconds order shapes alike. What an earlier release estimated stays as it
        was told.
        """
        i = names.index(device)
        told = readings[i].times(ids)
        factors = middles[:, i] * baseline_ms[i] / told.end_to_end[:, 0]
        return told.scaled(np.where(told.measured, factors, 1.0))

    @cache
    def judgement(row: int) -> RowJudgement:
        parts = tuple([(names[i], readings[i].judgements(ids[row])) for i in orders[places[row]]])
        return judged(parts, doubts(row))

    def doubts(row: int) -> tuple[Reason, ...]:
        wide = too_wide(Extent(*ends[row]), baseline.name)
        return (wide,) if wide else ()

    def make(row: int) -> StudyRow:
        part, extent, place = parts[row], Extent(*ends[row]), places[row]
        whole = zip(readings, middles[row].tolist(), baseline_ms, strict=True)
        told = [_as_told(r, part.shape_id, share * ms) for r, share, ms in whole]
        estimated = readings[place].estimated(part.shape_id)
        return StudyRow(
            shape=shapes[part.shape_id],
            name=part.name,
            time=told[place],
            elsewhere={
                name: time
                for i, (name, time) in enumerate(zip(names, told, strict=True))
                if i != place
            },
            device=names[place],
            latency=extent,
            baseline=baseline.name,
            draw=lambda: draws(np.array([row]))[0],
            loss=Extent(*loss[row].tolist()),
            draw_loss=lambda: losses.draws([part.shape_id])[0],
            prior_share=losses.prior_share(part.shape_id),
            doubts=doubts(row),
            peak_bytes=readings[place].peak_bytes(part.shape_id),
            score=scores.get(part.shape_id),
            estimate_ms=estimated.end_to_end.ms if estimated else None,
        )

    loss = losses.shares(ids)
    kinds = (readings[place].kind(i) for i, place in zip(ids, places, strict=True))
    return Table(
        RowColumns(
            ids=ids,
            shapes=[shapes[i] for i in ids],
            names=[p.name for p in parts],
            kinds=[k for k in kinds if k],
            devices=[names[place] for place in places],
            peak_bytes=[
                readings[place].peak_bytes(i) for i, place in zip(ids, places, strict=True)
            ],
            scores=[scores.get(i) for i in ids],
            times=times,
            judgement=judgement,
            latency=extents,
            loss=loss,
            make=make,
            draws=draws,
            loss_draws=lambda rows: losses.draws([ids[i] for i in rows]),
            digest=identity({**depends, "names": [p.name for p in parts], "loss": losses.digest}),
        )
    )


def _as_told(readings: Readings, shape_id: str, ms: float) -> ScenarioTime:
    """A time whose whole is its share of the baseline's, here in milliseconds.

    So shares and milliseconds order shapes alike.
    What an earlier release estimated stays as it was told.
    """
    time = readings.time(shape_id)
    assert time is not None, "only shapes with a time are asked for"
    if time.kind != "measured":
        return time
    return time.scaled(ms / time.end_to_end.ms)
