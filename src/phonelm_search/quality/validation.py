"""How far to trust a study's scores: a sample of its shapes trained much longer, and compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.shape import ModelShape
from phonelm_search.quality.agreement import Agreement, agreement
from phonelm_search.quality.comparison import Comparison, Score, gather, resolved_pairs
from phonelm_search.train import (
    Candidate,
    Run,
    TrainingRuns,
    TrainingSettings,
    check_whole,
    make_candidates,
    width_factor,
)

LONGER = 8
"""The long horizon, in horizons of the study."""
LARGER = 2
"""Size of the larger miniatures that the order is held against, in budgets of the study."""
LEAST_SHAPES = 8
"""Of the sample, where the study has so many."""
LEAST_COMPARED = 4
"""Shapes that an order must have to be called one."""
SEEDS = 2
_EARLY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A cheap order and how well it agrees."""

    name: str
    """What orders."""
    against: str
    """What it is held against."""
    agreement: Agreement
    """How well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What validating a study's scores found."""

    shape_ids: tuple[str, ...]
    """The sample."""
    settings_id: str
    """How the study's scores were trained."""
    long_settings_id: str
    """How the long runs were."""
    seeds: tuple[int, ...]
    """Seeds of both."""
    tokens_per_parameter: float
    """Of the study's scores, for the largest shape."""
    long_tokens_per_parameter: float
    """Of the long runs."""
    orders: tuple[Order, ...]
    """The study's score first, then the ceiling, baselines, and the order of other sizes."""

    @property
    def score(self) -> Order:
        """The study's own order."""
        return self.orders[0]

    @property
    def summary(self) -> str:
        """In one sentence, how far the order is that of the long runs."""
        score, ceiling = self.score.agreement, self.orders[1].agreement
        share, tau, most = (
            "none" if value is None else format(value, style)
            for value, style in (
                (score.concordance, ".0%"), (score.kendall, ".2f"), (ceiling.kendall, ".2f"),
            )
        )  # fmt: skip
        low, high = score.concordance_interval or (None, None)
        return (
            f"of {score.resolved} pairs that {self.long_tokens_per_parameter:.2g} tokens per "
            f"parameter tell apart, this score orders {share} likewise"
            + ("" if low is None else f" (95 %: {low:.0%} to {high:.0%})")
            + f"; τ {tau}, between seeds of the long run {most}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For the study's configuration."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Validation":
        """The inverse of `as_dict`, from JSON."""
        orders = []
        for order in found["orders"]:
            values = dict(order["agreement"])
            for name in ("kendall_interval", "concordance_interval"):
                values[name] = tuple(values[name]) if values[name] else None
            values["regret"] = {int(k): v for k, v in values["regret"].items()}
            orders.append(Order(**{**order, "agreement": Agreement(**values)}))
        lists = {"shape_ids": tuple(found["shape_ids"]), "seeds": tuple(found["seeds"])}
        return cls(**{**found, **lists, "orders": tuple(orders)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPlan:
    """What validating trains."""

    early: tuple[Run, ...]
    """To a tenth of the study's horizon."""
    short: tuple[Run, ...]
    """As the study scores."""
    long: tuple[Run, ...]
    """Much longer, on the same trunk."""
    larger: tuple[Run, ...]
    """As miniatures of twice the size; empty where the shapes themselves are trained."""


def plan_validation(
    shapes: Sequence[ModelShape],
    settings: TrainingSettings,
    *,
    typical: int,
    seed: int,
) -> ValidationPlan:
    """Decide what is trained.

    Args:
        shapes: The sample.
        settings: How the study's scores were trained.
        typical: Decoder parameters of the study's shapes, which shrink to the budget.
        seed: The study's first seed.
    """

    def candidates(budget: int | None) -> list[Candidate]:
        return make_candidates(
            shapes, vocab_size=settings.vocab_size, typical=typical, budget=budget
        )

    def runs(found: Sequence[Candidate], how: TrainingSettings, seeds: int) -> tuple[Run, ...]:
        return tuple(
            Run(candidate=c, settings=how, seed=seed + i) for i in range(seeds) for c in found
        )

    ours = candidates(settings.budget)
    short = runs(ours, settings, SEEDS)
    step = max(1, round(_EARLY * settings.steps))
    larger: tuple[Run, ...] = ()
    if settings.budget is not None and settings.width_factor < 1:
        budget = min(LARGER * settings.budget, typical)
        grown = replace(
            settings,
            budget=budget,
            width_factor=round(width_factor(typical, budget), 6),
            tokens=round(settings.tokens * budget / settings.budget),
        )
        larger = runs(candidates(budget), grown, 1)
    return ValidationPlan(
        early=tuple(replace(r, until=step) for r in short[: len(ours)]),
        short=short,
        long=runs(ours, replace(settings, tokens=LONGER * settings.tokens), SEEDS),
        larger=larger,
    )


def validate_scores(
    shapes: Sequence[ModelShape],
    plan: ValidationPlan,
    runner: TrainingRuns,
    weight_bytes: Sequence[int],
) -> Validation:
    """Train what the plan lists and compare the orders.

    A shape that diverges at any of the horizons is left out. The score with the first seed is
    held against the long run with the other one: runs of one seed share the beginning of their
    trunk, and with it their luck.

    Args:
        shapes: The sample.
        plan: From `plan_validation`.
        runner: Trains.
        weight_bytes: Bytes of each shape's weights on the device, for the baseline that takes the
            largest that fits.

    Raises:
        TrainingError: If a training was cut off, or fewer than four shapes came to all ends.
    """
    trained = _train(plan, runner)
    whole = trained.whole(shapes)
    sizes = dict(zip((s.shape_id for s in shapes), weight_bytes, strict=True))
    parameters = {s.shape_id: s.decoder_parameters for s in shapes}
    short, last = [trained.short[i] for i in whole], [trained.long[i] for i in whole]
    other = [_bits(s, 1) for s in last]
    resolved = [(i, j) for i, j, _ in resolved_pairs(last, Comparison(last))]
    against = f"{LONGER} times the horizon, the other seed"

    def order(name: str, values: Sequence[float]) -> Order:
        return Order(name=name, against=against, agreement=agreement(values, other, resolved))

    orders = [
        order("score, one seed", [_bits(s, 0) for s in short]),
        order("ceiling: the long run, one seed", [_bits(s, 0) for s in last]),
        order("a tenth of the horizon", [trained.early[i] or 0.0 for i in whole]),
        order("most decoder parameters", [-parameters[i] for i in whole]),
        order("the largest that fits, by weight bytes", [-sizes[i] for i in whole]),
        *_order_of_larger(trained, whole, plan),
    ]
    return Validation(
        shape_ids=tuple(whole),
        settings_id=plan.short[0].settings.settings_id,
        long_settings_id=plan.long[0].settings.settings_id,
        seeds=tuple(dict.fromkeys(r.seed for r in plan.short)),
        tokens_per_parameter=_tokens_per_parameter(plan.short),
        long_tokens_per_parameter=_tokens_per_parameter(plan.long),
        orders=tuple(orders),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """Scores of a plan's trainings by shape id."""

    early: Mapping[str, float | None]
    """Bits per byte at a tenth of the horizon; None where training diverged."""
    short: Mapping[str, Score]
    long: Mapping[str, Score]
    larger: Mapping[str, Score]
    reasons: tuple[str, ...]
    """Why some did not come to their ends."""

    def whole(self, shapes: Sequence[ModelShape]) -> list[str]:
        """Ids of the shapes that came to all ends, but for that of larger miniatures.

        Raises:
            TrainingError: If they are too few.
        """
        ids = [
            s.shape_id
            for s in shapes
            if self.early[s.shape_id] is not None
            and all(len(t[s.shape_id].finished) == SEEDS for t in (self.short, self.long))
        ]
        if len(ids) < LEAST_COMPARED:
            reason = self.reasons[0] if self.reasons else "diverged early"
            raise TrainingError(
                f"at least {LEAST_COMPARED} shapes must come to all horizons to validate, "
                f"{len(ids)} did; the first reason: {reason}"
            )
        return ids


def _train(plan: ValidationPlan, runner: TrainingRuns) -> _Trained:
    runner.stage("validating: a tenth of the horizon", plan.early)
    beginnings = runner.outcomes(plan.early)
    runner.stage("validating: the study's horizon", plan.short)
    shorts = runner.scores(plan.short)
    runner.stage(f"validating: {LONGER} times the horizon", plan.long)
    longs = runner.scores(plan.long)
    others = []
    if plan.larger:
        runner.stage("validating: larger miniatures", plan.larger)
        others = runner.scores(plan.larger)
    check_whole(
        [*beginnings, *shorts, *longs, *others],
        "all trainings must come to their end to validate",
    )
    early = zip((r.shape_id for r in plan.early), beginnings, strict=True)
    return _Trained(
        early={shape_id: outcome.bits_per_byte for shape_id, outcome in early},
        short=gather(shorts),
        long=gather(longs),
        larger=gather(others),
        reasons=tuple(s.reason for s in (*shorts, *longs) if s.reason),
    )


def _order_of_larger(
    trained: _Trained, whole: Sequence[str], plan: ValidationPlan
) -> Iterator[Order]:
    """The score's order against that of larger miniatures, where there are any."""
    grown = [i for i in whole if i in trained.larger and trained.larger[i].finished]
    if not grown:
        return
    scores = [trained.larger[i] for i in grown]
    pairs = [(i, j) for i, j, _ in resolved_pairs(scores, Comparison(scores))]
    values = [_bits(trained.short[i], 0) for i in grown]
    yield Order(
        name="score, one seed",
        against=f"miniatures of {_growth(plan):.2g} times the size",
        agreement=agreement(values, [_bits(s) for s in scores], pairs),
    )


def _growth(plan: ValidationPlan) -> float:
    small, large = (r[0].candidate.trained.decoder_parameters for r in (plan.short, plan.larger))
    return large / small


def _tokens_per_parameter(runs: Sequence[Run]) -> float:
    return runs[0].tokens / max(r.candidate.trained.decoder_parameters for r in runs)


def _bits(score: Score, seed: int | None = None) -> float:
    """Bits per byte of the mean, or of the so-many-th seed."""
    value = score.bits_per_byte if seed is None else score.finished[seed].bits_per_byte
    assert value is not None
    return value
