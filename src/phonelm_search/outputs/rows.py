"""Rows that programs and tables read; a value that does not exist is None, never 0."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from phonelm_search.core.judgement import judged_together
from phonelm_search.core.latency import Latency, LatencySummary, ScenarioTime, Span
from phonelm_search.core.memory import decode_bytes
from phonelm_search.core.reason import in_one_line
from phonelm_search.core.records import Compilation, error_of_columns
from phonelm_search.core.shape import TILE, ModelShape
from phonelm_search.core.workload import PHASES, Scenario, Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.quality import Score
from phonelm_search.reading import (
    Pick,
    Sensitivity,
    StudyRow,
    StudyView,
    Worth,
    current_pick,
    front_chance,
    least_coverage,
    worth_of,
)
from phonelm_search.speed import far_off

Row = dict[str, Any]


def latency_row(
    shape: ModelShape,
    device: DeviceProfile,
    workload: Workload,
    found: Latency | None,
    *,
    name: str | None = None,
    peak_bytes: int | None = None,
    reasons: Sequence[str] = (),
) -> Row:
    """One row of ``profile``; a value that does not exist is None, never 0."""
    read = None
    if found and workload.phase == "decode":
        read = 1000 * decode_bytes(shape, device.scheme, workload.past_tokens) / found.latency_ms
    measured = found if isinstance(found, LatencySummary) else None
    relative = measured.relative if measured else None
    bandwidth = measured.bandwidth_bytes_per_s if measured else None
    prompt = workload.tokens if workload.phase == "prefill" else None
    context = workload.past_tokens if workload.phase == "decode" else None
    return {
        "name": name,
        **shape.columns(),
        "kind": found.kind if found else "measured",
        "device": device.name,
        "precision": device.precision.of(workload.phase),
        "phase": workload.phase,
        "scenario": None,
        "prompt_tokens": prompt,
        "context_tokens": context,
        "latency_ms": found.latency_ms if found else None,
        "ci_low_ms": found.ci_low_ms if found else None,
        "ci_high_ms": found.ci_high_ms if found else None,
        "relative_latency": relative.value if relative else None,
        "relative_low": relative.low if relative else None,
        "relative_high": relative.high if relative else None,
        "tokens_per_s": 1000 * workload.tokens / found.latency_ms if found else None,
        "p90_ms": measured.p90_ms if measured else None,
        "p99_ms": measured.p99_ms if measured else None,
        "rounds": measured.rounds if measured else None,
        "gb_per_s": read / 1e9 if read else None,
        "bandwidth_share": read / bandwidth if read and bandwidth else None,
        "peak_bytes": peak_bytes,
        "verdict": found.verdict if found else "rejected",
        "reasons": [r.text for r in found.reasons] if found else list(reasons),
        "notes": list(measured.notes) if measured else [],
        "coverage": measured.coverage if measured else None,
        "unaligned": list(shape.unaligned(TILE)),
        **dict.fromkeys(_COMPILED),
    }


_COMPILED = (
    "compiled_layers", "logits_error", "kv_error", "context_bytes", "compile_seconds",
)  # fmt: skip
SIMULATED = "simulated"
"""Kind of a row that tells of an accelerator without its chip."""
NO_LATENCY = (
    "no latency: it was computed here as the chip would, which proves that it compiles and that "
    "its numbers are right; how long that takes says nothing about a phone"
)


def compilation_row(
    shape: ModelShape, device: DeviceProfile, found: Compilation, *, name: str | None = None
) -> Row:
    """One row of ``profile`` for an accelerator that was simulated; its latency is None."""
    refused = found.coverage.refused(device.allow_fallback)
    row = latency_row(
        shape, device, found.workload, None, name=name, reasons=[refused or NO_LATENCY]
    )
    return {
        **row,
        "kind": SIMULATED,
        "verdict": "rejected" if refused else None,
        "coverage": found.coverage.share,
        "compiled_layers": found.layers,
        "logits_error": found.errors["logits"],
        "kv_error": error_of_columns(found.errors),
        "context_bytes": found.context_bytes,
        "compile_seconds": found.compile_seconds,
    }


def scenario_rows(
    shape: ModelShape,
    device: DeviceProfile,
    scenario: Scenario,
    latencies: Mapping[Workload, Latency],
    *,
    name: str | None = None,
) -> list[Row]:
    """Rows of ``profile`` for a scenario: TTFT, TPOT and end-to-end time.

    Args:
        shape: The decoder.
        device: Where.
        scenario: Prompt and answer.
        latencies: Of the scenario's workloads; nothing comes back where one is missing.
        name: A reference's name.
    """
    time = ScenarioTime.of(scenario, latencies)
    if time is None:
        return []
    tokens = scenario.generated_tokens
    times: dict[str, tuple[Span, int, tuple[Latency, ...]]] = {
        "ttft": (time.ttft, 1, (time.prefill,)),
        "tpot": (time.tpot, 1, time.steps),
        "end-to-end": (time.end_to_end, tokens, time.parts),
    }
    rows = []
    schemes = {"ttft": device.precision.prefill, "tpot": device.precision.decode}
    for phase, (span, made, parts) in times.items():
        verdict, reasons = judged_together(parts)
        rows.append(
            {
                **latency_row(shape, device, scenario.workloads[0], None, name=name),
                "kind": time.kind,
                "phase": phase,
                "precision": schemes.get(phase, str(device.precision)),
                "scenario": str(scenario),
                "prompt_tokens": None,
                "latency_ms": span.ms,
                "ci_low_ms": span.low_ms,
                "ci_high_ms": span.high_ms,
                "tokens_per_s": 1000 * made / span.ms,
                "verdict": verdict,
                "reasons": [r.text for r in reasons],
                "coverage": least_coverage(parts),
            }
        )
    return rows


STUDY_COLUMNS = (
    "name", "shape_id", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "hidden_act", "ffn", "parameters",
    "decoder_parameters", "kind", "device", "precision", "scenario", "prefill_ms", "decode_ms",
    "tokens_per_s", "relative_latency", "relative_low", "relative_high", "relative_to",
    "latency_ms", "estimate_ms", "ci_low_ms", "ci_high_ms",
    "relative_loss", "relative_loss_low", "relative_loss_high", "prior_share", "train_tokens",
    "equal_parameters", "equal_latency", "ms_a_percent",
    "peak_bytes", "verdict", "reasons", "notes", "coverage", "unaligned", "bits_per_byte",
    "score_ci", "quantised_bits_per_byte", "tokens", "tokens_per_parameter", "seeds",
    "miniature", "trained_parameters", "trained_total_parameters", "score_notes",
    "score_reason", "front", "front_probability", "modelled_front", "pick", "provisional",
)  # fmt: skip
"""Keys of a study's rows, in order: what a table without rows still has."""


