"""Latencies of measured shapes, each by its own rounds and by what all others say of it."""

from collections.abc import Mapping

from phonelm_search.core.precision import Precision
from phonelm_search.core.records import identity
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Workload
from phonelm_search.measure import REFERENCE, LatencyComparison, cached_arrays

LEAST_POOLED = 12
"""Measured shapes below which each stands for itself."""


def pooled_log_ms(
    comparison: LatencyComparison,
    shapes: Mapping[str, ModelShape],
    scheme: Precision,
    workload: Workload,
) -> dict[str, Floats]:
    """``[draws]`` of the logarithm of milliseconds, by shape id.

    Shapes of a space follow a smooth law, so that two dozen shapes of two rounds each tell one of
    them better than its own rounds do; see `speed.LatencyModel.measured_draws`.

    Args:
        comparison: The rounds.
        shapes: Of the ids that shall be told.
        scheme: How weights are stored.
        workload: What was timed.

    Returns:
        Nothing where too few shapes were measured.
    """
    # The reference of the rounds is of another kind: its vocabulary is small.
    ids = sorted(i for i in comparison.shape_ids if i in shapes and i != REFERENCE.shape_id)
    if len(ids) < LEAST_POOLED:
        return {}
    digest = identity({"rounds": comparison.digest, "ids": ids})
    file = comparison.file.with_suffix(".pooled.npz") if comparison.file else None

    def told() -> dict[str, Floats]:
        from phonelm_search.speed import LatencyModel  # loads scikit-learn

        model = LatencyModel.of(comparison, {i: shapes[i] for i in ids}, scheme, workload)
        return {"log_ms": model.measured_draws()}

    found = cached_arrays(file, digest, told)["log_ms"]
    return dict(zip(ids, found.T, strict=True))
