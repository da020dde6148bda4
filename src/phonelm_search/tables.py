"""Joins of the database for reading: one row a shape, one row a measurement."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import LatencySummary, summarise
from phonelm_search.pareto import membership_probability, non_dominated
from phonelm_search.precision import Precision
from phonelm_search.proxy.comparison import score_interval
from phonelm_search.records import VERDICTS, ProxyScore, StudyRecord, Verdict, measurement_key
from phonelm_search.shape import ModelShape
from phonelm_search.store import Store
from phonelm_search.workload import Scenario, Workload

Row = dict[str, Any]
_Z = 1.959964
_FIRST_VERSIONS = {"graph": 1, "protocol": 1}
"""Of studies that were started before versions were kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One measured shape of a study."""

    shape: ModelShape
    """The shape."""
    name: str | None
    """A reference's name; None for a sampled shape."""
    prefill: LatencySummary
    """Reading the scenario's prompt."""
    decode: LatencySummary
    """One step at the middle of the scenario's answer."""
    end_to_end_ms: float
    """Time of the whole scenario."""
    ci_low_ms: float
    """Lower end of its 95 % interval."""
    ci_high_ms: float
    """Upper end."""
    peak_bytes: int | None
    """Peak memory, where it was measured."""
    score: ProxyScore | None
    """The trained score, where there is one."""

    @property
    def verdict(self) -> Verdict:
        """The worse of the two latencies'."""
        return max((self.prefill.verdict, self.decode.verdict), key=VERDICTS.index)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not valid."""
        return tuple(dict.fromkeys((*self.prefill.reasons, *self.decode.reasons)))

    @property
    def bits_per_byte(self) -> float | None:
        """The score, where there is one."""
        return self.score.bits_per_byte if self.score else None

    @property
    def end_to_end_deviation_ms(self) -> float:
        """Standard deviation of a normal error with an interval as wide."""
        return (self.ci_high_ms - self.ci_low_ms) / (2 * _Z)

    @property
    def label(self) -> str:
        """How pictures call it."""
        return self.name or f"{self.shape.hidden_size}×{self.shape.num_hidden_layers}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedShape:
    """A shape that could not be measured."""

    shape: ModelShape
    """The shape."""
    name: str | None
    """A reference's name; None for a sampled shape."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """A study as it is read: never touches a device."""

    record: StudyRecord
    """Its configuration."""
    scenario: Scenario
    """The scenario of its latencies."""
    rows: tuple[StudyRow, ...]
    """Measured shapes, fastest first; references among them."""
    failed: tuple[FailedShape, ...]
    """What could not be measured."""

    @property
    def sampled(self) -> tuple[StudyRow, ...]:
        """Rows that are no references."""
        return tuple(r for r in self.rows if r.name is None)

    @property
    def scored(self) -> tuple[StudyRow, ...]:
        """Sampled rows with a score."""
        return tuple(r for r in self.sampled if r.bits_per_byte is not None)

    @property
    def front(self) -> tuple[StudyRow, ...]:
        """Non-dominated rows, fastest first.

        By latency and bits per byte where shapes were scored, else by latency and decoder
        parameters.
        """
        rows = self.scored or self.sampled
        if not rows:
            return ()
        kept = non_dominated(self._points(rows))
        return tuple(r for r, on_front in zip(rows, kept, strict=True) if on_front)

    def front_probabilities(self) -> dict[str, float]:
        """Shape id → how probable it is that the shape belongs to the front.

        From the intervals of the latencies; a score counts as it is, its ties are the pick's
        matter.
        """
        rows = self.scored or self.sampled
        if not rows:
            return {}
        errors = [[r.end_to_end_deviation_ms, 0.0] for r in rows]
        found = membership_probability(self._points(rows), errors)
        return {r.shape.shape_id: float(p) for r, p in zip(rows, found, strict=True)}

    def _points(self, rows: Sequence[StudyRow]) -> list[list[float]]:
        if self.scored:
            return [[r.end_to_end_ms, r.bits_per_byte or math.nan] for r in rows]
        return [[r.end_to_end_ms, -float(r.shape.decoder_parameters)] for r in rows]


