"""Rounds at phones whose times are the fake runtime's, and trainings told by a formula.

A simulated phone computes as slowly as it is emulated; what it is pushed, starts and answers is
real. These are tasks that a driver asks for in place of the package's own.
"""

import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from helpers import SMALL_REFERENCE
from phonelm_search.backends.base import Files, Job, Result
from phonelm_search.backends.fake import FakeRuntime
from phonelm_search.backends.native import NativeRuntime
from phonelm_search.measure import executor
from phonelm_search.measure.placed import measure_there
from phonelm_search.train.jobs import job_of, outcome_document
from told_trainings import outcome

MEASURE, TRAIN = "told_phones:measure", "told_phones:train"
_SPEED = 10e9
_TRAINING_SECONDS = 0.5


def measure(
    document: dict[str, Any], files: Mapping[str, Path], report: Callable[..., object]
) -> dict[str, Any]:
    """See `measure.placed.measure_there`."""
    _tell()
    return measure_there(document, files, report)


def train(
    document: dict[str, Any], files: Mapping[str, Path], report: Callable[..., object]
) -> dict[str, Any]:
    """See `train.worker.train_job`."""
    time.sleep(_TRAINING_SECONDS)
    return outcome_document(outcome(job_of(document["job"])))


@cache
def _tell() -> None:
    """For all that this process will do."""
    executor.REFERENCE = SMALL_REFERENCE  # type: ignore[attr-defined]
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
