"""What the database knows of shapes at one place: a device in one environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from phonelm_search.core.latency import LatencySummary, ScenarioTime
from phonelm_search.core.records import LatencyEstimate, Measurement, StudyRecord, measurement_key
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import REFERENCE, summarise
from phonelm_search.store import Store

Summaries = dict[tuple[str, tuple[int, ...]], LatencySummary]
"""Latencies by a measurement's key and the numbers of its rounds, which are never given twice."""
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
        return measurement_key(shape_id=shape_id, workload=workload, **common)

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


def scores_of(record: StudyRecord) -> tuple[str, list[int]]:
    """Settings and seeds of the scores that count in a study."""
    scored = record.config.get("score") or {}
    return scored.get("settings_id", ""), scored.get("seeds") or [scored.get("seed", 0)]


def environments(record: StudyRecord) -> dict[str, Mapping[str, str]]:
    """Environments of a study's devices, by their names."""
    beside: Mapping[str, Any] = record.config.get("beside", {})
    first = record.config["device"]["name"]
    return {first: record.environment, **{n: p["environment"] for n, p in beside.items()}}


class Readings:
    """Latencies of some shapes at one place.

    Args:
        store: The database.
        place: Where.
        scenario: Of what.
        shape_ids: Of which shapes.
        summaries: Of earlier readings; what rounds say together is worked out once.

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
        summaries: Summaries | None = None,
    ) -> None:
        self.place, self._scenario, self._store = place, scenario, store
        self._summaries: Summaries = {} if summaries is None else summaries
        self._measured: dict[str, list[Measurement]] = {}
        self._read(list(shape_ids))
        found = store.estimates(shape_ids=shape_ids, environment_id=place.environment_id)
        self._estimates: dict[str, LatencyEstimate] = {e.key: e for e in found}

    def _read(self, shape_ids: list[str]) -> None:
        where = self.place.environment_id
        for m in self._store.measurements(shape_ids=shape_ids, environment_id=where):
            self._measured.setdefault(m.key, []).append(m)

    def measured(self, shape_id: str) -> ScenarioTime | None:
        """As measured whole."""
        keys = self._keys(shape_id)
        found = {w: self._summary(k) for w, k in keys.items() if k in self._measured}
        return ScenarioTime.of(self._scenario, found)

    def _summary(self, key: str) -> LatencySummary:
        rounds = self._measured[key]
        identity = key, tuple(m.round for m in rounds)
        if identity not in self._summaries:
            self._summaries[identity] = summarise(rounds)
        return self._summaries[identity]

    def estimated(self, shape_id: str) -> ScenarioTime | None:
        """As its blocks tell it."""
        keys = self._keys(shape_id)
        found = {w: self._estimates[k] for w, k in keys.items() if k in self._estimates}
        return ScenarioTime.of(self._scenario, found)

    def time(self, shape_id: str) -> ScenarioTime | None:
        """As measured, else as estimated, else None."""
        return self.measured(shape_id) or self.estimated(shape_id)

    def peak_bytes(self, shape_id: str) -> int | None:
        """Peak memory, where it was measured."""
        key = self.place.key(shape_id, self._scenario.workloads[0], "file")
        found = self._measured.get(key, [])
        return found[-1].peak_bytes if found else None

    @cached_property
    def reference_ms(self) -> float | None:
        """Time of the whole scenario of the reference shape, which every round measures."""
        self._read([REFERENCE.shape_id])  # it has more rounds than all others: only when asked for
        time = self.measured(REFERENCE.shape_id)
        return time.end_to_end.ms if time else None

    def _keys(self, shape_id: str) -> dict[Workload, str]:
        return {w: self.place.key(shape_id, w) for w in self._scenario.workloads}
