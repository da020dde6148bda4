"""What the database knows of shapes at one place: a device in one environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phonelm_search.core.judged_round import JudgedRound
from phonelm_search.core.latency import LatencySummary, ScenarioTime
from phonelm_search.core.records import (
    LatencyEstimate,
    StudyRecord,
    identity,
    measurement_key,
)
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import LatencyComparison, extent, summarise
from phonelm_search.reading.pooled import WorkloadModel
from phonelm_search.store import Store

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

    def key(self, shape_id: str, workload: Workload, source: str = "memory") -> str:
        """Key of measurements of a shape here."""
        common = self.common(workload, source)
        return measurement_key(workload=workload, parts={"shape_id": shape_id, **common})

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

    Raises:
        StoreError: If the database cannot be read.
    """

    def __init__(
        self, store: Store, place: Place, scenario: Scenario, shape_ids: Sequence[str]
    ) -> None:
        self.place, self.scenario = place, scenario
        self._measured: dict[str, list[JudgedRound]] = {}
        where = place.environment_id
        for m in store.judged_rounds(shape_ids=shape_ids, environment_id=where):
            self._measured.setdefault(m.key, []).append(m)
        self.comparisons = comparisons(store, place, scenario, shape_ids)
        """Shapes beside each other, and all that shared a process with them, by workload."""
        self.shapes = store.shapes({i for c in self.comparisons.values() for i in c.shape_ids})
        """All of them, by id."""
        self.models = {
            w: WorkloadModel(c, self.shapes, place.device.scheme_of(w.phase), w)
            for w, c in self.comparisons.items()
        }
        """What tells the latency of other shapes, by workload."""
        self._log_ms = {w: m.pooled_log_ms() for w, m in self.models.items()}
        found = store.estimates(shape_ids=shape_ids, environment_id=where)
        self._estimates: dict[str, LatencyEstimate] = {e.key: e for e in found}

    def measured(self, shape_id: str) -> ScenarioTime | None:
        """As measured whole, by the same draws as `end_to_end_draws`."""
        found = {w: self._pooled(w, shape_id, f) for w, f in self._summaries(shape_id).items()}
        return ScenarioTime.of(self.scenario, found)

    def own_time(self, shape_id: str) -> ScenarioTime | None:
        """As measured whole, by the rounds of the shape alone: no other one moves it."""
        return ScenarioTime.of(self.scenario, self._summaries(shape_id))

    def _summaries(self, shape_id: str) -> dict[Workload, LatencySummary]:
        return {
            w: summarise(self._measured[k], self.comparisons.get(w))
            for w, k in self._keys(shape_id).items()
            if k in self._measured
        }

    def _pooled(self, workload: Workload, shape_id: str, own: LatencySummary) -> LatencySummary:
        """The same with the time that all measured shapes tell, where they are enough for that."""
        pooled = self._log_ms.get(workload, {}).get(shape_id)
        if pooled is None:
            return own
        ms, low, high = extent(np.exp(pooled.astype(float, copy=False)))
        return replace(own, latency_ms=ms, ci_low_ms=low, ci_high_ms=high)

    def estimated(self, shape_id: str) -> ScenarioTime | None:
        """As an earlier release estimated it from blocks of its layers."""
        if not self._estimates:
            return None
        keys = self._keys(shape_id)
        found = {w: self._estimates[k] for w, k in keys.items() if k in self._estimates}
        return ScenarioTime.of(self.scenario, found)

    def time(self, shape_id: str) -> ScenarioTime | None:
        """As measured, else as estimated, else None."""
        return self.measured(shape_id) or self.estimated(shape_id)

    def log_ms(self, workload: Workload, shape_id: str) -> Floats | None:
        """``[draws]`` of the logarithm of milliseconds; None where no round counts.

        By its own rounds and what all measured shapes say of it, where they are enough for that.
        """
        pooled = self._log_ms.get(workload, {}).get(shape_id)
        if pooled is not None:
            return pooled.astype(float, copy=False)
        comparison = self.comparisons.get(workload)
        if comparison is None or shape_id not in comparison:
            return None
        return comparison.log_ms(shape_id)

    def end_to_end_draws(self, shape_id: str) -> Floats | None:
        """``[draws]``: ms of the whole scenario; draws of the same number belong together.

        None where a workload has no round that counts.
        """
        told = [self.log_ms(w, shape_id) for w in self.scenario.workloads]
        known = [np.exp(t) for t in told if t is not None]
        return self._sum(known) if len(known) == len(told) else None

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
        drawn: Floats = np.array(self.scenario.weights) @ np.stack(parts)
        return drawn

    @property
    def twins(self) -> tuple[str, ...]:
        """Shapes that were measured twice in all workloads."""
        found = [set(c.twins) for c in self.comparisons.values()]
        return tuple(sorted(set.intersection(*found))) if found else ()

    def peak_bytes(self, shape_id: str) -> int | None:
        """Peak memory, where it was measured."""
        key = self.place.key(shape_id, self.scenario.workloads[0], "file")
        found = self._measured.get(key, [])
        return found[-1].peak_bytes if found else None

    def _keys(self, shape_id: str) -> dict[Workload, str]:
        return {w: self.place.key(shape_id, w) for w in self.scenario.workloads}
