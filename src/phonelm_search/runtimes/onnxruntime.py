"""ONNX Runtime on this machine, in a child process of its own for every job.

A crash, an out-of-memory kill or a time-out of the child is one failed job with its reason.
"""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from phonelm_search.childprocess import why_it_ended
from phonelm_search.errors import MeasurementError
from phonelm_search.runtimes import host
from phonelm_search.runtimes.base import (
    Job,
    PhaseJob,
    Result,
    needed_bytes,
    parse_result,
)
from phonelm_search.units import format_bytes

_START_SECONDS = 60.0
_LEAST_RUNS = 8  # two windows of warm-up and five samples are made however long they take
_SLOW_FLOPS = 2e10
_BYTES_PER_SECOND = 50e6  # slowest plausible making and loading of weights


class OnnxRuntime:
    """The runtime ``onnxruntime``.

    Args:
        threads: Threads that compute.
        execution_provider: ONNX Runtime's name of the provider.
        provider_options: Its options.
    """

    def __init__(
        self,
        *,
        threads: int,
        execution_provider: str,
        provider_options: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._threads = threads
        self._provider, self._options = execution_provider, provider_options

    def environment(self) -> dict[str, str]:
        """See `Runtime.environment`."""
        return host.environment(
            threads=self._threads,
            execution_provider=self._provider,
            provider_options=self._options,
        )

    def cache_bytes(self) -> int:
        """See `Runtime.cache_bytes`."""
        return host.last_level_cache_bytes()

    def available_bytes(self) -> int | None:
        """See `Runtime.available_bytes`."""
        return host.available_bytes()

    def capabilities(self) -> str:
        """See `Runtime.capabilities`."""
        return f"{host.capabilities()}; kernels as ONNX Runtime chooses them"

    def run(self, job: Job, files: Mapping[str, bytes]) -> Result:
        """See `Runtime.run`."""
        stored = job.stored_bytes
        self._check_memory(job, stored)
        seconds = (
            _START_SECONDS
            + 6 * job.max_seconds * len(job.phases) * len(job.models)
            + sum(_slow_seconds(p, stored) for p in job.phases)
            + 2 * stored * job.cache.copies / _BYTES_PER_SECOND
        )
        with tempfile.TemporaryDirectory(prefix="phonelm-job-") as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "phonelm_search.runtimes.onnxruntime_child"],
                    input=job.model_dump_json(by_alias=True),
                    capture_output=True,
                    text=True,
                    cwd=folder,
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise MeasurementError(
                    f"the child process must finish within {seconds:.0f} s and did not",
                    stage="timeout",
                ) from error
            except OSError as error:
                raise MeasurementError(
                    f"the child process cannot be started: {error}", stage="start"
                ) from error
        if done.returncode < 0:
            stage = "memory" if done.returncode == -signal.SIGKILL else "run"
            raise MeasurementError(why_it_ended(done.returncode, done.stderr), stage=stage)
        if done.returncode and not done.stdout.strip():
            raise MeasurementError(why_it_ended(done.returncode, done.stderr), stage="start")
        return parse_result(done.stdout, job)

    @staticmethod
    def _check_memory(job: Job, stored: int) -> None:
        needed = needed_bytes(stored, job.cache.copies) + job.cache.flush_bytes
        available = host.available_bytes()
        if available is not None and needed > available:
            raise MeasurementError(
                f"{job.cache.copies} copies of the weights need about {format_bytes(needed)}, "
                f"{format_bytes(available)} are available; close programs or use a smaller "
                "precision",
                stage="memory",
            )


def _slow_seconds(phase: PhaseJob, stored: int) -> float:
    """Time that the least number of runs may take: two weights a byte, on a slow processor."""
    return _LEAST_RUNS * 2 * 2 * stored * phase.tokens / _SLOW_FLOPS
