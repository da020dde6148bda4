"""A training as it is handed to who trains it, in this process or in a child."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from phonelm_search.core.shape import ModelShape
from phonelm_search.train.settings import Outcome, TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One shape to train."""

    shape: ModelShape
    """What is trained."""
    settings: TrainingSettings
    """How."""
    tokens_file: Path
    """The tokenised corpus."""
    seed: int
    """Seed of weights and data order."""
    checkpoints: Path
    """Folder of this training's states."""
    scheme: str | None = None
    """Precision scheme to score rounded weights of, too."""


_JOB, _OUTCOME = TypeAdapter(TrainingJob), TypeAdapter(Outcome)


def job_document(job: TrainingJob) -> dict[str, Any]:
    """A job as JSON holds it."""
    document: dict[str, Any] = _JOB.dump_python(job, mode="json")
    return document


def job_of(document: Any) -> TrainingJob:
    """The job of a document."""
    return _JOB.validate_python(document)


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """What came of a job, as JSON holds it."""
    return asdict(outcome)


def outcome_of(document: Any) -> Outcome:
    """What came of a job, of a document."""
    return _OUTCOME.validate_python(document)


def cut_off(reason: str) -> Outcome:
    """What came of a job that did not end, and may be tried again."""
    return Outcome(
        finished=False,
        chunk_bits=(),
        chunk_bytes=(),
        quantised=None,
        curve=(),
        tokens=0,
        seconds=0.0,
        reason=reason,
        transient=True,
    )
