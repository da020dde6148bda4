"""How fast an environment reads buffers over and over: where its caches end.

What the kernel tells of a last-level cache is no guide: a guest has a part of a shared one, sees
one of many, or none at all. Reads of a buffer over and over find nothing of it in any cache once
they are as slow as those of the largest one, and so do turns of decode that stream as much.
"""

import math
from dataclasses import dataclass

_NEAR = 1.08  # times the bandwidth of memory: the best of some passes repeats within that
_TELLING = 1.25  # times the bandwidth of memory: a cache that is no faster shows no end
_PLATEAU = 5  # buffers, the largest ones, that must all be read at the speed of memory
_LARGEST = 256 * 2**20
_FURTHER = 8  # times as far, where the first reads don't tell
_STEPS = 2  # a doubling

SMALLEST_BUFFER = 4 * 2**20
"""It takes longer to read than to start reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheProbe:
    """Read bandwidth over the size of what is read."""

    environment_id: str
    """Where it was read."""
    buffer_bytes: tuple[int, ...]
    """Sizes, rising."""
    bytes_per_s: tuple[float, ...]
    """At which each was read in its best pass."""
    created_at: str
    """UTC time, ISO 8601."""

    @property
    def cold_bytes(self) -> int | None:
        """The smallest buffer from which on all are read at the speed of memory.

        None where the reads don't tell: no size is clearly faster than memory, or they become
        slower up to the largest.
        """
        if len(self.bytes_per_s) <= _PLATEAU:
            return None
        import numpy as np
        from scipy.optimize import isotonic_regression  # takes half a second to load

        # A larger buffer is never read faster: where it seems so, both are noise.
        speeds = np.asarray(isotonic_regression(self.bytes_per_s, increasing=False).x)
        memory = float(speeds[-_PLATEAU:].mean())
        if speeds.max() < _TELLING * memory:
            return None
        first = int(np.flatnonzero(speeds > _NEAR * memory)[-1]) + 1
        return None if first > len(speeds) - _PLATEAU else self.buffer_bytes[first]


def probe_sizes(
    told_bytes: int, available_bytes: int | None, *, further: bool = False
) -> tuple[int, ...]:
    """Buffers to read, from what any cache holds to several times what the device tells.

    Args:
        told_bytes: Size of the last-level cache as the device tells it.
        available_bytes: Memory that may be used; None where the device does not tell.
        further: Whether the usual ones did not tell where the cache ends.
    """
    largest = max(_LARGEST, 4 * told_bytes) * (_FURTHER if further else 1)
    if available_bytes is not None:
        largest = min(largest, available_bytes // 4)
    steps = int(_STEPS * math.log2(max(1.0, largest / SMALLEST_BUFFER)))
    return tuple(round(SMALLEST_BUFFER * 2 ** (i / _STEPS)) for i in range(steps + 1))
