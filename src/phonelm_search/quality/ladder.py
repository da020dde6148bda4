"""Which small trainings tell most of the differences between candidates, for the time they take.

Greedy V-optimal design: one training after another is chosen so that, for each second, it shrinks
the variances of all differences between candidates most (Krause & Guestrin, Near-optimal Nonmyopic
Value of Information in Graphical Models, 2005). In the law's linear approximation a variance does
not depend on what a training will give, so the whole ladder is known before the first training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats, spread_over
from phonelm_search.quality.law import Dimensions, Points, QualityLaw
from phonelm_search.quality.relatives import relatives
from phonelm_search.space import Columns
from phonelm_search.train import DECAY_SHARE

HORIZONS = (1, 2, 4)
"""Of trainings, in least horizons."""
_SHRINK = 4
_LEAST_SIZE = 60_000
_FLOP_SECONDS = 4e-11
"""Of one core, forward and backward, and what a layer costs beside for each token:
measured on widths from 48 to 230, ``results/ladder.csv``."""
_LAYER_SECONDS = 3e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One training of a ladder."""

    shape: ModelShape
    """What is trained."""
    tokens: int
    """On how many tokens."""


def training_seconds(shape: ModelShape, tokens: float) -> float:
    """About how long a training takes on one core."""
    weights = shape.decoder_parameters + shape.embedding_parameters
    return tokens * (_FLOP_SECONDS * 6 * weights + _LAYER_SECONDS * shape.num_hidden_layers)


def possible_rungs(
    candidates: Sequence[ModelShape],
    *,
    largest: int | None,
    tokens_per_parameter: float,
    vocab_size: int,
    step_tokens: int,
    sizes: int = 3,
    horizons: Sequence[int] = HORIZONS,
) -> list[Rung]:
    """All trainings that a ladder may be made of.

    Args:
        candidates: Shapes that differ in what shall be told.
        largest: Decoder parameters of the largest relatives; None: the candidates themselves.
        tokens_per_parameter: The least horizon, in tokens for a decoder parameter.
        vocab_size: Of the short training.
        step_tokens: Tokens are a multiple of it.
        sizes: How many sizes, each a quarter of the one before.
        horizons: Lengths, in least horizons; the decays of one trunk.
    """
    targets = [largest or max(c.decoder_parameters for c in candidates)]
    while len(targets) < sizes and targets[-1] >= _LEAST_SIZE * _SHRINK:
        targets.append(targets[-1] // _SHRINK)
    shapes: dict[str, ModelShape] = {}
    for candidate in candidates:
        for size in targets:
            for shape in relatives(candidate, size, vocab_size=vocab_size):
                shapes.setdefault(shape.shape_id, shape)
    return [
        Rung(shape=s, tokens=step_tokens * max(2, math.ceil(tokens * horizon / step_tokens)))
        for s in shapes.values()
        for tokens in [tokens_per_parameter * s.decoder_parameters]
        for horizon in horizons
    ]


def plan_ladder(
    law: QualityLaw,
    candidates: Sequence[ModelShape],
    possible: Sequence[Rung],
    *,
    tokens: float,
    seconds: float,
) -> list[Rung]:
    """Choose trainings, the most telling one first.

    Args:
        law: What is known.
        candidates: Shapes whose differences in loss are asked for.
        possible: What may be trained.
        tokens: That the candidates would be trained on.
        seconds: Of one core, by `training_seconds`, that all may take together.

    Returns:
        As many as the time is enough for; at least one, where one tells anything.
    """
    asked = len(candidates)
    covariance = _joint_covariance(law, candidates, possible, tokens)
    # One shape alone differs from none: its own loss is asked for.
    centred = np.eye(asked) - (1 / asked if asked > 1 else 0)
    chosen: list[int] = []
    left = seconds
    trunks: dict[str, float] = {}
    while len(chosen) < len(possible):
        cost = np.array([_more_seconds(r, trunks.get(r.shape.shape_id, 0)) for r in possible])
        variance = np.diag(covariance)[asked:]
        told = np.square(centred @ covariance[:asked, asked:]).sum(axis=0)
        gain = np.where(variance > 0, told / np.maximum(variance, 1e-300), 0.0)
        gain[chosen] = 0.0
        if chosen:
            gain[cost > left] = 0.0
        best = int(np.argmax(gain / cost))
        if gain[best] <= 0:
            break
        chosen.append(best)
        left -= float(cost[best])
        shape_id, length = possible[best].shape.shape_id, possible[best].tokens
        trunks[shape_id] = max(trunks.get(shape_id, 0), (1 - DECAY_SHARE) * length)
        row = covariance[asked + best]
        covariance = covariance - np.outer(row, row) / row[asked + best]
    return [possible[i] for i in chosen]


def larger_rung(
    candidates: Sequence[ModelShape],
    parameters: int,
    *,
    tokens_per_parameter: float,
    vocab_size: int,
    step_tokens: int,
    count: int,
) -> list[Rung]:
    """Relatives of one size at the least horizon, to hold the law against.

    Args:
        candidates: As of `possible_rungs`; those that are no larger have none.
        parameters: Decoder parameters of each.
        tokens_per_parameter: Of each.
        vocab_size: Of the short training.
        step_tokens: Tokens are a multiple of it.
        count: How many at most, spread over depth.
    """
    found = possible_rungs(
        [c for c in candidates if c.decoder_parameters > parameters],
        largest=parameters,
        tokens_per_parameter=tokens_per_parameter,
        vocab_size=vocab_size,
        step_tokens=step_tokens,
        sizes=1,
        horizons=(1,),
    )
    found.sort(key=lambda r: (r.shape.num_hidden_layers, r.shape.shape_id))
    return [found[i] for i in spread_over(len(found), count)]


def _joint_covariance(
    law: QualityLaw, candidates: Sequence[ModelShape], possible: Sequence[Rung], tokens: float
) -> Floats:
    """Of what is asked for and of what each training would give, ``[n, n]``."""
    shapes = [*candidates, *(r.shape for r in possible)]
    points = Points(
        shapes=Dimensions.of(Columns.of(shapes)),
        tokens=np.array([tokens] * len(candidates) + [float(r.tokens) for r in possible]),
    )
    numbers: dict[str, int] = {}
    runs = [numbers.setdefault(r.shape.shape_id, len(numbers)) for r in possible]
    _, covariance = law.joint(points)
    rows = slice(len(candidates), None)
    noise = law.prior.discrepancy.of_runs(points.rows(rows), np.array(runs, float))
    covariance[rows, rows] += noise
    return covariance


def _more_seconds(rung: Rung, trunk: float) -> float:
    """What a training costs where so many tokens of its trunk are trained."""
    shared = trunk if trunk < rung.tokens * (1 - DECAY_SHARE) else 0
    return training_seconds(rung.shape, rung.tokens - shared)
