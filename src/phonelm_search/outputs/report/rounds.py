"""When and how a study's rounds were made, summed up and kept for the next report."""

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from phonelm_search.core.judged_round import RoundConditions
from phonelm_search.core.records import identity
from phonelm_search.measure import cached_json
from phonelm_search.reading import Place, StudyView
from phonelm_search.store import Store

_VERSION = "1"  # of what is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsSummary:
    """What some rounds have to show."""

    phases: Mapping[str, tuple[int, int]]
    """Of each phase: rounds, and nanoseconds of their runs."""
    verdicts: Mapping[str, int]
    """How many were judged so."""
    created: tuple[str, str] | None
    """First and last end, UTC, ISO 8601."""
    releases: Sequence[str]
    """Of this package that measured."""
    bandwidth: tuple[float, float, float] | None
    """GB/s that could be read: in the median round, at least and at most."""
    temperature_c: tuple[float, float] | None
    """At least and at most."""
    frequency_khz: tuple[float, float] | None
    """At least and at most."""

    @classmethod
    def of(cls, rounds: Iterable[RoundConditions]) -> "RoundsSummary":
        """Of rounds in the order they were made."""
        made = list(rounds)
        counts, taken = Counter[str](), Counter[str]()
        for m in made:
            counts[m.phase] += 1
            taken[m.phase] += m.taken_ns
        ends = [m.created_at for m in made]
        moments = [v for m in made for v in m.conditions.values() if isinstance(v, dict)]
        speeds = [m.bandwidth_bytes_per_s / 1e9 for m in made if m.bandwidth_bytes_per_s]
        return cls(
            phases={phase: (count, taken[phase]) for phase, count in counts.items()},
            verdicts=dict(Counter(m.verdict for m in made)),
            created=(min(ends), max(ends)) if ends else None,
            releases=sorted({m.package_version for m in made}),
            bandwidth=(statistics.median(speeds), min(speeds), max(speeds)) if speeds else None,
            temperature_c=_range(moments, "temperature_c"),
            frequency_khz=_range(moments, "frequency_khz"),
        )

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(count for count, _ in self.phases.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRounds:
    """Rounds of a study."""

    places: Sequence[RoundsSummary]
    """Of its shapes, measured whole, at each of its places."""
    blocks: Sequence[RoundsSummary]
    """Of truncated models that an earlier release told its shapes from, at each of them."""


def study_rounds(store: Store, view: StudyView) -> StudyRounds:
    """Sum up a study's rounds.

    Raises:
        StoreError: If the database cannot be read.
    """
    shapes = {*view.table.ids, *(f.shape.shape_id for f in view.failed)}
    blocks = [_blocks(store, view, place) for place in view.places]
    told = {
        "shapes": sorted(shapes),
        "blocks": [sorted(ids) for ids in blocks],
        "common": [[p.common(w) for w in view.scenario.workloads] for p in view.places],
        "scenario": str(view.scenario),
        "states": [r.state for r in view.readings],
    }

    def summed_up() -> list[list[dict[str, object]]]:
        some = ([shapes] * len(view.places), blocks)
        return [
            [asdict(_summary(store, view, p, ids)) for p, ids in zip(view.places, of, strict=True)]
            for of in some
        ]

    digest = f"{_VERSION}-{identity(told)}"
    whole, parts = cached_json(view.cached("rounds"), digest, summed_up)
    return StudyRounds(
        places=[RoundsSummary(**s) for s in whole], blocks=[RoundsSummary(**s) for s in parts]
    )


def _summary(
    store: Store, view: StudyView, place: Place, shape_ids: Collection[str]
) -> RoundsSummary:
    """Rounds of the study's own workloads at a place: no other study's, precision or prompt."""
    keys = {key for w in view.scenario.workloads for key in place.keys(shape_ids, w)}
    where = place.environment_id
    found = store.round_conditions(shape_ids=list(shape_ids), environment_id=where)
    return RoundsSummary.of(m for m in found if m.key in keys)


def _blocks(store: Store, view: StudyView, place: Place) -> set[str]:
    """Truncated models that the study's estimates come from, and that are no shapes of its own."""
    shapes = dict(zip(view.table.ids, view.table.shapes, strict=True))
    estimates = store.estimates(shape_ids=list(shapes), environment_id=place.environment_id)
    found = {
        replace(shapes[e.shape_id], num_hidden_layers=depth).shape_id
        for e in estimates
        for depth in e.depths
    }
    return found - set(shapes)


def _range(moments: Iterable[Mapping[str, Any]], key: str) -> tuple[float, float] | None:
    """Least and most of what stood beside rounds, before and after them."""
    told = [m[key] for m in moments if key in m]
    known = [float(value) for value in told if isinstance(value, int | float)]
    return (min(known), max(known)) if known else None
