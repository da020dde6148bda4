"""Joins of the database for reading: one row a shape, one row a measurement."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from phonelm_search.core.budget import Budget, budgets_of, check_budgets, with_budgets
from phonelm_search.core.errors import ConfigurationError, ModelError, UnknownNameError
from phonelm_search.core.judgement import rejection
from phonelm_search.core.pareto import non_dominated
from phonelm_search.core.records import ProxyScore, StudyRecord, StudyShape, identity
from phonelm_search.core.shape import TILE, ModelShape
from phonelm_search.core.statistics import Floats, spread_over
from phonelm_search.core.study_name import folder_name
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import MOST_PAIRED, REFERENCE, cached_doubles, smallest_difference
from phonelm_search.quality import HeldOutRung, held_out_rung
from phonelm_search.quality.law import LawPrior, Training, decode_prior, load_prior
from phonelm_search.reading.baseline import find_baseline
from phonelm_search.reading.chances import front_chances
from phonelm_search.reading.losses import (
    LAW_VERSION,
    TOKENS_PER_PARAMETER,
    law_of,
    relative_losses,
)
from phonelm_search.reading.modelled import ModelledFront, model_front
from phonelm_search.reading.models import ShapeModels, place_models
from phonelm_search.reading.place import Place, places_of
from phonelm_search.reading.read_table import read_table
from phonelm_search.reading.readings import Readings
from phonelm_search.reading.row import FailedShape, StudyRow
from phonelm_search.reading.table import Rows, Table
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
    rows: Sequence[StudyRow]
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
        names = self.table.names
        row = self.rows[names.index(self.baseline) if self.baseline in names else 0]
        return row.end_to_end_ms / row.latency.value

    @property
    def tile(self) -> int:
        """What the study's space aligns sizes to, or what accelerators like."""
        limits = self.record.config.get("space", {}).get("limits") or {}
        return limits.get("align") or TILE

    @cached_property
    def table(self) -> Table:
        """The rows by columns."""
        return self.rows if isinstance(self.rows, Table) else Table.of(self.rows)

    @cached_property
    def sampled(self) -> Table:
        """Rows that are no references."""
        return self.table.only([n is None for n in self.table.names])

    @cached_property
    def measured(self) -> Table:
        """Sampled rows that were measured whole."""
        return self.sampled.only([k == "measured" for k in self.sampled.kinds])

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
        rows = self.sampled
        return tuple(rows.only(non_dominated(np.stack([rows.latency[:, 0], rows.loss[:, 0]], 1))))

    @cached_property
    def front_probabilities(self) -> dict[str, float]:
        """Shape id → how probable it is that the shape belongs to the front.

        From joint draws of the latencies and of the losses.
        """
        return self._probabilities("chances", self.sampled.loss_draws)

    @cached_property
    def speed_probabilities(self) -> dict[str, float]:
        """The same were the losses as they are told: what more rounds can decide."""
        return self._probabilities("speed-chances", lambda rows: self.sampled.loss[rows, 0])

    def _probabilities(self, what: str, losses: Callable[[Rows], Floats]) -> dict[str, float]:
        rows = self.sampled
        if not len(rows):
            return {}
        found = cached_doubles(
            self.cached(what) if rows.digest else None, rows.digest or "",
            lambda: {"chance": front_chances(rows.draws, losses, len(rows))},
        )["chance"]  # fmt: skip
        return dict(zip(rows.ids, found.tolist(), strict=True))

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
        sizes = [s.decoder_parameters for s in self.measured.shapes]
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
        rows = self.measured
        if len(rows) < 2:
            return None
        draws = np.log(rows.draws(spread_over(len(rows), MOST_PAIRED)))
        return smallest_difference(np.ascontiguousarray(draws.T))


def find_row(view: StudyView, shape_id: str) -> StudyRow:
    """A measured shape by its id, the beginning of it, its label, or a reference's name.

    A shape that was sampled and is a reference, too, counts as the sampled one.

    Raises:
        UnknownNameError: If none is called so.
        ConfigurationError: If several are.
    """
    rows = view.table
    names, own_ids = rows.names, rows.ids
    named = list(zip(names, own_ids, rows.shapes, strict=True))
    found = [i for i, (name, own, _) in enumerate(named) if shape_id in (name, own)]
    label = shape_id.replace("x", "×")
    found = found or [i for i, (_, _, shape) in enumerate(named) if shape.label == label]
    found = found or [i for i, (_, own, _) in enumerate(named) if own.startswith(shape_id)]
    ids = sorted({own_ids[i] for i in found})
    if len(ids) == 1:
        return rows[min(found, key=lambda i: names[i] is not None)]
    if found:
        raise ConfigurationError(
            f"'{shape_id}' must name one shape, several are called so: {', '.join(ids[:5])}"
        )
    raise UnknownNameError(
        "measured shape",
        shape_id,
        own_ids[:5],
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
    failed = [
        FailedShape(shape=shapes[p.shape_id], name=p.name, reason=p.reason)
        for p in parts
        if p.reason is not None
    ]
    cache = store.results / "cache"
    rows: Sequence[StudyRow] = ()
    if baseline is not None:
        timed = [
            part
            for part in _one_part_each(parts)
            if part.reason is None and all(r.kind(part.shape_id) for r in readings)
        ]
        failed += [f for part in timed if (f := _rejected(part, shapes[part.shape_id], readings))]
        rows = read_table(
            [p for p in timed if not any(r.is_rejected(p.shape_id) for r in readings)],
            shapes,
            readings,
            baseline,
            relative_losses(
                shapes, shapes.get(baseline.shape_id, REFERENCE), prior, law_trainings(trainings),
                tokens=tokens, file=cache / "law" / f"{folder_name(study)}.npz",
            ),
            scores,
            file=cache / "shares" / f"{folder_name(study)}.npz",
        )  # fmt: skip
    return StudyView(
        record=record,
        places=places,
        scenario=scenario,
        rows=rows,
        failed=tuple(failed),
        baseline=baseline.name if baseline else "",
        train_tokens=tokens,
        prior=prior,
        trainings=trainings,
        readings=tuple(readings),
        budgets=with_budgets(budgets_of(record.config), budgets),
        baseline_shape=shapes.get(baseline.shape_id, REFERENCE) if baseline else None,
        cache=cache,
        twins=tuple(t for r in readings for t in twin_pairs(r, shapes)),
    )


def _rejected(
    part: StudyShape, shape: ModelShape, readings: Sequence[Readings]
) -> FailedShape | None:
    """A shape whose time must be left out; None where it need not."""
    if not any(r.is_rejected(part.shape_id) for r in readings):
        return None
    times = [t for r in readings if (t := r.time(part.shape_id))]
    error = rejection(p for t in times for p in t.parts)
    return FailedShape(shape=shape, name=part.name, reason=str(error))


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
