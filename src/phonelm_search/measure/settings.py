"""Parameters of the measuring protocol; they are part of every record."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings:
    """How rounds are made and what makes one good."""

    rounds: int = 3
    """Good rounds that a measurement needs, each in a process of its own."""
    most_rounds: int = 5
    """Rounds at most, those included that were rejected."""
    repetitions: int = 30
    """Samples at most of a phase in a round: rounds differ by more than their samples do."""
    max_seconds: float = 0.5
    """Time for the samples of a phase in a round; at least 3 are taken all the same."""
    models: int = 4
    """Models at most that share a process, their steps in turn."""
    warmup_window_seconds: float = 0.3
    """Least length of the warm-up, which holds at least one whole turn."""
    cache_factor: int = 6
    """Weights that a turn of cold decode streams at least, as a multiple of the last-level cache.
    At less a part of them was still found in it, see results/LOG.md."""

    def turn_bytes(self, cache_bytes: int) -> int:
        """Weights that a turn of cold decode must stream, by the size of the last-level cache."""
        return self.cache_factor * cache_bytes
