"""The front of all shapes of a space, measured or not, and what a shape is worth beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phonelm_search.core.pareto import membership_probability
from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95, Floats, spread_over
from phonelm_search.measure import cached_arrays
from phonelm_search.reading.models import ShapeModels
from phonelm_search.space import (
    Columns,
    FeasibleSet,
    ParameterTarget,
    SearchSpace,
    enumerate_space,
)

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

_VERSION = 1
_NEAR = 0.10
"""Slower than the front by so much is near enough to have its deviation reckoned."""
_MOST = 300
"""Shapes whose place is drawn."""
_DRAWS = 400
_LOSS_BANDS = 40
_SIZES_A_DOUBLING = 8
_CELLS = 64
_REACH = 2.0
"""Times the sizes that were measured within which other sizes are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Density:
    """How many shapes lie where."""

    counts: Floats
    """``[cells, cells]``, latency by loss."""
    latency: Floats
    """``[cells + 1]``: edges, as shares of the baseline's."""
    loss: Floats
    """Likewise."""


@dataclass(frozen=True, kw_only=True)  # no slots: what is derived is worked out once
class ModelledFront:
    """What models tell of all shapes of a space; of a space of one size also of other sizes.

    Arrays are ``[n]``, one entry for each shape that is kept: those on the front or near it, and
    for each size the one of lowest loss.
    """

    count: int
    """Shapes of the space, of its own size."""
    kept: FeasibleSet
    """The shapes."""
    latency: Floats
    """Share of the baseline's latency."""
    latency_error: Floats
    """Deviation of its logarithm."""
    loss: Floats
    """Share of the baseline's loss."""
    loss_error: Floats
    """Deviation of its logarithm."""
    inside: Mask
    """Whether a shape is of the space's own size."""
    chance: Floats
    """How probable it is that a shape belongs to the front of the space; 0 outside."""
    best_of_size: Mask
    """Whether a shape has the lowest loss of its size."""
    density: Density
    """Of the shapes of the space's own size."""

    def shape(self, row: int) -> ModelShape:
        """The shape of a row."""
        return self.kept.shape(row)

    @property
    def parameters(self) -> Floats:
        """Decoder parameters."""
        return self.kept.columns["decoder_parameters"].astype(float)

    def front(self, *, any_size: bool = False) -> Rows:
        """Rows that none is both faster and better than, fastest first."""
        return self._fronts[any_size]

    @cached_property
    def _fronts(self) -> tuple[Rows, Rows]:
        """Of the space's own size, and of any."""
        inside, every = np.flatnonzero(self.inside), np.arange(len(self.latency))
        fronts = [rows[_staircase(self.latency[rows], self.loss[rows])] for rows in (inside, every)]
        return fronts[0], fronts[1]

    def latency_interval(self, rows: Rows) -> tuple[Floats, Floats]:
        """Ends of the 95 % intervals of latency."""
        factor = np.exp(Z_95 * self.latency_error[rows])
        return self.latency[rows] / factor, self.latency[rows] * factor

    def fastest_at(self, loss: float, *, any_size: bool = True) -> int | None:
        """The fastest row whose loss is no higher; None where none is."""
        front = self.front(any_size=any_size)
        found = front[self.loss[front] <= loss]
        return int(found[0]) if len(found) else None

    def best_at(self, latency: float, *, any_size: bool = True) -> int | None:
        """The row of lowest loss that is no slower; None where none is."""
        front = self.front(any_size=any_size)
        found = front[self.latency[front] <= latency]
        return int(found[-1]) if len(found) else None

    def equal_size(self, loss: float) -> tuple[float, float] | None:
        """Decoder parameters of the smallest shape with a loss, and its share of latency.

        By the best shape of each size, between two of them by logarithms.

        Returns:
            None where the best shapes of all sizes are better, or worse.
        """
        at, sizes, times = self._best_of_sizes
        if not len(at) or not at[0] <= loss <= at[-1]:
            return None
        size, share = np.exp([np.interp(loss, at, sizes), np.interp(loss, at, times)])
        return float(size), float(share)

    @cached_property
    def _best_of_sizes(self) -> tuple[Floats, Floats, Floats]:
        """Loss of the best of each size, ascending; logarithms of its parameters and latency."""
        rows = np.flatnonzero(self.best_of_size)
        rows = rows[np.argsort(self.parameters[rows])]
        best = np.minimum.accumulate(self.loss[rows])
        sizes, times = np.log(self.parameters[rows]), np.log(self.latency[rows])
        return best[::-1], sizes[::-1], times[::-1]


