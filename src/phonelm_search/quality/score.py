"""Trainings of one shape of a study over its seeds, as earlier releases scored shapes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from phonelm_search.core.records import ProxyScore
from phonelm_search.core.statistics import Z_95


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What was trained for a shape itself: a miniature of its depth, or the shape."""

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
        bits = np.mean([r.chunk_bits for r in self.finished], axis=0)
        text_bytes = np.asarray(self.first.chunk_bytes, float)
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


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
