"""Latencies of measured shapes, each by its own rounds and by what all others say of it."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phonelm_search.core.precision import Precision
from phonelm_search.core.records import identity
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Workload
from phonelm_search.measure import REFERENCE, LatencyComparison, cached_arrays, cached_singles

if TYPE_CHECKING:
    from phonelm_search.speed import LatencyModel

LEAST_POOLED = 12
"""Measured shapes below which each stands for itself."""


class WorkloadModel:
    """What all measured shapes say of one and of others; it is fitted once for both.

    Args:
        comparison: The rounds.
        shapes: Of the ids that shall be told.
        scheme: How weights are stored.
        workload: What was timed.
    """

    def __init__(
        self,
        comparison: LatencyComparison,
        shapes: Mapping[str, ModelShape],
        scheme: Precision,
        workload: Workload,
    ) -> None:
        self._comparison, self._shapes = comparison, shapes
        self._scheme, self._workload = scheme, workload
        # The reference of the rounds is of another kind: its vocabulary is small.
        known = (i for i in comparison.shape_ids if i in shapes and i != REFERENCE.shape_id)
        self.ids = sorted(known)
        """Shapes that it is fitted to."""
        self._digest = identity({"rounds": comparison.digest, "ids": self.ids})

    @cached_property
    def fitted(self) -> "LatencyModel":
        """The model.

        Raises:
            ValueError: If too few shapes were measured.
        """
        from phonelm_search.speed import LatencyModel  # loads scikit-learn

        shapes = {i: self._shapes[i] for i in self.ids}
        file = self._comparison.file
        return LatencyModel.of(
            self._comparison, shapes, self._scheme, self._workload,
            kept=lambda fit: cached_arrays(
                file.with_suffix(".kernel.npz") if file else None, self._digest, fit
            ),
        )  # fmt: skip

    def pooled_log_ms(self) -> npt.NDArray[np.float32] | None:
        """``[ids, draws]`` of the logarithm of milliseconds, in the order of `ids`.

        Shapes of a space follow a smooth law, so that two dozen shapes of two rounds each tell one
        of them better than its own rounds do; see `speed.LatencyModel.measured_draws`.

        Returns:
            None where too few shapes were measured.
        """
        if len(self.ids) < LEAST_POOLED:
            return None
        file = self._comparison.file.with_suffix(".pooled.npz") if self._comparison.file else None

        def told() -> dict[str, Floats]:
            return {"log_ms": self.fitted.measured_draws()}

        found = cached_singles(file, self._digest, told)["log_ms"]
        return np.ascontiguousarray(found.T)
