"""The quality law by itself: what it says, own trainings added to it, and how it orders others."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phonelm_search.core.statistics import Z_95
from phonelm_search.core.units import format_counted
from phonelm_search.quality.law import (
    LOGARITHMS,
    SHARED,
    Gaussian,
    LawPrior,
    QualityLaw,
    check_law,
    load_prior,
    observations_of,
    read_trainings,
    save_prior,
)

_MEANINGS = {
    "data_exponent": "how fast loss falls with tokens",
    "width_exponent": "how fast it falls with effective width",
    "depth_exponent": "how fast it falls with depth",
    "width": "part of width 512 in the shape's part",
    "depth": "part of 12 layers in the shape's part",
    "head": "what a head dimension of 64 costs, of the shape's part",
    "head_exponent": "how fast that grows as heads become smaller",
    "share": "what a feed-forward share off the best costs, for the square of its logarithm",
    "best_share": "best parameters of the feed-forward network over those of attention",
    "groups": "what halving key-value heads costs",
    "relu": "relu against silu",
    "relu2": "squared relu against silu",
    "gelu": "gelu against silu",
    "plain": "a feed-forward network without a gate against a gated one",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LawTable:
    """A law as a table."""

    rows: tuple[dict[str, Any], ...]
    """For each shared coefficient its name, value, 95 % interval and meaning."""
    sources: tuple[str, ...]
    """What it was fitted to."""
    evidence: dict[str, tuple[float, float]]
    """From where to where that reaches; beyond, the law is an extrapolation."""


def show_law(law: Path | None = None) -> LawTable:
    """Coefficients of a law.

    Args:
        law: Its file; None: the one that ships with the package.

    Raises:
        ConfigurationError: If it cannot be read.
    """
    return _table(load_prior(law))


def fit_law(observations: Path, output: Path, *, law: Path | None = None) -> LawTable:
    """Add a team's own trainings to a law and write the result.

    Args:
        observations: CSV file of trainings.
        output: File of the new law.
        law: File of the law before; None: the one that ships with the package.

    Raises:
        ConfigurationError: If a file cannot be read or written; names row and column.
    """
    prior, trainings = load_prior(law), read_trainings(observations)
    observed = observations_of(trainings)
    fitted = QualityLaw(prior, observed, dataset=trainings[0].dataset).coefficients
    shared = slice(0, len(SHARED))
    largest = max(prior.evidence.sizes[1], float(observed.points.shapes.parameters.max()))
    sources = (*prior.sources, f"{observations.name}: {format_counted(len(trainings), 'training')}")
    new = replace(
        prior,
        shared=Gaussian(mean=fitted.mean[shared], covariance=fitted.covariance[shared, shared]),
        evidence=replace(prior.evidence, sizes=(prior.evidence.sizes[0], largest)),
        sources=sources,
    )
    save_prior(new, output)
    return _table(new)


def check_trainings(observations: Path, *, law: Path | None = None) -> list[dict[str, Any]]:
    """How a law orders trainings that it has not seen: a row a data set, and one for all.

    Args:
        observations: CSV file of trainings.
        law: File of the law; None: the one that ships with the package.

    Raises:
        ConfigurationError: If a file cannot be read; names row and column.
    """
    observed = observations_of(read_trainings(observations))
    return [asdict(row) for row in check_law(load_prior(law), observed)]


def _table(prior: LawPrior) -> LawTable:
    deviations = np.sqrt(np.diag(prior.shared.covariance))
    rows = []
    for name, mean, deviation in zip(SHARED, prior.shared.mean, deviations, strict=True):
        low, high = mean - Z_95 * deviation, mean + Z_95 * deviation
        values = np.exp([mean, low, high]) if name in LOGARITHMS else np.array([mean, low, high])
        value, low, high = map(float, values)
        rows.append(
            {"name": name, "value": value, "low": low, "high": high, "meaning": _MEANINGS[name]}
        )
    return LawTable(rows=tuple(rows), sources=prior.sources, evidence=asdict(prior.evidence))
