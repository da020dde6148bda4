"""Latencies of measured shapes, each by its own rounds and by what all others say of it."""

from collections.abc import Mapping

import numpy as np

from phonelm_search.core.precision import Precision
from phonelm_search.core.records import identity
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Workload
from phonelm_search.measure import REFERENCE, LatencyComparison, keep_arrays, kept_arrays

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
    found = kept_arrays(file, digest) if file else None
    if found is None:
        from phonelm_search.speed import Columns, LatencyModel  # loads scikit-learn

        draws = np.stack([comparison.log_ms(i) for i in ids], axis=1)
        model = LatencyModel(Columns.of([shapes[i] for i in ids]), draws, scheme, workload)
        found = {"log_ms": model.measured_draws()}
        if file:
            found = keep_arrays(file, digest, found)
    return dict(zip(ids, found["log_ms"].T, strict=True))