def _study_row(
    row: StudyRow,
    view: StudyView,
    front: set[str],
    modelled: set[str] | None,
    pick: Pick | None,
) -> Row:
    """One row of ``pareto`` and of the CSV files."""
    score = row.score
    sampled = row.name is None
    shape_id = row.shape.shape_id
    picked = sampled and pick is not None and shape_id == pick.row.shape.shape_id
    return {
        "name": row.name,
        **row.shape.columns(),
        "kind": row.kind,
        "device": row.device,
        "precision": str(view.device.precision),
        "scenario": str(view.scenario),
        "prefill_ms": row.time.ttft.ms,
        "decode_ms": row.time.tpot.ms,
        "tokens_per_s": 1000 / row.time.tpot.ms,
        "relative_latency": row.latency.value,
        "relative_low": row.latency.low,
        "relative_high": row.latency.high,
        "relative_to": row.baseline,
        "latency_ms": row.end_to_end_ms,
        "estimate_ms": row.estimate_ms,
        "ci_low_ms": row.time.end_to_end.low_ms,
        "ci_high_ms": row.time.end_to_end.high_ms,
        "relative_loss": row.loss.value,
        "relative_loss_low": row.loss.low,
        "relative_loss_high": row.loss.high,
        "prior_share": row.prior_share,
        "train_tokens": view.train_tokens,
        **_worth_columns(worth_of(view, row)),
        "peak_bytes": row.peak_bytes,
        "verdict": None if row.kind == "predicted" else row.verdict,
        "reasons": [r.text for r in row.reasons],
        "notes": list(row.notes),
        "coverage": row.coverage,
        "unaligned": list(row.shape.unaligned(view.tile)),
        **_score_columns(score, view.device.scheme.name),
        "front": sampled and shape_id in front,
        "front_probability": front_chance(view, row),
        "modelled_front": shape_id in modelled if sampled and modelled is not None else None,
        "pick": picked,
        "provisional": list(pick.provisional) if pick is not None and picked else [],
    }


def _worth_columns(found: Worth | None) -> Row:
    """What is known of a shape at equal loss."""
    return {
        "equal_parameters": found.equal_parameters if found else None,
        "equal_latency": found.equal_latency if found else None,
        "ms_a_percent": found.ms_a_percent if found else None,
    }


