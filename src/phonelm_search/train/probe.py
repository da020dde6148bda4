"""Which number type, and whether compiling, trains fastest here: measured, never guessed.

Run as a module it is the child process that measures: a job on stdin, the answer on stdout.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from phonelm_search.core.errors import TrainingError, first_line
from phonelm_search.core.shape import ModelShape
from phonelm_search.train.corpus import TokenisedCorpus, load_tokens
from phonelm_search.train.settings import NUMBER_TYPES, NumberType, TrainingSettings
from phonelm_search.train.training import step_seconds
from phonelm_search.work import die_with_parent, why_it_ended

_STEPS = 3
_LONG_SECONDS = 300.0
"""Compiling takes half a minute, so it is tried where a candidate trains for this long."""
_HOPELESS = 4.0
"""Times the best so far that even a first step, which warms up, does not take."""
_WORTH = 0.95
"""Share of the time that another variant may take at most to be chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceleration:
    """How a study trains, and what that was chosen by."""

    number_type: NumberType
    """Of the matrix products."""
    compiled: bool
    """Whether layers are compiled."""
    tokens_per_s: Mapping[str, float]
    """One process's speed on the largest candidate, by variant."""
    note: str | None = None
    """Why a variant could not be tried."""

    def as_dict(self) -> dict[str, Any]:
        """For the study's configuration."""
        return asdict(self)


def choose_acceleration(
    shape: ModelShape, settings: TrainingSettings, tokens_file: Path, *, threads: int
) -> Acceleration:
    """Time the variants on one shape, in a child process.

    Raises:
        TrainingError: If the child failed.
    """
    job = {
        "shape": shape.as_dict(),
        "settings": asdict(settings),
        "tokens_file": str(tokens_file.resolve()),
        "threads": threads,
    }
    child = subprocess.run(
        [sys.executable, "-m", "phonelm_search.train.probe"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode:
        raise TrainingError(
            f"the speed of training could not be measured: "
            f"{why_it_ended(child.returncode, child.stderr)}"
        )
    return Acceleration(**json.loads(child.stdout))


def compare_variants(
    shape: ModelShape, corpus: TokenisedCorpus, settings: TrainingSettings
) -> Acceleration:
    """Time the variants in this process."""
    speeds: dict[str, float] = {}
    seconds: dict[NumberType, float] = {}
    for number_type in NUMBER_TYPES:
        variant = replace(settings, number_type=number_type, compiled=False)
        limit = _HOPELESS * min(seconds.values(), default=math.inf)
        found = step_seconds(shape, corpus, variant, _STEPS, limit=limit)
        seconds[number_type] = statistics.median(found[1:] or found)
        speeds[number_type] = settings.step_tokens / seconds[number_type]
    plain, fast = NUMBER_TYPES[0], min(seconds, key=lambda n: seconds[n])
    number_type = fast if seconds[fast] < _WORTH * seconds[plain] else plain
    whole = settings.steps * seconds[number_type]
    if whole < _LONG_SECONDS:
        return Acceleration(number_type=number_type, compiled=False, tokens_per_s=speeds)
    variant = replace(settings, number_type=number_type, compiled=True)
    began = time.perf_counter()
    try:
        later = statistics.median(step_seconds(shape, corpus, variant, _STEPS)[1:])
    except Exception as error:  # noqa: BLE001 - compilers fail in ways of their own
        return Acceleration(
            number_type=number_type,
            compiled=False,
            tokens_per_s=speeds,
            note=f"layers could not be compiled: {first_line(error)}",
        )
    compiling = time.perf_counter() - began - _STEPS * later
    speeds[f"{number_type}, compiled"] = settings.step_tokens / later
    return Acceleration(
        number_type=number_type,
        compiled=compiling + settings.steps * later < _WORTH * whole,
        tokens_per_s=speeds,
    )


def main() -> int:
    """Measure what stdin asks for."""
    die_with_parent()
    job = json.loads(sys.stdin.read())
    torch.set_num_threads(job["threads"])
    found = compare_variants(
        ModelShape(**job["shape"]),
        load_tokens(Path(job["tokens_file"])),
        TrainingSettings(**job["settings"]),
    )
    sys.stdout.write(json.dumps(found.as_dict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
