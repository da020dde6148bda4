"""Which measured shapes of a study go to training."""

from collections.abc import Iterable

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.shape import ModelShape
from phonelm_search.quality import ScoreSettings
from phonelm_search.reading.view import StudyRow, StudyView
from phonelm_search.search import Measured, select_for_training
from phonelm_search.space import SearchSpace
from phonelm_search.train import too_narrow


def typical_size(space: SearchSpace, sizes: Iterable[int]) -> int | None:
    """Decoder parameters of a study's shapes: the space's target, else the median of ``sizes``."""
    if space.parameters and space.parameters.count == "decoder":
        return space.parameters.target
    ordered = sorted(sizes)
    return ordered[len(ordered) // 2] if ordered else None


def candidates(
    view: StudyView, count: int, settings: ScoreSettings
) -> tuple[list[ModelShape], list[str]]:
    """The measured shapes of a study that are worth training.

    Returns:
        The shapes, fastest first, and why others cannot be trained at this budget.

    Raises:
        TrainingError: If none can be.
    """
    reasons = {
        r.shape.shape_id: too_narrow(r.shape, settings.typical, settings.budget)
        for r in view.measured
        if settings.typical
    }
    left_out = [reason for reason in reasons.values() if reason]
    if left_out and len(left_out) == len(view.measured):
        raise TrainingError(left_out[0])
    shapes = {r.shape.shape_id: r.shape for r in view.measured if not reasons.get(r.shape.shape_id)}
    usable = [r for r in view.measured if r.shape.shape_id in shapes]
    return [shapes[i] for i in near_front(usable, count)], left_out


def near_front(rows: Iterable[StudyRow], count: int) -> list[str]:
    """Ids of the front and near-front of rows, spread over depth; see `select_for_training`."""
    return select_for_training(
        [
            Measured(
                shape_id=r.shape.shape_id,
                latency=r.latency.value,
                decoder_parameters=r.shape.decoder_parameters,
                num_hidden_layers=r.shape.num_hidden_layers,
            )
            for r in rows
        ],
        count,
    )
