"""Progress that a person sees, as the stages tell it."""

import logging
import time
from typing import Protocol

from phonelm_search.core.shape import ModelShape

_LOG = logging.getLogger("phonelm_search")


class Reporter(Protocol):
    """Shows a person what is going on."""

    def stage(self, title: str, total: float) -> None:
        """A stage begins; ``total`` is in whatever unit `advance` counts."""
        ...

    def advance(self, amount: float, detail: str = "") -> None:
        """Some of the stage is done."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line of its own."""
        ...


class LoggedReporter:
    """Tells stages and notes to the logger ``phonelm_search``."""

    def stage(self, title: str, total: float) -> None:
        """See `Reporter.stage`."""
        _LOG.info("%s …", title)

    def advance(self, amount: float, detail: str = "") -> None:
        """A log has no bar."""

    def note(self, text: str) -> None:
        """See `Reporter.note`."""
        _LOG.info("%s", text)


class RoundProgress:
    """Counts rounds of a stage, or the seconds that it may take, and ends at the whole.

    Args:
        report: Where stages are shown.
    """

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._left: float = 0.0
        self._seconds = False
        self._last = 0.0

    def begin(self, title: str, rounds: float, seconds: float = 0.0) -> None:
        """A stage begins.

        Args:
            title: What it does.
            rounds: Rounds that it makes when nothing is made again.
            seconds: In place of them, the time that it fills.
        """
        self._seconds, self._left = seconds > 0, seconds or rounds
        self._last = time.monotonic()
        self._report.stage(title, self._left)

    def on_round(self, shape: ModelShape) -> None:
        """A round of a shape is finished; one that is made again counts no further."""
        now = time.monotonic()
        amount = now - self._last if self._seconds else 1.0
        self._last = now
        self._advance(amount, shape.shape_id)

    def end(self) -> None:
        """The stage is over, whatever is left of it; nothing where none was begun."""
        self._advance(self._left)

    def _advance(self, amount: float, detail: str = "") -> None:
        amount = min(amount, self._left)
        if amount > 0 or detail:
            self._left -= amount
            self._report.advance(amount, detail)
