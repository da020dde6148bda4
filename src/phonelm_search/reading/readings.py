"""What the database knows of shapes at one place: a device in one environment."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from phonelm_search.core.judgement import Judged
from phonelm_search.core.latency import Extent, ScenarioTime
from phonelm_search.core.records import (
    Kind,
    LatencyEstimate,
    Measurement,
    identity,
)
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.measure import (
    DRAWS,
    LatencyComparison,
    cached_doubles,
    summarise,
)
from phonelm_search.reading.place import Place
from phonelm_search.reading.place_rounds import place_rounds
from phonelm_search.reading.pooled import WorkloadModel
from phonelm_search.reading.times import TimeColumns
from phonelm_search.store import Store

_CHUNK = 500  # shapes at a time, for a bounded memory


class Readings:
    """Latencies of some shapes at one place.

    Args:
        store: The database.
        place: Where.
        scenario: Of what.
        shape_ids: Of which shapes.
        shapes: Some of them that were read before, by id.

    Raises:
        StoreError: If the database cannot be read.
    """

    def __init__(
        self,
        store: Store,
        place: Place,
        scenario: Scenario,
        shape_ids: Sequence[str],
        *,
        shapes: Mapping[str, ModelShape] | None = None,
    ) -> None:
        self.place, self.scenario = place, scenario
        self._store, self._shape_ids = store, shape_ids
        self._rows = {shape_id: i for i, shape_id in enumerate(shape_ids)}
        rounds = place_rounds(store, place, scenario, shape_ids)
        self.state = rounds.state
        """Another one once a round was added to the environment, or dropped."""
        self._judged = rounds.judged
        self._whole, self._rejected = (
            column.tolist() for column in (rounds.judged.whole, rounds.judged.rejected)
        )
        self.comparisons = rounds.comparisons
        """Shapes beside each other, and all that shared a process with them, by workload."""
        self.shapes = _all_shapes(store, self.comparisons.values(), shapes or {})
        """All of them, by id."""
        self.models = {
            w: WorkloadModel(c, self.shapes, place.device.scheme_of(w.phase), w)
            for w, c in self.comparisons.items()
        }
        """What tells the latency of other shapes, by workload."""
        self._pooled = {
            w: pooled for w, m in self.models.items() if (pooled := m.pooled()) is not None
        }
        found = store.estimates(shape_ids=shape_ids, environment_id=place.environment_id)
        self._estimates: dict[str, LatencyEstimate] = {e.key: e for e in found}

    @cached_property
    def digest(self) -> str:
        """Of all that the draws of times depend on."""
        estimates = sorted(
            (key, e.latency_ms, e.ci_low_ms, e.ci_high_ms) for key, e in self._estimates.items()
        )
        told = [[w.name, m.digest] for w, m in self.models.items()]
        common = [self.place.common(w) for w in self.scenario.workloads]
        about = {"common": common, "scenario": str(self.scenario)}
        return identity({"models": told, "estimates": estimates, **about})

    def kind(self, shape_id: str) -> Kind | None:
        """Whether a shape was measured whole here, else estimated; None where it has no time."""
        if self._whole[self._rows[shape_id]]:
            return "measured"
        if not self._estimates:
            return None
        return "estimated" if all(k in self._estimates for k in self._keys[shape_id]) else None

    def is_rejected(self, shape_id: str) -> bool:
        """Whether a part of a shape's time, which it has, must be left out."""
        row = self._rows[shape_id]
        if self._whole[row]:
            rejected: bool = self._rejected[row]
            return rejected
        return any(self._estimates[k].verdict == "rejected" for k in self._keys[shape_id])

    def measured(self, shape_id: str) -> ScenarioTime | None:
        """As measured whole, by the same draws as `end_to_end_draws`."""
        return self._time(shape_id, self._by_all)

    def times(self, shape_ids: Sequence[str]) -> TimeColumns:
        """Of shapes that have a time, as `time`."""
        parts = [self._extents(w, shape_ids) for w in self.scenario.workloads]
        measured = np.array([self.kind(i) == "measured" for i in shape_ids], bool)
        for i in np.flatnonzero(~np.logical_and.reduce([known for known, _ in parts])).tolist():
            time = self.time(shape_ids[i])
            assert time is not None, "only shapes with a time are asked for"
            for (_, extents), part in zip(parts, time.parts, strict=True):
                extents[i] = part.latency_ms, part.ci_low_ms, part.ci_high_ms
        return TimeColumns(
            parts=tuple(extents for _, extents in parts),
            generated_tokens=self.scenario.generated_tokens,
            measured=measured,
        )

    def _extents(
        self, workload: Workload, shape_ids: Sequence[str]
    ) -> tuple[npt.NDArray[np.bool_], Floats]:
        """``[n]``, which of some shapes a comparison tells; ``[n, 3]`` of milliseconds."""
        pooled, comparison = self._pooled.get(workload), self.comparisons.get(workload, ())
        known = np.array([i in comparison for i in shape_ids], bool)
        extents = np.empty((len(shape_ids), 3))
        places = np.full(len(shape_ids), -1)
        if pooled is not None:
            places[:] = [pooled.places.get(i, -1) for i in shape_ids]
            extents[places >= 0] = pooled.extents_ms[places[places >= 0]]
        for i in np.flatnonzero(known & (places < 0)).tolist():
            extents[i] = self._by_all(workload, shape_ids[i])
        return known, extents

    def judgements(self, shape_id: str) -> tuple[Judged, ...]:
        """Of a shape that has a time, by workload: how far to trust each part of it."""
        row = self._rows[shape_id]
        if self._whole[row] and shape_id in self._compared:
            return self._judged.of_shape(row)
        time = self.time(shape_id)
        assert time is not None, "only shapes with a time are asked for"
        return time.parts

    @cached_property
    def _compared(self) -> set[str]:
        """Shapes that each workload's comparison knows."""
        known = [set(c.shape_ids) for c in self.comparisons.values()]
        return set.intersection(*known) if len(known) == len(self.scenario.workloads) else set()

    def own_time(self, shape_id: str) -> ScenarioTime | None:
        """As measured whole, by the rounds of the shape alone: no other one moves it."""
        return self._time(shape_id, lambda workload, i: self.comparisons[workload].usual_ms(i))

    def _by_all(self, workload: Workload, shape_id: str) -> Extent:
        """Milliseconds that all measured shapes tell of one, where they are enough for that."""
        pooled = self._pooled.get(workload)
        if pooled is None or shape_id not in pooled.places:
            return self.comparisons[workload].usual_ms(shape_id)
        return Extent(*pooled.extents_ms[pooled.places[shape_id]].tolist())

    def _time(self, shape_id: str, told: Callable[[Workload, str], Extent]) -> ScenarioTime | None:
        """Rounds of a shape summed up; a comparison tells their milliseconds."""
        row = self._rows[shape_id]
        if not self._whole[row]:
            return None
        found = []
        for i, workload in enumerate(self.scenario.workloads):
            if shape_id in self.comparisons.get(workload, ()):
                found.append(self._judged.summary(row, i, told(workload, shape_id)))
            else:
                found.append(summarise(self._apart[self._keys[shape_id][i]], None))
        return ScenarioTime(scenario=self.scenario, prefill=found[0], steps=tuple(found[1:]))

    @cached_property
    def _apart(self) -> dict[str, list[Measurement]]:
        """Rounds of shapes that the comparisons know nothing of, by key, with their samples.

        All of such a shape's rounds were rejected, or an early release made them.
        """
        keys = [
            key
            for shape_id, whole in zip(self._shape_ids, self._whole, strict=True)
            if whole
            for workload, key in zip(self.scenario.workloads, self._keys[shape_id], strict=True)
            if shape_id not in self.comparisons.get(workload, ())
        ]
        found: dict[str, list[Measurement]] = {}
        for m in self._store.measurements(keys=keys):
            found.setdefault(m.key, []).append(m)
        return found

    def estimated(self, shape_id: str) -> ScenarioTime | None:
        """As an earlier release estimated it from blocks of its layers."""
        if not self._estimates:
            return None
        keys = zip(self.scenario.workloads, self._keys[shape_id], strict=True)
        found = {w: self._estimates[k] for w, k in keys if k in self._estimates}
        return ScenarioTime.of(self.scenario, found)

    def time(self, shape_id: str) -> ScenarioTime | None:
        """As measured, else as estimated, else None."""
        return self.measured(shape_id) or self.estimated(shape_id)

    def log_ms(self, workload: Workload, shape_id: str) -> Floats | None:
        """``[draws]`` of the logarithm of milliseconds; None where no round counts.

        By its own rounds and what all measured shapes say of it, where they are enough for that.
        """
        pooled = self._pooled.get(workload)
        if pooled is not None and shape_id in pooled.places:
            drawn: Floats = pooled.log_ms[pooled.places[shape_id]].astype(float)
            return drawn
        comparison = self.comparisons.get(workload)
        if comparison is None or shape_id not in comparison:
            return None
        return comparison.log_ms(shape_id)

    def end_to_end_draws(self, shape_id: str) -> Floats | None:
        """``[draws]``: ms of the whole scenario; draws of the same number belong together.

        None where a workload has no round that counts.
        """
        known, drawn = self.many_end_to_end_draws([shape_id])
        return drawn[0] if known[0] else None

    def many_end_to_end_draws(
        self, shape_ids: Sequence[str]
    ) -> tuple[npt.NDArray[np.bool_], Floats]:
        """``[n]``, which of some shapes have them; ``[those, draws]`` of those."""
        workloads = self.scenario.workloads
        known = np.ones(len(shape_ids), bool)
        for workload in workloads:  # what is pooled has rounds in the comparison
            own = self.comparisons.get(workload, ())
            known &= [i in own for i in shape_ids]
        some = [i for i, k in zip(shape_ids, known.tolist(), strict=True) if k]
        if not some:
            return known, np.empty((0, 0))
        return known, self._sum([np.exp(self._many_log_ms(w, some)) for w in workloads])

    def _many_log_ms(self, workload: Workload, shape_ids: Sequence[str]) -> Floats:
        """``[n, draws]`` of shapes that are known."""
        pooled = self._pooled.get(workload)
        if pooled is not None and all(i in pooled.places for i in shape_ids):
            drawn: Floats = pooled.log_ms[[pooled.places[i] for i in shape_ids]].astype(float)
            return drawn
        told = [self.log_ms(workload, i) for i in shape_ids]
        return np.stack([t for t in told if t is not None])

    def level(self, shape_ids: Sequence[str]) -> Floats:
        """``[draws]``: mean over shapes of the logarithm of the whole scenario's time."""

        def told() -> dict[str, Floats]:
            total, count = np.zeros(DRAWS), 0
            for start in range(0, len(shape_ids), _CHUNK):
                _, drawn = self.many_end_to_end_draws(shape_ids[start : start + _CHUNK])
                total += np.log(drawn).sum(axis=0)
                count += len(drawn)
            return {"level": total / count}

        files = (c.file for c in self.comparisons.values())
        file = next((f.with_suffix(".level.npz") for f in files if f), None)
        digest = identity({"times": self.digest, "shapes": list(shape_ids)})
        return cached_doubles(file, digest, told)["level"]

    def own_draws(self, shape_id: str, *, twin: bool = False) -> Floats | None:
        """The same by the rounds of the shape alone, or of its twin."""
        try:
            told = [
                self.comparisons[w].log_ms(shape_id, twin=twin) for w in self.scenario.workloads
            ]
        except KeyError:
            return None
        return self._sum([np.exp(t) for t in told])

    def _sum(self, parts: Sequence[Floats]) -> Floats:
        """Milliseconds of the whole scenario from those of its workloads."""
        drawn = np.zeros_like(parts[0])
        for weight, part in zip(self.scenario.weights, parts, strict=True):
            drawn += weight * part
        return drawn

    @property
    def twins(self) -> tuple[str, ...]:
        """Shapes that were measured twice in all workloads."""
        found = [set(c.twins) for c in self.comparisons.values()]
        return tuple(sorted(set.intersection(*found))) if found else ()

    def peak_bytes(self, shape_id: str) -> int | None:
        """Peak memory, where it was measured."""
        return self._judged.peak_bytes(self._rows[shape_id])

    @cached_property
    def _keys(self) -> dict[str, tuple[str, ...]]:
        """Of each shape's measurements, by workload."""
        ids = self._shape_ids
        keys = [self.place.keys(ids, workload) for workload in self.scenario.workloads]
        return dict(zip(ids, zip(*keys, strict=True), strict=True))


def _all_shapes(
    store: Store, found: Iterable[LatencyComparison], shapes: Mapping[str, ModelShape]
) -> dict[str, ModelShape]:
    """Shapes of comparisons, those that are not there yet read."""
    ids = {i for comparison in found for i in comparison.shape_ids}
    there = {i: shapes[i] for i in ids & shapes.keys()}
    return there | store.shapes(ids - there.keys())
