"""Progress bars with an estimate of the time left, on stderr."""

import textwrap
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from phonelm_search.cli.layout import fill
from phonelm_search.cli.output import say
from phonelm_search.core.printable import visible

_NUMBERS = 30  # letters of share and times
_BAR = 24
_DETAIL = 48  # letters that a shape's id may take
_LEAST_TITLE = 20


class ProgressReporter:
    """A `core.reporting.Reporter` for terminals; without one it prints a line for every tenth."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._width = self._console.width
        self._room = max(_LEAST_TITLE, self._width - _NUMBERS)
        self._progress = Progress(
            *self._columns(),
            console=self._console,
            disable=not self._live,
            # Two refreshes a second: a busy bar would take time from what is being measured.
            refresh_per_second=2,
        )
        self._task: TaskID | None = None
        self._title, self._total, self._done = "", 0.0, 0.0

    def _columns(self) -> list[ProgressColumn]:
        """Share and times always; what else has room beside a title."""
        columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
        if self._room >= _LEAST_TITLE + _BAR:
            columns.append(BarColumn(bar_width=_BAR))
            self._room -= _BAR
        columns.append(TextColumn("{task.percentage:>3.0f} %"))
        if self._width >= _LEAST_TITLE + _NUMBERS:
            columns.append(TimeElapsedColumn())
        columns += [TextColumn("left"), TimeRemainingColumn()]
        if self._room >= _LEAST_TITLE + _DETAIL:
            columns.append(TextColumn("{task.fields[detail]}", style="dim", markup=False))
            self._room -= _DETAIL
        return columns

    def __enter__(self) -> "ProgressReporter":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def stage(self, title: str, total: float) -> None:
        """See `core.reporting.Reporter.stage`."""
        if self._task is not None:
            self._progress.stop_task(self._task)
        title = visible(title)
        short = textwrap.shorten(title, self._room, placeholder=" …")
        self._task = self._progress.add_task(short, total=total or None, detail="")
        self._title, self._total, self._done = title, total, 0.0
        if not self._live:
            say(f"{title} …")

    def advance(self, amount: float, detail: str = "") -> None:
        """See `core.reporting.Reporter.advance`."""
        if self._task is not None:
            self._progress.update(self._task, advance=amount, detail=visible(detail))
        before, self._done = self._done, self._done + amount
        if not self._live and self._total and self._tenth(before) != self._tenth(self._done):
            share = self._done / self._total
            say(f"{self._title} {share:4.0%}  {detail}".rstrip())

    def _tenth(self, done: float) -> int:
        return int(10 * done / self._total + 1e-9)

    def note(self, text: str) -> None:
        """See `core.reporting.Reporter.note`."""
        if not self._live:
            say(text)
            return
        lines = fill(visible(text), self._width)
        self._console.print(Text(lines, style="yellow"), soft_wrap=True)
