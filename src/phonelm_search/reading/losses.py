"""Loss of a study's shapes as a share of its baseline's, as the law tells it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np

from phonelm_search.core.latency import Extent
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95, Floats
from phonelm_search.measure import cached_arrays
from phonelm_search.quality import Score
from phonelm_search.quality.law import (
    Dimensions,
    Points,
    QualityLaw,
    Training,
    load_prior,
    observations_of,
)
from phonelm_search.space import Columns

TOKENS_PER_PARAMETER = 100
"""Tokens that a shape will be trained on for each decoder parameter, unless a person says."""
_OURS = "this study"


def relative_losses(
    shapes: Mapping[str, ModelShape],
    baseline: ModelShape,
    scores: Iterable[Score],
    *,
    tokens: float,
    file: Path | None = None,
) -> dict[str, Extent]:
    """Loss of shapes as a share of one's, after equal training, with 95 % intervals.

    Args:
        shapes: By id.
        baseline: Whose loss is 1.
        scores: Of the study: what it trained counts beside the law's prior.
        tokens: That each would be trained on.
        file: Where the numbers are kept for the next reading; None keeps none.

    Raises:
        ConfigurationError: If the law cannot be read.
    """
    prior = load_prior()
    trainings = list(_trainings(scores))
    asked = Points(
        shapes=Dimensions.of(Columns.of([*shapes.values(), baseline])),
        tokens=np.full(len(shapes) + 1, float(tokens)),
    )

    def told() -> dict[str, Floats]:
        observed = observations_of(trainings) if trainings else None
        law = QualityLaw(prior, observed, dataset=_OURS)
        found = law.log_ratio(asked.rows(slice(0, -1)), asked.rows(slice(-1, None)))
        return {"mean": found.mean, "deviation": found.deviation}

    everything = [[asdict(s) for s in shapes.values()], asdict(baseline), tokens]
    parts = (json.dumps(everything), repr(prior), repr(trainings))
    found = cached_arrays(file, sha256("\n".join(parts).encode()).hexdigest(), told)
    half = Z_95 * found["deviation"]
    ends = np.exp([found["mean"], found["mean"] - half, found["mean"] + half])
    return {i: Extent(*map(float, row)) for i, row in zip(shapes, ends.T, strict=True)}


def _trainings(scores: Iterable[Score]) -> Iterable[Training]:
    """What a study trained to the end, as observations of the law."""
    for score in scores:
        for run in score.finished:
            if not run.bits_per_byte:  # a loss of 0 is no loss
                continue
            yield Training(
                shape=ModelShape(**run.trained),
                tokens=float(run.tokens),
                loss=run.bits_per_byte,
                dataset=_OURS,
                seed=str(run.seed),
            )
