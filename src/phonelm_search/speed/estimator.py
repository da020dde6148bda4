"""Latencies of many shapes from truncated models of their blocks."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from phonelm_search.backends import PROTOCOL_VERSION
from phonelm_search.core.errors import MeasurementError, UnsupportedShapeError
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import LatencyEstimate, judged_together, rejection
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure import WIDEST_INTERVAL, Profiler, Request
from phonelm_search.speed.block import Block, blocks_of, head_of, layer_of
from phonelm_search.speed.fit import Fit, Observation, fit_group
from phonelm_search.speed.plan import Costs, choose_depths, good_enough
from phonelm_search.store import Store

_TWO_DEPTHS = 2  # blocks of a width that are measured at two depths, for the intercept


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """What is measured of one block."""

    block: Block
    """The block and its wanted depths."""
    depths: tuple[int, ...]
    """Depths to measure."""
    known: tuple[int, ...] = ()
    """Depths that were measured before."""

    @property
    def shapes(self) -> tuple[ModelShape, ...]:
        """The models to measure."""
        return tuple(self.block.at(depth) for depth in self.depths)

    @property
    def truncated(self) -> tuple[ModelShape, ...]:
        """Those that only an estimate is made from."""
        return tuple(self.block.at(d) for d in self.depths if d not in self.block.depths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What became of one shape: measured or estimated latencies, or a failure."""

    latencies: Mapping[Workload, LatencySummary | LatencyEstimate]
    """By workload; empty where it failed."""
    error: MeasurementError | UnsupportedShapeError | None = None
    """Why it failed."""
    unit_ms: float = 1.0
    """What its times are compared in: a millisecond, for they are of one device."""


def plan_blocks(
    shapes: Sequence[ModelShape],
    workloads: Sequence[Workload],
    costs: Costs,
    *,
    whole: bool = True,
    known: Mapping[ModelShape, tuple[int, ...]] = MappingProxyType({}),
) -> list[BlockPlan]:
    """Decide what to measure so that every shape has a latency.

    Of each width (and vocabulary) the blocks that are quickest to measure tell the intercept at
    two depths; each further block needs one depth then. A width whose whole models take less
    time than that is measured whole.

    Args:
        shapes: What is wanted.
        workloads: Of each of them.
        costs: What measuring costs.
        whole: Whether a width may be measured whole.
        known: Depths of blocks that were measured before; they are taken where they do nearly as
            well as the best ones, so that a resumed search measures nothing twice.

    Returns:
        A plan for each block, blocks of a width together. Before them come known blocks of the
        width that nothing is wanted of, where they help to tell its intercept.
    """
    tellers: dict[ModelShape, list[BlockPlan]] = {}
    for layer, depths in known.items():
        if _tells(depths):
            plan = BlockPlan(block=Block(layer=layer, depths=()), depths=depths, known=depths)
            tellers.setdefault(head_of(layer), []).append(plan)
    groups: dict[ModelShape, list[Block]] = {}
    for block in blocks_of(shapes):
        groups.setdefault(block.group, []).append(block)
    found: list[BlockPlan] = []
    for group, blocks in groups.items():
        # What is known first: it may tell the intercept for the others.
        blocks.sort(
            key=lambda b: (
                not _tells(known.get(b.layer, ())),
                costs.seconds(b.at(1), workloads),
            )
        )
        layers = {b.layer for b in blocks}
        entire = [BlockPlan(block=b, depths=b.depths, known=known.get(b.layer, ())) for b in blocks]
        cut = [p for p in tellers.get(group, ()) if p.block.layer not in layers][:_TWO_DEPTHS]
        twice = len(cut)
        for block in blocks:
            told = twice >= _TWO_DEPTHS
            depths = choose_depths(block, workloads, costs, intercept_known=told)
            before = known.get(block.layer, ())
            usable = _tells(before) or (before and told)
            if usable and good_enough(block, before, depths, workloads, costs):
                depths = before
            twice += _tells(depths)
            cut.append(BlockPlan(block=block, depths=depths, known=before))
        times = [planned_seconds(plans, workloads, costs) for plans in (entire, cut)]
        found += entire if whole and times[0] <= times[1] else cut
    return found


def _tells(depths: tuple[int, ...]) -> bool:
    """Whether measurements at these depths tell the intercept: neighbours only tell the slope."""
    return len(depths) > 1 and depths[-1] >= 2 * depths[0]


