"""The C++ runner, on this machine or wherever a place takes it: a process for every job."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Protocol

from phonelm_search.backends import host
from phonelm_search.backends.base import Files, Job, Placement, Result, parse_result, put_files
from phonelm_search.backends.limits import check_memory, time_limit_seconds
from phonelm_search.backends.native.toolchain import HOST, build_runner, host_library
from phonelm_search.backends.qnn import QNN, provider_library, provider_versions
from phonelm_search.core.errors import MeasurementError
from phonelm_search.devices import DeviceProfile
from phonelm_search.work import ended_by_others, folder_under_way, why_it_ended

PROBE_SECONDS = 60.0
_GRACE_SECONDS = 15.0  # the runner's own limit comes first, and says where it was
SIGSYS = 128 + 31  # as Linux counts: a kernel's filter refuses a system call of the C library
_ANSWERED = (0, 1, 3)
_STAGES = {
    2: "protocol",  # a malformed job
    126: "start",
    127: "start",  # no such program: the next job brings it again
}
_JOB = "job.json"
_STUB = "Stub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a call of the runner gave."""

    returncode: int
    """The runner's; negative or above 128 for a signal."""
    stdout: str
    """Its document is the last line."""
    stderr: str
    """Its logs."""
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the place adds to the conditions ``before`` and ``after`` a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """Where a place keeps what reaches its accelerator."""

    plug_in: str
    """Library of the execution provider."""
    backend: str
    """Library that it loads."""


class Place(Protocol):
    """Where the runner is started."""

    def placement(self) -> Placement:
        """Threads and cores that jobs name."""
        ...

    def machine(self) -> dict[str, str]:
        """What identifies the device, beside what the runner itself tells."""
        ...

    def available_bytes(self) -> int | None:
        """Memory that may be used without swapping; None where the device does not tell."""
        ...

    def memory_advice(self) -> str:
        """What makes more memory available."""
        ...

    def cache_bytes(self, told: int) -> int:
        """Size of the last-level cache, by what the runner could read (0: nothing)."""
        ...

    def accelerator(self) -> Accelerator:
        """Libraries for graphs that were compiled for an accelerator.

        Raises:
            ConfigurationError: If the place has none.
        """
        ...

    def start(
        self,
        arguments: Sequence[str],
        files: Files,
        *,
        seconds: float,
        timed: bool = False,
    ) -> Finished:
        """Start the runner and wait for it.

        Args:
            arguments: Those behind the library's path.
            files: Put into its working folder first.
            seconds: Time limit.
            timed: Whether it times something, so that the device must be ready for that.

        Raises:
            MeasurementError: If it cannot be started, or did not end in time.
        """
        ...


