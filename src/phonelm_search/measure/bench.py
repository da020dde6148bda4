"""A device as the profiler sees it, whatever process or machine its jobs run on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from phonelm_search.backends import PROTOCOL_VERSION
from phonelm_search.core.cache_probe import CacheProbe
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.records import Measurement, NumericsCheck, identity, measurement_key
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure.settings import MeasureSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One of the models that share a process."""

    shape: ModelShape
    """Its shape."""
    number: int = 0
    """Of its round."""
    twin: bool = False
    """See `Measurement.twin`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one process measured."""

    models: tuple[list[Measurement], ...]
    """Of each model, a record by workload, then by control."""
    reference: list[Measurement]
    """The same of the reference that stepped in turn with them."""


class Bench(ABC):
    """One device, and what measurements on it are known by.

    Args:
        device: The profile.
        settings: The protocol's parameters.
        environment: The identity of what is measured there.
        told_cache_bytes: Size of the last-level cache as the device tells it.
    """

    def __init__(
        self,
        device: DeviceProfile,
        settings: MeasureSettings,
        *,
        environment: Mapping[str, str],
        told_cache_bytes: int,
    ) -> None:
        self.device, self.settings = device, settings
        self.environment = dict(environment)
        self.environment_id = identity(self.environment)
        self.told_cache_bytes = told_cache_bytes
        self.turn_bytes = settings.turn_bytes(told_cache_bytes)
        """Weights that a turn of cold decode streams at least; a probe may say better."""

    @abstractmethod
    def capabilities(self) -> str:
        """What the device is capable of, for messages on wrong numerics."""

    @abstractmethod
    def round(
        self,
        models: Sequence[Model],
        workloads: Sequence[Workload],
        *,
        with_controls: bool = False,
    ) -> Round:
        """One round of models in one process, the reference in turn with them.

        Raises:
            UnsupportedShapeError: If the kernels refuse the shape.
            MeasurementError: If no complete result came back.
        """

    @abstractmethod
    def fitting(self, shapes: Sequence[ModelShape], workloads: Sequence[Workload]) -> int:
        """How many of ``shapes``, from the first on, half of the device's memory holds."""

    @abstractmethod
    def peak(self, shape: ModelShape, workload: Workload, *, number: int) -> Measurement:
        """One run of a session that loads its weights from a file.

        Raises:
            MeasurementError: If the phase runs on an accelerator.
        """

    @abstractmethod
    def check_numerics(
        self, gates: Sequence[ModelShape], device: DeviceProfile
    ) -> list[NumericsCheck]:
        """Run `numerics.gate_shape`s and compare their logits with the dequantised reference.

        Args:
            gates: The shapes.
            device: One of `processors`.
        """

    @abstractmethod
    def probe_cache(self) -> CacheProbe:
        """Read buffers from small to far larger than the cache.

        Raises:
            MeasurementError: If no complete result came back.
        """

    def returned(self) -> bool:
        """Whether a device that was lost can be used again.

        One that this process itself is connected to is looked for by the next command.
        """
        return False

    def check_same(self, environment: Mapping[str, str]) -> None:
        """Refuse a device of another environment beside this one.

        Raises:
            ConfigurationError: If it differs; says in what.
        """
        if differs := self.differences(environment):
            raise ConfigurationError(
                f"phones that share a search must be of one kind, {differs}; search on each by "
                "itself"
            )

    def differences(self, environment: Mapping[str, str]) -> str:
        """In what another environment differs; empty where it is the same."""
        ours = self.environment
        return "; ".join(
            f"{k}: {ours.get(k)} → {environment.get(k)}"
            for k in sorted({*ours, *environment})
            if ours.get(k) != environment.get(k)
        )

    def key(
        self,
        shape: ModelShape,
        workload: Workload,
        *,
        source: Literal["memory", "file"] = "memory",
        twin: bool = False,
    ) -> str:
        """Key of a measurement on this device."""
        common = self.common(workload, source)
        parts = {"shape_id": shape.shape_id, **common}
        return measurement_key(workload=workload, twin=twin, parts=parts)

    def common(
        self, workload: Workload, source: Literal["memory", "file"] = "memory"
    ) -> dict[str, str | int]:
        """What keys of measurements on this device are made of, but for shape and workload."""
        return {
            "precision": self.device.precision.of(workload.phase),
            "environment_id": self.environment_id,
            "cache_mode": self.device.cache_mode(workload),
            "weights_source": source,
            "graph_version": GRAPH_VERSION,
            "protocol_version": PROTOCOL_VERSION,
        }

    @property
    def processors(self) -> list[DeviceProfile]:
        """The device in each precision of its processor.

        What was compiled for an accelerator is checked at every run instead.
        """
        return [part for part in self.device.parts if not part.accelerated]
