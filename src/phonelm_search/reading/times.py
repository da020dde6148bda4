"""Times of many shapes on one device, by columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from phonelm_search.core.latency import ScenarioTime
from phonelm_search.core.statistics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeColumns:
    """As of `ScenarioTime`, in ms; each is ``[n, 3]``: value and ends of its 95 % interval."""

    parts: tuple[Floats, ...]
    """In the order of `Scenario.workloads`."""
    generated_tokens: int
    """Of the scenario."""
    measured: npt.NDArray[np.bool_]
    """``[n]``: whether it is no estimate."""

    @classmethod
    def of(cls, times: Sequence[ScenarioTime]) -> "TimeColumns":
        """Of times of one scenario.

        Raises:
            ValueError: If there is none.
        """
        if not times:
            raise ValueError("at least one time must be given, got none")
        told = [[(p.latency_ms, p.ci_low_ms, p.ci_high_ms) for p in t.parts] for t in times]
        return cls(
            parts=tuple(np.array(told).swapaxes(0, 1)),
            generated_tokens=times[0].scenario.generated_tokens,
            measured=np.array([t.kind == "measured" for t in times], bool),
        )

    @property
    def ttft(self) -> Floats:
        """Time to the first token."""
        return self.parts[0]

    @property
    def tpot(self) -> Floats:
        """Time per output token."""
        steps = self.parts[1:]
        middle = sum(s[:, 0] for s in steps) / len(steps)
        low = reduce(np.hypot, (s[:, 0] - s[:, 1] for s in steps)) / len(steps)
        high = reduce(np.hypot, (s[:, 2] - s[:, 0] for s in steps)) / len(steps)
        return np.stack([middle, middle - low, middle + high], axis=1)

    @property
    def end_to_end(self) -> Floats:
        """The prefill and all further tokens."""
        first, step, count = self.ttft.T, self.tpot.T, self.generated_tokens - 1
        middle = first[0] + count * step[0]
        low = np.hypot(first[0] - first[1], count * (step[0] - step[1]))
        high = np.hypot(first[2] - first[0], count * (step[2] - step[0]))
        return np.stack([middle, middle - low, middle + high], axis=1)

    def scaled(self, factors: Floats) -> "TimeColumns":
        """Every time so many times as long.

        Args:
            factors: ``[n]``.
        """
        return replace(self, parts=tuple(p * factors[:, None] for p in self.parts))

    def rows(self, index: npt.NDArray[np.intp]) -> "TimeColumns":
        """Those of an index."""
        return replace(
            self, parts=tuple(p[index] for p in self.parts), measured=self.measured[index]
        )
