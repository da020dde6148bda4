"""What a study's latencies are told as shares of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phonelm_search.core.records import StudyShape
from phonelm_search.core.statistics import Floats
from phonelm_search.measure import DRAWS, REFERENCE
from phonelm_search.reading.readings import Readings

REFERENCE_NAME = "the reference shape"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A model whose time of the whole scenario is 1."""

    name: str
    """How a person calls it."""
    shape_id: str
    """Of its shape."""
    draws: tuple[Floats, ...]
    """``[draws]`` of its milliseconds at each place."""

    def ms(self, place: int) -> float:
        """Its milliseconds at one place."""
        return float(np.median(self.draws[place]))

    def shares(self, place: int, readings: Readings, shape_ids: Sequence[str]) -> Floats:
        """``[n, draws]`` of shapes' times as shares of it at one place.

        Of a shape that only an earlier release's estimate is known of, they are independent.
        """
        known, drawn = readings.many_end_to_end_draws(shape_ids)
        if not known.all():
            told = np.empty((len(shape_ids), len(self.draws[place])))
            if known.any():
                told[known] = drawn
            for i in np.flatnonzero(~known).tolist():
                told[i] = self._estimated(place, readings, shape_ids[i])
            drawn = told
        drawn /= self.draws[place]
        return drawn

    def _estimated(self, place: int, readings: Readings, shape_id: str) -> Floats:
        """``[draws]`` of milliseconds."""
        time = readings.time(shape_id)
        assert time is not None, "only shapes with a time are asked for"
        span, random = time.end_to_end, np.random.default_rng(int.from_bytes(shape_id.encode()))
        noise = random.standard_normal(len(self.draws[place]))
        drawn: Floats = np.maximum(span.ms + span.deviation_ms * noise, 0.01 * span.ms)
        return drawn


def find_baseline(parts: Sequence[StudyShape], readings: Sequence[Readings]) -> Baseline | None:
    """The first reference of a study that was measured at all its places.

    Where there is none, the shape that every round measures; in studies from before there was
    one, the first shape that is known.
    """
    references = [(p.name, p.shape_id) for p in parts if p.name is not None and p.reason is None]
    others = [(p.shape_id, p.shape_id) for p in parts if p.name is None]
    for name, shape_id in (*references, (REFERENCE_NAME, REFERENCE.shape_id), *others):
        draws = [r.end_to_end_draws(shape_id) for r in readings]
        told = [d for d in draws if d is not None]
        if len(told) == len(readings):
            return Baseline(name=name, shape_id=shape_id, draws=tuple(told))
    for name, shape_id in others:
        times = [r.time(shape_id) for r in readings]
        if all(times):
            fixed = tuple(np.full(DRAWS, t.end_to_end.ms) for t in times if t)
            return Baseline(name=name, shape_id=shape_id, draws=fixed)
    return None
