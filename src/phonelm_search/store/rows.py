"""Records as rows of their tables, and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from phonelm_search.core.node_coverage import Coverage
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import (
    Compilation,
    LatencyEstimate,
    Measurement,
    NumericsCheck,
    ProxyScore,
    StudyShape,
)
from phonelm_search.core.workload import Workload
from phonelm_search.store.migrations.old_reasons import reason_of  # merge: goes with it

_WORK = ("phase", "tokens", "past_tokens", "logits")
_DEFAULTS: dict[str, Any] = {"settled": True, "disturbance": {}, "protocol": {}}
"""What columns of schema 2 mean in rows of schema 1."""


def measurement_row(m: Measurement) -> dict[str, Any]:
    """Values of ``phonelm_measurements``."""
    reasons = [asdict(r) for r in m.reasons]
    return {**_values(m), "reasons": reasons, "key": m.key, "environment_id": m.environment_id}


def to_measurement(row: Mapping[Any, Any]) -> Measurement:
    """A row of ``phonelm_measurements``."""
    values = _fields(Measurement, row)
    for name, default in _DEFAULTS.items():
        if values[name] is None:
            values[name] = default
    for name in ("warmup_ns", "samples_ns", "notes"):
        values[name] = tuple(values[name])
    values["reasons"] = _to_reasons(values["reasons"])
    return Measurement(workload=to_workload(row), **values)


def estimate_row(e: LatencyEstimate) -> dict[str, Any]:
    """Values of ``phonelm_estimates``."""
    return {**_values(e), "reasons": [asdict(r) for r in e.reasons], "key": e.key}


def to_estimate(row: Mapping[Any, Any]) -> LatencyEstimate:
    """A row of ``phonelm_estimates``."""
    values = _fields(LatencyEstimate, row)
    values["depths"] = tuple(values["depths"])
    values["reasons"] = _to_reasons(values["reasons"])
    return LatencyEstimate(workload=to_workload(row), **values)


def compilation_row(c: Compilation) -> dict[str, Any]:
    """Values of ``phonelm_compilations``."""
    return {**_values(c), "coverage": asdict(c.coverage)}


def to_compilation(row: Mapping[Any, Any]) -> Compilation:
    """A row of ``phonelm_compilations``."""
    values = _fields(Compilation, row)
    values["coverage"] = Coverage.from_dict(values["coverage"])
    return Compilation(workload=to_workload(row), **values)


def numerics_row(check: NumericsCheck) -> dict[str, Any]:
    """Values of ``phonelm_numerics``; an error that is no number becomes null."""
    row = asdict(check)
    for name in ("prefill_error", "decode_error"):
        row[name] = row[name] if math.isfinite(row[name]) else None
    return row


def to_numerics(row: Mapping[Any, Any]) -> NumericsCheck:
    """A row of ``phonelm_numerics``."""
    values = _fields(NumericsCheck, row)
    for name in ("prefill_error", "decode_error"):
        values[name] = math.nan if values[name] is None else values[name]
    return NumericsCheck(**values)


def to_score(row: Mapping[Any, Any]) -> ProxyScore:
    """A row of ``phonelm_scores``."""
    values = _fields(ProxyScore, row)
    for name in ("notes", "chunk_bits", "chunk_bytes"):
        values[name] = tuple(values[name])
    for name in ("curve", "rungs"):
        values[name] = tuple((int(n), float(b)) for n, b in values[name] or ())
    values["quantised"] = values["quantised"] or {}
    for name in ("transient", "stopped"):
        values[name] = bool(values[name])
    return ProxyScore(**values)


def to_study_shape(row: Mapping[Any, Any]) -> StudyShape:
    """A row of ``phonelm_study_shapes``."""
    values = _fields(StudyShape, row)
    return StudyShape(**{**values, "transient": bool(values["transient"])})


def _to_reasons(stored: Sequence[Any]) -> tuple[Reason, ...]:
    # merge: goes with the migration
    return tuple(Reason(**(reason_of(r) if isinstance(r, str) else r)) for r in stored)


def _values(record: Measurement | LatencyEstimate | Compilation) -> dict[str, Any]:
    """Fields of a record, its workload's among them."""
    own = {f.name: getattr(record, f.name) for f in fields(record) if f.name != "workload"}
    return {**own, **asdict(record.workload)}


def _fields(record: type, row: Mapping[Any, Any]) -> dict[str, Any]:
    return {f.name: row[f.name] for f in fields(record) if f.name != "workload"}


def to_workload(row: Mapping[Any, Any]) -> Workload:
    """The workload of a row."""
    return Workload(**{name: row[name] for name in _WORK})
