"""Why a number is doubted, as a value; its text is made where a person reads it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a latency is not valid, and what to do."""

    kind: str
    """Says which reason it is, always the same: ``drift-slower``."""
    what: str
    """One clause that says what was seen."""
    remedy: str | None = None
    """What to do; None where nothing helps, or where a reason before it says so already."""
    about: str | None = None
    """Which one it is about, where it may be one of several: a phone's serial."""
    rounds: int = 1
    """Rounds of a measurement in which it was seen; the numbers are those of the first."""

    @property
    def text(self) -> str:
        """What was seen, what to do, and in how many rounds."""
        sentence = self.what if self.remedy is None else f"{self.what}; {self.remedy}"
        return sentence if self.rounds == 1 else f"{sentence} (in {self.rounds} rounds)"


def in_one_line(reasons: Iterable[Reason]) -> str:
    """Texts of reasons, one after another."""
    return "; ".join(reason.text for reason in reasons)
