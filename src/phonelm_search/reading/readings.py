"""What the database knows of shapes at one place: a device in one environment."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.judged_round import JudgedRound
from phonelm_search.core.latency import Extent, ScenarioTime
from phonelm_search.core.records import (
    Kind,
    LatencyEstimate,
    Measurement,
    StudyRecord,
    identity,
    measurement_keys,
)
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import (
    DRAWS,
    LatencyComparison,
    cached_doubles,
    summarise,
    summarise_judged,
    verdict_of,
)
from phonelm_search.reading.pooled import WorkloadModel
from phonelm_search.store import Store

_CHUNK = 500  # shapes at a time, for a bounded memory
_FIRST_VERSIONS = {"graph": 1, "protocol": 1}
"""Of studies that were started before versions were kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A device in one environment, and the versions that measured there."""

    device: DeviceProfile
    """The profile."""
    environment_id: str
    """Digest of the environment."""
    versions: Mapping[str, int]
    """Of graph and protocol."""

    def keys(
        self, shape_ids: Iterable[str], workload: Workload, source: str = "memory"
    ) -> Iterator[str]:
        """Keys of measurements of shapes here."""
        return measurement_keys(shape_ids, workload=workload, parts=self.common(workload, source))

    def common(self, workload: Workload, source: str = "memory") -> dict[str, str | int]:
        """What keys of measurements here are made of, but for shape and workload."""
        old = self.versions["protocol"] == 1
        device = self.device
        return {
            "precision": device.precision.of(workload.phase),
            "environment_id": self.environment_id,
            "cache_mode": device.cache if old else device.cache_mode(workload),
            "weights_source": source,
            "graph_version": self.versions["graph"],
            "protocol_version": self.versions["protocol"],
        }


def places_of(record: StudyRecord) -> list[Place]:
    """Where a study measures: its device, or all of several."""
    versions = record.config.get("versions", _FIRST_VERSIONS)
    first = {"device": record.config["device"], "environment_id": record.environment_id}
    others: dict[str, dict[str, Any]] = record.config.get("beside", {})
    return [
        Place(
            device=DeviceProfile.model_validate(p["device"]),
            environment_id=p["environment_id"],
            versions=versions,
        )
        for p in (first, *others.values())
    ]


def environments(record: StudyRecord) -> dict[str, Mapping[str, str]]:
    """Environments of a study's devices, by their names."""
    beside: Mapping[str, Any] = record.config.get("beside", {})
    first = record.config["device"]["name"]
    return {first: record.environment, **{n: p["environment"] for n, p in beside.items()}}


def comparisons(
    store: Store, place: Place, scenario: Scenario, shape_ids: Sequence[str]
) -> dict[Workload, LatencyComparison]:
    """Shapes of a study at one place beside each other, for each workload that has rounds.

    Raises:
        StoreError: If the database cannot be read.
    """
    found = {}
    for workload in scenario.workloads:
        common = place.common(workload)
        if rounds := store.companion_rounds(shape_ids, workload, common):
            work = (workload.phase, workload.tokens, workload.past_tokens)
            name = identity({**common, "work": work, "shapes": sorted(shape_ids)})
            file = store.results / "cache/effects" / f"{name}.npz"
            found[workload] = LatencyComparison(rounds, file=file)
    return found


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
        self._store = store
        self._rounds: dict[str, list[JudgedRound]] = {}
        where = place.environment_id
        for m in store.judged_rounds(shape_ids=shape_ids, environment_id=where):
            self._rounds.setdefault(m.key, []).append(m)
        self._keys = _keys_of(shape_ids, [place.keys(shape_ids, w) for w in scenario.workloads])
        self.comparisons = comparisons(store, place, scenario, shape_ids)
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
        found = store.estimates(shape_ids=shape_ids, environment_id=where)
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
        keys = self._keys[shape_id]
        if all(k in self._rounds for k in keys):
            return "measured"
        return "estimated" if all(k in self._estimates for k in keys) else None

    def is_rejected(self, shape_id: str) -> bool:
        """Whether a part of a shape's time, which it has, must be left out."""
        keys = self._keys[shape_id]
        if self.kind(shape_id) == "measured":
            return any(verdict_of(self._rounds[k]) == "rejected" for k in keys)
        return any(self._estimates[k].verdict == "rejected" for k in keys)

    def measured(self, shape_id: str) -> ScenarioTime | None:
        """As measured whole, by the same draws as `end_to_end_draws`."""
        return self._time(shape_id, self._by_all)

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
        found = []
        for workload, key in zip(self.scenario.workloads, self._keys[shape_id], strict=True):
            if key not in self._rounds:
                return None
            if shape_id in self.comparisons.get(workload, ()):
                found.append(summarise_judged(self._rounds[key], told(workload, shape_id)))
            else:
                found.append(summarise(self._apart[key], None))
        return ScenarioTime(scenario=self.scenario, prefill=found[0], steps=tuple(found[1:]))

    @cached_property
    def _apart(self) -> dict[str, list[Measurement]]:
        """Rounds of shapes that the comparisons know nothing of, by key, with their samples.

        All of such a shape's rounds were rejected, or an early release made them.
        """
        keys = [
            key
            for shape_id, known in self._keys.items()
            for workload, key in zip(self.scenario.workloads, known, strict=True)
            if key in self._rounds and shape_id not in self.comparisons.get(workload, ())
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
        (key,) = self._file_keys.get(shape_id, ("",))
        found = self._rounds.get(key, [])
        return found[-1].peak_bytes if found else None

    @cached_property
    def _file_keys(self) -> dict[str, tuple[str, ...]]:
        """Of rounds that exist for their peak memory; nothing where there are none."""
        if all(m.peak_bytes is None for rounds in self._rounds.values() for m in rounds):
            return {}
        ids = list(self._keys)
        return _keys_of(ids, [self.place.keys(ids, self.scenario.workloads[0], "file")])


def _keys_of(shape_ids: Sequence[str], keys: Sequence[Iterator[str]]) -> dict[str, tuple[str, ...]]:
    """Shape id → its keys."""
    return dict(zip(shape_ids, zip(*keys, strict=True), strict=True))


def _all_shapes(
    store: Store, found: Iterable[LatencyComparison], shapes: Mapping[str, ModelShape]
) -> dict[str, ModelShape]:
    """Shapes of comparisons, those that are not there yet read."""
    ids = {i for comparison in found for i in comparison.shape_ids}
    there = {i: shapes[i] for i in ids & shapes.keys()}
    return there | store.shapes(ids - there.keys())
