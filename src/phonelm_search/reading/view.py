"""Joins of the database for reading: one row a shape, one row a measurement."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from phonelm_search.core.budget import Budget, budgets_of, check_budgets, with_budgets
from phonelm_search.core.errors import ConfigurationError, ModelError, UnknownNameError
from phonelm_search.core.judgement import rejection
from phonelm_search.core.latency import ScenarioTime
from phonelm_search.core.pareto import front, membership_probability
from phonelm_search.core.records import ProxyScore, StudyRecord, StudyShape, identity
from phonelm_search.core.shape import TILE, ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.study_name import folder_name
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import REFERENCE, smallest_difference, too_wide
from phonelm_search.quality import HeldOutRung, Score, held_out_rung
from phonelm_search.quality.law import LawPrior, Training, decode_prior, load_prior
from phonelm_search.reading.baseline import find_baseline
from phonelm_search.reading.losses import (
    LAW_VERSION,
    TOKENS_PER_PARAMETER,
    RelativeLoss,
    law_of,
    relative_losses,
)
from phonelm_search.reading.modelled import ModelledFront, model_front
from phonelm_search.reading.models import ShapeModels, place_models
from phonelm_search.reading.readings import Place, Readings, places_of
from phonelm_search.reading.row import FailedShape, StudyRow
from phonelm_search.reading.shares import Share, shares_of
from phonelm_search.reading.trainings import law_trainings, load_ladder, old_scores
from phonelm_search.reading.twins import TwinPair, twin_pairs
from phonelm_search.space import SearchSpace
from phonelm_search.store import Store

_EMBEDDED_LZMA = 2.18
"""Of the embedded text, for scores from before studies kept it."""


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
    readings: tuple[Readings, ...] = field(default=(), repr=False)
    """What was measured at each place."""
    baseline_shape: ModelShape | None = None
    """Shape of the baseline; None where nothing was measured."""
    budgets: tuple[Budget, ...] = ()
    """What the pick must keep."""
    cache: Path | None = None
    """Where derived numbers are kept for the next reading."""

    @property
    def device(self) -> DeviceProfile:
        """The device, or the first of several."""
        return self.places[0].device

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that it measures on."""
        return tuple(p.device.name for p in self.places)

    @property
    def unit_ms(self) -> float:
        """Milliseconds of the baseline's whole scenario, where it is one device's.

        Raises:
            IndexError: If nothing was measured.
        """
        row = next((r for r in self.rows if r.name == self.baseline), None) or self.rows[0]
        return row.end_to_end_ms / row.latency.value

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
        # Draws of one shape lie together, and stay so.
        latencies = np.stack([r.draws for r in self.sampled]).T
        found = membership_probability(latencies, np.stack(losses).T)
        return {r.shape.shape_id: float(p) for r, p in zip(self.sampled, found, strict=True)}

    @cached_property
    def models(self) -> ShapeModels:
        """What tells shapes that were not measured.

        Raises:
            ModelError: If nothing does.
        """
        if self.baseline_shape is None:
            raise ModelError("nothing was measured")
        return ShapeModels(
            places=place_models(self.readings, self.baseline_shape),
            law=law_of(self.prior, self.evidence),
            baseline=self.baseline_shape,
            tokens=self.train_tokens,
        )

    @cached_property
    def modelled(self) -> ModelledFront | None:
        """The front of all shapes of the space; None where no model holds."""
        sizes = [r.shape.decoder_parameters for r in self.measured]
        if not sizes:
            return None
        try:
            return model_front(
                lambda: self.models,
                SearchSpace.model_validate(self.record.config["space"]),
                self.device.schemes,
                (min(sizes), max(sizes)),
                digest=self.digest,
                file=self.cached("front"),
            )
        except ModelError:
            return None

    def cached(self, what: str) -> Path | None:
        """Where something that was derived is kept; None where nothing is."""
        name = f"{folder_name(self.record.name)}.npz"
        return self.cache / what / name if self.cache else None

    @cached_property
    def digest(self) -> str:
        """Of all that predictions depend on."""
        rounds = [[(c.digest, *c.shape_ids) for c in r.comparisons.values()] for r in self.readings]
        config = {k: self.record.config.get(k) for k in ("space", "device", "beside", "scenario")}
        told = [str(LAW_VERSION), repr(self.prior), repr(self.evidence), repr(self.baseline_shape)]
        return identity({"rounds": rounds, **config, "told": told, "tokens": self.train_tokens})

    @cached_property
    def smallest_difference(self) -> float | None:
        """Difference of two latencies, as a share, that this study tells in 80 % of trials."""
        told = [r.draws for r in self.measured]
        return smallest_difference(np.log(np.stack(told, axis=1))) if len(told) > 1 else None


