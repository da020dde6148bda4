"""Every shape of a space from its blocks, and the front of them measured whole."""

from dataclasses import dataclass

from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.records import StudyShape
from phonelm_search.core.reporting import ShapeProgress
from phonelm_search.core.shape import ModelShape
from phonelm_search.speed import BlockEstimator, BlockPlan, planned_seconds
from phonelm_search.stages.session import MeasuringSession
from phonelm_search.stages.setup import Setup

MOST_BLOCKS = 5000
"""More take minutes to plan and hours to measure, so they are screened only when asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningPlan:
    """What screening a space takes."""

    shapes: tuple[ModelShape, ...]
    """All shapes of the space."""
    blocks: tuple[BlockPlan, ...]
    """What is measured for them."""
    estimator: BlockEstimator
    """What estimates them."""
    seconds: float
    """About how long it takes on a quiet machine."""
    whole_seconds: float
    """About how long measuring every shape whole would take."""

    @property
    def wanted(self) -> int:
        """Blocks of the space; known ones of other spaces that help to tell it aside."""
        return sum(bool(p.block.depths) for p in self.blocks)


def plan_screening(setup: Setup, estimator: BlockEstimator) -> ScreeningPlan:
    """Plan the blocks of a space with what is known of the device."""
    workloads = setup.goals.workloads
    shapes = tuple(setup.feasible.shape(row) for row in range(len(setup.feasible)))
    costs = estimator.costs
    blocks = tuple(estimator.plan(shapes, workloads))
    return ScreeningPlan(
        shapes=shapes,
        blocks=blocks,
        estimator=estimator,
        seconds=planned_seconds(blocks, workloads, costs),
        whole_seconds=sum(costs.seconds(s, workloads) for s in shapes),
    )


def screen(session: MeasuringSession, plan: ScreeningPlan) -> None:
    """Measure every block of a space; every shape becomes part of the study.

    Raises:
        MeasurementError: If nothing could be measured.
        StoreError: If the database cannot be used.
    """
    setup, report = session.setup, session.report
    models = {s.shape_id for p in plan.blocks for s in p.shapes}
    report.stage(f"measuring {plan.wanted} blocks for {len(plan.shapes)} shapes", len(models))
    progress = ShapeProgress(report, session.profilers[0].settings.rounds)
    found = plan.estimator.estimate(
        plan.shapes, setup.goals.workloads, plan.blocks, on_round=progress.on_round
    )
    parts = []
    for shape, outcome in zip(plan.shapes, found, strict=True):
        error = outcome.error
        part = StudyShape(
            shape_id=shape.shape_id,
            role="screened",
            reason=str(error) if error else None,
            transient=isinstance(error, MeasurementError) and error.transient,
        )
        parts.append((shape, part))
    session.store.set_study_shapes(session.study, parts)
    errors = [o.error for o in found if o.error]
    if len(errors) == len(found):
        raise MeasurementError(f"no block could be measured; the first: {errors[0]}", stage="run")
    if errors:
        report.note(f"{len(errors)} shapes could not be estimated, the first: {errors[0]}")
