"""Doing a training job, in whatever process."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from phonelm_search.core.precision import get_precision
from phonelm_search.train.corpus import TokenisedCorpus, load_tokens
from phonelm_search.train.jobs import TrainingJob, job_of, outcome_document
from phonelm_search.train.settings import Outcome
from phonelm_search.train.training import train
from phonelm_search.work import Report


def perform(job: TrainingJob, report: Callable[[int, float], None]) -> Outcome:
    """Train and score.

    Args:
        job: What to train.
        report: Called with (tokens so far, training bits per byte).

    Raises:
        TrainingError: If a checkpoint cannot be written, or one sequence does not fit in memory.
    """
    outcome, _ = train(
        job.shape,
        _corpus(job.tokens_file),
        job.settings,
        seed=job.seed,
        checkpoints=job.checkpoints,
        scheme=get_precision(job.scheme) if job.scheme else None,
        report=report,
    )
    return outcome


@functools.lru_cache(maxsize=1)
def _corpus(file: Path) -> TokenisedCorpus:
    return load_tokens(file)


def train_job(
    document: dict[str, Any], files: Mapping[str, Path], report: Report
) -> dict[str, Any]:
    """The task of a pool: see `work.tasks.perform`."""
    torch.set_num_threads(document["threads"])
    job = replace(
        job_of(document["job"]), tokens_file=files["tokens"], checkpoints=files["checkpoints"]
    )

    def progress(tokens: int, bits_per_byte: float) -> None:
        report({"tokens": tokens, "bits_per_byte": bits_per_byte})

    return outcome_document(perform(job, progress))
