"""Progress bars with an estimate of the time left, on stderr."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ProgressReporter:
    """A `core.reporting.Reporter` for terminals; without one it prints a line for every tenth."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", style="dim"),
            console=self._console,
            disable=not self._live,
            # Two refreshes a second: a busy bar would take time from what is being measured.
            refresh_per_second=2,
        )
        self._task: TaskID | None = None
        self._title, self._total, self._done = "", 0.0, 0.0

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
        self._task = self._progress.add_task(title, total=total or None, detail="")
        self._title, self._total, self._done = title, total, 0.0
        if not self._live:
            self._console.print(f"{title} …", highlight=False)

    def advance(self, amount: float, detail: str = "") -> None:
        """See `core.reporting.Reporter.advance`."""
        if self._task is not None:
            self._progress.update(self._task, advance=amount, detail=detail)
        before, self._done = self._done, self._done + amount
        if not self._live and self._total and self._tenth(before) != self._tenth(self._done):
            share = self._done / self._total
            self._console.print(
                f"{self._title} {share:4.0%}  {detail}", highlight=False, markup=False
            )

    def _tenth(self, done: float) -> int:
        return int(10 * done / self._total + 1e-9)

    def note(self, text: str) -> None:
        """See `core.reporting.Reporter.note`."""
        self._console.print(text, style="yellow", highlight=False, soft_wrap=True, markup=False)
