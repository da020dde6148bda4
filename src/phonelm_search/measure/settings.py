"""Parameters of the measuring protocol; they are part of every record."""

from dataclasses import dataclass

_CHEAP_BYTES = 256 * 2**20
"""What four models of 85M stream in a turn anyway."""


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
    """Weights that a turn of cold decode streams at least, as a multiple of the last-level cache as
    the device tells it. At less a part of them was still found in it, see results/LOG.md."""
    cold_factor: int = 2
    """The same as a multiple of the smallest buffer that is read at the speed of memory."""

    def turn_bytes(self, told_bytes: int, cold_bytes: int | None = None) -> int:
        """Weights that a turn of cold decode must stream.

        What a device tells is believed as far as that is cheap, for a part of a shared cache may
        become ours at any time; beyond, reading decides.

        Args:
            told_bytes: Size of the last-level cache as the device tells it.
            cold_bytes: See `CacheProbe`; None where reading does not tell.
        """
        told = self.cache_factor * told_bytes
        if cold_bytes is None:
            return told
        return max(self.cold_factor * cold_bytes, min(told, _CHEAP_BYTES))
