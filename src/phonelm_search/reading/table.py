"""Rows of a study: what they are compared by in columns, and each row when it is looked at."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from phonelm_search.core.latency import Extent
from phonelm_search.core.records import Kind
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.quality import Score
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.row_judgement import RowJudgement
from phonelm_search.reading.times import TimeColumns

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowColumns:
    """What is known of all rows without making one, an entry each."""

    ids: Sequence[str]
    """Of the shapes."""
    shapes: Sequence[ModelShape]
    """The shapes."""
    names: Sequence[str | None]
    """Names of references; None for sampled shapes."""
    kinds: Sequence[Kind]
    """As `StudyRow.kind`."""
    latency: Floats
    """``[n, 3]``, as `StudyRow.latency`."""
    loss: Floats
    """``[n, 3]``, as `StudyRow.loss`."""
    devices: Sequence[str]
    """As `StudyRow.device`."""
    peak_bytes: Sequence[int | None]
    """As `StudyRow.peak_bytes`."""
    scores: Sequence[Score | None]
    """As `StudyRow.score`."""
    times: Callable[[str], TimeColumns]
    """Times of all on a device by its name."""
    judgement: Callable[[int], RowJudgement]
    """How far to trust a row."""
    make: Callable[[int], StudyRow]
    """Makes a row."""
    draws: Callable[[Rows], Floats]
    """``[some, draws]`` of the latency of some rows."""
    loss_draws: Callable[[Rows], Floats]
    """``[some, draws]`` of the loss of some rows."""
    digest: str | None = None
    """Of all that latencies, losses and their draws depend on; None where that is not known."""
    made: dict[int, StudyRow] = field(default_factory=dict)
    """Rows that were looked at: each is one object."""


class Table(Sequence[StudyRow]):
    """Rows of a study, or some of them, fastest first.

    Args:
        columns: What is known of all.
        rows: Which of them; None: all.
    """

    def __init__(self, columns: RowColumns, rows: Rows | None = None) -> None:
        self._columns = columns
        self._rows = np.arange(len(columns.shapes)) if rows is None else rows

    @classmethod
    def of(cls, rows: Iterable[StudyRow]) -> "Table":
        """Of rows that were made."""
        made = tuple(rows)
        return cls(
            RowColumns(
                ids=[r.shape.shape_id for r in made],
                shapes=[r.shape for r in made],
                names=[r.name for r in made],
                kinds=[r.kind for r in made],
                devices=[r.device for r in made],
                peak_bytes=[r.peak_bytes for r in made],
                scores=[r.score for r in made],
                times=lambda device: TimeColumns.of([r.times[device] for r in made]),
                judgement=lambda i: made[i].judgement,
                latency=np.array([r.latency for r in made]).reshape(-1, 3),
                loss=np.array([r.loss for r in made]).reshape(-1, 3),
                make=made.__getitem__,
                draws=lambda some: np.stack([made[i].draws for i in some]),
                loss_draws=lambda some: np.stack([made[i].loss_draws for i in some]),
            )
        )

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> StudyRow: ...
    @overload
    def __getitem__(self, index: slice) -> "Table": ...
    def __getitem__(self, index: int | slice) -> "StudyRow | Table":
        if isinstance(index, slice):
            return Table(self._columns, self._rows[index])
        place, columns = int(self._rows[index]), self._columns
        if place not in columns.made:
            columns.made[place] = columns.make(place)
        return columns.made[place]

    def only(self, mask: npt.ArrayLike) -> "Table":
        """Rows where a mask is true."""
        return Table(self._columns, self._rows[np.asarray(mask, bool)])

    def at(self, places: Sequence[int]) -> "Table":
        """Rows at some places, in that order."""
        return Table(self._columns, self._rows[np.asarray(places, np.intp)])

    def redrawn(self, losses: Callable[[Sequence[str]], Floats]) -> "Table":
        """The same with other draws of losses, ``[some, draws]`` of some shapes by their ids."""
        before = self._columns

        def make(row: int) -> StudyRow:
            return replace(before.make(row), draw_loss=lambda: losses([before.ids[row]])[0])

        def draws(rows: Rows) -> Floats:
            return losses([before.ids[i] for i in rows])

        columns = replace(before, make=make, loss_draws=draws, digest=None, made={})
        return Table(columns, self._rows)

    @property
    def ids(self) -> list[str]:
        """Of each row's shape."""
        return [self._columns.ids[i] for i in self._rows]

    @property
    def shapes(self) -> list[ModelShape]:
        """Of each row."""
        return [self._columns.shapes[i] for i in self._rows]

    @property
    def names(self) -> list[str | None]:
        """Of references; None for sampled shapes."""
        return [self._columns.names[i] for i in self._rows]

    @property
    def kinds(self) -> list[Kind]:
        """As `StudyRow.kind`."""
        return [self._columns.kinds[i] for i in self._rows]

    @property
    def devices(self) -> list[str]:
        """As `StudyRow.device`."""
        return [self._columns.devices[i] for i in self._rows]

    @property
    def peak_bytes(self) -> list[int | None]:
        """As `StudyRow.peak_bytes`."""
        return [self._columns.peak_bytes[i] for i in self._rows]

    @property
    def scores(self) -> list[Score | None]:
        """As `StudyRow.score`."""
        return [self._columns.scores[i] for i in self._rows]

    @property
    def judgements(self) -> list[RowJudgement]:
        """How far to trust each row."""
        return [self._columns.judgement(i) for i in self._rows.tolist()]

    def times(self, device: str) -> TimeColumns:
        """Times on one of the study's devices."""
        return self._columns.times(device).rows(self._rows)

    @property
    def latency(self) -> Floats:
        """``[n, 3]``: value, lower and upper end of what rows are compared by."""
        return self._columns.latency[self._rows]

    @property
    def loss(self) -> Floats:
        """``[n, 3]``, likewise."""
        return self._columns.loss[self._rows]

    @property
    def digest(self) -> str | None:
        """Of all that latencies, losses and their draws depend on; None where that is unknown."""
        return self._columns.digest

    def draws(self, rows: Rows | slice = slice(None)) -> Floats:
        """``[some, draws]`` of the latency of all or some."""
        return self._columns.draws(self._rows[rows])

    def loss_draws(self, rows: Rows | slice = slice(None)) -> Floats:
        """``[some, draws]`` of the loss of all or some."""
        return self._columns.loss_draws(self._rows[rows])

    def near(self, latency: Extent) -> "Table":
        """Rows whose 95 % interval of latency meets another one.

        Of others 95 % of draws tell which is less.
        """
        _, low, high = self.latency.T
        return self.only((low <= latency.high) & (latency.low <= high))
