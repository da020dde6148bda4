"""How sure a score is, and whether two scores differ. Pure functions of validation chunks."""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.statistics import Z_95

ASSUMED_SEED_DEVIATION = 0.012
"""Deviation of one training's bits per byte between seeds, before any is seen.

From what was measured before this project at 1M parameters: 0.006 to 0.018 once the shift common
to a seed was removed; the middle of the range.
"""
_ASSUMED_FREEDOM = 3
"""Degrees of freedom that the assumption counts for beside what a study shows itself."""
QUICK_LOOK = 2.0
"""Below so many tokens per decoder parameter a score is a quick look: by default one seed, and
learning rates are not checked."""
RESAMPLES = 2000
_RESOLVED = 2.0
"""Paired deviations beyond which two scores differ, by the rule of the contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A candidate's score over the seeds that it was trained with."""

    runs: tuple[ProxyScore, ...]
    """Of equal settings, ascending seeds; at least one."""

    @property
    def finished(self) -> tuple[ProxyScore, ...]:
        """Runs that came to a score."""
        return tuple(r for r in self.runs if r.bits_per_byte is not None)

    @property
    def first(self) -> ProxyScore:
        """A run to tell from what all share: settings, miniature, tokens."""
        return (self.finished or self.runs)[0]

    @property
    def bits_per_byte(self) -> float | None:
        """Mean over seeds; None without a score."""
        return _mean([r.bits_per_byte for r in self.finished if r.bits_per_byte is not None])

    @property
    def reason(self) -> str | None:
        """Why there is no score."""
        return None if self.finished else self.runs[0].reason

    def quantised(self, scheme: str) -> float | None:
        """Mean bits per byte after weights were rounded like this, where it is known."""
        return _mean([r.quantised[scheme] for r in self.finished if scheme in r.quantised])

    @property
    def interval(self) -> float | None:
        """Half width of the 95 % interval of bits per byte, from the validation text's sampling.

        The standard error of a ratio of sums over chunks; None without a score.
        """
        if self.bits_per_byte is None or len(self.first.chunk_bits) < 2:
            return None
        bits, text_bytes = _chunks(self.finished)
        residuals = bits - self.bits_per_byte * text_bytes
        n = len(residuals)
        return Z_95 * math.sqrt(n / (n - 1) * np.square(residuals).sum()) / float(text_bytes.sum())


