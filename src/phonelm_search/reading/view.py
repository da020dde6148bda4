"""Joins of the database for reading: one row a shape, one row a measurement."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from phonelm_search.core.errors import UnknownNameError
from phonelm_search.core.latency import Extent, Latency, LatencySummary, ScenarioTime
from phonelm_search.core.pareto import front, membership_probability
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import (
    Kind,
    ProxyScore,
    StudyRecord,
    StudyShape,
    Verdict,
    judged_together,
    rejection,
)
from phonelm_search.core.shape import TILE, ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.units import format_ms
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import REFERENCE, extent, smallest_difference, too_wide
from phonelm_search.quality import HeldOutRung, Score, held_out_rung
from phonelm_search.quality.law import LawPrior, Training, load_prior
from phonelm_search.reading.baseline import Baseline, find_baseline
from phonelm_search.reading.losses import TOKENS_PER_PARAMETER, RelativeLoss, relative_losses
from phonelm_search.reading.readings import Place, Readings, places_of
from phonelm_search.reading.trainings import law_trainings, load_ladder, old_scores
from phonelm_search.reading.twins import TwinPair, twin_pairs
from phonelm_search.store import Store

_EMBEDDED_LZMA = 2.18
"""Of the embedded text, for scores from before studies kept it."""


def least_coverage(parts: Iterable[Latency]) -> float | None:
    """Least share of a graph's nodes that an accelerator took; None on processors."""
    shares = [p.coverage for p in parts if isinstance(p, LatencySummary)]
    return min((s for s in shares if s is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One measured shape of a study."""

    shape: ModelShape
    """The shape."""
    name: str | None
    """A reference's name; None for a sampled shape."""
    time: ScenarioTime
    """Of the study's scenario; of several devices, on the one where the shape is worst off."""
    device: str
    """Name of that device's profile."""
    elsewhere: Mapping[str, ScenarioTime] = field(default_factory=dict)
    """Its times on the study's other devices, by their names."""
    latency: Extent
    """What rows are compared by: time of the whole scenario as a share of the baseline's, which
    shared processes with it; see `StudyView.baseline`."""
    baseline: str
    """Name of what it is a share of."""
    draws: Floats = field(repr=False, compare=False)
    """``[draws]`` of it; draws of the same number belong together."""
    loss: Extent
    """Loss as a share of the baseline's after `StudyView.train_tokens`, as the law tells it."""
    loss_draws: Floats = field(repr=False, compare=False)
    """``[draws]`` of it; draws of the same number belong together."""
    prior_share: float
    """Share of the prior's variance of it that own trainings left: 1 where they told nothing."""
    doubts: tuple[Reason, ...] = ()
    """Why `latency` is suspect, whatever stands behind it."""
    peak_bytes: int | None
    """Peak memory, where it was measured."""
    score: Score | None
    """What an earlier release trained for the shape itself."""
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
        """The worst of its latencies', on all devices, and of the whole."""
        found = judged_together(self._parts)[0]
        return "suspect" if found == "valid" and self.doubts else found

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is not valid."""
        return (*self.doubts, *judged_together(self._parts)[1])

    @property
    def coverage(self) -> float | None:
        """Least share of a graph's nodes that an accelerator took; None on processors."""
        return least_coverage(self._parts)

    @property
    def times(self) -> Mapping[str, ScenarioTime]:
        """Its times on all devices of the study, by their names."""
        return {self.device: self.time, **self.elsewhere}

    @property
    def _parts(self) -> list[Latency]:
        return [p for time in self.times.values() for p in time.parts]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual about the graph; estimates tell nothing of it."""
        first = self.time.prefill
        return first.notes if isinstance(first, LatencySummary) else ()

    @property
    def bits_per_byte(self) -> float | None:
        """Of that score, where there is one."""
        return self.score.bits_per_byte if self.score else None

    @property
    def latency_text(self) -> str:
        """`latency` in words, with its interval, and milliseconds beside."""
        middle, low, high = self.latency
        on = f" on {self.device}" if self.elsewhere else ""
        return (
            f"{middle:.3g} of {self.baseline}, {low:.3g} to {high:.3g}; "
            f"{format_ms(self.end_to_end_ms)} ms{on}"
        )

    @property
    def label(self) -> str:
        """How pictures call it."""
        return self.name or self.shape.label


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedShape:
    """A shape that could not be measured."""

    shape: ModelShape
    """The shape."""
    name: str | None
    """A reference's name; None for a sampled shape."""
    reason: str
    """Why."""


@dataclass(frozen=True, kw_only=True)  # no slots: what is derived is worked out once
class StudyView:
    """A study as it is read: never touches a device."""

    record: StudyRecord
    """Its configuration."""
    places: tuple[Place, ...]
    """Where it measures: its device, or all of several."""
    scenario: Scenario
    """The scenario of its latencies."""
    rows: tuple[StudyRow, ...]
    """Measured shapes, fastest first; references among them."""
    failed: tuple[FailedShape, ...]
    """What could not be measured."""
    baseline: str = ""
    """What latencies are shares of: a reference's name, or the shape that every round measures."""
    train_tokens: float = 0.0
    """Tokens after which losses are compared: what a person said, else 100 for a decoder parameter
    of the median shape."""
    prior: LawPrior
    """The quality law before the study."""
    trainings: tuple[ProxyScore, ...] = ()
    """What was trained for it: shapes and miniatures by earlier releases, then its ladder."""
    twins: tuple[TwinPair, ...] = ()
    """Shapes that were measured twice."""

    @property
    def device(self) -> DeviceProfile:
        """The device, or the first of several."""
        return self.places[0].device

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that it measures on."""
        return tuple(p.device.name for p in self.places)

    @property
    def tile(self) -> int:
        """What the study's space aligns sizes to, or what accelerators like."""
        limits = self.record.config.get("space", {}).get("limits") or {}
        return limits.get("align") or TILE

    @cached_property
    def sampled(self) -> tuple[StudyRow, ...]:
        """Rows that are no references."""
        return tuple(r for r in self.rows if r.name is None)

    @cached_property
    def measured(self) -> tuple[StudyRow, ...]:
        """Sampled rows that were measured whole."""
        return tuple(r for r in self.sampled if r.kind == "measured")

    @cached_property
    def evidence(self) -> tuple[Training, ...]:
        """Trainings of the study as the law takes them."""
        return tuple(law_trainings(self.trainings))

    @cached_property
    def held_out(self) -> HeldOutRung | None:
        """How the law tells the largest trainings of the study without them."""
        return held_out_rung(self.prior, self.evidence)

    @property
    def lzma_bits_per_byte(self) -> float:
        """What lzma reaches on the validation text of the study's scores."""
        score = self.record.config.get("score") or {}
        return float(score.get("lzma_bits_per_byte", _EMBEDDED_LZMA))

    @cached_property
    def front(self) -> tuple[StudyRow, ...]:
        """Sampled rows that none is both faster and better than, fastest first."""
        return tuple(front(self.sampled, lambda r: (r.latency.value, r.loss.value)))

    @cached_property
    def front_probabilities(self) -> dict[str, float]:
        """Shape id → how probable it is that the shape belongs to the front.

        From joint draws of the latencies and of the losses.
        """
        return self._probabilities([r.loss_draws for r in self.sampled])

    @cached_property
    def speed_probabilities(self) -> dict[str, float]:
        """The same were the losses as they are told: what more rounds can decide."""
        return self._probabilities([np.array(r.loss.value) for r in self.sampled])

    def _probabilities(self, losses: Sequence[Floats]) -> dict[str, float]:
        if not losses:
            return {}
        latencies = np.stack([r.draws for r in self.sampled], axis=1)
        found = membership_probability(latencies, np.stack(losses, axis=-1))
        return {r.shape.shape_id: float(p) for r, p in zip(self.sampled, found, strict=True)}

    @cached_property
    def smallest_difference(self) -> float | None:
        """Difference of two latencies, as a share, that this study tells in 80 % of trials."""
        told = [r.draws for r in self.measured]
        return smallest_difference(np.log(np.stack(told, axis=1))) if len(told) > 1 else None


def find_row(view: StudyView, shape_id: str) -> StudyRow:
    """A measured shape by its id, the beginning of it, its label, or a reference's name.

    A shape that was sampled and is a reference, too, counts as the sampled one.

    Raises:
        UnknownNameError: If none, or more than one, is called so.
    """
    found = [r for r in view.rows if shape_id in (r.name, r.shape.shape_id)]
    found = found or [r for r in view.rows if r.shape.label == shape_id.replace("x", "×")]
    found = found or [r for r in view.rows if r.shape.shape_id.startswith(shape_id)]
    if len({r.shape.shape_id for r in found}) == 1:
        return min(found, key=lambda r: r.name is not None)
    known = [r.shape.shape_id for r in (found or view.rows)[:5]]
    study = view.record.name
    raise UnknownNameError(
        "shape id", shape_id, known, f"`phonelm-search pareto {study} --all` lists them"
    )


def load_view(store: Store, study: str) -> StudyView:
    """Read a study.

    Args:
        store: The database.
        study: Name of the study.

    Raises:
        UnknownNameError: If there is none of that name.
        StoreError: If the database cannot be read.
    """
    record = store.study(study)
    scenario = Scenario.parse(record.config["scenario"])
    parts = store.study_shapes(study)
    ids = [p.shape_id for p in parts]
    shapes = store.shapes(ids)
    scores = old_scores(store, record, ids)
    trainings = (*(r for s in scores.values() for r in s.runs), *load_ladder(store, record))
    prior = load_prior()
    places = tuple(places_of(record))
    readings = [Readings(store, place, scenario, ids) for place in places]
    baseline = find_baseline(_in_order(parts, record), readings)
    tokens = record.config.get("train_tokens") or _train_tokens(
        [shapes[p.shape_id] for p in parts if p.name is None]
    )
    losses: dict[str, RelativeLoss] = {}
    if baseline is not None:
        other = shapes.get(baseline.shape_id, REFERENCE)
        file = store.results / "cache/law" / f"{study}.npz"
        losses = relative_losses(
            shapes, other, prior, law_trainings(trainings), tokens=tokens, file=file
        )
    rows: list[StudyRow] = []
    failed = [
        FailedShape(shape=shapes[p.shape_id], name=p.name, reason=p.reason)
        for p in parts
        if p.reason is not None
    ]
    for part in _one_part_each(parts):
        if part.reason is not None or baseline is None:
            continue
        shape = shapes[part.shape_id]
        times = [r.time(part.shape_id) for r in readings]
        known = [t for t in times if t is not None]
        if len(known) < len(readings):
            continue
        if error := rejection(p for t in known for p in t.parts):
            failed.append(FailedShape(shape=shape, name=part.name, reason=str(error)))
            continue
        score, loss = scores.get(part.shape_id), losses[part.shape_id]
        rows.append(_row(part, shape, readings, known, baseline, score, loss))
    return StudyView(
        record=record,
        places=places,
        scenario=scenario,
        rows=tuple(sorted(rows, key=lambda r: (r.latency.value, r.shape.shape_id))),
        failed=tuple(failed),
        baseline=baseline.name if baseline else "",
        train_tokens=tokens,
        prior=prior,
        trainings=trainings,
        twins=tuple(t for r in readings for t in twin_pairs(r, shapes)),
    )


def _row(
    part: StudyShape,
    shape: ModelShape,
    readings: Sequence[Readings],
    times: Sequence[ScenarioTime],
    baseline: Baseline,
    score: Score | None,
    loss: RelativeLoss,
) -> StudyRow:
    """A shape with its times at all places; in every draw the place where it is worst counts."""
    told = [baseline.relative(i, r, part.shape_id) for i, r in enumerate(readings)]
    draws = np.max(told, axis=0)
    worst = int(np.argmax(np.median(told, axis=1)))
    latency = extent(draws)
    estimated = readings[worst].estimated(part.shape_id)
    wide = too_wide(latency, baseline.name)
    return StudyRow(
        shape=shape,
        name=part.name,
        time=times[worst],
        elsewhere={
            r.place.device.name: t
            for i, (r, t) in enumerate(zip(readings, times, strict=True))
            if i != worst
        },
        device=readings[worst].place.device.name,
        latency=latency,
        baseline=baseline.name,
        draws=draws,
        loss=loss.share,
        loss_draws=loss.draws,
        prior_share=loss.prior_share,
        doubts=(wide,) if wide else (),
        peak_bytes=readings[worst].peak_bytes(part.shape_id),
        score=score,
        estimate_ms=estimated.end_to_end.ms if estimated else None,
    )


def _train_tokens(sampled: Sequence[ModelShape]) -> float:
    """Tokens that a person will train on, unless they say."""
    sizes = [s.decoder_parameters for s in sampled] or [REFERENCE.decoder_parameters]
    return TOKENS_PER_PARAMETER * float(np.median(sizes))


def _in_order(parts: Sequence[StudyShape], record: StudyRecord) -> list[StudyShape]:
    """References as the space names them first."""
    names = [r["name"] for r in record.config.get("space", {}).get("references", ())]
    places = {name: i for i, name in enumerate(names)}
    return sorted(parts, key=lambda p: places.get(p.name or "", len(names)))


def _one_part_each(parts: Iterable[StudyShape]) -> Iterator[StudyShape]:
    """A screened shape that was measured whole later has two parts; the later one counts."""
    whole = {p.shape_id for p in parts if p.role == "trial"}
    return (p for p in parts if p.role != "screened" or p.shape_id not in whole)
