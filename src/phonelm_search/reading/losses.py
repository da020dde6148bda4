"""Loss of a study's shapes as a share of its baseline's, as the law tells it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
Singles = npt.NDArray[np.float32]
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


class RelativeLosses(Mapping[str, RelativeLoss]):
    """Losses of shapes by id; what is drawn of one is reckoned when it is looked at.

    Args:
        shape_ids: The shapes.
        mean: ``[n]``: logarithm of the loss over the baseline's.
        deviation: ``[n]``, of it.
        before: ``[n]``: the same before own trainings.
        log_draws: ``[n, draws]`` of it.
        digest: Of all that the numbers depend on.
    """

    def __init__(
        self,
        shape_ids: Iterable[str],
        *,
        mean: Singles,
        deviation: Singles,
        before: Singles,
        log_draws: Singles,
        digest: str,
    ) -> None:
        self._places = {shape_id: i for i, shape_id in enumerate(shape_ids)}
        self._log_draws, self.digest = log_draws, digest
        middle, half, first = (a.astype(float) for a in (mean, deviation, before))
        ends = Z_95 * half
        self._shares: Floats = np.exp([middle, middle - ends, middle + ends]).T
        with np.errstate(invalid="ignore", divide="ignore"):
            left = np.minimum(1.0, np.nan_to_num((half / first) ** 2, nan=1.0))
        self._prior_shares: list[float] = left.tolist()

    def __getitem__(self, shape_id: str) -> RelativeLoss:
        place = self._places[shape_id]
        return RelativeLoss(
            share=Extent(*self._shares[place].tolist()),
            draws=self.draws([shape_id])[0],
            prior_share=self._prior_shares[place],
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def prior_share(self, shape_id: str) -> float:
        """As of `RelativeLoss`."""
        return self._prior_shares[self._places[shape_id]]

    def shares(self, shape_ids: Iterable[str]) -> Floats:
        """``[some, 3]``: losses of some with their 95 % intervals."""
        return self._shares[[self._places[i] for i in shape_ids]]

    def draws(self, shape_ids: Iterable[str]) -> Floats:
        """``[some, draws]`` of some."""
        found: Floats = self._log_draws[[self._places[i] for i in shape_ids]].astype(float)
        np.exp(found, out=found)
        return found


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
) -> RelativeLosses:
    """Loss of shapes as a share of one's, after equal training.

    Args:
        shapes: By id.
        baseline: Whose loss is 1.
        prior: The law before the study.
        trainings: What the study trained.
        tokens: That each would be trained on.
        file: Where the numbers are kept for the next reading; None keeps none.
    """

    def told() -> dict[str, Floats]:
        asked = _points([*shapes.values(), baseline], tokens)
        law, before = law_of(prior, trainings), law_of(prior, [])
        one, rest = asked.rows(slice(-1, None)), asked.rows(slice(0, -1))
        found = law.log_ratio(rest, one)
        return {
            "mean": found.mean,
            "deviation": found.deviation,
            # Those of one shape lie together: a column of thousands is a page for each draw.
            "log_draws": np.ascontiguousarray(law.ratio_draws(rest, one, DRAWS).T),
            "before": before.log_ratio(rest, one).deviation,
        }

    everything = [list(shapes), baseline.shape_id, tokens]
    parts = (str(LAW_VERSION), json.dumps(everything), repr(prior), repr(trainings))
    digest = sha256("\n".join(parts).encode()).hexdigest()
    return RelativeLosses(shapes, **cached_singles(file, digest, told), digest=digest)


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
