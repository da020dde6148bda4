"""Where a study measures: a device in one environment."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phonelm_search.core.records import StudyRecord, measurement_keys
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile

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
