"""ONNX Runtime on this machine, in a child process of its own for every job.

A crash, an out-of-memory kill or a time-out of the child is one failed job with its reason.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from phonelm_search.backends import host
from phonelm_search.backends.base import Files, Job, Placement, Result, parse_result, put_files
from phonelm_search.backends.limits import check_memory, time_limit_seconds
from phonelm_search.core.errors import MeasurementError
from phonelm_search.work import KILLED, why_it_ended


class OnnxRuntime:
    """The runtime ``onnxruntime``.

    Args:
        placement: Threads and cores.
        execution_provider: ONNX Runtime's name of the provider.
        provider_options: Its options.
    """

    def __init__(
        self,
        *,
        placement: Placement,
        execution_provider: str,
        provider_options: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._placement = placement
        self._provider, self._options = execution_provider, provider_options

    def placement(self) -> Placement:
        """See `Runtime.placement`."""
        return self._placement

    def environment(self) -> dict[str, str]:
        """See `Runtime.environment`."""
        return host.environment(
            self._placement,
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

    def run(self, job: Job, files: Files) -> Result:
        """See `Runtime.run`."""
        check_memory(job, host.available_bytes())
        seconds = time_limit_seconds(job)
        with tempfile.TemporaryDirectory(prefix="phonelm-job-") as folder:
            put_files(files, Path(folder))
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "phonelm_search.backends.onnxruntime.child"],
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
            stage = "memory" if done.returncode in KILLED else "run"
            raise MeasurementError(why_it_ended(done.returncode, done.stderr), stage=stage)
        if done.returncode and not done.stdout.strip():
            raise MeasurementError(why_it_ended(done.returncode, done.stderr), stage="start")
        return parse_result(done.stdout, job)
