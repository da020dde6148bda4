"""Which cores and threads of a device are fastest, by its reference shape."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from phonelm_search.backends import Runtime
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.judgement import Verdict, judged_together
from phonelm_search.core.reason import Reason
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import Core, DeviceProfile, clusters
from phonelm_search.measure.executor import Executor
from phonelm_search.measure.settings import MeasureSettings

_REPETITIONS, _SECONDS = 20, 1.0
_TIED = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One choice of cores and threads."""

    cores: tuple[int, ...]
    """Their numbers."""
    threads: int
    """How many compute."""
    prefill_ms: float | None
    """Median of the reference shape; None where it could not be measured."""
    decode_ms: float | None
    """The same, mean over the scenario's contexts."""
    end_to_end_ms: float | None
    """What it all takes together."""
    verdict: Verdict = "rejected"
    """How far to trust it."""
    reasons: tuple[Reason, ...] = ()
    """Why it is not valid."""
    failure: str | None = None
    """Why it could not be measured."""


def choices(cores: Sequence[Core]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Sets of cores and numbers of threads worth trying: every cluster with all faster ones.

    Threads are powers of two up to the number of cores, and that number.
    """
    chosen: tuple[int, ...] = ()
    for cluster in clusters(cores):
        chosen = tuple(sorted({*chosen, *cluster}))
        powers = {2**i for i in range(len(chosen).bit_length())}
        for threads in sorted({t for t in powers if t <= len(chosen)} | {len(chosen)}):
            yield chosen, threads


def sweep(
    profile: DeviceProfile,
    cores: Sequence[Core],
    scenario: Scenario,
    runtime_of: Callable[[DeviceProfile], Runtime],
    *,
    on_tried: Callable[[Tried], object],
) -> list[Tried]:
    """Try every choice once, and once more where it was disturbed.

    Args:
        profile: The device.
        cores: Its cores.
        scenario: Whose time decides.
        runtime_of: Makes a runtime of a profile with the choice filled in.
        on_tried: Called after each.

    Returns:
        The choices, the fastest first: of those within 3 % of it the one of fewest threads.

    Raises:
        MeasurementError: If none could be measured, or the connection is lost for good.
    """
    tried = []
    for numbers, threads in choices(cores):
        chosen = profile.model_copy(update={"cores": numbers, "threads": threads})
        found = _try(chosen, numbers, threads, scenario, runtime_of)
        if found.end_to_end_ms is not None and found.verdict == "rejected":
            found = _try(chosen, numbers, threads, scenario, runtime_of)
        on_tried(found)
        tried.append(found)
    measured = [t for t in tried if t.end_to_end_ms is not None]
    if not measured:
        raise MeasurementError(
            f"at least one choice of cores must work; the first: {tried[0].failure}", stage="run"
        )
    return sorted(measured, key=_order(measured)) + [t for t in tried if t.end_to_end_ms is None]


def _order(measured: Sequence[Tried]) -> Callable[[Tried], tuple[bool, int, float]]:
    """Trusted ones first; of those that are as fast as the fastest, the one of fewest threads."""
    trusted = [t.end_to_end_ms or 0.0 for t in measured if t.verdict != "rejected"]
    least = min(trusted or [t.end_to_end_ms or 0.0 for t in measured])

    def key(tried: Tried) -> tuple[bool, int, float]:
        time = tried.end_to_end_ms or 0.0
        tied = time <= least * (1 + _TIED)
        return tried.verdict == "rejected", tried.threads if tied else 10**6, time

    return key


def _try(
    profile: DeviceProfile,
    cores: tuple[int, ...],
    threads: int,
    scenario: Scenario,
    runtime_of: Callable[[DeviceProfile], Runtime],
) -> Tried:
    failed = Tried(
        cores=cores, threads=threads, prefill_ms=None, decode_ms=None, end_to_end_ms=None
    )
    try:
        settings = MeasureSettings(repetitions=_REPETITIONS, max_seconds=_SECONDS)
        made = Executor(profile, runtime_of(profile), settings).round((), scenario.workloads)
    except MeasurementError as error:
        if error.stage == "transport":
            raise
        return replace(failed, failure=str(error))
    rounds = made.reference
    verdict, reasons = judged_together(rounds)
    medians = {m.workload: float(np.median(m.samples_ns)) / 1e6 for m in rounds}
    prefill, *steps = (medians[w] for w in scenario.workloads)
    decode = sum(steps) / len(steps)
    return replace(
        failed,
        prefill_ms=prefill,
        decode_ms=decode,
        end_to_end_ms=prefill + (scenario.generated_tokens - 1) * decode,
        verdict=verdict,
        reasons=reasons,
    )