def model_front(
    models: Callable[[], ShapeModels],
    space: SearchSpace,
    schemes: tuple[Precision, ...],
    measured_sizes: tuple[float, float],
    *,
    digest: str,
    file: Path | None,
) -> ModelledFront:
    """Tell all shapes of a space.

    Args:
        models: Makes what tells; asked only where nothing is kept.
        space: The space.
        schemes: At which byte limits are counted.
        measured_sizes: Decoder parameters of measured shapes, from and to.
        digest: Of all that the numbers depend on.
        file: Where they are kept for the next reading; None keeps none.
    """
    open_space = space.model_copy(update={"parameters": None})

    def told() -> Mapping[str, Floats]:
        return _told(models(), open_space, space, schemes, measured_sizes)

    found = cached_arrays(file, f"{_VERSION}-{digest}", told)
    columns = {
        n.removeprefix(_COLUMN): found[n].round().astype(np.int64)
        for n in found
        if n.startswith(_COLUMN)
    }
    kept = FeasibleSet(space=open_space, columns=columns, combinations=0, failures={})
    # Kept in 24 bits, which are too few for it.
    columns["decoder_parameters"] = Columns.of_space(kept).decoder_parameters
    return ModelledFront(
        count=int(found["count"][0]),
        kept=kept,
        **{n: found[n] for n in ("latency", "latency_error", "loss", "loss_error", "chance")},
        inside=found["inside"] > 0,
        best_of_size=found["best_of_size"] > 0,
        density=Density(
            counts=found["density"], latency=found["latency_edges"], loss=found["loss_edges"]
        ),
    )


_COLUMN = "column_"


def _told(
    models: ShapeModels,
    open_space: SearchSpace,
    space: SearchSpace,
    schemes: tuple[Precision, ...],
    measured_sizes: tuple[float, float],
) -> dict[str, Floats]:
    asked = space.parameters
    if asked is not None and asked.count == "decoder":  # all that may count
        ends = [*asked.bounds, measured_sizes[0] / _REACH, measured_sizes[1] * _REACH]
        within = ParameterTarget(min=round(min(ends)), max=round(max(ends)))
        open_space = open_space.model_copy(update={"parameters": within})
    everything = enumerate_space(open_space, *schemes)
    own = everything.within(asked)
    sizes = everything.columns["decoder_parameters"]
    reached = (sizes >= measured_sizes[0] / _REACH) & (sizes <= measured_sizes[1] * _REACH)
    kept = np.flatnonzero(own | reached)
    shapes, inside = everything.rows(kept), own[kept]
    columns = Columns.of_space(shapes)
    latency, loss = models.latency_means(columns), models.loss_means(columns)
    best = _best_rows(shapes.columns["decoder_parameters"], loss)
    rows = np.flatnonzero(inside)
    near = [rows[near_front(latency[rows], loss[rows])], near_front(latency, loss)]
    found = np.unique(np.concatenate([*near, best]))
    some = columns.rows(found)
    latencies, losses = models.latency(some), models.loss(some)
    mine = inside[found]
    chance = np.zeros(len(found))
    if mine.any():
        drawn = some.rows(mine)
        chance[mine] = membership_probability(
            models.latency_draws(drawn, _DRAWS), models.loss_draws(drawn, _DRAWS)
        )
    counts, latency_edges, loss_edges = np.histogram2d(
        np.log(latency[rows]), np.log(loss[rows]), bins=_CELLS
    )
    return {
        **{_COLUMN + n: c[found].astype(float) for n, c in shapes.columns.items()},
        "count": np.array([float(len(rows))]),
        "latency": np.exp(latencies.mean),
        "latency_error": latencies.deviation,
        "loss": np.exp(losses.mean),
        "loss_error": losses.deviation,
        "inside": mine.astype(float),
        "chance": chance,
        "best_of_size": np.isin(found, best).astype(float),
        "density": counts,
        "latency_edges": np.exp(latency_edges),
        "loss_edges": np.exp(loss_edges),
    }


def _staircase(latency: Floats, loss: Floats) -> Rows:
    """The front of two objectives, fastest first; of equal points the first."""
    order = np.lexsort((loss, latency))
    before = np.concatenate([[np.inf], np.minimum.accumulate(loss[order])[:-1]])
    return order[loss[order] < before]


def near_front(latency: Floats, loss: Floats) -> Rows:
    """Rows on the front and close behind it, at most `_MOST`, spread over the losses."""
    if not len(latency):
        return np.array([], np.intp)
    order = np.lexsort((latency, loss))
    behind = np.log(latency[order] / np.minimum.accumulate(latency[order]))
    near, behind = order[behind <= _NEAR], behind[behind <= _NEAR]
    front = near[behind == 0]
    chosen = front[spread_over(len(front), _MOST // 2)]
    logs = np.log(loss[near])
    span = float(np.ptp(logs)) or 1.0
    band = np.minimum((_LOSS_BANDS * (logs - logs.min()) / span).astype(int), _LOSS_BANDS - 1)
    place = np.empty(len(near), int)  # how near a row is among those of its band
    by_band = np.lexsort((behind, band))
    starts = np.searchsorted(band[by_band], band[by_band])
    place[by_band] = np.arange(len(near)) - starts
    others = near[np.lexsort((behind, place))][: _MOST - len(chosen)]
    return np.unique(np.concatenate([chosen, others]))


def _best_rows(parameters: npt.NDArray[np.int64], loss: Floats) -> Rows:
    """The row of lowest loss of each size."""
    size = np.round(_SIZES_A_DOUBLING * np.log2(parameters)).astype(int)
    order = np.lexsort((loss, size))
    _, first = np.unique(size[order], return_index=True)
    return order[first]
