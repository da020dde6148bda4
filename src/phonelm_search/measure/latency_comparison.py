"""How much faster one shape is than another, from all rounds that they shared or are joined by."""

import json
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from phonelm_search.core.latency import Extent
from phonelm_search.core.records import Measurement
from phonelm_search.core.statistics import Floats, percentile_interval
from phonelm_search.measure.effects import Effects, Observations, fit_effects


class LatencyComparison:
    """Shapes of one workload beside each other.

    Args:
        rounds: Measurements of one workload at one place, in the order in which they were stored,
            the reference's among them; controls are left out.

    Raises:
        ValueError: If there is none, or if they are of several workloads or places.
    """

    def __init__(self, rounds: Sequence[Measurement]) -> None:
        counted = [m for m in rounds if not m.is_control]
        kinds = {(m.workload, m.environment_id, m.cache_mode, m.weights_source) for m in counted}
        if len(kinds) != 1:
            raise ValueError(f"rounds must be of one workload at one place, got {len(kinds)} kinds")
        self.rounds = tuple(counted)
        names = [process_of(m) for m in counted]
        self.shape_ids = tuple(dict.fromkeys(m.shape_id for m in counted))
        self.processes = tuple(dict.fromkeys(names))
        self._index = {name: i for i, name in enumerate(self.shape_ids)}
        processes = {name: i for i, name in enumerate(self.processes)}
        self._observations = Observations(
            log_ms=np.log([np.median(m.samples_ns) / 1e6 for m in counted]),
            shapes=np.array([self._index[m.shape_id] for m in counted]),
            processes=np.array([processes[name] for name in names]),
            covariates=_made_first(counted, names)[:, None],
        )

    @cached_property
    def effects(self) -> Effects:
        """Draws of all effects; what `shape_ids` and `processes` number."""
        return fit_effects(self._observations)

    def log_ratios(self, shape_id: str, to: str) -> Floats:
        """``[draws]``: logarithm of a shape's latency over another's.

        Raises:
            KeyError: If one of them has no round.
        """
        first, second = (self._index[s] for s in (shape_id, to))
        drawn: Floats = self.effects.shapes[:, first] - self.effects.shapes[:, second]
        return drawn

    def ratio(self, shape_id: str, to: str) -> Extent:
        """A shape's latency over another's, with its 95 % interval."""
        return _extent(np.exp(self.log_ratios(shape_id, to)))

    def usual_ms(self, shape_id: str) -> Extent:
        """A shape's latency on this machine as it usually is."""
        return _extent(np.exp(self.effects.shapes[:, self._index[shape_id]]))


def process_of(m: Measurement) -> str:
    """What is equal of measurements of one process, and of no other.

    Records from before it was kept share the conditions and the bandwidth that were read there.
    """
    return m.process or json.dumps([m.conditions, m.bandwidth_bytes_per_s], sort_keys=True)


def _made_first(rounds: Sequence[Measurement], processes: Sequence[str]) -> Floats:
    """1 for rounds of the session that was made first in its process, else 0.

    Older records are stored in the order of their sessions.
    """
    seen: set[str] = set()
    first = []
    for m, process in zip(rounds, processes, strict=True):
        first.append(m.place == 0 if m.place is not None else process not in seen)
        seen.add(process)
    return np.array(first, float)


def _extent(draws: Floats) -> Extent:
    return Extent(float(np.median(draws)), *percentile_interval(draws))