def load_view(store: Store, study: str) -> StudyView:
    """Read a study.

    Raises:
        UnknownNameError: If there is none of that name.
        StoreError: If the database cannot be read.
    """
    record = store.study(study)
    scenario = Scenario.parse(record.config["scenario"])
    device = DeviceProfile.model_validate(record.config["device"])
    parts = store.study_shapes(study)
    ids = [p.shape_id for p in parts]
    shapes = store.shapes(ids)
    settings_id = (record.config.get("score") or {}).get("settings_id", "")
    seed = (record.config.get("score") or {}).get("seed", 0)
    found_scores = store.scores(shape_ids=ids, settings_id=settings_id)
    scores = {s.shape_id: s for s in found_scores if s.seed == seed}
    prefill, decode = scenario.workloads
    found: dict[str, list[Any]] = {}
    for m in store.measurements(shape_ids=ids, environment_id=record.environment_id):
        found.setdefault(m.key, []).append(m)

    versions = record.config.get("versions", _FIRST_VERSIONS)
    old = versions["protocol"] == 1

    def rounds(shape_id: str, workload: Workload, source: str = "memory") -> list[Any]:
        return found.get(
            measurement_key(
                shape_id=shape_id,
                workload=workload,
                precision=device.precision,
                environment_id=record.environment_id,
                cache_mode=device.cache if old else device.cache_mode(workload),
                weights_source=source,
                graph_version=versions["graph"],
                protocol_version=versions["protocol"],
            ),
            [],
        )

    rows: list[StudyRow] = []
    for part in parts:
        measured = rounds(part.shape_id, prefill), rounds(part.shape_id, decode)
        if part.reason is None and all(measured):
            p, d = summarise(measured[0]), summarise(measured[1])
            low, high = _end_to_end_interval(scenario, p, d)
            peak = rounds(part.shape_id, prefill, "file")
            rows.append(
                StudyRow(
                    shape=shapes[part.shape_id],
                    name=part.name,
                    prefill=p,
                    decode=d,
                    end_to_end_ms=scenario.end_to_end_ms(p.latency_ms, d.latency_ms),
                    ci_low_ms=low,
                    ci_high_ms=high,
                    peak_bytes=peak[-1].peak_bytes if peak else None,
                    score=scores.get(part.shape_id),
                )
            )
    return StudyView(
        record=record,
        scenario=scenario,
        rows=tuple(sorted(rows, key=lambda r: (r.end_to_end_ms, r.shape.shape_id))),
        failed=tuple(
            FailedShape(shape=shapes[p.shape_id], name=p.name, reason=p.reason)
            for p in parts
            if p.reason is not None
        ),
    )


def _end_to_end_interval(
    scenario: Scenario, prefill: LatencySummary, decode: LatencySummary
) -> tuple[float, float]:
    """The two intervals are independent, so their widths add in squares."""
    steps = scenario.generated_tokens - 1
    middle = scenario.end_to_end_ms(prefill.latency_ms, decode.latency_ms)
    low = math.hypot(
        prefill.latency_ms - prefill.ci_low_ms, steps * (decode.latency_ms - decode.ci_low_ms)
    )
    high = math.hypot(
        prefill.ci_high_ms - prefill.latency_ms, steps * (decode.ci_high_ms - decode.latency_ms)
    )
    return middle - low, middle + high


def latency_row(
    shape: ModelShape,
    device: DeviceProfile,
    workload: Workload,
    found: LatencySummary | None,
    *,
    name: str | None = None,
    peak_bytes: int | None = None,
    reasons: Sequence[str] = (),
) -> Row:
    """One row of ``profile``; a value that does not exist is None, never 0."""
    read = None
    if found and workload.phase == "decode":
        read = 1000 * decode_bytes(shape, device.scheme, workload.past_tokens) / found.latency_ms
    prompt = workload.tokens if workload.phase == "prefill" else None
    context = workload.past_tokens if workload.phase == "decode" else None
    return {
        "name": name,
        **shape.columns(),
        "kind": "measured",
        "device": device.name,
        "precision": device.precision,
        "phase": workload.phase,
        "prompt_tokens": prompt,
        "context_tokens": context,
        "latency_ms": found.latency_ms if found else None,
        "ci_low_ms": found.ci_low_ms if found else None,
        "ci_high_ms": found.ci_high_ms if found else None,
        "tokens_per_s": 1000 * workload.tokens / found.latency_ms if found else None,
        "p90_ms": found.p90_ms if found else None,
        "p99_ms": found.p99_ms if found else None,
        "rounds": found.rounds if found else None,
        "gb_per_s": read / 1e9 if read else None,
        "bandwidth_share": read / found.bandwidth_bytes_per_s
        if read and found and found.bandwidth_bytes_per_s
        else None,
        "peak_bytes": peak_bytes,
        "verdict": found.verdict if found else "rejected",
        "reasons": list(found.reasons if found else reasons),
        "notes": list(found.notes) if found else [],
        "coverage": None,
    }