def planned_seconds(
    plans: Sequence[BlockPlan], workloads: Sequence[Workload], costs: Costs
) -> float:
    """About how long a plan takes, with the reference beside it; what is known is free."""
    return sum(
        costs.seconds(s, workloads, truncated=s in p.truncated)
        for p in plans
        for s in p.shapes
        if s.num_hidden_layers not in p.known
    )


def measured_depths(
    store: Store, profiler: Profiler, workloads: Sequence[Workload]
) -> dict[ModelShape, tuple[int, ...]]:
    """Depths of each block at which all workloads were measured on a device, and not rejected."""
    found: dict[str, set[Workload]] = {}
    for shape_id, workload, key in store.measured(environment_id=profiler.environment_id):
        if key == profiler.key_of(shape_id, workload):
            found.setdefault(shape_id, set()).add(workload)
    complete = [i for i, seen in found.items() if seen >= set(workloads)]
    depths: dict[ModelShape, list[int]] = {}
    for shape in store.shapes(complete).values():
        depths.setdefault(layer_of(shape), []).append(shape.num_hidden_layers)
    return {layer: tuple(sorted(d)) for layer, d in depths.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _GroupFit:
    """The fit of a width in one workload, and what it was made from."""

    fit: Fit
    """Intercept and slopes."""
    below: Mapping[ModelShape, LatencySummary]
    """The measurements."""

    def of(self, layer: ModelShape) -> dict[ModelShape, LatencySummary]:
        """Those of one block."""
        return {s: found for s, found in self.below.items() if layer_of(s) == layer}

    @property
    def tellers(self) -> dict[ModelShape, LatencySummary]:
        """Those of blocks at several depths, which tell the intercept."""
        depths = Counter(layer_of(s) for s in self.below)
        return {s: found for s, found in self.below.items() if depths[layer_of(s)] > 1}


class BlockEstimator:
    """Measures blocks and estimates whole models from them.

    Args:
        store: Where estimates are kept.
        profiler: Measures truncated and whole models.
        costs: What measuring costs, for the plan.
        whole: Whether a width may be measured whole where that is cheaper.
        clock: Present time, for the records.
    """

    def __init__(
        self,
        store: Store,
        profiler: Profiler,
        costs: Costs,
        *,
        whole: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._profiler, self._clock = store, profiler, clock
        self.costs = costs
        self._whole = whole

    def plan(self, shapes: Sequence[ModelShape], workloads: Sequence[Workload]) -> list[BlockPlan]:
        """What `estimate` would measure, earlier measurements taken into account."""
        known = measured_depths(self._store, self._profiler, workloads)
        return plan_blocks(shapes, workloads, self.costs, whole=self._whole, known=known)

    def measure(
        self, requests: Sequence[Request], *, on_round: Callable[[ModelShape], None]
    ) -> list[Estimated]:
        """Latencies of shapes as they are asked for, from blocks where that is quicker.

        Args:
            requests: Shapes, each once; all of the same workloads.
            on_round: Called after each round of a shape that is itself measured.

        Returns:
            As `estimate`.

        Raises:
            StoreError: If the database cannot be used.
        """
        if not requests:
            return []
        (workloads,) = {r.workloads for r in requests}
        shapes = [r.shape for r in requests]

        def on_model(shape: ModelShape) -> None:
            if shape in shapes:
                on_round(shape)

        plans = self.plan(shapes, workloads)
        return self.estimate(shapes, workloads, plans, on_round=on_model)

    def estimate(
        self,
        shapes: Sequence[ModelShape],
        workloads: Sequence[Workload],
        plans: Sequence[BlockPlan],
        *,
        remeasure: bool = False,
        on_round: Callable[[ModelShape], None] = lambda shape: None,
    ) -> list[Estimated]:
        """Latencies of shapes, measuring what their blocks need.

        Args:
            shapes: The whole models.
            workloads: Of each of them.
            plans: What `plan` said of them.
            remeasure: Measure even what is known.
            on_round: Called after each round of a truncated model.

        Returns:
            What became of each shape, in order: a measurement where its own depth was measured,
            else an estimate, which is kept in the database as well.

        Raises:
            StoreError: If the database cannot be used.
        """
        measured, errors = self._measure(plans, workloads, remeasure=remeasure, on_round=on_round)
        by_layer = {p.block.layer: p for p in plans}
        fits = {w: self._fits(plans, measured, w) for w in workloads}
        answers: list[Estimated] = []
        estimates: list[tuple[ModelShape, list[LatencyEstimate]]] = []
        for shape in shapes:
            if shape in measured:
                answers.append(Estimated(latencies=measured[shape]))
                continue
            plan = by_layer[layer_of(shape)]
            parts = [self._one(shape, plan, w, fits[w]) for w in workloads]
            whole = [p for p in parts if p is not None]
            if len(whole) == len(workloads):
                estimates.append((shape, whole))
                answers.append(Estimated(latencies=dict(zip(workloads, whole, strict=True))))
                continue
            error = errors.get(layer_of(shape)) or MeasurementError(
                f"too few blocks of width {shape.hidden_size} could be measured to estimate "
                f"{shape.shape_id}",
                stage="estimate",
            )
            answers.append(Estimated(latencies={}, error=error))
        self._store.set_estimates(estimates)
        return answers

    def _measure(
        self,
        plans: Sequence[BlockPlan],
        workloads: Sequence[Workload],
        *,
        remeasure: bool,
        on_round: Callable[[ModelShape], None],
    ) -> tuple[
        dict[ModelShape, Mapping[Workload, LatencySummary]],
        dict[ModelShape, MeasurementError | UnsupportedShapeError],
    ]:
        """Latencies of the models that plans name, and why blocks failed, by their layer."""
        wanted = list(dict.fromkeys(s for p in plans for s in p.shapes))
        truncated = {s for p in plans for s in p.truncated}
        requests = [
            Request(shape=s, workloads=tuple(workloads), truncated=s in truncated) for s in wanted
        ]
        outcomes = self._profiler.measure(requests, remeasure=remeasure, on_round=on_round)
        measured: dict[ModelShape, Mapping[Workload, LatencySummary]] = {}
        errors: dict[ModelShape, MeasurementError | UnsupportedShapeError] = {}
        for shape, outcome in zip(wanted, outcomes, strict=True):
            if error := outcome.error or rejection(outcome.latencies.values()):
                errors[layer_of(shape)] = error
            else:
                measured[shape] = outcome.latencies
        return measured, errors

    def _fits(
        self,
        plans: Sequence[BlockPlan],
        measured: Mapping[ModelShape, Mapping[Workload, LatencySummary]],
        workload: Workload,
    ) -> dict[ModelShape, _GroupFit]:
        """A fit for each width whose intercept can be told."""
        groups: dict[ModelShape, dict[ModelShape, LatencySummary]] = {}
        for plan in plans:
            for shape in plan.shapes:
                if shape in measured:
                    found = groups.setdefault(plan.block.group, {})
                    found[shape] = measured[shape][workload]
        fits = {}
        for group, found in groups.items():
            observations = [self._observe(s, workload, latency) for s, latency in found.items()]
            try:
                fits[group] = _GroupFit(fit=fit_group(observations), below=found)
            except MeasurementError:  # one depth only: nothing to estimate from
                continue
        return fits

    def _observe(self, shape: ModelShape, workload: Workload, found: LatencySummary) -> Observation:
        draws = self._profiler.resampled_ms(shape, workload)
        return Observation(
            block=layer_of(shape),
            depth=shape.num_hidden_layers,
            median_ms=found.latency_ms,
            draws_ms=tuple(draws.tolist()),
        )

    def _one(
        self,
        shape: ModelShape,
        plan: BlockPlan,
        workload: Workload,
        fits: Mapping[ModelShape, _GroupFit],
    ) -> LatencyEstimate | None:
        group = fits.get(plan.block.group)
        if group is None or not (own := group.of(plan.block.layer)):
            return None
        fit = group.fit
        middle, low, high = fit.predict(plan.block.layer, shape.num_hidden_layers)
        device = self._profiler.device
        verdict, reasons = judged_together((*own.values(), *group.tellers.values()))
        if (high - low) > WIDEST_INTERVAL * middle:
            verdict = "suspect"
            wide = Reason(
                kind="wide-estimate",
                what=f"the estimate's interval is {(high - low) / middle:.0%} of it, wider than "
                f"{WIDEST_INTERVAL:.0%}",
                remedy="measure the shape whole",
            )
            reasons = (wide, *reasons)
        return LatencyEstimate(
            shape_id=shape.shape_id,
            device=device.name,
            precision=device.precision.of(workload.phase),
            workload=workload,
            cache_mode=device.cache_mode(workload),
            environment_id=self._profiler.environment_id,
            graph_version=GRAPH_VERSION,
            protocol_version=PROTOCOL_VERSION,
            latency_ms=middle,
            ci_low_ms=low,
            ci_high_ms=high,
            intercept_ms=fit.intercept_ms,
            slope_ms=fit.slope_ms(plan.block.layer),
            depths=tuple(sorted(s.num_hidden_layers for s in own)),
            verdict=verdict,
            reasons=reasons,
            created_at=self._clock().isoformat(timespec="seconds"),
        )
