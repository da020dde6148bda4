"""Which shapes keep a person's budgets, how probably, and by how much the others miss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log, prod
from statistics import NormalDist

import numpy as np

from phonelm_search.core.budget import Budget
from phonelm_search.core.latency import Span
from phonelm_search.core.memory import kv_cache_bytes
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.units import format_bytes
from phonelm_search.devices import DeviceProfile
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.view import StudyView
from phonelm_search.space import Columns, FeasibleSet

KEPT = 0.9
"""Probability from which budgets count as kept."""


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
    return tuple(_standing(view, row, b) for b in view.budgets)


def keeping_probability(view: StudyView, row: StudyRow) -> float:
    """How probable it is that a row keeps all budgets.

    Errors are taken as independent. Those of times go together, so this is never too much.
    """
    return prod(s.probability for s in standings(view, row))


def keeping_rows(view: StudyView) -> list[StudyRow]:
    """Measured shapes that count as keeping all budgets."""
    return [r for r in view.sampled if keeping_probability(view, r) >= KEPT]


def nearest(view: StudyView, rows: Sequence[StudyRow]) -> tuple[StudyRow, Standing]:
    """The row that misses least, and the budget that it misses most."""

    def worst(row: StudyRow) -> Standing:
        return max(standings(view, row), key=lambda s: (s.excess, -s.probability))

    row = min(rows, key=lambda r: (worst(r).excess, r.shape.shape_id))
    return row, worst(row)


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


def _standing(view: StudyView, row: StudyRow, budget: Budget) -> Standing:
    if budget.quantity == "loss":
        probability = float(np.mean(row.loss_draws <= budget.limit))
        return Standing(budget=budget, value=row.loss.value, probability=probability)
    if budget.quantity == "memory":
        value = memory_bytes(view, row.shape)
        kept = float(value <= budget.limit)
        return Standing(budget=budget, value=value, probability=kept)
    spans = list(_spans(row, budget))
    return Standing(
        budget=budget,
        value=max(s.ms for s in spans),
        probability=prod(_below(s, budget.limit) for s in spans),
    )


def _spans(row: StudyRow, budget: Budget) -> Iterator[Span]:
    """The limited time on each device that the budget holds for."""
    for device, time in row.times.items():
        if budget.device in (None, device):
            spans = {"ttft": time.ttft, "tpot": time.tpot, "latency": time.end_to_end}
            yield spans[budget.quantity]


def _below(span: Span, limit: float) -> float:
    """How probable it is that a time is at most so much."""
    deviation = span.deviation_ms / span.ms
    distance = log(limit / span.ms)
    return NormalDist(0, deviation).cdf(distance) if deviation > 0 else float(distance >= 0)
