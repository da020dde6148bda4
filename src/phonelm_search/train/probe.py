"""Which number type, and whether compiling, trains fastest here: measured, never guessed.

Run as a module it is the child process that measures.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from phonelm_search.core.errors import ChildError, TrainingError, first_line
from phonelm_search.core.shape import ModelShape
from phonelm_search.train.corpus import TokenisedCorpus, load_tokens
from phonelm_search.train.settings import (
    NUMBER_TYPES,
    Acceleration,
    NumberType,
    TrainingSettings,
)
from phonelm_search.train.training import step_seconds
from phonelm_search.work import Child, Place, Report, retried, serve

_CHILD = "phonelm_search.train.probe"
_TASK = "phonelm_search.train.probe:time_variants"
_SECONDS = 900.0
"""For one variant: a compilation takes minutes at most, and what takes longer trains for years."""
_STEPS = 3
_LONG_SECONDS = 300.0
"""Compiling takes half a minute, so it is tried where a candidate trains for this long."""
_HOPELESS = 4.0
"""Times the best so far that even a first step, which warms up, does not take."""
_WORTH = 0.95
"""Share of the time that another variant may take at most to be chosen."""


def choose_acceleration(
    shape: ModelShape,
    settings: TrainingSettings,
    tokens_file: Path,
    *,
    threads: int,
    seconds: float = _SECONDS,
    place: Place | None = None,
) -> Acceleration:
    """Time the variants on one shape, in a child process.

    Args:
        shape: The largest that will be trained.
        settings: How it will be trained.
        tokens_file: The text.
        threads: Of one training.
        seconds: Longest time for one variant. One that hangs or breaks the child is not chosen.
        place: Where it is timed, in place of a child process of this one.

    Raises:
        TrainingError: If not even the first variant could be timed.
        TransportError: If the place is lost.
    """
    job = {"shape": shape.as_dict(), "settings": asdict(settings), "threads": threads}
    so_far: Acceleration | None = None

    def report(progress: Mapping[str, Any]) -> None:
        nonlocal so_far
        so_far = Acceleration(**progress)

    files = {"tokens": tokens_file}
    try:
        if place is not None:
            told = retried(
                lambda: place.call(_TASK, job, files=files, report=report, seconds=seconds)
            )
            return Acceleration(**told)
        job["tokens_file"] = str(tokens_file.resolve())
        with Child(_CHILD, what="timing one way to train") as child:
            return Acceleration(**child.do(job, seconds=seconds, report=report))
    except ChildError as error:
        if so_far is None:
            raise TrainingError(f"the speed of training could not be measured: {error}") from error
        return replace(so_far, note=f"another way to train could not be tried: {error}")


def compare_variants(
    shape: ModelShape,
    corpus: TokenisedCorpus,
    settings: TrainingSettings,
    report: Callable[[Acceleration], object] = lambda so_far: None,
) -> Acceleration:
    """Time the variants in this process.

    Args:
        shape: The largest that will be trained.
        corpus: The text.
        settings: How it will be trained.
        report: Called with the choice so far, before another variant is tried.
    """
    seconds: dict[NumberType, float] = {}
    for number_type in NUMBER_TYPES:
        variant = replace(settings, number_type=number_type, compiled=False)
        limit = _HOPELESS * min(seconds.values(), default=math.inf)
        steps = step_seconds(shape, corpus, variant, _STEPS, limit=limit)
        seconds[number_type] = statistics.median(steps[1:] or steps)
        plain = _fastest(seconds, settings)
        report(plain)
    whole = settings.steps * seconds[plain.number_type]
    if whole < _LONG_SECONDS:
        return plain
    variant = replace(settings, number_type=plain.number_type, compiled=True)
    began = time.perf_counter()
    try:
        later = statistics.median(step_seconds(shape, corpus, variant, _STEPS)[1:])
    except Exception as error:  # noqa: BLE001 - compilers fail in ways of their own
        return replace(plain, note=f"layers could not be compiled: {first_line(error)}")
    compiling = time.perf_counter() - began - _STEPS * later
    speed = {f"{plain.number_type}, compiled": settings.step_tokens / later}
    return replace(
        plain,
        compiled=compiling + settings.steps * later < _WORTH * whole,
        tokens_per_s={**plain.tokens_per_s, **speed},
    )


def _fastest(seconds: Mapping[NumberType, float], settings: TrainingSettings) -> Acceleration:
    """The choice by the seconds that a step of each number type takes, layers not compiled."""
    plain, fast = NUMBER_TYPES[0], min(seconds, key=lambda n: seconds[n])
    return Acceleration(
        number_type=fast if seconds[fast] < _WORTH * seconds[plain] else plain,
        compiled=False,
        tokens_per_s={n: settings.step_tokens / s for n, s in seconds.items()},
    )


def time_variants(job: dict[str, Any], files: Mapping[str, Path], report: Report) -> dict[str, Any]:
    """The same as a task: see `work.tasks.perform`."""
    return run({**job, "tokens_file": str(files["tokens"])}, report)


def run(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """Measure what the job asks for."""
    torch.set_num_threads(job["threads"])
    return compare_variants(
        ModelShape(**job["shape"]),
        load_tokens(Path(job["tokens_file"])),
        TrainingSettings(**job["settings"]),
        lambda so_far: report(so_far.as_dict()),
    ).as_dict()


if __name__ == "__main__":
    sys.exit(serve(run))
