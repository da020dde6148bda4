"""Time that a person gives."""

import math
import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment after which nothing new begins; without ``seconds`` there is none."""

    seconds: float = math.inf
    """From now on."""
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_end", time.monotonic() + self.seconds)

    @property
    def left(self) -> float:
        """Seconds that are left; negative where it has passed."""
        return self._end - time.monotonic()

    @property
    def ends(self) -> bool:
        """Whether there is one."""
        return math.isfinite(self.seconds)

    def earlier(self, seconds: float) -> "Deadline":
        """The same with so much kept back, for what comes after."""
        return Deadline(self.left - seconds)


NEVER = Deadline()
"""The deadline that never comes."""
