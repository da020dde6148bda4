"""Progress that a person sees, as the stages tell it."""

import logging
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


class ShapeProgress:
    """Counts shapes as done by their rounds; rounds made again count no further.

    Args:
        report: Where the stage was started, in shapes.
        rounds: Rounds that a shape takes when nothing disturbs it.
    """

    def __init__(self, report: Reporter, rounds: int) -> None:
        self._report, self._rounds = report, rounds
        self._made: dict[str, int] = {}
        self._done: set[str] = set()

    def restart(self) -> None:
        """A new stage, in which shapes of an earlier one may come again."""
        self._made.clear()
        self._done.clear()

    def on_round(self, shape: ModelShape) -> None:
        """A round of a shape is finished."""
        made = self._made.get(shape.shape_id, 0)
        self._made[shape.shape_id] = made + 1
        self._report.advance(1 / self._rounds if made < self._rounds else 0, shape.shape_id)

    def on_shape(self, shape: ModelShape) -> None:
        """A shape is done, perhaps without a round."""
        if shape.shape_id in self._done:
            return
        self._done.add(shape.shape_id)
        made = min(self._rounds, self._made.get(shape.shape_id, 0))
        self._report.advance(1 - made / self._rounds, shape.shape_id)