def decode_bytes(shape: ModelShape, scheme: Precision, context_tokens: int) -> int:
    """Bytes that one decode step reads from memory: weights, and the KV cache of the past."""
    kv_bytes = context_tokens * shape.kv_bytes_per_token(scheme.kv_bytes_per_element)
    return shape.weight_bytes(scheme).streamed + kv_bytes


def _study_row(
    row: StudyRow,
    view: StudyView,
    probabilities: dict[str, float],
    front: set[str],
    pick: str | None,
    doubts: Sequence[str],
) -> Row:
    """One row of ``pareto`` and of the CSV files."""
    score = row.score
    sampled = row.name is None
    picked = sampled and row.shape.shape_id == pick
    return {
        "name": row.name,
        **row.shape.columns(),
        "kind": "measured",
        "device": view.record.config["device"]["name"],
        "precision": view.record.config["device"]["precision"],
        "scenario": str(view.scenario),
        "prefill_ms": row.prefill.latency_ms,
        "decode_ms": row.decode.latency_ms,
        "tokens_per_s": 1000 / row.decode.latency_ms,
        "latency_ms": row.end_to_end_ms,
        "ci_low_ms": row.ci_low_ms,
        "ci_high_ms": row.ci_high_ms,
        "peak_bytes": row.peak_bytes,
        "verdict": row.verdict,
        "reasons": list(row.reasons),
        "notes": list(row.prefill.notes),
        "coverage": None,
        "bits_per_byte": row.bits_per_byte,
        "score_ci": score_interval(score) if score else None,
        "tokens": score.tokens if score else None,
        "tokens_per_parameter": score.tokens_per_parameter if score else None,
        "seeds": 1 if score else None,
        "miniature": score.miniature if score else None,
        "trained_parameters": _trained_parameters(score) if score else None,
        "score_notes": list(score.notes) if score else [],
        "front": sampled and row.shape.shape_id in front,
        "front_probability": probabilities.get(row.shape.shape_id) if sampled else None,
        "pick": picked,
        "provisional": list(doubts) if picked else [],
    }


def _trained_parameters(score: ProxyScore) -> int:
    """Decoder parameters of what was trained: the shape itself or its miniature."""
    return ModelShape(**score.trained).decoder_parameters


def study_rows(
    view: StudyView,
    rows: Iterable[StudyRow] | None = None,
    *,
    pick: str | None = None,
    doubts: Sequence[str] = (),
) -> list[Row]:
    """Rows of a study, all of them by default.

    Args:
        view: The study.
        rows: Those to show.
        pick: Shape id of the recommended one.
        doubts: Why that is provisional.
    """
    front = {r.shape.shape_id for r in view.front}
    likely = view.front_probabilities()
    shown = view.rows if rows is None else rows
    return [_study_row(r, view, likely, front, pick, doubts) for r in shown]


def doubtful_rows(view: StudyView) -> list[Row]:
    """Shapes whose latency is not valid, and those that could not be measured, with the reasons."""
    suspect = [
        {"shape_id": r.shape.shape_id, "verdict": r.verdict, "why": "; ".join(r.reasons)}
        for r in view.rows
        if r.verdict != "valid"
    ]
    failed = [
        {"shape_id": f.shape.shape_id, "verdict": "rejected", "why": f.reason} for f in view.failed
    ]
    return [*suspect, *failed]
