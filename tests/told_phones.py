"""Rounds at phones whose times are told by the fake runtime's formula.

A simulated phone computes as slowly as it is emulated; what it is pushed, starts and answers is
real. This is the task that a driver asks for in place of `measure.placed.measure_there`.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from phonelm_search.backends.base import Files, Job, Result
from phonelm_search.backends.fake import FakeRuntime
from phonelm_search.backends.native import NativeRuntime
from phonelm_search.core.shape import ModelShape
from phonelm_search.measure import executor
from phonelm_search.measure.placed import measure_there

TASK = "told_phones:measure"
REFERENCE = ModelShape(
    hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=32, vocab_size=320, hidden_act="relu",
)  # fmt: skip
"""Beside the rounds, in place of one of 33M."""
_SPEED = 10e9


def measure(
    document: dict[str, Any], files: Mapping[str, Path], report: Callable[..., object]
) -> dict[str, Any]:
    """See `measure.placed.measure_there`."""
    _tell()
    return measure_there(document, files, report)


@cache
def _tell() -> None:
    """For all that this process will do."""
    executor.REFERENCE = REFERENCE  # type: ignore[attr-defined]
    executor._LEAST_BANDWIDTH_BYTES = 2**20
    run = NativeRuntime.run

    def told(runtime: NativeRuntime, job: Job, files: Files) -> Result:
        result = run(runtime, job, files)
        if job.repetitions < 2:  # logits alone count, or memory
            return result
        asked = list(job.phases) * len(job.models)
        phases = [
            FakeRuntime._phase(
                job,
                phase.model,
                job.models[phase.model],
                part,
                files[job.models[phase.model].graph],
            )
            for phase, part in zip(result.phases, asked, strict=True)
        ]
        speeds = ((_SPEED,) * 3,) * len(job.bandwidth_bytes)
        changes = {"phases": tuple(phases), "bandwidth_bytes_per_s": speeds}
        return result.model_copy(update=changes)

    NativeRuntime.run = told  # type: ignore[method-assign]