class LocalPlace:
    """This machine.

    Args:
        placement: Threads and cores.
    """

    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    @cached_property
    def _command(self) -> list[str]:
        return [str(build_runner(HOST)), str(host_library())]

    def placement(self) -> Placement:
        """See `Place.placement`."""
        return self._placement

    def machine(self) -> dict[str, str]:
        """See `Place.machine`."""
        return {**host.machine(), **host.starved(self._placement.threads)}

    def available_bytes(self) -> int | None:
        """See `Place.available_bytes`."""
        return host.available_bytes()

    def memory_advice(self) -> str:
        """See `Place.memory_advice`."""
        return host.memory_advice()

    def cache_bytes(self, told: int) -> int:
        """See `Place.cache_bytes`."""
        return max(told, host.last_level_cache_bytes())

    def accelerator(self) -> Accelerator:
        """See `Place.accelerator`; it simulates."""
        plug_in, backend = provider_library()
        return Accelerator(plug_in=str(plug_in), backend=str(backend))

    def start(
        self,
        arguments: Sequence[str],
        files: Files,
        *,
        seconds: float,
        timed: bool = False,
    ) -> Finished:
        """See `Place.start`."""
        with folder_under_way("phonelm-job-") as folder:
            put_files(files, folder)
            before = host.container_conditions()
            try:
                done = subprocess.run(
                    [*self._command, *arguments],
                    capture_output=True,
                    encoding="utf-8",
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                    cwd=folder,
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise MeasurementError(
                    f"the runner must finish within {seconds:.0f} s and did not", stage="timeout"
                ) from error
            except OSError as error:
                raise MeasurementError(
                    f"the runner cannot be started: {error}", stage="start"
                ) from error
        return Finished(
            returncode=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            conditions={"before": before, "after": host.container_conditions()},
        )


class NativeRuntime:
    """The runtime ``onnxruntime-native``.

    Args:
        place: Where the runner is started.
        profile: Execution provider and its options.
    """

    def __init__(self, place: Place, profile: DeviceProfile) -> None:
        self._place = place
        self._provider = str(profile.execution_provider)
        self._options = profile.provider_options
        self._compiler: dict[str, str] = {}
        if profile.accelerated:  # what it makes of a graph decides how fast that is
            self._compiler = {
                **{f"compiler_{k}": v for k, v in provider_versions(QNN).items()},
                "allow_fallback": ", ".join(sorted(profile.allow_fallback)),
            }

    @cached_property
    def _probe(self) -> dict[str, Any]:
        cpus = ",".join(map(str, self._place.placement().cpus))
        done = self._place.start(["probe", *([cpus] if cpus else [])], {}, seconds=PROBE_SECONDS)
        if done.returncode:
            raise MeasurementError(why_it_ended(done.returncode, done.stderr), stage="start")
        try:
            found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise MeasurementError(
                "the runner must tell what the device is and printed no JSON", stage="protocol"
            ) from error
        return found

    def placement(self) -> Placement:
        """See `Runtime.placement`."""
        return self._place.placement()

    def environment(self) -> dict[str, str]:
        """See `Runtime.environment`."""
        threads = {"threads": str(self.placement().threads)}
        return self._identity(self._probe["environment"]) | threads

    def _with_libraries(self, job: Job) -> Job:
        if not job.static:
            return job
        found = self._place.accelerator()
        options = {"backend_path": found.backend, **job.provider_options}
        return job.model_copy(update={"plug_in": found.plug_in, "provider_options": options})

    def _identity(self, told: Mapping[str, str]) -> dict[str, str]:
        return {
            **self._place.machine(),
            **host.pages(self._probe["huge_pages"], int(self._probe["page_bytes"])),
            "runtime": "onnxruntime-native",
            "execution_provider": self._provider,
            "provider_options": json.dumps(dict(self._options), sort_keys=True),
            **self._compiler,
            **told,
        }

    def cache_bytes(self) -> int:
        """See `Runtime.cache_bytes`."""
        return self._place.cache_bytes(int(self._probe["cache_bytes"]))

    def available_bytes(self) -> int | None:
        """See `Runtime.available_bytes`."""
        return self._place.available_bytes()

    def capabilities(self) -> str:
        """See `Runtime.capabilities`."""
        return f"{self._probe['environment']['capabilities']}; kernels as ONNX Runtime chooses them"

    def run(self, job: Job, files: Files) -> Result:
        """See `Runtime.run`."""
        job = self._with_libraries(job)
        check_memory(job, self._place.available_bytes(), advice=self._place.memory_advice)
        seconds = time_limit_seconds(job)
        done = self._place.start(
            ["run", _JOB, str(round(seconds))],
            {**files, _JOB: job.model_dump_json(by_alias=True).encode()},
            seconds=seconds + _GRACE_SECONDS,
            timed=job.warmup.most > 0,
        )
        result = parse_result(_answer(done), job)
        if job.static:
            _prove_backend(result, job)
        conditions = {
            moment: {**result.conditions.get(moment, {}), **done.conditions.get(moment, {})}
            for moment in ("before", "after")
        }
        environment = self._identity(result.environment)
        return result.model_copy(update={"environment": environment, "conditions": conditions})


def _prove_backend(result: Result, job: Job) -> None:
    """Refuse a result of a process that had not loaded the accelerator's libraries."""
    wanted = [PurePosixPath(job.provider_options["backend_path"]).name]
    if result.environment.get("architecture") != "x86_64":
        wanted.append(_STUB)  # what reaches the chip's own processor
    missing = [w for w in wanted if not any(w in name for name in result.backends)]
    if missing:
        raise MeasurementError(
            f"the runner must have loaded {' and '.join(missing)}, it had "
            f"{', '.join(result.backends) or 'none of the accelerator'}: this is no latency of "
            "the accelerator",
            stage="coverage",
        )


def _answer(done: Finished) -> str:
    """What a runner printed, where its exit code says that it printed an answer."""
    if done.returncode in _ANSWERED:
        return done.stdout
    stage = ended_by_others(done.returncode) or _STAGES.get(done.returncode, "run")
    hint = "; the Android build may run: devices prepare --ndk" if done.returncode == SIGSYS else ""
    raise MeasurementError(f"{why_it_ended(done.returncode, done.stderr)}{hint}", stage=stage)
