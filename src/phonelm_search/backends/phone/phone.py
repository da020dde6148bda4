"""A phone as a place for the runner: what is pushed, when it is cool enough, who may use it."""

import contextlib
import copy
import hashlib
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import filelock

from phonelm_search.backends.base import LEAST_PHONE_CACHE_BYTES, Files, Placement
from phonelm_search.backends.native import (
    PROBE_SECONDS,
    RUNNER,
    SIGSYS,
    Accelerator,
    Finished,
    cache_folder,
)
from phonelm_search.backends.phone.adb import Adb, AdbPhone, last_line
from phonelm_search.backends.phone.bundle import (
    Bundle,
    accelerator_names,
    android_bundle,
    glibc_bundle,
)
from phonelm_search.backends.phone.connecting import fitting_phone, named_phone, properties_of
from phonelm_search.backends.phone.sensors import Sensors
from phonelm_search.backends.phone.starting import (
    HOW_TO_PREPARE,
    ending,
    signal_number,
    start_failure,
)
from phonelm_search.backends.phone.state import (
    CORES_SCRIPT,
    STATE_SCRIPT,
    PhoneState,
    Sensor,
    mismatch,
    parse_available_bytes,
    parse_cores,
)
from phonelm_search.core.errors import ConfigurationError, MeasurementError, TransportError
from phonelm_search.devices import CPU, Core, DeviceProfile, PerPhase, Thermal, choose_cores

FOLDER = "/data/local/tmp/phonelm"
_QUIET = "ORT_DISABLE_TELEMETRY=1"  # nothing leaves a phone but by adb
_NO_FOLDER = 250
_NOT_THERE = (126, 127)
_LOCK_SECONDS = 900.0
_LOOK_SECONDS = 5.0
_PROPERTIES = {
    "device_model": ("ro.product.manufacturer", "ro.product.model"),
    "soc": ("ro.soc.manufacturer", "ro.soc.model"),
    "build": ("ro.build.fingerprint",),
}
# Only leftovers of ours can be there: the lock holds off all other runs from this computer.
_SWEEP_SCRIPT = (
    f"for d in {FOLDER}/job-*; do "
    '[ -e "$d" ] || continue; p=$(cat "$d/pid" 2>/dev/null); '
    f'[ -n "$p" ] && grep -q {RUNNER} "/proc/$p/cmdline" 2>/dev/null && kill -9 "$p"; '
    'rm -rf "$d"; done; true'
)


