"""Which shapes keep a person's budgets, how probably, and by how much the others miss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log, prod
from statistics import NormalDist

import numpy as np

from phonelm_search.core.budget import Budget
from phonelm_search.core.memory import kv_cache_bytes
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95, Floats
from phonelm_search.core.units import format_bytes
from phonelm_search.devices import DeviceProfile
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.table import Table
from phonelm_search.reading.view import StudyView
from phonelm_search.space import Columns, FeasibleSet

KEPT = 0.9
"""Probability from which budgets count as kept."""
_CHUNK = 500  # shapes at a time, for a bounded memory


def wants_speed(budgets: Sequence[Budget]) -> bool:
    """Whether the best within budgets is the fastest: loss is limited, and no time is."""
    quantities = {b.quantity for b in budgets}
    return "loss" in quantities and not quantities & {"ttft", "tpot", "latency"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a shape stands to one budget."""

    budget: Budget
    """The limit."""
    value: float
    """Of the shape, in the budget's unit; of several devices where it is largest."""
    probability: float
    """That the limit is kept."""

    @property
    def excess(self) -> float:
        """By how much the limit is missed, as a share; negative where it is kept."""
        return self.value / self.budget.limit - 1

    @property
    def text(self) -> str:
        """As ``TTFT by 12 % (449 ms of 400 ms)``."""
        value, limit = self.budget.shown(self.value), self.budget.shown(self.budget.limit)
        return f"{self.budget.name} by {max(self.excess, 0):.1%} ({value} of {limit})"


def standings(view: StudyView, row: StudyRow) -> tuple[Standing, ...]:
    """How a row stands to each budget of its study."""
    told = zip(view.budgets, _columns(view, Table.of([row])), strict=True)
    return tuple(
        Standing(budget=budget, value=float(values[0]), probability=float(probabilities[0]))
        for budget, (values, probabilities) in told
    )


def keeping_probability(view: StudyView, row: StudyRow) -> float:
    """How probable it is that a row keeps all budgets.

    Errors are taken as independent. Those of times go together, so this is never too much.
    """
    return prod(s.probability for s in standings(view, row))


def keeping_rows(view: StudyView) -> Table:
    """Measured shapes that count as keeping all budgets."""
    found = np.ones(len(view.sampled))
    for _, probabilities in _columns(view, view.sampled):
        found *= probabilities
    return view.sampled.only(found >= KEPT)


def nearest_row(view: StudyView) -> StudyRow:
    """The measured shape whose largest miss is least."""
    limits = [b.limit for b in view.budgets]
    told = zip(_columns(view, view.sampled), limits, strict=True)
    excess = np.max([values / limit - 1 for (values, _), limit in told], axis=0)
    return view.sampled[int(np.lexsort((np.array(view.sampled.ids, str), excess))[0])]


def memory_bytes(view: StudyView, shape: ModelShape) -> float:
    """Weights, and the KV cache at the end of the scenario."""
    return max(_memory(view, d, shape) for d in (p.device for p in view.places))


def memory_text(view: StudyView, row: StudyRow) -> str:
    """Which memory a budget was held against, beside the measured peak; empty without a budget."""
    if not any(b.quantity == "memory" for b in view.budgets):
        return ""
    peak = (
        f"its measured peak is {format_bytes(row.peak_bytes)}"
        if row.peak_bytes
        else ("its peak was not measured")
    )
    held = format_bytes(memory_bytes(view, row.shape))
    return f"; memory is {held} of weights and KV cache at the scenario's end, {peak}"


def modelled_keeping(view: StudyView, shapes: FeasibleSet) -> Floats:
    """``[n]``: how probable it is that shapes that were not measured keep all budgets.

    Raises:
        ModelError: If nothing tells them.
    """
    models, columns = view.models, Columns.of_space(shapes)
    found = np.ones(len(shapes))
    for budget in view.budgets:
        if budget.quantity == "memory":
            kept = [memory_bytes(view, shapes.shape(i)) <= budget.limit for i in range(len(shapes))]
            found *= np.array(kept, float)
            continue
        told = (
            [models.loss(columns)]
            if budget.quantity == "loss"
            else [
                place.times(columns)[budget.quantity]
                for place in models.places
                if budget.device in (None, place.device)
            ]
        )
        for prediction in told:
            distance = (log(budget.limit) - prediction.mean) / prediction.deviation
            found *= np.array([NormalDist().cdf(float(d)) for d in distance])
    return found


def _memory(view: StudyView, device: DeviceProfile, shape: ModelShape) -> float:
    context = view.scenario.prompt_tokens + view.scenario.generated_tokens
    weights = sum(shape.weight_bytes(scheme).total for scheme in device.schemes)
    return float(weights + kv_cache_bytes(shape, device.scheme, context))


def _columns(view: StudyView, rows: Table) -> Iterator[tuple[Floats, Floats]]:
    """Of each budget ``[n]``, values in its unit, and ``[n]``, probabilities that it is kept."""
    for budget in view.budgets:
        if budget.quantity == "loss":
            parts = [slice(i, i + _CHUNK) for i in range(0, len(rows), _CHUNK)]
            kept = [np.mean(rows.loss_draws(part) <= budget.limit, axis=1) for part in parts]
            yield rows.loss[:, 0], np.concatenate([*kept, np.empty(0)])
        elif budget.quantity == "memory":
            held = np.array([memory_bytes(view, shape) for shape in rows.shapes])
            yield held, (held <= budget.limit).astype(float)
        else:
            spans = list(_spans(view, rows, budget))
            yield (
                np.max([span[:, 0] for span in spans], axis=0),
                np.prod([_below(span, budget.limit) for span in spans], axis=0),
            )


def _spans(view: StudyView, rows: Table, budget: Budget) -> Iterator[Floats]:
    """``[n, 3]`` of the limited time on each device that the budget holds for."""
    for device in view.devices:
        if budget.device in (None, device):
            times = rows.times(device)
            spans = {"ttft": times.ttft, "tpot": times.tpot, "latency": times.end_to_end}
            yield spans[budget.quantity]


def _below(span: Floats, limit: float) -> Floats:
    """``[n]``: how probable it is that a time is at most so much."""
    ms, low, high = span.T
    deviation, distance = (high - low) / (2 * Z_95) / ms, np.log(limit / ms)
    with np.errstate(divide="ignore", invalid="ignore"):
        told = [NormalDist().cdf(d) for d in (distance / deviation).tolist()]
    return np.where(deviation > 0, told, distance >= 0)
