"""List device profiles and phones, tell what measures on them, build what phones are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonelm_search.backends import QNN_SIMULATOR, Runtime, get_runtime
from phonelm_search.backends.phone import (
    Bundle,
    ConnectedPhone,
    build_android,
    connected_phones,
    fetch_wheel,
    glibc_bundle,
)
from phonelm_search.backends.qnn import simulator
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.devices import DEVICES, DeviceProfile, load_device
from phonelm_search.measure import Executor, MeasureSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDevices:
    """Profiles and phones."""

    rows: tuple[dict[str, Any], ...]
    """For each profile its name, file, connection (None: it cannot be read), and the serials of
    the phones that it fits."""
    phones: tuple[ConnectedPhone, ...]
    """All that adb knows of."""
    faults: tuple[str, ...]
    """Why profiles cannot be read."""


def known_devices() -> KnownDevices:
    """Look for profiles, those of ``./device_profiles`` first, and for phones."""
    profiles, faults = {}, []
    files = DEVICES.names()
    for name in files:
        try:
            profiles[name] = load_device(name)
        except ConfigurationError as error:
            faults.append(str(error))
    phones = connected_phones(list(profiles.values()))
    rows = [
        {
            "device": name,
            "file": str(path),
            "connection": profiles[name].connection if name in profiles else None,
            "phones": [p.serial for p in phones if name in p.fits],
        }
        for name, path in files.items()
    ]
    return KnownDevices(rows=tuple(rows), phones=tuple(phones), faults=tuple(faults))


def environment_of(device: str, serial: str | None) -> dict[str, str]:
    """What measurements of a profile would carry.

    Args:
        device: Name of the profile, or the path of its file.
        serial: Which phone; None: the only connected one.

    Raises:
        ConfigurationError: If there is no such profile or phone.
        MeasurementError: If the phone cannot be asked.
    """
    profile = load_device(device)
    if profile.runtime == QNN_SIMULATOR:
        return dict(simulator(profile))
    runtime = get_runtime(profile, serial=serial)
    return {**runtime.environment(), **_cache(profile, runtime)}


def _cache(profile: DeviceProfile, runtime: Runtime) -> dict[str, str]:
    """What is told of the last-level cache, and what reading says of it."""
    told = {"last_level_cache_bytes": str(runtime.cache_bytes())}
    if profile.for_phase("decode").accelerated:
        return told
    settings = MeasureSettings()
    probe = Executor(profile, runtime, settings).probe_cache()
    speeds = zip(probe.buffer_bytes, probe.bytes_per_s, strict=True)
    turn_bytes = settings.turn_bytes(runtime.cache_bytes(), probe.cold_bytes)
    return {
        **told,
        "read_gb_per_s": ", ".join(f"{b / 2**20:.0f} MiB: {s / 1e9:.1f}" for b, s in speeds),
        "cold_turn_bytes": str(turn_bytes),
        "cold_turn_by": "reading" if probe.cold_bytes else "the last-level cache",
    }


def bundle_for_phones(
    ndk: Path | None, ort_aar: Path | None, qnn_aar: Sequence[Path] = ()
) -> Bundle:
    """Build what phones are given: for Android with an NDK, else for any Linux.

    Raises:
        ConfigurationError: If some of the archives are given without the others.
    """
    if (ndk is None) != (ort_aar is None) or (qnn_aar and ndk is None):
        raise ConfigurationError("--ndk and --ort-aar must be given together, --qnn-aar with both")
    if ndk is not None and ort_aar is not None:
        return build_android(ndk, ort_aar, qnn_aar)
    fetch_wheel()
    return glibc_bundle()
