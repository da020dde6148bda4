"""How a law orders trainings that it has not seen, beside what needs no law."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Z_95, Floats
from phonelm_search.quality.law.form import Dimensions
from phonelm_search.quality.law.posterior import LawPrior, Observations, QualityLaw

_SIZE, _TOKENS = 1.15, 1.30  # ratios up to which trainings are of equal size and length
_APART = 0.003  # share by which losses differ that tell an order

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class LawCheck:
    """Orders and errors on one data set; shares are None where no pair is."""

    dataset: str
    """Its name, or ``all``."""
    trainings: int
    """Rows."""
    pairs: int
    """Pairs of equal size and length whose losses are more than 0.3 % apart."""
    rightly_ordered: float | None
    """Share of these that the law orders as they came out."""
    pairs_width_depth: int
    """Those of them that differ in depth."""
    rightly_ordered_width_depth: float | None
    """Share of these."""
    pairs_any_size: int
    """Pairs of equal length, of any size."""
    rightly_ordered_any_size: float | None
    """Share of these."""
    tau: float | None
    """Kendall's, over all pairs of equal length that are apart."""
    median_error: float
    """Of losses, as a share, after one shift for the data set."""
    largest_error: float
    """The same."""
    held: float | None
    """Share of differences at equal size and length that lie within 95 % intervals."""
    shallow_first: float | None
    """Share of pairs that differ in depth of which the shallower one is better."""
    deep_first: float | None
    """The rest of them."""
    size_alone: float | None
    """Share of pairs of any size of which the larger one is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Pairs of trainings of one data set."""

    measured: Floats
    told: Floats
    error: Floats  # deviation of what is told of the difference
    sizes: Floats  # log of the ratio of sizes
    tokens: Floats
    depths: Floats
    alike: Mask  # one shape twice


def check_law(prior: LawPrior, observed: Observations) -> list[LawCheck]:
    """Ask a law for trainings that it was not fitted to.

    Returns:
        A row for each data set, and one for all where there are several.
    """
    rows, parts = [], []
    for name in dict.fromkeys(observed.datasets.tolist()):
        part = observed.rows(observed.datasets == name)
        parts.append(_compared(QualityLaw(prior, dataset=name), part))
        rows.append(_row(name, parts[-1:]))
    if len(rows) > 1:
        rows.append(_row("all", parts))
    return rows


def check_fitted(law: QualityLaw, part: Observations) -> LawCheck:
    """Ask a law that knows other trainings of the same data set."""
    return _row(law.dataset, [_compared(law, part)])


def _compared(law: QualityLaw, part: Observations) -> tuple[_Pairs, Floats]:
    """All pairs of one data set, and errors after one shift."""
    mean, covariance = law.joint(part.points)
    shift = np.median(mean - part.log_loss)
    errors: Floats = np.expm1(mean - part.log_loss - shift)
    covariance = covariance + law.prior.discrepancy.of_runs(part.points, part.runs)
    i, j = np.triu_indices(len(part), 1)
    variances = np.diag(covariance)
    variance = variances[i] + variances[j] - 2 * covariance[i, j]
    shapes = part.points.shapes

    def ratios(values: Floats) -> Floats:
        logs = np.log(values)
        return np.asarray(logs[i] - logs[j])

    sizes, depths, heads = (ratios(x) for x in (shapes.parameters, shapes.depth, shapes.head_dim))
    pairs = _Pairs(
        measured=part.log_loss[i] - part.log_loss[j],
        told=mean[i] - mean[j],
        error=np.sqrt(np.maximum(variance, 0)),
        sizes=sizes,
        tokens=ratios(part.points.tokens),
        depths=depths,
        alike=(sizes == 0) & (depths == 0) & (heads == 0) & _same_kind(shapes)[i, j],
    )
    return pairs, errors


def _same_kind(shapes: Dimensions) -> Mask:
    """``[n, n]``: whether feed-forward share, groups, activation and gates are the same."""
    kinds = np.column_stack([shapes.share, shapes.groups, shapes.kinds])
    same: Mask = (kinds[:, None] == kinds).all(axis=2)
    return same


def _row(name: str, parts: Sequence[tuple[_Pairs, Floats]]) -> LawCheck:
    errors = np.concatenate([misses for _, misses in parts])

    def joined(field: str) -> Floats:
        return np.concatenate([getattr(pairs, field) for pairs, _ in parts])

    measured, told = joined("measured"), joined("told")
    sizes, depths = joined("sizes"), joined("depths")
    long: Mask = (np.abs(joined("tokens")) <= np.log(_TOKENS)) & ~joined("alike").astype(bool)
    equal: Mask = long & (np.abs(sizes) <= np.log(_SIZE))
    apart: Mask = np.abs(measured) > np.log1p(_APART)
    right: Mask = measured * told > 0
    deep: Mask = equal & apart & (depths != 0)
    within: Mask = np.abs(measured - told) <= Z_95 * joined("error")
    any_size = long & apart
    agree = _share(right, any_size)
    shallow = _share(measured * depths > 0, deep)
    return LawCheck(
        dataset=name,
        trainings=len(errors),
        pairs=int((equal & apart).sum()),
        rightly_ordered=_share(right, equal & apart),
        pairs_width_depth=int(deep.sum()),
        rightly_ordered_width_depth=_share(right, deep),
        pairs_any_size=int(any_size.sum()),
        rightly_ordered_any_size=agree,
        tau=None if agree is None else 2 * agree - 1,
        median_error=float(np.median(np.abs(errors))),
        largest_error=float(np.max(np.abs(errors))),
        held=_share(within, equal),
        shallow_first=shallow,
        deep_first=None if shallow is None else 1 - shallow,
        size_alone=_share(measured * sizes < 0, any_size),
    )


def _share(true: Mask, among: Mask) -> float | None:
    return float(true[among].mean()) if among.any() else None
