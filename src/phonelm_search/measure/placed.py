"""A device at another machine: whole rounds are done there, graphs and all, and come as records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from phonelm_search.backends import get_runtime, takes_processors
from phonelm_search.backends.native import cache_folder
from phonelm_search.backends.qnn import Contexts, Tokens
from phonelm_search.core.cache_probe import CacheProbe
from phonelm_search.core.errors import (
    ChildError,
    ConfigurationError,
    MeasurementError,
    TransportError,
)
from phonelm_search.core.records import Measurement, NumericsCheck
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure.bench import Bench, Model, Round
from phonelm_search.measure.executor import Executor, fitting
from phonelm_search.measure.settings import MeasureSettings
from phonelm_search.work import (
    Engine,
    Place,
    Report,
    device_resource,
    file_under_way,
    machine_held,
    retried,
)

_TASK = "phonelm_search.measure.placed:measure_there"
_CALIBRATION = "calibration"
_RETURN_SECONDS = 20.0  # within which a device that is back must tell what it is
_MODELS, _SHAPES = TypeAdapter(list[Model]), TypeAdapter(list[ModelShape])
_WORKLOADS, _ROUND = TypeAdapter(list[Workload]), TypeAdapter(Round)
_MEASUREMENT, _PROBE = TypeAdapter(Measurement), TypeAdapter(CacheProbe)
_CHECKS = TypeAdapter(list[NumericsCheck])
_NO_NOTE: Callable[[str], object] = lambda text: None  # noqa: E731 - typed


class PlacedBench(Bench):
    """One device wherever it is.

    Args:
        place: Where tasks on it are done.
        device: The profile.
        settings: The protocol's parameters.
        serial: Which phone; None: the machine itself.
        note: Told what a person should know meanwhile.
        calibration: File of text as tokens, which graphs for an accelerator are calibrated on.

    Raises:
        MeasurementError: If the device cannot be asked what it is.
        TransportError: If it is gone.
    """

    def __init__(
        self,
        place: Place,
        device: DeviceProfile,
        settings: MeasureSettings,
        *,
        serial: str | None,
        note: Callable[[str], object],
        calibration: Path | None,
    ) -> None:
        self._place, self._note = place, note
        self._files = {} if calibration is None else {_CALIBRATION: calibration}
        self._known = {
            "device": device.model_dump(mode="json"),
            "settings": asdict(settings),
            "serial": serial,
        }
        told = retried(lambda: self._ask("describe"))
        self._capabilities: str = told["capabilities"]
        self._available_bytes: int | None = told["available_bytes"]
        super().__init__(
            device,
            settings,
            environment=told["environment"],
            told_cache_bytes=told["cache_bytes"],
        )

    def capabilities(self) -> str:
        """See `Bench.capabilities`."""
        return self._capabilities

    def fitting(self, shapes: Sequence[ModelShape], workloads: Sequence[Workload]) -> int:
        """See `Bench.fitting`; memory as the device told it last."""
        return fitting(shapes, workloads, self.device, self._available_bytes)

    def round(
        self,
        models: Sequence[Model],
        workloads: Sequence[Workload],
        *,
        with_controls: bool = False,
    ) -> Round:
        """See `Bench.round`."""
        told = self._ask(
            "round",
            models=_MODELS.dump_python(list(models), mode="json"),
            workloads=_WORKLOADS.dump_python(list(workloads), mode="json"),
            with_controls=with_controls,
            turn_bytes=self.turn_bytes,
        )
        self._available_bytes = told["available_bytes"]
        return _ROUND.validate_python(told["round"])

    def peak(self, shape: ModelShape, workload: Workload, *, number: int) -> Measurement:
        """See `Bench.peak`."""
        told = retried(
            lambda: self._ask(
                "peak",
                shapes=_SHAPES.dump_python([shape], mode="json"),
                workloads=_WORKLOADS.dump_python([workload], mode="json"),
                number=number,
            )
        )
        return _MEASUREMENT.validate_python(told["measurement"])

    def check_numerics(
        self, gates: Sequence[ModelShape], device: DeviceProfile
    ) -> list[NumericsCheck]:
        """See `Bench.check_numerics`."""
        told = self._ask(
            "numerics",
            shapes=_SHAPES.dump_python(list(gates), mode="json"),
            part=device.model_dump(mode="json"),
        )
        return _CHECKS.validate_python(told["checks"])

    def probe_cache(self) -> CacheProbe:
        """See `Bench.probe_cache`."""
        return _PROBE.validate_python(self._ask("probe")["probe"])

    def returned(self) -> bool:
        """See `Bench.returned`; another device in its place is none."""
        if not self._place.offered:
            return False
        try:
            told = self._ask("describe", seconds=_RETURN_SECONDS)
        except (MeasurementError, ConfigurationError, ChildError):
            return False
        if self.differences(told["environment"]):
            return False
        self._note(f"{self._place.name} is back")
        return True

    def _ask(self, what: str, *, seconds: float | None = None, **document: Any) -> dict[str, Any]:
        """Have something done at the device.

        Raises:
            ChildError: If its process was killed.
        """
        known = {**self._known, "environment": getattr(self, "environment", None)}
        try:
            return self._place.call(
                _TASK,
                {**known, **document, "what": what},
                files=self._files,
                report=lambda progress: self._note(progress["note"]),
                seconds=seconds,
            )
        except ChildError as error:
            if error.killed:
                raise
            told = error.told
            if told is error:
                told = MeasurementError(str(error), stage="run")
            raise told from error


def placed_benches(
    engine: Engine,
    device: DeviceProfile,
    settings: MeasureSettings,
    *,
    note: Callable[[str], object] = _NO_NOTE,
    calibration: Callable[[], Tokens] | None = None,
    cache: Path,
) -> list[PlacedBench]:
    """All devices that an engine offers for a profile.

    Args:
        engine: The engine.
        device: The profile.
        settings: The protocol's parameters.
        note: Told what a person should know meanwhile.
        calibration: Text as tokens.
        cache: Folder where that is kept for sending.

    Raises:
        EngineError: If there is none.
        MeasurementError: If a device cannot be asked what it is.
    """
    places = engine.devices(device.name, alone=takes_processors(device))
    file: Path | None = None
    if device.accelerated and calibration is not None:
        file = cache / f"{_CALIBRATION}.npy"
        cache.mkdir(parents=True, exist_ok=True)
        with file_under_way(file) as part, part.open("wb") as stream:
            np.save(stream, calibration(), allow_pickle=False)
    prefix = device_resource(device.name, "")
    phones = device.connection == "adb"
    return [
        PlacedBench(
            place,
            device,
            settings,
            serial=place.name.removeprefix(prefix) if phones else None,
            note=note,
            calibration=file,
        )
        for place in places
    ]


class _There:
    """A device at the machine that it is plugged into, known to a process for all its tasks."""

    def __init__(
        self, device: DeviceProfile, serial: str | None, settings: MeasureSettings, file: str | None
    ) -> None:
        self.note = _NO_NOTE
        runtime = get_runtime(device, serial=serial, note=lambda text: self.note(text))
        contexts = None
        if file is not None:
            tokens = np.load(file, allow_pickle=False)
            contexts = Contexts(device, tokens, cache_folder() / "contexts")
        self.executor = Executor(device, runtime, settings, contexts=contexts)
        self.available_bytes = runtime.available_bytes


@lru_cache(maxsize=4)
def _there(profile: str, serial: str | None, settings: MeasureSettings, file: str | None) -> _There:
    return _There(DeviceProfile.model_validate_json(profile), serial, settings, file)


def _connected(device: DeviceProfile, asked: Mapping[str, Any], file: Path | None) -> _There:
    try:
        return _there(
            device.model_dump_json(),
            asked["serial"],
            MeasureSettings(**asked["settings"]),
            str(file) if file else None,
        )
    except ConfigurationError as error:
        if asked["environment"] is None:
            raise
        raise TransportError(str(error)) from error  # it was ready before


def measure_there(
    document: dict[str, Any], files: Mapping[str, Path], report: Report
) -> dict[str, Any]:
    """The task of `PlacedBench`: see `work.tasks.perform`."""
    device = DeviceProfile.model_validate(document["device"])
    calibration = files.get(_CALIBRATION)

    def note(text: str) -> None:
        report({"note": text})

    try:
        there = _connected(device, document, calibration)
        there.note = note
        if not takes_processors(device):
            return _answer(there, document)
        with machine_held("for a cluster", note=note):
            return _answer(there, document)
    except BaseException:
        _there.cache_clear()  # the next task connects anew
        raise


def _answer(there: _There, asked: Mapping[str, Any]) -> dict[str, Any]:
    executor = there.executor
    if asked["what"] == "describe":
        return {
            "environment": executor.environment,
            "cache_bytes": executor.told_cache_bytes,
            "capabilities": executor.capabilities(),
            "available_bytes": there.available_bytes(),
        }
    if differs := executor.differences(asked["environment"]):
        raise MeasurementError(
            f"the environment must stay the same while measuring, {differs}", stage="protocol"
        )
    if asked["what"] == "round":
        executor.turn_bytes = asked["turn_bytes"]
        made = executor.round(
            _MODELS.validate_python(asked["models"]),
            _WORKLOADS.validate_python(asked["workloads"]),
            with_controls=asked["with_controls"],
        )
        return {
            "round": _ROUND.dump_python(made, mode="json"),
            "available_bytes": there.available_bytes(),
        }
    if asked["what"] == "probe":
        return {"probe": _PROBE.dump_python(executor.probe_cache(), mode="json")}
    shapes = _SHAPES.validate_python(asked["shapes"])
    if asked["what"] == "numerics":
        checks = executor.check_numerics(shapes, DeviceProfile.model_validate(asked["part"]))
        return {"checks": _CHECKS.dump_python(checks, mode="json")}
    (workload,) = _WORKLOADS.validate_python(asked["workloads"])
    peak = executor.peak(shapes[0], workload, number=asked["number"])
    return {"measurement": _MEASUREMENT.dump_python(peak, mode="json")}