class Phone:
    """One phone, used by one job at a time.

    Args:
        phone: The connection.
        profile: Cores, threads, and when the phone is cool enough.
        note: Told what a person should know meanwhile.
        sleep: Waits while it cools down; tests give another one.
        clock: Seconds, for the same.
    """

    def __init__(
        self,
        phone: AdbPhone,
        profile: DeviceProfile,
        *,
        note: Callable[[str], object] = lambda text: None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._phone, self._profile, self._note = phone, profile, note
        self._sleep, self._clock = sleep, clock
        self._provided: str | None = None
        self._sensors = Sensors(lambda text: note(f"{phone.serial}: {text}"), clock)

    @classmethod
    def connect(
        cls,
        profile: DeviceProfile,
        serial: str | None,
        *,
        note: Callable[[str], object] = lambda text: None,
    ) -> "Phone":
        """The phone that a profile means.

        Raises:
            ConfigurationError: If none fits, or several do and none is named.
            TransportError: If it cannot be used.
        """
        adb = Adb()
        if serial is None:
            return cls(fitting_phone(adb, profile), profile, note=note)
        place = cls(named_phone(adb, serial), profile, note=note)
        if problem := mismatch(profile.match, place.properties):
            raise ConfigurationError(
                f"{serial} must be what {profile.name} describes: {problem}; make a profile "
                f"for it with `phonelm-search devices add --serial {shlex.quote(serial)}`"
            )
        return place

    def with_profile(self, profile: DeviceProfile) -> "Phone":
        """The same phone with other cores, threads or limits; what is known of it stays known."""
        other = copy.copy(self)
        other._profile = profile
        return other

    @property
    def serial(self) -> str:
        """What adb calls it."""
        return self._phone.serial

    @cached_property
    def properties(self) -> dict[str, str]:
        """What ``getprop`` tells."""
        return properties_of(self._phone)

    @cached_property
    def cores(self) -> tuple[Core, ...]:
        """The cores that are online."""
        found = parse_cores(self._ask(CORES_SCRIPT))
        if not found:
            raise MeasurementError(f"{self.serial} must tell its cores", stage="start")
        return found

    @cached_property
    def bundle(self) -> Bundle:
        """The flavour that runs on this phone.

        Raises:
            MeasurementError: If none does.
        """
        return self._choose_bundle()

    def placement(self) -> Placement:
        """See `Place.placement`."""
        cpus = choose_cores(self.cores, self._profile.cores, device=self.serial)
        return Placement(threads=self._profile.thread_count(len(cpus)), cpus=cpus)

    def machine(self) -> dict[str, str]:
        """See `Place.machine`."""
        found = {
            key: " ".join(filter(None, (self.properties.get(n, "") for n in names))) or "unknown"
            for key, names in _PROPERTIES.items()
        }
        return {**found, "runner": self.bundle.flavour}

    def available_bytes(self) -> int | None:
        """See `Place.available_bytes`."""
        return parse_available_bytes(self._ask("cat /proc/meminfo"))

    def memory_advice(self) -> str:
        """See `Place.memory_advice`."""
        return "close apps"

    def cache_bytes(self, told: int) -> int:
        """See `Place.cache_bytes`."""
        return max(told, LEAST_PHONE_CACHE_BYTES)

    def accelerator(self) -> Accelerator:
        """See `Place.accelerator`."""
        plug_in, backend = accelerator_names(self.bundle)
        folder = f"{FOLDER}/{self.bundle.name}"
        return Accelerator(plug_in=f"{folder}/{plug_in}", backend=f"{folder}/{backend}")

    def state(self) -> PhoneState:
        """Temperature, battery, and whether it throttles."""
        return self._sensors.state(self._ask(STATE_SCRIPT))

    @property
    def left_out_sensors(self) -> tuple[Sensor, ...]:
        """Those that are not believed, by what they told so far."""
        return tuple(self._sensors.left_out.values())

    def start(
        self,
        arguments: Sequence[str],
        files: Files,
        *,
        seconds: float,
        timed: bool = False,
    ) -> Finished:
        """See `Place.start`; where the connection is lost, the whole job is made again."""
        bundle = self.bundle
        return self._alone_and_again(
            partial(self._once, bundle, arguments, files, seconds=seconds, timed=timed)
        )

    def _alone_and_again(self, once: Callable[[], Finished]) -> Finished:
        """Hold the phone, and try until the connection holds."""
        with self._alone():
            try:
                return self._phone.retrying(once)
            except KeyboardInterrupt:
                with contextlib.suppress(TransportError):
                    self._phone.shell(_SWEEP_SCRIPT)
                raise

    def _once(
        self,
        bundle: Bundle,
        arguments: Sequence[str],
        files: Files,
        *,
        seconds: float,
        timed: bool,
    ) -> Finished:
        self._phone.shell(_SWEEP_SCRIPT)
        self._provide(bundle)
        folder = f"{FOLDER}/job-{secrets.token_hex(8)}"
        pushed = self._phone.push(files, folder) if files else 0
        before = {**self._cool_enough(wait=timed), "pushed_bytes": pushed}
        target = shlex.quote(folder)
        words = shlex.join([*bundle.command(f"{FOLDER}/{bundle.name}"), *arguments])
        script = (
            f"mkdir -p {target} && cd {target} || exit {_NO_FOLDER}; "
            f"{_QUIET} {words} & echo $! > pid; "
            f"wait $!; code=$?; cd /; rm -rf {target}; (exit $code)"
        )
        try:
            said = self._phone.shell(script, seconds=seconds)
        except TransportError as error:
            if isinstance(error.__cause__, subprocess.TimeoutExpired) and self._answers():
                self._phone.shell(_SWEEP_SCRIPT)
                raise MeasurementError(
                    f"the runner on {self.serial} must finish within {seconds:.0f} s and did not",
                    stage="timeout",
                ) from error
            raise
        if said.returncode == _NO_FOLDER:
            raise MeasurementError(
                f"{self.serial} must let {folder} be made: {last_line(said.stderr)}",
                stage="storage",
            )
        if said.returncode in _NOT_THERE:  # somebody removed the bundle meanwhile
            self._provided = None
        try:
            after = self._conditions(self._sensors.state(self._phone.shell(STATE_SCRIPT).stdout))
            if timed:
                self._sensors.loaded()
        except TransportError:
            after = {}  # the answer is complete: it is not thrown away for this
        return Finished(
            returncode=said.returncode,
            stdout=said.stdout,
            stderr=said.stderr,
            conditions={"before": before, "after": after},
        )

    def _choose_bundle(self) -> Bundle:
        """The first flavour whose runner starts on this phone."""
        android = android_bundle()
        if self._profile.execution_provider == PerPhase.of_both(CPU):
            bundles = [glibc_bundle(), *([android] if android else [])]
        elif android:
            bundles = [android]
        else:
            raise ConfigurationError(
                f"{self._profile.execution_provider} needs the Android build of the runner; "
                f"{HOW_TO_PREPARE}"
            )
        failures = []
        for bundle in bundles:
            done = self._alone_and_again(
                partial(self._once, bundle, ["probe"], {}, seconds=PROBE_SECONDS, timed=False)
            )
            if done.returncode == 0:
                return bundle
            failures.append(done)
            if bundle is not bundles[-1]:
                what = (
                    f"refuses system calls of the {bundle.flavour} build (status {SIGSYS})"
                    if signal_number(done.returncode) == SIGSYS - 128
                    else f"does not start the {bundle.flavour} build ({ending(done)})"
                )
                self._note(f"{self.serial} {what}, so it gets the Android build")
        raise MeasurementError(start_failure(self.serial, bundles, failures), stage="start")

    def _provide(self, bundle: Bundle) -> None:
        """Push a bundle unless it is there, whole."""
        if self._provided == bundle.name:
            return
        folder = f"{FOLDER}/{bundle.name}"
        if self._phone.hashes(folder, list(bundle.files)) != bundle.hashes:
            self._phone.shell(f"rm -rf {FOLDER}/bundle-{bundle.flavour}-*")  # of other releases
            self._phone.push(bundle.files, folder)
        self._provided = bundle.name

    def _cool_enough(self, *, wait: bool) -> dict[str, Any]:
        """Conditions before a job; waits until the phone is cool, but only so long."""
        limits = self._profile.thermal or Thermal()
        began, told = self._clock(), False
        while True:
            state = self._sensors.state(self._phone.shell(STATE_SCRIPT).stdout)
            waited, limit = self._clock() - began, limits.limit_c(of_battery=state.of_battery)
            hot = state.temperature_c is not None and state.temperature_c > limit
            throttled = (state.thermal_status or 0) > 0
            if hot and wait and self._sensors.nothing_cools(limit):
                self._note(
                    f"{self.serial} stays at {state.temperature_c:.0f} °C and is not waited for"
                )
                hot = throttled
            if not wait or not (hot or throttled) or waited >= limits.longest_cooldown_s:
                return {
                    **self._conditions(state),
                    "cooldown_s": round(waited, 1),
                    "highest_start_c": limit,
                }
            if not told:
                told = True
                why = "it throttles" if throttled else f"{state.temperature_c:.0f} °C"
                self._note(
                    f"{self.serial} cools down ({why}) to {limit:.0f} °C, for "
                    f"{limits.longest_cooldown_s:.0f} s at most"
                )
            self._sleep(_LOOK_SECONDS)

    def _conditions(self, state: PhoneState) -> dict[str, Any]:
        return {
            "serial": self.serial,
            "phone_temperature_c": state.temperature_c,
            "temperature_of_battery": state.of_battery,
            "thermal_status": state.thermal_status,
            "battery_level": state.battery_level,
            "charging": state.charging,
        }

    def _ask(self, script: str) -> str:
        return self._phone.retrying(lambda: self._phone.shell(script)).stdout

    def _answers(self) -> bool:
        try:
            self._phone.shell("true")
        except TransportError:
            return False
        return True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the phone, however it is connected, against other processes of this computer."""
        phone = self.properties.get("ro.serialno") or self.serial
        name = hashlib.sha256(phone.encode()).hexdigest()[:16]
        path = cache_folder() / "locks" / f"phone-{name}.lock"
        lock = filelock.FileLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                self._note(f"{self.serial} is at work for another process; waiting for it")
                lock.acquire(timeout=_LOCK_SECONDS)
        except filelock.Timeout as error:
            raise TransportError(
                f"{self.serial} must be used by one process at a time and another one has held it "
                f"for {_LOCK_SECONDS:.0f} s; wait for it or end it",
                retry=False,
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"{path} must be writable: {error.strerror}; set PHONELM_CACHE to another folder"
            ) from error
        try:
            yield
        finally:
            lock.release()
