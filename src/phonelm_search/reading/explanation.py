"""Why a shape: what near ones do better, what each dimension buys, where kernels stumble."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from phonelm_search.core.errors import ModelError
from phonelm_search.core.latency import Extent
from phonelm_search.core.memory import CONTEXTS, kv_cache_bytes
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_counted
from phonelm_search.measure import extent
from phonelm_search.reading.budgets import keeping_probability, memory_bytes
from phonelm_search.reading.pick import Pick, choose, current_pick
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.sensitivity import Effect
from phonelm_search.reading.steps import step_effects
from phonelm_search.reading.unmeasured import find_rows, front_chance
from phonelm_search.reading.view import StudyView
from phonelm_search.reading.worth import Worth, worth_of
from phonelm_search.speed import against_prices

EQUAL_SIZE = 0.05
"""Decoder parameters that far apart count as equal."""
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A near shape of equal size that is faster or better."""

    row: StudyRow
    """The shape."""
    changes: tuple[str, ...]
    """How it differs, a dimension each."""
    latency_ratio: Extent
    """Its latency over that of the explained shape, by joint draws."""
    loss_ratio: Extent
    """Its loss over that of the explained shape, likewise."""

    @property
    def latency_differs(self) -> bool:
        """Whether the 95 % interval of their ratio is apart from 1."""
        return not self.latency_ratio.low <= 1 <= self.latency_ratio.high

    @property
    def loss_differs(self) -> bool:
        """The same of their losses."""
        return not self.loss_ratio.low <= 1 <= self.loss_ratio.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a context costs."""

    context_tokens: int
    """Its length."""
    kv_bytes: int
    """The KV cache."""
    total_bytes: int
    """With the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that is known of one shape of a study beside the others."""

    row: StudyRow
    """The shape."""
    chance: float | None
    """How probable it is that it belongs to the front, see `front_chance`."""
    kept: float | None
    """How probable it is that it keeps all budgets; None where the study has none."""
    equals: int
    """Other sampled shapes of its size in the study."""
    faster: tuple[Neighbour, ...]
    """The nearest ones that are faster."""
    better: tuple[Neighbour, ...]
    """The nearest ones with a lower loss."""
    effects: tuple[Effect, ...]
    """What one step of each dimension does to times on the first device and to loss."""
    missing: str | None
    """Why there are none."""
    cliffs: tuple[str, ...]
    """Dimensions that kernels may not like, and whether that is seen."""
    memory: tuple[Memory, ...]
    """What contexts cost."""
    memory_bytes: float
    """Weights, and the KV cache at the scenario's end: what a budget of memory is held against."""
    worth: Worth | None
    """What the shape is worth at equal loss; None where no model holds."""


def explain_shape(view: StudyView, name: str | None) -> tuple[Explanation, Pick | None]:
    """Why a shape of a study, and the study's pick where the shape is it.

    Args:
        view: The study.
        name: As `find_rows` takes it; None: the pick.

    Raises:
        UnknownNameError: If no shape, or more than one, is called so.
        TrainingError: If none is named and nothing was measured.
    """
    if name is None:
        chosen = choose(view)
        return explain(view, chosen.row), chosen
    pick = current_pick(view)
    beside, (row,) = find_rows(view, [name])
    return explain(beside, row), pick if pick and pick.row is row else None


def explain(view: StudyView, row: StudyRow) -> Explanation:
    """Explain a shape of a study.

    Args:
        view: The study.
        row: One of its rows, or a predicted one.
    """
    sampled, shapes = view.sampled, view.sampled.shapes
    draws, loss_draws = row.draws, row.loss_draws
    equals = [i for i, s in enumerate(shapes) if s != row.shape and _equal(s, row.shape)]
    near = sampled.at(sorted(equals, key=lambda i: _distance(shapes[i], row.shape)))
    faster = _first(near, lambda r: bool(np.median(r.draws / draws) < 1))
    better = _first(near, lambda r: bool(np.median(r.loss_draws / loss_draws) < 1))
    effects, missing = _effects(view, row)
    return Explanation(
        row=row,
        chance=front_chance(view, row),
        kept=keeping_probability(view, row) if view.budgets else None,
        equals=len(equals),
        faster=tuple(_neighbour(r, row) for r in faster),
        better=tuple(_neighbour(r, row) for r in better),
        effects=effects,
        missing=missing,
        cliffs=tuple(_cliffs(row, view)),
        memory=tuple(_memory(row.shape, view, context) for context in CONTEXTS),
        memory_bytes=memory_bytes(view, row.shape),
        worth=worth_of(view, row),
    )


