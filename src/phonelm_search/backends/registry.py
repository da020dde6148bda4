"""Runtimes by name; nothing is imported before it is asked for."""

from collections.abc import Callable

from phonelm_search.backends import host
from phonelm_search.backends.base import LEAST_PHONE_CACHE_BYTES, Placement, Runtime
from phonelm_search.core.errors import ConfigurationError, UnknownNameError
from phonelm_search.devices import DeviceProfile, choose_cores, local_cores
from phonelm_search.work import MORE_CORES, quota_in_words, tight_quota, usable_threads

Note = Callable[[str], object]
Factory = Callable[[DeviceProfile, str | None, Note], Runtime]


QNN_SIMULATOR = "qnn-simulator"
"""Compiles and computes what an NPU would, and measures nothing."""


def local_placement(profile: DeviceProfile) -> Placement:
    """Threads and cores on this machine; ``all`` threads are those that a container pays for.

    Raises:
        ConfigurationError: If the profile names cores that are not there.
    """
    cores = choose_cores(local_cores(), profile.cores, device=profile.name)
    return Placement(
        threads=profile.thread_count(min(len(cores), usable_threads())),
        cpus=() if profile.cores == "all" else cores,
    )


def _told_placement(profile: DeviceProfile, note: Note) -> Placement:
    """The same, and a word about a container's quota that decides about it."""
    placement, quota = local_placement(profile), tight_quota()
    if quota is not None and (profile.threads == "all" or placement.threads > quota):
        threads = f"{placement.threads} thread{'s' if placement.threads > 1 else ''}"
        slower = " and will be held up" if placement.threads > quota else ""
        note(
            f"{quota_in_words(quota)}: {threads} will compute{slower}; {MORE_CORES} for the "
            "machine's own latencies"
        )
    return placement


def _onnxruntime(profile: DeviceProfile, serial: str | None, note: Note) -> Runtime:
    from phonelm_search.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime(
        placement=_here(profile, note),
        execution_provider=profile.execution_provider.decode,
        provider_options=profile.provider_options,
    )


def _native(profile: DeviceProfile, serial: str | None, note: Note) -> Runtime:
    from phonelm_search.backends.native import LocalPlace, NativeRuntime

    if profile.connection == "adb":
        from phonelm_search.backends.phone import Phone

        return NativeRuntime(Phone.connect(profile, serial, note=note), profile)
    if profile.accelerated:
        raise ConfigurationError(
            f"{profile.name} must be a phone (connection: adb): no chip of this machine takes "
            f"{profile.precision}; runtime: {QNN_SIMULATOR} computes it here, without latencies"
        )
    return NativeRuntime(LocalPlace(_told_placement(profile, note)), profile)


def _fake(profile: DeviceProfile, serial: str | None, note: Note) -> Runtime:
    from phonelm_search.backends.fake import FakeRuntime

    return FakeRuntime(
        placement=_here(profile, note),
        execution_provider=profile.execution_provider.decode,
        provider_options=profile.provider_options,
    )


def _here(profile: DeviceProfile, note: Note) -> Placement:
    if profile.connection != "local":
        raise ConfigurationError(
            f"runtime {profile.runtime} runs on this machine alone, got connection: "
            f"{profile.connection} in {profile.name}; phones take runtime: onnxruntime-native"
        )
    if profile.accelerated:
        raise ConfigurationError(
            f"runtime {profile.runtime} does not run compiled graphs, got {profile.precision} in "
            f"{profile.name}; phones take runtime: onnxruntime-native"
        )
    if profile.execution_provider.prefill != profile.execution_provider.decode:
        raise ConfigurationError(
            f"runtime {profile.runtime} takes one execution_provider for both phases, got "
            f"{profile.execution_provider} in {profile.name}; phones take runtime: "
            "onnxruntime-native"
        )
    return _told_placement(profile, note)


def _simulator(profile: DeviceProfile, serial: str | None, note: Note) -> Runtime:
    raise ConfigurationError(
        f"{profile.name} has no latency: it computes here what the chip would; "
        f"`phonelm-search profile SHAPE --device {profile.name}` shows what is proven, and "
        "latencies come from a phone (connection: adb)"
    )


def takes_processors(profile: DeviceProfile) -> bool:
    """Whether its latencies are times of this machine, which nothing else may disturb."""
    return profile.connection == "local" and profile.runtime not in ("fake", QNN_SIMULATOR)


RUNTIMES: dict[str, Factory] = {
    "onnxruntime": _onnxruntime,
    "onnxruntime-native": _native,
    "fake": _fake,
    QNN_SIMULATOR: _simulator,
}


def get_runtime(
    profile: DeviceProfile, *, serial: str | None = None, note: Note = lambda text: None
) -> Runtime:
    """Make the runtime that a profile names.

    Args:
        profile: The device.
        serial: Which phone, where several may be meant.
        note: Told what a person should know meanwhile, such as that a phone cools down.

    Raises:
        UnknownNameError: If there is none of that name.
        ConfigurationError: If the profile's connection or cores cannot be used with it.
    """
    if profile.runtime not in RUNTIMES:
        raise UnknownNameError("runtime", profile.runtime, list(RUNTIMES))
    return RUNTIMES[profile.runtime](profile, serial, note)


def planned_cache_bytes(profile: DeviceProfile) -> int:
    """Last-level cache to plan with; touches no phone, and builds and starts nothing.

    Raises:
        UnknownNameError: As `get_runtime`.
        ConfigurationError: As `get_runtime`.
    """
    if profile.connection == "adb":
        return LEAST_PHONE_CACHE_BYTES
    runtime = get_runtime(profile)
    if profile.runtime == "onnxruntime-native":  # would ask the runner, which may not be built yet
        return host.last_level_cache_bytes()
    return runtime.cache_bytes()
