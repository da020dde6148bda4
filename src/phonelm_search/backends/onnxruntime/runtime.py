"""ONNX Runtime on this machine, in a child process of its own for every job.

A crash, an out-of-memory kill or a time-out of the child is one failed job with its reason.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

from phonelm_search.backends import host
from phonelm_search.backends.base import Files, Job, Placement, Result, parse_result, put_files
from phonelm_search.backends.limits import check_memory, time_limit_seconds
from phonelm_search.core.errors import ChildError, MeasurementError
from phonelm_search.work import Child, folder_under_way

_CHILD = "phonelm_search.backends.onnxruntime.child"


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
        check_memory(job, host.available_bytes(), advice=host.memory_advice)
        with folder_under_way("phonelm-job-") as folder:
            put_files(files, folder)
            document = {"folder": str(folder), "job": job.model_dump(mode="json", by_alias=True)}
            try:
                with Child(_CHILD) as child:
                    answer = child.do(document, seconds=time_limit_seconds(job))
            except ChildError as error:
                return _without_answer(error, job)
        return parse_result(json.dumps(answer), job)


def _without_answer(error: ChildError, job: Job) -> Result:
    """What is known of a job whose child gave no answer.

    Raises:
        MeasurementError: Always; by the way that the child ended.
    """
    if error.stage == "ended" and (error.returncode == 0 or error.printed):
        return parse_result(error.printed, job)
    stage = error.stage
    if stage == "ended":
        stage = "run" if (error.returncode or 0) < 0 else "start"
    raise MeasurementError(str(error), stage=stage) from error
