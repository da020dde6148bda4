"""Two shapes of a study beside each other: speed, loss, memory, and where they cross over."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phonelm_search.core.latency import Extent, LatencySummary
from phonelm_search.core.statistics import Floats, less_probability
from phonelm_search.measure import DRAWS, extent
from phonelm_search.reading.budgets import memory_bytes
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.view import StudyView
from phonelm_search.space import Columns

_NAMES = {"latency": "end to end", "ttft": "TTFT", "tpot": "TPOT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A quantity of one shape over that of another one."""

    quantity: str
    """``end to end``, ``TTFT``, ``TPOT`` or ``loss``."""
    ratio: Extent
    """With its 95 % interval, by joint draws."""
    less_probability: float
    """That the first one has less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versus:
    """One shape beside another one."""

    one: StudyRow
    """The first one."""
    other: StudyRow
    """What it is told against."""
    ratios: tuple[Ratio, ...]
    """Times on the first device, then loss."""
    memory: tuple[float, float]
    """Bytes of weights, and of the KV cache at the scenario's end, of both."""
    kv_bytes: tuple[int, int]
    """Bytes of the KV cache for each token of context, of both."""
    crossing: int | None
    """Context beyond which the faster step of the two is the slower one, by the bytes of the cache
    at the bandwidth that was measured; None where there is none, or no bandwidth is known."""


def compare_shapes(view: StudyView, one: StudyRow, other: StudyRow) -> Versus:
    """Compare two rows of a study."""
    scheme = view.device.scheme
    kv = [r.shape.kv_bytes_per_token(scheme.kv_bytes_per_element) for r in (one, other)]
    first, second = _times(view, (one, other))
    ratios = [_ratio(name, first[name], second[name]) for name in first if name in second]
    return Versus(
        one=one,
        other=other,
        ratios=(*ratios, _ratio("loss", one.loss_draws, other.loss_draws)),
        memory=(memory_bytes(view, one.shape), memory_bytes(view, other.shape)),
        kv_bytes=(kv[0], kv[1]),
        crossing=_crossing(view, one, other, (kv[0], kv[1])),
    )


def _times(view: StudyView, rows: Sequence[StudyRow]) -> list[dict[str, Floats]]:
    """``[draws]`` each on the first device; what was predicted is drawn together.

    Its errors and those of what was measured are taken as independent.
    """
    predicted = [r.shape for r in rows if r.kind == "predicted"]
    if not predicted:
        return [_measured_times(view, r) for r in rows]
    told = view.models.places[0].time_draws(Columns.of(predicted), DRAWS)
    return [
        {_NAMES[n]: drawn[:, predicted.index(r.shape)] for n, drawn in told.items()}
        if r.shape in predicted
        else _measured_times(view, r)
        for r in rows
    ]


def _measured_times(view: StudyView, row: StudyRow) -> dict[str, Floats]:
    """Of one row; nothing of what earlier releases estimated."""
    readings, shape_id = view.readings[0], row.shape.shape_id
    drawn = [readings.log_ms(w, shape_id) for w in view.scenario.workloads]
    known = [np.exp(d) for d in drawn if d is not None]
    whole = readings.end_to_end_draws(shape_id)
    if whole is None or len(known) < len(drawn):
        return {}
    return {"end to end": whole, "TTFT": known[0], "TPOT": np.mean(known[1:], axis=0)}


def _ratio(quantity: str, a: Floats, b: Floats) -> Ratio:
    return Ratio(quantity=quantity, ratio=extent(a / b), less_probability=less_probability(a, b))


def _crossing(
    view: StudyView, one: StudyRow, other: StudyRow, kv_bytes: tuple[int, int]
) -> int | None:
    first = view.device.name
    steps = [s for r in (one, other) for s in r.times[first].steps]
    told = [s.bandwidth_bytes_per_s for s in steps if isinstance(s, LatencySummary)]
    speeds = [t for t in told if t]
    if not speeds or kv_bytes[0] == kv_bytes[1]:
        return None
    a, b = (r.times[first].tpot.ms / 1000 for r in (one, other))
    middle = float(np.mean(view.scenario.contexts))
    context = middle + (b - a) * float(np.median(speeds)) / (kv_bytes[0] - kv_bytes[1])
    return round(context) if context > middle else None
