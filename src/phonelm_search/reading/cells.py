"""Latency and loss over width and depth: the lowest of all shapes of a space of each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Floats
from phonelm_search.measure import cached_arrays
from phonelm_search.reading.view import StudyView
from phonelm_search.space import Columns, SearchSpace, enumerate_space

Ints = npt.NDArray[np.int64]
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Widths and depths of a space; arrays are ``[cells]``."""

    count: int
    """Shapes of the space."""
    sizes: tuple[float, float]
    """Decoder parameters of the smallest and of the largest one."""
    width: Ints
    """Hidden size."""
    depth: Ints
    """Layers."""
    latency: Floats
    """Share of the baseline's latency, of the shape of a cell where that is lowest."""
    loss: Floats
    """Likewise of loss."""


def cells_of(view: StudyView) -> Cells:
    """Tell all shapes of a study's space; kept for the next reading.

    Raises:
        ModelError: If nothing tells them.
    """
    found = cached_arrays(view.cached("cells"), f"{_VERSION}-{view.digest}", lambda: _told(view))
    return Cells(
        count=int(found["count"][0]),
        sizes=(float(found["sizes"][0]), float(found["sizes"][1])),
        width=found["width"].astype(np.int64),
        depth=found["depth"].astype(np.int64),
        latency=found["latency"],
        loss=found["loss"],
    )


def _told(view: StudyView) -> Mapping[str, Floats]:
    models, space = view.models, SearchSpace.model_validate(view.record.config["space"])
    columns = Columns.of_space(enumerate_space(space, *view.device.schemes))
    deepest = columns.num_hidden_layers.max() + 1
    cells, cell = np.unique(
        columns.hidden_size * deepest + columns.num_hidden_layers, return_inverse=True
    )

    def lowest(values: Floats) -> Floats:
        found = np.full(len(cells), np.inf)
        np.minimum.at(found, cell, values)
        return found

    sizes = columns.decoder_parameters
    return {
        "count": np.array([float(len(columns))]),
        "sizes": np.array([sizes.min(), sizes.max()], float),
        "width": (cells // deepest).astype(float),
        "depth": (cells % deepest).astype(float),
        "latency": lowest(models.latency_means(columns)),
        "loss": lowest(models.loss_means(columns)),
    }
