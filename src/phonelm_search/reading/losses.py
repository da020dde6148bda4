"""Loss of a study's shapes as a share of its baseline's, as the law tells it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from phonelm_search.core.latency import Extent
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95, Floats
from phonelm_search.measure import DRAWS, cached_singles
from phonelm_search.quality.law import (
    Dimensions,
    Evidence,
    LawPrior,
    Points,
    QualityLaw,
    Training,
    observations_of,
)
from phonelm_search.space import Columns

TOKENS_PER_PARAMETER = 100
"""Tokens that a shape will be trained on for each decoder parameter, unless a person says."""
_OURS = "this study"
LAW_VERSION = 2
"""Of the law's form and discrepancy: what was kept by another one is told anew."""
_FAR = 10.0
"""Times the largest evidence in size beyond which a loss is called an extrapolation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeLoss:
    """Loss of one shape over the baseline's, after equal training."""

    share: Extent
    """With its 95 % interval."""
    draws: Floats
    """``[draws]`` of it; those of one number belong together over all shapes of a study."""
    prior_share: float
    """Share of its variance before own trainings that is left after them: 1 where they told
    nothing, so that all that is known is the prior's."""


def law_of(
    prior: LawPrior, trainings: Sequence[Training], *, dataset: str | None = None
) -> QualityLaw:
    """The law after trainings.

    Args:
        prior: The law before the study.
        trainings: What the study trained.
        dataset: Whose losses are told; None: that of the last training.
    """
    observed = observations_of(list(trainings)) if trainings else None
    last = trainings[-1].dataset if trainings else _OURS
    return QualityLaw(prior, observed, dataset=dataset or last)


def relative_losses(
    shapes: Mapping[str, ModelShape],
    baseline: ModelShape,
    prior: LawPrior,
    trainings: Sequence[Training],
    *,
    tokens: float,
    file: Path | None = None,
) -> dict[str, RelativeLoss]:
    """Loss of shapes as a share of one's, after equal training.

    Args:
        shapes: By id.
        baseline: Whose loss is 1.
        prior: The law before the study.
        trainings: What the study trained.
        tokens: That each would be trained on.
        file: Where the numbers are kept for the next reading; None keeps none.
    """
    asked = _points([*shapes.values(), baseline], tokens)

    def told() -> dict[str, Floats]:
        law, before = law_of(prior, trainings), law_of(prior, [])
        one, rest = asked.rows(slice(-1, None)), asked.rows(slice(0, -1))
        found = law.log_ratio(rest, one)
        return {
            "mean": found.mean,
            "deviation": found.deviation,
            "draws": law.ratio_draws(rest, one, DRAWS),
            "before": before.log_ratio(rest, one).deviation,
        }

    everything = [[s.as_dict() for s in shapes.values()], baseline.as_dict(), tokens]
    parts = (str(LAW_VERSION), json.dumps(everything), repr(prior), repr(trainings))
    found = cached_singles(file, sha256("\n".join(parts).encode()).hexdigest(), told)
    mean, deviation, before = (found[n].astype(float) for n in ("mean", "deviation", "before"))
    half = Z_95 * deviation
    ends = np.exp([mean, mean - half, mean + half]).T.tolist()
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.minimum(1.0, np.nan_to_num((deviation / before) ** 2, nan=1.0)).tolist()
    # Those of one shape lie together: a column of thousands of shapes is a page for each draw.
    draws = np.ascontiguousarray(found["draws"].T).astype(float)
    np.exp(draws, out=draws)
    return {
        shape_id: RelativeLoss(share=Extent(*end), draws=drawn, prior_share=share)
        for shape_id, end, drawn, share in zip(shapes, ends, draws, shares, strict=True)
    }


def extrapolations(shape: ModelShape, prior: LawPrior, trainings: Sequence[Training]) -> list[str]:
    """Why the law's word on a shape is an extrapolation; nothing where it is none."""
    evidence: Evidence = prior.evidence
    dimensions = _points([shape], 1.0).shapes
    size, aspect = float(dimensions.parameters[0]), float(dimensions.aspect[0])
    own = [float(t.shape.decoder_parameters) for t in trainings]
    largest = max([evidence.sizes[1], *own])
    reasons = []
    if size > _FAR * largest:
        reasons.append(
            f"{size / largest:.0f} times the decoder parameters of the largest training that the "
            "law knows"
        )
    low, high = evidence.aspects
    if not low <= aspect <= high:
        reasons.append(
            f"a width of {aspect:.3g} times its depth, where the law knows {low:.3g} to {high:.3g}"
        )
    return reasons


def _points(shapes: Sequence[ModelShape], tokens: float) -> Points:
    return Points(
        shapes=Dimensions.of(Columns.of(shapes)), tokens=np.full(len(shapes), float(tokens))
    )
