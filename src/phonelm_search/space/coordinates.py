"""The points that a sampler asks for, and the feasible shape nearest to each.

Samplers need fixed ranges, and divisibility makes most of their combinations infeasible. So a
point is asked in independent dimensions and decoded to the nearest feasible shape. Where a space
fixes the size, depth follows from the other dimensions and the wished size, so the size within
its tolerance is asked instead of the depth and few points are infeasible.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from phonelm_search.space.feasible import FeasibleSet

Point = dict[str, float | int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One coordinate of a point."""

    name: str
    """Its name in a study's parameters."""
    kind: Literal["int", "float", "categorical"]
    """How it is sampled."""
    low: float
    """Smallest feasible value; 0 for a categorical one."""
    high: float
    """Largest feasible value; number of choices − 1 for a categorical one."""
    choices: tuple[str, ...] = ()
    """Names of a categorical dimension's values."""


class Coordinates:
    """Points of a feasible set: one dimension for everything that varies in it.

    Args:
        feasible: The enumerated shapes, at least one.
    """

    def __init__(self, feasible: FeasibleSet) -> None:
        self._feasible = feasible
        space, columns = feasible.space, feasible.columns
        self._values: dict[str, npt.NDArray[np.float64]] = {}
        dimensions: list[Dimension] = []

        def add(name: str, values: npt.NDArray[np.generic], kind: Literal["int", "float"]) -> None:
            column = values.astype(np.float64)
            low, high = float(column.min()), float(column.max())
            if high > low:
                dimensions.append(Dimension(name=name, kind=kind, low=low, high=high))
                self._values[name] = column

        add("hidden_size", columns["hidden_size"], "int")
        sized = space.parameters is not None
        if sized:
            add("decoder_parameters", columns["decoder_parameters"], "int")
        else:
            add("num_hidden_layers", columns["num_hidden_layers"], "int")
        if space.head_dim is not None:
            add("head_dim", columns["head_dim"], "int")
        else:
            add("num_attention_heads", columns["num_attention_heads"], "int")
        add("kv_groups", columns["num_attention_heads"] // columns["num_key_value_heads"], "int")
        ratio = columns["intermediate_size"] / columns["hidden_size"]
        if space.ffn_ratio is not None:
            add("ffn_ratio", ratio, "float")
        else:
            add("intermediate_size", columns["intermediate_size"], "int")
        add("vocab_size", columns["vocab_size"], "int")
        choices: dict[str, tuple[str, ...]] = {"ffn": space.ffn, "hidden_act": space.hidden_act}
        for name, names in choices.items():
            if len(np.unique(columns[name])) > 1:
                dimensions.append(
                    Dimension(
                        name=name, kind="categorical", low=0, high=len(names) - 1, choices=names
                    )
                )
                self._values[name] = columns[name].astype(np.float64)
        self.dimensions = tuple(dimensions)

    def nearest(self, point: Point) -> int:
        """The row of the feasible shape nearest to a point.

        L1 distance with every dimension scaled to [0, 1]; a categorical one counts 0 or 1. Of
        equally near shapes the first row is taken.
        """
        distance = np.zeros(len(self._feasible))
        for dimension in self.dimensions:
            values, asked = self._values[dimension.name], point[dimension.name]
            if dimension.kind == "categorical":
                distance += values != dimension.choices.index(str(asked))
            else:
                distance += np.abs(values - float(asked)) / (dimension.high - dimension.low)
        return int(np.argmin(distance))

    def point(self, row: int) -> Point:
        """The point at which a shape lies; `nearest` leads back to an equal one."""
        found: Point = {}
        for dimension in self.dimensions:
            value = float(self._values[dimension.name][row])
            if dimension.kind == "categorical":
                found[dimension.name] = dimension.choices[int(value)]
            else:
                found[dimension.name] = int(value) if dimension.kind == "int" else value
        return found