def gather(runs: Iterable[ProxyScore]) -> dict[str, Score]:
    """Scores by shape id, of runs of equal settings."""
    by_shape: dict[str, list[ProxyScore]] = {}
    for run in runs:
        by_shape.setdefault(run.shape_id, []).append(run)
    return {
        shape_id: Score(runs=tuple(sorted(found, key=lambda r: r.seed)))
        for shape_id, found in by_shape.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDeviation:
    """Deviation of one training's bits per byte between seeds, the common shift taken off."""

    value: float
    """In bits per byte."""
    freedom: int
    """Degrees of freedom that were seen; 0: assumed."""

    @classmethod
    def of(cls, scores: Sequence[Score]) -> "SeedDeviation":
        """From scores that share seeds: what is left after shape and seed are taken off.

        The assumed value counts like `_ASSUMED_FREEDOM` more degrees, so that two finalists with
        two seeds, who have one, don't make a tie of everything or of nothing.
        """
        table = common_table(scores)
        squares, freedom = 0.0, 0
        if min(table.shape) >= 2:
            residuals = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
            squares = float(np.square(residuals).sum())
            freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
        pooled = squares + _ASSUMED_FREEDOM * ASSUMED_SEED_DEVIATION**2
        return cls(value=math.sqrt(pooled / (freedom + _ASSUMED_FREEDOM)), freedom=freedom)

    @classmethod
    def seen(cls, scores: Sequence[Score]) -> "SeedDeviation":
        """The same of what was seen alone; the assumption where nothing was."""
        pooled = cls.of(scores)
        if not pooled.freedom:
            return pooled
        assumed = _ASSUMED_FREEDOM * ASSUMED_SEED_DEVIATION**2
        squares = pooled.value**2 * (pooled.freedom + _ASSUMED_FREEDOM) - assumed
        return cls(value=math.sqrt(max(0.0, squares) / pooled.freedom), freedom=pooled.freedom)

    def __str__(self) -> str:
        """For a reader who wonders where it comes from."""
        if not self.freedom:
            return f"{self.value:.3f} bits per byte between seeds, assumed"
        return (
            f"{self.value:.3f} bits per byte between seeds, from {self.freedom} degrees of freedom "
            f"and the assumed {ASSUMED_SEED_DEVIATION}"
        )


def common_table(scores: Sequence[Score]) -> npt.NDArray[np.float64]:
    """Bits per byte ``[shapes, seeds]`` of the seeds that the most shapes finished with."""
    groups: dict[tuple[int, ...], list[Score]] = {}
    for score in scores:
        groups.setdefault(tuple(r.seed for r in score.finished), []).append(score)
    seeds, members = max(
        groups.items(), key=lambda g: (len(g[0]) - 1) * (len(g[1]) - 1), default=((), [])
    )
    table = [[r.bits_per_byte for r in m.finished] for m in members]
    return np.array(table, float).reshape(len(members), len(seeds))


class Comparison:
    """Whether scores of one study differ.

    Args:
        scores: All scores that are compared; they tell the deviation between seeds.
    """

    def __init__(self, scores: Sequence[Score]) -> None:
        self.seed_deviation = SeedDeviation.of(scores)
        self._known: dict[tuple[str, str], tuple[float, float]] = {}

    def difference(self, a: Score, b: Score) -> tuple[float, float]:
        """Difference of two scores on the same chunks and seeds, and its deviation.

        Returns:
            bits per byte of a minus those of b, and the deviation of that difference: a paired
            bootstrap over validation chunks, and the seeds'.

        Raises:
            TrainingError: If the two were not scored on the same text in the same way.
        """
        key = (a.first.shape_id, b.first.shape_id)
        if key not in self._known:
            self._known[key] = self._compare(a, b)
        return self._known[key]

    def no_worse(self, a: Score, b: Score) -> bool:
        """Whether a is not worse than b by two paired deviations."""
        difference, deviation = self.difference(a, b)
        return difference <= _RESOLVED * deviation

    def tie(self, a: Score, b: Score) -> bool:
        """Whether neither is better than the other by two paired deviations."""
        difference, deviation = self.difference(a, b)
        return abs(difference) <= _RESOLVED * deviation

    def _compare(self, a: Score, b: Score) -> tuple[float, float]:
        seeds = {r.seed for r in a.finished} & {r.seed for r in b.finished}
        ours = [r for r in a.finished if r.seed in seeds]
        theirs = [r for r in b.finished if r.seed in seeds]
        alike = {(r.settings_id, r.chunk_bytes) for r in (*ours, *theirs)}
        if len(alike) != 1:
            raise TrainingError(
                "two scores must be of the same settings, seed and validation text to be "
                f"compared, got {_told(a)} and {_told(b)}; score the study again"
            )
        (bits, text_bytes), (others, _) = _chunks(ours), _chunks(theirs)
        difference = float((bits - others).sum() / text_bytes.sum())
        between = math.sqrt(2 / len(seeds)) * self.seed_deviation.value
        return difference, math.hypot(paired_bootstrap(bits - others, text_bytes), between)


def paired_bootstrap(bits: npt.NDArray[np.float64], text_bytes: npt.NDArray[np.float64]) -> float:
    """Deviation of a difference in bits per byte over resampled validation chunks.

    Args:
        bits: Difference of two models' bits on each chunk ``[n]``.
        text_bytes: Text bytes of each chunk ``[n]``.
    """
    counts = resampled_counts(len(bits))
    return float(np.std((counts @ bits) / (counts @ text_bytes), ddof=1))


@functools.lru_cache(maxsize=2)
def resampled_counts(n: int) -> npt.NDArray[np.float64]:
    """How often each of n things is drawn in a bootstrap ``[resamples, n]``, always the same."""
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return draws.astype(float)


def resolved_pairs(scores: Sequence[Score], comparison: Comparison) -> list[tuple[int, int, float]]:
    """Pairs of indices that differ by more than two deviations, with the difference."""
    return [
        (i, j, comparison.difference(scores[i], scores[j])[0])
        for i, j in combinations(range(len(scores)), 2)
        if not comparison.tie(scores[i], scores[j])
    ]


def _chunks(runs: Sequence[ProxyScore]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bits of each chunk, averaged over runs, and its text bytes."""
    return np.mean([r.chunk_bits for r in runs], axis=0), np.asarray(runs[0].chunk_bytes, float)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _told(score: Score) -> str:
    seeds = ", ".join(str(r.seed) for r in score.finished) or "none"
    return f"{score.first.settings_id} with seeds {seeds}"