def _first(rows: Iterable[StudyRow], less: Callable[[StudyRow], bool]) -> Iterator[StudyRow]:
    """The nearest ones that have less; no others are looked at."""
    return islice(filter(less, rows), _SHOWN)


def _equal(a: ModelShape, b: ModelShape) -> bool:
    return abs(math.log(a.decoder_parameters / b.decoder_parameters)) <= math.log1p(EQUAL_SIZE)


def _distance(a: ModelShape, b: ModelShape) -> float:
    """Doublings between two shapes, summed over dimensions; one for another kind."""
    sizes = (
        (a.hidden_size, b.hidden_size), (a.num_hidden_layers, b.num_hidden_layers),
        (a.head_dim, b.head_dim), (a.kv_groups, b.kv_groups), (a.ffn_ratio, b.ffn_ratio),
    )  # fmt: skip
    kinds = ((a.hidden_act, b.hidden_act), (a.ffn, b.ffn))
    return sum(abs(math.log2(x / y)) for x, y in sizes) + sum(x != y for x, y in kinds)


def _neighbour(other: StudyRow, row: StudyRow) -> Neighbour:
    return Neighbour(
        row=other,
        changes=_changes(row.shape, other.shape),
        latency_ratio=extent(other.draws / row.draws),
        loss_ratio=extent(other.loss_draws / row.loss_draws),
    )


def _changes(before: ModelShape, after: ModelShape) -> tuple[str, ...]:
    told = (
        ("depth", before.num_hidden_layers, after.num_hidden_layers),
        ("width", before.hidden_size, after.hidden_size),
        ("FFN", before.intermediate_size, after.intermediate_size),
        ("heads", before.num_attention_heads, after.num_attention_heads),
        ("KV heads", before.num_key_value_heads, after.num_key_value_heads),
        ("head dimension", before.head_dim, after.head_dim),
        ("activation", before.hidden_act, after.hidden_act),
        ("FFN kind", before.ffn, after.ffn),
    )
    return tuple(f"{name} {a} → {b}" for name, a, b in told if a != b)


def _effects(view: StudyView, row: StudyRow) -> tuple[tuple[Effect, ...], str | None]:
    try:
        return step_effects(view, row.shape), None
    except ModelError as error:
        return (), str(error)


def _cliffs(row: StudyRow, view: StudyView) -> list[str]:
    """Suspicious dimensions, and what was measured."""
    tile, scheme, shape = view.tile, view.device.scheme, row.shape
    found = [f"{size} is no multiple of {tile}" for size in shape.unaligned(tile)]
    if scheme.block_size:
        inputs = {m.name: m.in_features for m in shape.layer_linears}
        found += [
            f"{name}: {size} inputs are padded to blocks of {scheme.block_size}"
            for name, size in inputs.items()
            if size % scheme.block_size
        ]
    return [*found, _evidence(row, view)]


def _evidence(row: StudyRow, view: StudyView) -> str:
    """How the measured times compare to what bytes and operations predict from all shapes."""
    if row.kind == "predicted":
        return "no evidence: its time is predicted from other shapes; more --trials may measure it"
    if row.kind != "measured":
        return "no evidence: its time is an estimate from blocks; `profile` measures it whole"
    told = []
    times = view.table.times(row.device)
    rows = view.table.only(times.measured)
    own = list(zip(rows.ids, rows.names, strict=True)).index((row.shape.shape_id, row.name))
    for place, workload in enumerate(view.scenario.workloads):
        scheme = view.device.scheme_of(workload.phase)
        latencies = times.parts[place][times.measured, 0].tolist()
        points = [(s, workload, ms) for s, ms in zip(rows.shapes, latencies, strict=True)]
        ratios = against_prices(points, scheme)
        if ratios is None:
            few = format_counted(len(rows), "measured shape")
            return f"no evidence: {few} {'is' if len(rows) == 1 else 'are'} too few to predict from"
        told.append(f"{workload.name} {ratios[own]:.2f}")
    return (
        f"measured over predicted, from bytes, FLOPs and operators of {len(rows)} shapes: "
        f"{', '.join(told)}; a kernel off its fast path would show as clearly more than 1"
    )


def _memory(shape: ModelShape, view: StudyView, context: int) -> Memory:
    scheme = view.device.scheme
    kv = kv_cache_bytes(shape, scheme, context)
    return Memory(
        context_tokens=context, kv_bytes=kv, total_bytes=kv + shape.weight_bytes(scheme).total
    )
