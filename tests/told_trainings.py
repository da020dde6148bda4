"""Trainings whose outcome is a formula: whoever trains takes no time."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from helpers import REFERENCE_MODULES, SMALL_REFERENCE, small_texts
from phonelm_search.core.shape import ModelShape
from phonelm_search.train import TrainingSettings, load_text
from phonelm_search.train.jobs import TrainingJob
from phonelm_search.train.pool import OnDone, OnProgress
from phonelm_search.train.settings import Acceleration, Outcome

_SPEED = 1_000.0  # tokens a second: of minutes, a few trainings


class FormulaPool:
    """A pool that trains nothing."""

    workers = 2
    threads = 1

    def run(self, jobs: Sequence[TrainingJob], *, on_progress: OnProgress, on_done: OnDone) -> None:
        """See `Pool.run`."""
        for index, job in enumerate(jobs):
            on_done(index, outcome(job))

    def fastest(
        self, shape: ModelShape, settings: TrainingSettings, tokens_file: Path
    ) -> Acceleration:
        """See `Pool.fastest`."""
        return Acceleration(number_type="fp32", compiled=False, tokens_per_s={"fp32": _SPEED})

    def close(self) -> None:
        """See `Pool.close`."""


def outcome(job: TrainingJob) -> Outcome:
    """Fewer bits with more parameters and tokens; chunks scatter in the same way for all."""
    tokens = job.settings.steps * job.settings.step_tokens
    bits = 1.5 + 12 * job.shape.decoder_parameters**-0.3 + 60 * tokens**-0.4
    wobble = np.random.default_rng(0).normal(0, 0.2, 64)
    text = np.full(64, 500)
    return Outcome(
        finished=True,
        chunk_bits=tuple(((bits + wobble - wobble.mean()) * text).tolist()),
        chunk_bytes=tuple(text.tolist()),
        quantised=bits if job.scheme else None,
        curve=((tokens // 2, bits + 0.1), (tokens, bits)),
        tokens=tokens,
        seconds=1.0,
        reason=None,
    )


@contextlib.contextmanager
def told_by_formula(lock: Path) -> Iterator[None]:
    """Trainings by the formula, on a little text, and a small reference shape beside the rounds.

    Args:
        lock: Who measures locks this in place of the machine's own lock.
    """
    with pytest.MonkeyPatch.context() as patch, small_texts(load_text()):
        patch.setattr("phonelm_search.work.machine.LOCK", lock)
        patch.setattr("phonelm_search.train.runs.ChildPool", FormulaPool)
        for module in REFERENCE_MODULES:
            patch.setattr(f"phonelm_search.{module}.REFERENCE", SMALL_REFERENCE)
        yield