def find_row(view: StudyView, shape_id: str) -> StudyRow:
    """A measured shape by its id, the beginning of it, its label, or a reference's name.

    A shape that was sampled and is a reference, too, counts as the sampled one.

    Raises:
        UnknownNameError: If none is called so.
        ConfigurationError: If several are.
    """
    found = [r for r in view.rows if shape_id in (r.name, r.shape.shape_id)]
    found = found or [r for r in view.rows if r.shape.label == shape_id.replace("x", "×")]
    found = found or [r for r in view.rows if r.shape.shape_id.startswith(shape_id)]
    if len({r.shape.shape_id for r in found}) == 1:
        return min(found, key=lambda r: r.name is not None)
    if found:
        ids = ", ".join(sorted({r.shape.shape_id for r in found})[:5])
        raise ConfigurationError(f"'{shape_id}' must name one shape, several are called so: {ids}")
    raise UnknownNameError(
        "measured shape",
        shape_id,
        [r.shape.shape_id for r in view.rows[:5]],
        f"`phonelm-search pareto {view.record.name} --all` lists them, and others that are only "
        "predicted",
    )


def load_view(store: Store, study: str, *, budgets: Sequence[Budget] = ()) -> StudyView:
    """Read a study.

    Args:
        store: The database.
        study: Name of the study.
        budgets: What the pick must keep beside what the study has, see `with_budgets`.

    Raises:
        UnknownNameError: If there is none of that name.
        ConfigurationError: If the study cannot tell a budget.
        StoreError: If the database cannot be read.
    """
    record = store.study(study)
    scenario = Scenario.parse(record.config["scenario"])
    places = tuple(places_of(record))
    if budgets:
        check_budgets(budgets, [p.device.name for p in places], str(scenario))
    parts = store.study_shapes(study)
    ids = [p.shape_id for p in parts]
    shapes = store.shapes(ids)
    scores = old_scores(store, record, ids)
    trainings = (*(r for s in scores.values() for r in s.runs), *load_ladder(store, record))
    law = record.config.get("law")
    prior = decode_prior(law) if law else load_prior()
    readings = [Readings(store, place, scenario, ids, shapes=shapes) for place in places]
    baseline = find_baseline(_in_order(parts, record), readings)
    tokens = record.config.get("train_tokens") or _train_tokens(
        [shapes[p.shape_id] for p in parts if p.name is None]
    )
    losses: dict[str, RelativeLoss] = {}
    if baseline is not None:
        other = shapes.get(baseline.shape_id, REFERENCE)
        file = store.results / "cache/law" / f"{folder_name(study)}.npz"
        losses = relative_losses(
            shapes, other, prior, law_trainings(trainings), tokens=tokens, file=file
        )
    failed = [
        FailedShape(shape=shapes[p.shape_id], name=p.name, reason=p.reason)
        for p in parts
        if p.reason is not None
    ]
    timed: list[tuple[StudyShape, list[ScenarioTime]]] = []
    for part in _one_part_each(parts) if baseline is not None else ():
        times = [r.time(part.shape_id) for r in readings] if part.reason is None else []
        known = [t for t in times if t is not None]
        if not known or len(known) < len(readings):
            continue
        if error := rejection(p for t in known for p in t.parts):
            shape = shapes[part.shape_id]
            failed.append(FailedShape(shape=shape, name=part.name, reason=str(error)))
            continue
        timed.append((part, known))
    rows: list[StudyRow] = []
    if baseline is not None:
        shares = shares_of(baseline, readings, [part.shape_id for part, _ in timed])
        unit_ms = [baseline.ms(i) for i in range(len(readings))]
        rows = [
            _row(
                part, shapes[part.shape_id], readings, known, share, baseline.name, unit_ms,
                scores.get(part.shape_id), losses[part.shape_id],
            )
            for (part, known), share in zip(timed, shares, strict=True)
        ]  # fmt: skip
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
        readings=tuple(readings),
        budgets=with_budgets(budgets_of(record.config), budgets),
        baseline_shape=shapes.get(baseline.shape_id, REFERENCE) if baseline else None,
        cache=store.results / "cache",
        twins=tuple(t for r in readings for t in twin_pairs(r, shapes)),
    )


def _row(
    part: StudyShape,
    shape: ModelShape,
    readings: Sequence[Readings],
    times: Sequence[ScenarioTime],
    share: Share,
    baseline: str,
    baseline_ms: Sequence[float],
    score: Score | None,
    loss: RelativeLoss,
) -> StudyRow:
    """A shape with its times at all places."""
    times = [
        _as_told(t, m * ms) for t, m, ms in zip(times, share.middles, baseline_ms, strict=True)
    ]
    worst = share.worst
    estimated = readings[worst].estimated(part.shape_id)
    wide = too_wide(share.extent, baseline)
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
        latency=share.extent,
        baseline=baseline,
        draws=share.draws,
        loss=loss.share,
        loss_draws=loss.draws,
        prior_share=loss.prior_share,
        doubts=(wide,) if wide else (),
        peak_bytes=readings[worst].peak_bytes(part.shape_id),
        score=score,
        estimate_ms=estimated.end_to_end.ms if estimated else None,
    )


def _as_told(time: ScenarioTime, ms: float) -> ScenarioTime:
    """A time whose whole is its share of the baseline's, here in milliseconds.

    So shares and milliseconds order shapes alike.
    What an earlier release estimated stays as it was told.
    """
    if time.kind != "measured":
        return time
    return time.scaled(ms / time.end_to_end.ms)


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
