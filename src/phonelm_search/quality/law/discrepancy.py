"""How far true losses lie from the law: a Gaussian process over size, width/depth and tokens.

A training says much of what is like it and little of what is not (Kennedy & O'Hagan, Bayesian
Calibration of Computer Models, 2001): without this term a few trainings of a tenth of a million
parameters overrule all that is known of large ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Floats
from phonelm_search.quality.law.form import Dimensions

_SHARE_DECADES = 0.3
"""Distance in the feed-forward share within which misfits are alike. A share that is bad for a
narrow relative, whose one head is wider than itself, may be good at ten times the width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Shapes trained on tokens; all arrays are ``[n]``."""

    shapes: Dimensions
    """What was, or would be trained."""
    tokens: Floats
    """On how many tokens."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.tokens)

    def rows(self, index: npt.NDArray[np.bool_] | slice) -> "Points":
        """Those of an index."""
        return Points(shapes=self.shapes.rows(index), tokens=self.tokens[index])

    def chunks(self, size: int) -> Iterator["Points"]:
        """All, some at a time."""
        for start in range(0, len(self), size):
            yield self.rows(slice(start, start + size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """Deviations of the logarithm of loss, and how soon what causes them changes."""

    level: float
    """Of all shapes of one size together."""
    form: float
    """Of one shape from others of its size."""
    growth: float
    """What both grow by for a decade of size or of tokens beyond the evidence, as a share."""
    run: float
    """Of a training from another one of the same shape."""
    rest: float
    """Of one value of a training."""
    size_decades: float
    """Distance in size within which misfits are alike; in decades."""
    aspect_decades: float
    """The same in width over depth."""
    token_decades: float
    """The same in tokens."""
    sizes: tuple[float, float]
    """Decoder parameters of the evidence, from and to."""
    tokens: tuple[float, float]
    """Tokens of the evidence, from and to."""

    def deviation_scale(self, a: Points) -> Floats:
        """``[n]``: by how much misfits are larger than within the evidence."""
        beyond = _decades_beyond(a.shapes.parameters, self.sizes)
        scale: Floats = 1 + self.growth * (beyond + _decades_beyond(a.tokens, self.tokens))
        return scale

    def smooth(self, a: Points, b: Points) -> Floats:
        """``[n, m]``: covariance of misfits on one data set."""
        size = _distance(a.shapes.parameters, b.shapes.parameters, self.size_decades)
        tokens = _distance(a.tokens, b.tokens, self.token_decades)
        aspect = _distance(a.shapes.aspect, b.shapes.aspect, self.aspect_decades)
        share = _distance(a.shapes.share, b.shapes.share, _SHARE_DECADES)
        near = np.exp(-(size + tokens) / 2)
        found = near * (self.level**2 + self.form**2 * np.exp(-(aspect + share) / 2))
        found *= np.outer(self.deviation_scale(a), self.deviation_scale(b))
        return np.asarray(found)

    def variance(self, a: Points) -> Floats:
        """``[n]``: diagonal of `smooth`."""
        variance: Floats = (self.level**2 + self.form**2) * self.deviation_scale(a) ** 2
        return variance

    def of_runs(self, a: Points, runs: Floats) -> Floats:
        """``[n, n]``: covariance of what each training and each of its values has for itself.

        Args:
            a: The values.
            runs: ``[n]``, number of the training that each belongs to.
        """
        tokens = np.exp(-_distance(a.tokens, a.tokens, self.token_decades) / 2)
        same = np.equal.outer(runs, runs)
        found: Floats = same * tokens * self.run**2 + np.eye(len(a)) * self.rest**2
        return found


def _decades_beyond(values: Floats, extent: tuple[float, float]) -> Floats:
    decades, (low, high) = np.log10(values), np.log10(extent)
    beyond: Floats = np.maximum(low - decades, 0) + np.maximum(decades - high, 0)
    return beyond


def _distance(a: Floats, b: Floats, decades: float) -> Floats:
    """``[n, m]``: squares of distances in decades."""
    squares: Floats = (np.subtract.outer(np.log10(a), np.log10(b)) / decades) ** 2
    return squares