def _score_columns(score: Score | None, precision: str) -> Row:
    """What is known of a score; parameters are those of what was trained."""
    first = score.first if score else None
    trained = ModelShape(**first.trained) if first else None
    return {
        "bits_per_byte": score.bits_per_byte if score else None,
        "score_ci": score.interval if score else None,
        "quantised_bits_per_byte": score.quantised(precision) if score else None,
        "tokens": first.tokens if first else None,
        "tokens_per_parameter": first.tokens_per_parameter if first else None,
        "seeds": len(score.finished) if score else None,
        "miniature": first.miniature if first else None,
        "trained_parameters": trained.decoder_parameters if trained else None,
        "trained_total_parameters": trained.parameters if trained else None,
        "score_notes": list(first.notes) if first else [],
        "score_reason": score.reason if score else None,
    }


def study_rows(view: StudyView, rows: Iterable[StudyRow] | None = None) -> list[Row]:
    """Rows of a study, all of them by default; the pick is marked."""
    front = {r.shape.shape_id for r in view.front}
    found = view.modelled
    modelled = {found.shape(int(i)).shape_id for i in found.front()} if found else None
    pick = current_pick(view)
    return [
        _study_row(r, view, front, modelled, pick) for r in (view.rows if rows is None else rows)
    ]


def sensitivity_rows(found: Sensitivity) -> list[Row]:
    """Spreads, then effects: a row for each quantity."""
    rows: list[Row] = [
        {
            "kind": "spread",
            "quantity": s.name,
            "dimension": None,
            "low": f"{s.lowest:.4g} {s.unit}",
            "high": f"{s.highest:.4g} {s.unit}",
            "percent": s.percent,
            "ci_low_percent": s.interval[0],
            "ci_high_percent": s.interval[1],
            "noise_percent": s.noise_percent,
            "explained": found.explained[s.name],
        }
        for s in found.spreads
    ]
    for e in found.effects:
        for quantity, percent in e.percent.items():
            low, high = e.interval[quantity] or (None, None)
            rows.append(
                {
                    "kind": "effect",
                    "quantity": quantity,
                    "dimension": e.dimension,
                    "low": e.low,
                    "high": e.high,
                    "percent": percent,
                    "ci_low_percent": low,
                    "ci_high_percent": high,
                    "noise_percent": None,
                    "explained": None,
                }
            )
    return rows


def doubtful_rows(view: StudyView) -> list[Row]:
    """Shapes whose latency is not valid or surprises, and those that could not be measured."""
    suspect = [
        {"shape_id": shape_id, "verdict": j.verdict, "why": in_one_line(j.reasons)}
        for shape_id, j in zip(view.table.ids, view.table.judgements, strict=True)
        if j.verdict != "valid"
    ]
    failed = [
        {"shape_id": f.shape.shape_id, "verdict": "rejected", "why": f.reason} for f in view.failed
    ]
    surprising = (row for place in view.places for row in _far_off(view, place.device))
    return [*suspect, *failed, *surprising]


def _far_off(view: StudyView, device: DeviceProfile) -> list[Row]:
    """Measurements far from the roofline that all of the study's on a device are fitted by."""
    if not view.rows:
        return []
    where = f" on {device.name}" if len(view.devices) > 1 else ""
    times = view.table.times(device.name)
    rows = view.table.only(times.measured)
    told = np.stack([part[times.measured, 0] for part in times.parts], axis=1).tolist()
    found = [
        (i, workload, ms)
        for i, of_row in enumerate(told)
        for workload, ms in zip(view.scenario.workloads, of_row, strict=True)
    ]
    shapes = rows.shapes
    ratios: dict[int, float] = {}
    for part in device.parts:  # one roofline for each processor and precision
        phases = {p for p in PHASES if device.for_phase(p) == part}
        mine = [i for i, (_, w, _) in enumerate(found) if w.phase in phases]
        points = [(shapes[row], w, ms) for row, w, ms in (found[i] for i in mine)]
        off = far_off(points, part.scheme) if points else []
        ratios |= {i: r for i, r in zip(mine, off, strict=True) if r is not None}
    return [
        {
            "shape_id": rows[row].shape.shape_id,
            "verdict": rows[row].verdict,
            "why": f"{w.name}{where} takes {ratio:.2f} times what its bytes, FLOPs and operators "
            "predict from all shapes; a kernel that is off its fast path",
        }
        for i, ratio in sorted(ratios.items())
        for row, w, _ in [found[i]]
    ]
