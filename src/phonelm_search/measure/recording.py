"""What a runner told, as records."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np

from phonelm_search import __version__
from phonelm_search.backends import PROTOCOL_VERSION, Job, PhaseResult, Result
from phonelm_search.core.records import CONTROL_MODES, Measurement
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import paired_medians
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure.jobs import Prepared
from phonelm_search.measure.settings import MeasureSettings

SEPARATE_ROTARY = "separate rotary operator: head dimension {} is not a multiple of 16"
BY_FLUSH = "cold by flushing the cache: copies would be too many or too large"
_FLUSH_BIAS = "a flush's pause alone makes a step {:+.2f} ms slower than the warm loop"


def record_of(
    shape: ModelShape,
    prepared: Prepared,
    result: Result,
    phase: PhaseResult,
    *,
    device: DeviceProfile,
    settings: MeasureSettings,
    number: int,
    now: datetime,
) -> Measurement:
    """The record of a phase, not judged yet.

    Args:
        shape: What ran.
        prepared: The job.
        result: What the runner told.
        phase: The part of it.
        device: The profile.
        settings: The protocol's parameters.
        number: Of the round.
        now: Present time.
    """
    job, bandwidth = prepared.job, result.bandwidth_bytes_per_s
    workload = Workload(phase=phase.kind, tokens=phase.tokens, past_tokens=phase.past_tokens)
    cold = phase.kind == "decode" and not phase.control
    protocol = asdict(settings)
    protocol["rotation_bytes"] = prepared.rotation_bytes if cold else 0
    return Measurement(
        shape_id=shape.shape_id,
        device=device.name,
        precision=device.precision.of(phase.kind),
        workload=workload,
        cache_mode=CONTROL_MODES[phase.control] if phase.control else device.cache_mode(workload),
        copies=job.cache.copies if cold else 1,
        weights_source=job.weights.source,
        environment=result.environment,
        graph_version=GRAPH_VERSION,
        protocol_version=PROTOCOL_VERSION,
        round=number,
        warmup_ns=phase.warmup_ns,
        settled=phase.settled,
        samples_ns=phase.samples_ns,
        disturbance={
            "cpu_ns": list(phase.cpu_ns),
            "switches": list(phase.switches),
            "windows": [w.model_dump() for w in phase.windows],
        },
        bandwidth_bytes_per_s=float(np.median(bandwidth[0])) if bandwidth else None,
        protocol=protocol,
        peak_bytes=phase.peak_bytes,
        coverage=prepared.coverage[phase.model] if prepared.coverage else None,
        verdict="valid",
        reasons=(),
        notes=_notes(shape, prepared, result, phase),
        conditions=result.conditions,
        package_version=__version__,
        created_at=now.isoformat(timespec="seconds"),
        process=job.tag,
        place=phase.model,
    )


def paired(job: Job, result: Result) -> list[float]:
    """`Measurement.paired_ns` of each phase of a result, in its order."""
    loops: dict[tuple[Any, ...], list[int]] = {}
    for i, p in enumerate(result.phases):
        alone = p.control is not None or (p.kind == "decode" and job.cache.mode == "warm")
        work = (p.kind, p.tokens, p.past_tokens)
        loops.setdefault((p.control, p.model, work) if alone else work, []).append(i)
    found = [0.0] * len(result.phases)
    for members in loops.values():
        turns = min(len(result.phases[i].samples_ns) for i in members)
        samples = [[max(1, s) for s in result.phases[i].samples_ns[:turns]] for i in members]
        for i, median_ns in zip(members, paired_medians(samples).tolist(), strict=True):
            found[i] = median_ns
    return found


def _notes(
    shape: ModelShape, prepared: Prepared, result: Result, phase: PhaseResult
) -> tuple[str, ...]:
    """What a reader of a phase's samples should know."""
    job = prepared.job
    if phase.control:
        return ()
    notes: list[str] = list(prepared.notes[phase.model]) if prepared.notes else []
    if prepared.graphs and prepared.graphs[phase.model].separate_rotary:
        notes.append(SEPARATE_ROTARY.format(shape.head_dim))
    if phase.kind == "decode" and job.cache.mode == "flush":
        notes += [BY_FLUSH, *_flush_bias(result, phase.model)]
    return tuple(notes)


def _flush_bias(result: Result, model: int) -> tuple[str, ...]:
    medians = {
        p.control: float(np.median(p.samples_ns)) / 1e6
        for p in result.phases
        if p.control and p.model == model
    }
    if not {"pause", "warm"} <= medians.keys():
        return ()
    return (_FLUSH_BIAS.format(medians["pause"] - medians["warm"]),)
