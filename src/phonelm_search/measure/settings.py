"""Parameters of the measuring protocol; they are part of every record."""

from dataclasses import dataclass
from typing import NamedTuple


class Sampling(NamedTuple):
    """How much of a model is sampled in a round, and with how many others."""

    models: int
    """Models at most that share a process."""
    repetitions: int
    """Samples at most of a phase."""
    max_seconds: float
    """Time for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings:
    """How rounds are made and what makes one good."""

    rounds: int = 3
    """Good rounds that a measurement needs, each in a process of its own."""
    most_rounds: int = 5
    """Rounds at most: bad ones and those for a narrower interval included."""
    repetitions: int = 100
    """Samples at most of a phase in a round."""
    max_seconds: float = 1.0
    """Time for the samples of a phase in a round; at least 5 are taken all the same."""
    models: int = 4
    """Models at most that share a process, their cold steps in turn."""
    truncated_repetitions: int = 30
    """Samples at most of a truncated model, which only an estimate is made from."""
    truncated_seconds: float = 0.3
    """Time for its samples."""
    truncated_models: int = 12
    """Truncated models at most that share a process."""
    warmup_window_seconds: float = 0.05
    """Least length of a warm-up window."""
    warmup_tolerance: float = 0.05
    """Relative difference at which the medians of two windows agree."""
    warmup_windows: int = 6
    """Windows after which timing begins all the same."""
    cache_factor: int = 6
    """Weights that a turn of cold decode streams at least, as a multiple of the last-level cache.
    At less a part of them was still found in it, see results/LOG.md."""
    half_width: float = 0.05
    """Wished half-width of the 95 % interval, as a share of the median."""
    drift_limit: float = 0.10
    """Largest distance of the reference shape in a round from its usual median, as a share."""
    bandwidth_limit: float = 0.25
    """Largest distance of the read bandwidth from the usual, as a share, before a round is suspect
    and made again: a virtual machine whose cores are moved to other places shows it here first."""
    foreign_limit: float = 0.10
    """Largest share of the cores' time that other processes may take."""

    def sampling(self, *, truncated: bool) -> Sampling:
        """Of a whole model, or of a truncated one, which only an estimate is made from."""
        if truncated:
            return Sampling(
                self.truncated_models, self.truncated_repetitions, self.truncated_seconds
            )
        return Sampling(self.models, self.repetitions, self.max_seconds)

    def turn_bytes(self, cache_bytes: int) -> int:
        """Weights that a turn of cold decode must stream, by the size of the last-level cache."""
        return self.cache_factor * cache_bytes
