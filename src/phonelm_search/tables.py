"""Joins of the database for reading: one row a shape, one row a measurement."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import LatencySummary, summarise
from phonelm_search.pareto import membership_probability, non_dominated
from phonelm_search.records import (
    Kind,
    ProxyScore,
    StudyRecord,
    StudyShape,
    Verdict,
    measurement_key,
    rejection,
)
from phonelm_search.shape import ModelShape
from phonelm_search.store import Store
from phonelm_search.timing import ScenarioTime
from phonelm_search.workload import Scenario, Workload

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
    time: ScenarioTime
    """Of the study's scenario."""
    peak_bytes: int | None
    """Peak memory, where it was measured."""
    score: ProxyScore | None
    """The trained score, where there is one."""
    estimate_ms: float | None = None
    """Time of the whole scenario as blocks tell it, where they were measured."""

    @property
    def kind(self) -> Kind:
        """Measured whole, or estimated from blocks."""
        return self.time.kind

    @property
    def end_to_end_ms(self) -> float:
        """Time of the whole scenario."""
        return self.time.end_to_end.ms

    @property
    def verdict(self) -> Verdict:
        """The worst of its latencies'."""
        return self.time.verdict

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual about the graph; estimates tell nothing of it."""
        first = self.time.prefill
        return first.notes if isinstance(first, LatencySummary) else ()

    @property
    def bits_per_byte(self) -> float | None:
        """The score, where there is one."""
        return self.score.bits_per_byte if self.score else None

    @property
    def end_to_end_deviation_ms(self) -> float:
        """Standard deviation of a normal error with an interval as wide."""
        span = self.time.end_to_end
        return (span.high_ms - span.low_ms) / (2 * _Z)

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
    def measured(self) -> tuple[StudyRow, ...]:
        """Sampled rows that were measured whole."""
        return tuple(r for r in self.sampled if r.kind == "measured")

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
        kept = non_dominated(_scored_points(rows) if self.scored else _sized_points(rows))
        return tuple(r for r, on_front in zip(rows, kept, strict=True) if on_front)

    def front_probabilities(self) -> dict[str, float]:
        """Shape id → how probable it is that the shape belongs to the front.

        From the intervals of the latencies; a score counts as it is, its ties are the pick's
        matter.
        """
        return _probabilities(self.scored, _scored_points) or self.search_probabilities()

    def search_probabilities(self) -> dict[str, float]:
        """The same of the front by latency and size, scored or not: what a search goes by."""
        return _probabilities(self.sampled, _sized_points)


def _scored_points(rows: Sequence[StudyRow]) -> list[list[float]]:
    return [[r.end_to_end_ms, r.bits_per_byte or math.nan] for r in rows]


def _sized_points(rows: Sequence[StudyRow]) -> list[list[float]]:
    return [[r.end_to_end_ms, -float(r.shape.decoder_parameters)] for r in rows]


def _probabilities(
    rows: Sequence[StudyRow], points: Callable[[Sequence[StudyRow]], list[list[float]]]
) -> dict[str, float]:
    if not rows:
        return {}
    errors = [[r.end_to_end_deviation_ms, 0.0] for r in rows]
    found = membership_probability(points(rows), errors)
    return {r.shape.shape_id: float(p) for r, p in zip(rows, found, strict=True)}


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
    found: dict[str, list[Any]] = {}
    for m in store.measurements(shape_ids=ids, environment_id=record.environment_id):
        found.setdefault(m.key, []).append(m)

    versions = record.config.get("versions", _FIRST_VERSIONS)
    old = versions["protocol"] == 1

    def key(shape_id: str, workload: Workload, source: str = "memory") -> str:
        return measurement_key(
            shape_id=shape_id,
            workload=workload,
            precision=device.precision,
            environment_id=record.environment_id,
            cache_mode=device.cache if old else device.cache_mode(workload),
            weights_source=source,
            graph_version=versions["graph"],
            protocol_version=versions["protocol"],
        )

    estimates = {
        e.key: e for e in store.estimates(shape_ids=ids, environment_id=record.environment_id)
    }
    rows: list[StudyRow] = []
    failed = [
        FailedShape(shape=shapes[p.shape_id], name=p.name, reason=p.reason)
        for p in parts
        if p.reason is not None
    ]
    for part in _one_part_each(parts):
        if part.reason is not None:
            continue
        shape_id = part.shape_id
        keys = {w: key(shape_id, w) for w in scenario.workloads}
        measured = {w: summarise(found[k]) for w, k in keys.items() if k in found}
        told = {w: estimates[k] for w, k in keys.items() if k in estimates}
        estimated = ScenarioTime.of(scenario, told)
        time = ScenarioTime.of(scenario, measured) or estimated
        if time is None:
            continue
        if error := rejection(time.parts):
            failed.append(FailedShape(shape=shapes[shape_id], name=part.name, reason=str(error)))
            continue
        peak = found.get(key(shape_id, scenario.workloads[0], "file"), [])
        rows.append(
            StudyRow(
                shape=shapes[shape_id],
                name=part.name,
                time=time,
                peak_bytes=peak[-1].peak_bytes if peak else None,
                score=scores.get(shape_id),
                estimate_ms=estimated.end_to_end.ms if estimated else None,
            )
        )
    return StudyView(
        record=record,
        scenario=scenario,
        rows=tuple(sorted(rows, key=lambda r: (r.end_to_end_ms, r.shape.shape_id))),
        failed=tuple(failed),
    )


def _one_part_each(parts: Iterable[StudyShape]) -> Iterator[StudyShape]:
    """A screened shape that was measured whole later has two parts; the later one counts."""
    whole = {p.shape_id for p in parts if p.role == "trial"}
    return (p for p in parts if p.role != "screened" or p.shape_id not in whole)
