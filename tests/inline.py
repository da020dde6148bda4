"""Training in the tests' own process, where torch is loaded already."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.train import Outcome, TrainingSettings
from phonelm_search.train.checkpoint import save_weights
from phonelm_search.train.corpus import load_tokens
from phonelm_search.train.pool import TrainingJob
from phonelm_search.train.probe import Acceleration
from phonelm_search.train.training import train


class InlinePool:
    """Takes the place of `TrainingPool`: one training after another, on one thread."""

    threads = 1

    def __init__(self, workers: int | None = None) -> None:
        self.workers = 1

    def close(self) -> None:
        """Nothing was started."""

    def run(
        self,
        jobs: Sequence[TrainingJob],
        *,
        on_progress: Callable[[int, int, float], None],
        on_done: Callable[[int, Outcome], None],
    ) -> None:
        """Train all jobs in the calling thread."""
        for i, job in enumerate(jobs):

            def report(tokens: int, bits_per_byte: float, i: int = i) -> None:
                on_progress(i, tokens, bits_per_byte)

            on_done(i, _trained(job, report))


def _trained(job: TrainingJob, report: Callable[[int, float], None]) -> Outcome:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        outcome, model = train(
            job.shape,
            load_tokens(job.tokens_file),
            job.settings,
            seed=job.seed,
            until=job.until,
            checkpoints=job.checkpoints,
            scheme=get_precision(job.scheme) if job.scheme else None,
            report=report,
        )
    finally:
        torch.set_num_threads(before)
    if job.weights and outcome.finished and outcome.reason is None:
        save_weights(model, job.weights)
    return outcome


def plain(
    shape: ModelShape, settings: TrainingSettings, tokens_file: Path, *, threads: int
) -> Acceleration:
    """Takes the place of `choose_acceleration`, whose child process times the variants."""
    return Acceleration(number_type="fp32", compiled=False, tokens_per_s={})


@contextmanager
def trained_inline() -> Iterator[None]:
    """Whoever trains meanwhile does it in this process: a child would load torch anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phonelm_search.train.runs.TrainingPool", InlinePool)
        patch.setattr("phonelm_search.train.choose_acceleration", plain)
        yield
