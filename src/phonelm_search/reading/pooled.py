"""Latencies of measured shapes, each by its own rounds and by what all others say of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phonelm_search.core.precision import Precision
from phonelm_search.core.records import identity
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats, middles_and_ends
from phonelm_search.core.workload import Workload
from phonelm_search.measure import (
    REFERENCE,
    LatencyComparison,
    cached_arrays,
    cached_doubles,
    cached_singles,
)

if TYPE_CHECKING:
    from phonelm_search.speed import LatencyModel

LEAST_POOLED = 12
"""Measured shapes below which each stands for itself."""
_VERSION = "2"  # of what is kept
_CHUNK = 500  # shapes at a time, for a bounded memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """Milliseconds that all measured shapes tell of each."""

    places: Mapping[str, int]
    """Shape id → its entry."""
    log_ms: npt.NDArray[np.float32]
    """``[n, draws]`` of the logarithm of milliseconds."""
    extents_ms: Floats
    """``[n, 3]``: the middle and the ends of the 95 % interval."""


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
        rounds = {"rounds": comparison.digest, "ids": self.ids, "version": _VERSION}
        self.digest = identity(rounds)
        """Of all that it is fitted to."""

    @cached_property
    def fitted(self) -> "LatencyModel":
        """The model.

        Raises:
            ValueError: If too few shapes were measured.
        """
        from phonelm_search.speed import LatencyModel  # loads scikit-learn

        def kept(what: str, make: Callable[[], Mapping[str, Floats]]) -> Mapping[str, Floats]:
            keep = cached_arrays if what == "kernel" else cached_doubles
            return keep(self._file(what), self.digest, make)

        shapes = {i: self._shapes[i] for i in self.ids}
        return LatencyModel.of(self._comparison, shapes, self._scheme, self._workload, kept=kept)

    def pooled(self) -> Pooled | None:
        """Shapes that were measured, by their own rounds and by all others'.

        Shapes of a space follow a smooth law, so that two dozen shapes of two rounds each tell one
        of them better than its own rounds do; see `speed.LatencyModel.measured_draws`.

        Returns:
            None where too few shapes were measured.
        """
        if len(self.ids) < LEAST_POOLED:
            return None

        def told() -> dict[str, Floats]:
            return {"log_ms": np.ascontiguousarray(self.fitted.measured_draws().T)}

        drawn = cached_singles(self._file("pooled"), self.digest, told)["log_ms"]

        def ends() -> dict[str, Floats]:
            chunks = (drawn[i : i + _CHUNK] for i in range(0, len(drawn), _CHUNK))
            found = [middles_and_ends(c, of_logarithms=True) for c in chunks]
            return {"ms": np.concatenate(found)}

        return Pooled(
            places={shape_id: i for i, shape_id in enumerate(self.ids)},
            log_ms=drawn,
            extents_ms=cached_doubles(self._file("pooled-ms"), self.digest, ends)["ms"],
        )

    def _file(self, what: str) -> Path | None:
        """Where something that was derived is kept; None where nothing is."""
        file = self._comparison.file
        return file.with_suffix(f".{what}.npz") if file else None
