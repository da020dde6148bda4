"""What a job may take: memory before it starts, and time after which something is wrong."""

from collections.abc import Callable

from phonelm_search.backends.base import Job, PhaseJob, needed_bytes
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.units import format_bytes

_START_SECONDS = 60.0
_LEAST_RUNS = 8  # two windows of warm-up and five samples are made however long they take
_SLOW_FLOPS = 5e9  # a phone's small core
_BYTES_PER_SECOND = 50e6  # slowest plausible making and loading of weights


def time_limit_seconds(job: Job) -> float:
    """Time within which a job must be finished, on the slowest plausible processor."""
    stored = job.stored_bytes
    return (
        _START_SECONDS
        + 6 * job.max_seconds * len(job.phases) * len(job.models)
        + sum(_slow_seconds(p, stored) for p in job.phases)
        + 2 * stored * job.cache.copies / _BYTES_PER_SECOND
    )


def _slow_seconds(phase: PhaseJob, stored: int) -> float:
    """Time that the least number of runs may take: two weights a byte."""
    return _LEAST_RUNS * 2 * 2 * stored * phase.tokens / _SLOW_FLOPS


def check_memory(
    job: Job, available_bytes: int | None, *, advice: Callable[[], str] = lambda: "close programs"
) -> None:
    """Refuse a job that does not fit.

    Args:
        job: The job.
        available_bytes: What is there; None: the device does not tell.
        advice: What makes more of it.

    Raises:
        MeasurementError: If it needs more than is available.
    """
    needed = needed_bytes(job.stored_bytes, job.cache.copies)
    needed += job.cache.flush_bytes + max(job.bandwidth_bytes, default=0)
    if available_bytes is not None and needed > available_bytes:
        raise MeasurementError(
            f"{job.cache.copies} copies of the weights need about {format_bytes(needed)}, "
            f"{format_bytes(available_bytes)} are available; {advice()}, or use a smaller "
            "precision",
            stage="memory",
        )
