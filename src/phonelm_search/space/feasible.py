"""All feasible shapes of a search space, enumerated once with numpy."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import EmptySpaceError
from phonelm_search.core.kernels import nearest
from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import SIZES, ModelShape, sizes_in
from phonelm_search.space.blocks import Block, Ints, Mask, blocks_of
from phonelm_search.space.constraints import (
    HEAD_RULE,
    broken_rules,
    most_head_unit,
    of_size,
    with_parameters,
)
from phonelm_search.space.schema import ParameterTarget, SearchSpace

_COLUMNS = (*SIZES, "ffn", "hidden_act", "decoder_parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeasibleSet:
    """The feasible shapes, a row each, in a deterministic order."""

    space: SearchSpace
    """Where they come from."""
    columns: dict[str, Ints]
    """Equal-length columns; ``ffn`` and ``hidden_act`` are indices into the space's lists."""
    combinations: int
    """Combinations of the listed values that were looked at."""
    failures: dict[str, int]
    """Constraint → how many combinations break it."""

    def __len__(self) -> int:
        return len(self.columns["hidden_size"])

    def shape(self, row: int) -> ModelShape:
        """The shape of a row."""
        values: dict[str, Any] = {k: int(v[row]) for k, v in self.columns.items()}
        values.pop("decoder_parameters")
        values["ffn"] = self.space.ffn[values["ffn"]]
        values["hidden_act"] = self.space.hidden_act[values["hidden_act"]]
        return ModelShape(**values, tie_word_embeddings=self.space.tie_word_embeddings)

    def rows(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "FeasibleSet":
        """Those of an index."""
        return replace(self, columns={k: v[index] for k, v in self.columns.items()})

    def within(self, target: ParameterTarget | None) -> npt.NDArray[np.bool_]:
        """``[n]``: which ones have a size that is asked for; all of them where none is."""
        if target is None:
            return np.ones(len(self), bool)
        return of_size(self.columns, target, tied=self.space.tie_word_embeddings)

    def rows_of(self, shape_ids: Collection[str]) -> list[int]:
        """Rows of the shapes with these ids, ascending."""
        asked = [sizes for sizes in map(sizes_in, shape_ids) if sizes]
        if not asked:
            return []
        near = np.ones(len(self), bool)
        for name in asked[0]:
            near &= np.isin(self.columns[name], [sizes[name] for sizes in asked])
        return [r for r in np.flatnonzero(near).tolist() if self.shape(r).shape_id in shape_ids]

    def histogram(self, column: str) -> dict[int, int]:
        """Value of a column → how many shapes have it, ascending."""
        values, counts = np.unique(self.columns[column], return_counts=True)
        return {int(v): int(n) for v, n in zip(values, counts, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceCounts:
    """How many shapes of a space are feasible, and what excludes the others."""

    combinations: int
    """Combinations of the listed values that were looked at."""
    feasible: int
    """How many keep every constraint."""
    failures: dict[str, int]
    """Constraint → how many combinations break it."""
    refused_heads: tuple[int, ...]
    """Head dimensions of combinations that kernels refuse, ascending."""
    num_hidden_layers: dict[int, int]
    """Depth → feasible shapes, ascending."""
    hidden_size: dict[int, int]
    """Width → feasible shapes, ascending."""


def enumerate_space(space: SearchSpace, *precisions: Precision) -> FeasibleSet:
    """Enumerate the feasible shapes.

    Args:
        space: The search space.
        precisions: Schemes at which byte limits are counted and whose kernels must take a shape: a
            device that runs its phases in different ones keeps weights in each; the KV cache is
            kept in the first.

    Raises:
        EmptySpaceError: If none is feasible; names the constraint whose removal helps most.
        ConfigurationError: If there are more than 100 million combinations.
    """
    tally = _Tally(space, precisions)
    parts = [block.rows(keep) for block, keep in tally.blocks()]
    return FeasibleSet(
        space=space,
        columns={name: np.concatenate([p[name] for p in parts]) for name in _COLUMNS},
        combinations=tally.combinations,
        failures=tally.failures,
    )


def count_space(space: SearchSpace, *precisions: Precision) -> SpaceCounts:
    """Count the feasible shapes without keeping any: see `enumerate_space`.

    Raises:
        EmptySpaceError, ConfigurationError: As `enumerate_space`.
    """
    tally = _Tally(space, precisions)
    layers, widths = Counter[int](), Counter[int]()
    for block, keep in tally.blocks():
        each = keep.sum(axis=(0, 1, 2, 4, 5)) * block.activations
        depths = block.columns["num_hidden_layers"].ravel()
        layers.update(dict(zip(depths.tolist(), each.tolist(), strict=True)))
        widths[int(block.columns["hidden_size"].flat[0])] += int(each.sum())
    return SpaceCounts(
        combinations=tally.combinations,
        feasible=tally.feasible,
        failures=tally.failures,
        refused_heads=tuple(sorted(tally.refused_heads)),
        num_hidden_layers={k: n for k, n in sorted(layers.items()) if n},
        hidden_size={k: n for k, n in sorted(widths.items()) if n},
    )


class _Tally:
    """What is counted while the combinations of a space are looked at.

    Args:
        space: The search space.
        precisions: As `enumerate_space`.
    """

    def __init__(self, space: SearchSpace, precisions: Sequence[Precision]) -> None:
        self._space, self._precisions = space, precisions
        self.combinations = self.feasible = 0
        self.failures: dict[str, int] = {}
        self.refused_heads: set[int] = set()
        self._sole: dict[str, int] = {}

    def blocks(self) -> Iterator[tuple[Block, Mask]]:
        """All combinations, and which of them are feasible."""
        for listed in blocks_of(self._space):
            block = replace(listed, columns=with_parameters(listed.columns, self._space))
            yield block, self._feasible(block)
        if not self.feasible:
            raise self._empty()

    def _feasible(self, block: Block) -> Mask:
        rules = broken_rules(block.columns, self._space, self._precisions)
        count = np.zeros(block.shape, np.int8)
        for mask in rules.values():
            count += mask
        alone = count == 1
        for name, mask in rules.items():
            self.failures[name] = self.failures.get(name, 0) + block.times(mask)
            alone_times = int((mask & alone).sum()) * block.activations
            self._sole[name] = self._sole.get(name, 0) + alone_times
        keep: Mask = count == 0
        self.combinations += block.combinations
        self.feasible += block.times(keep)
        unit = most_head_unit(self._precisions)
        heads, width = block.columns["head_dim"], block.columns["hidden_size"]
        refused = (heads % unit != 0) & (block.columns["num_attention_heads"] * heads == width)
        self.refused_heads.update(heads[np.broadcast_to(refused, heads.shape)].tolist())
        return keep

    def _empty(self) -> EmptySpaceError:
        failures, sole = self.failures, self._sole
        tightest = max(failures, key=lambda name: (sole[name], failures[name]))
        without = f"; without it {sole[tightest]:,} would be" if sole[tightest] else ""
        unit = most_head_unit(self._precisions)
        if tightest == HEAD_RULE.format(unit):
            without += f"; {nearest_heads(sorted(self.refused_heads), unit)}"
        return EmptySpaceError(
            f"search space '{self._space.name}' has no feasible shape among "
            f"{self.combinations:,} combinations; tightest constraint: {tightest}{without}"
        )


def nearest_heads(refused: Sequence[int], unit: int) -> str:
    """Head dimensions that kernels refuse with the nearest that they take, the first five."""
    told = [f"{size}: {nearest(size, unit)}" for size in refused[:5]]
    return f"head_dim and the nearest that work: {'; '.join(told)}"
