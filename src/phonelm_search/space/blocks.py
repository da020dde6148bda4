"""The combinations that a search space lists: counted first, then made as blocks of arrays."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.space.schema import SearchSpace

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
MOST_COMBINATIONS = 100_000_000
_BLOCK = 2_000_000  # combinations whose columns take about 100 MB while they are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Combinations of one width, but for activations, which no constraint looks at.

    Axes are vocabularies, kinds of feed-forward network, intermediate sizes, depths, heads, groups.
    """

    columns: dict[str, Ints]
    """Arrays that broadcast to ``shape``."""
    shape: tuple[int, ...]
    """Length of every axis."""
    activations: int
    """How many activations each stands for."""

    @property
    def combinations(self) -> int:
        """How many there are, activations among them."""
        return math.prod(self.shape) * self.activations

    def times(self, mask: Mask) -> int:
        """How many combinations a mask of some axes holds."""
        return int(mask.sum()) * (self.combinations // mask.size)

    def rows(self, keep: Mask) -> dict[str, Ints]:
        """Columns of those that a mask of all axes holds, activations innermost."""
        index = np.nonzero(keep)
        flat = {
            name: np.repeat(np.broadcast_to(values, self.shape)[index], self.activations)
            for name, values in self.columns.items()
        }
        acts = np.arange(self.activations, dtype=np.int64)
        return {**flat, "hidden_act": np.tile(acts, len(index[0]))}


def blocks_of(space: SearchSpace) -> Iterator[Block]:
    """All combinations in a deterministic order.

    Raises:
        ConfigurationError: If there are more than 100 million; nothing was made then.
    """
    combinations_of(space)
    for hidden in space.hidden_size:
        axes = [
            np.asarray(values, np.int64)
            for values in (
                space.vocab_size,
                range(len(space.ffn)),
                _intermediate_sizes(space, hidden),
                space.num_hidden_layers,
                space.num_attention_heads or space.head_dim,
                space.kv_groups,
            )
        ]
        for part in _parts([len(a) for a in axes]):
            yield _block(space, hidden, [a[p] for a, p in zip(axes, part, strict=True)])


def combinations_of(space: SearchSpace) -> int:
    """How many combinations there are; nothing is made but the sizes of every width.

    Raises:
        ConfigurationError: If there are more than 100 million.
    """
    heads = space.num_attention_heads or space.head_dim or ()
    axes = (
        space.vocab_size, space.ffn, space.num_hidden_layers, heads, space.kv_groups,
        space.hidden_act,
    )  # fmt: skip
    beside, widths = math.prod(map(len, axes)), len(space.hidden_size)
    listed = len(space.intermediate_size or space.ffn_ratio or ())
    count = max(beside * widths, widths * listed)
    if count <= MOST_COMBINATIONS:
        count = 0
        for hidden in space.hidden_size:
            count += beside * len(_intermediate_sizes(space, hidden))
            if count > MOST_COMBINATIONS:
                break
    if count > MOST_COMBINATIONS:
        raise ConfigurationError(
            f"a space must have at most {MOST_COMBINATIONS:,} combinations, "
            f"'{space.name}' has more; use larger steps"
        )
    return count


def _intermediate_sizes(space: SearchSpace, hidden: int) -> Ints:
    raw = space.intermediate_size or [ratio * hidden for ratio in space.ffn_ratio or ()]
    unit = space.multiple_of
    sizes = np.rint(np.asarray(raw, np.float64) / unit).astype(np.int64) * unit
    return np.unique(np.maximum(sizes, unit))


def _parts(lengths: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Slices of axes, in the order of the combinations, of at most so many each."""
    axis = 0
    while math.prod(lengths[axis + 1 :]) > _BLOCK:
        axis += 1
    step = max(1, _BLOCK // math.prod(lengths[axis + 1 :]))
    for outer in np.ndindex(*lengths[:axis]):
        for start in range(0, lengths[axis], step):
            yield (
                *(slice(i, i + 1) for i in outer),
                slice(start, start + step),
                *(slice(None) for _ in lengths[axis + 1 :]),
            )


def _block(space: SearchSpace, hidden: int, axes: Sequence[Ints]) -> Block:
    shape = tuple(len(a) for a in axes)
    vocab, ffn, intermediate, layers, heads_or_dim, groups = np.ix_(*axes)
    # The integer quotient is wrong where it does not divide; constraints drop those rows.
    other = np.maximum(hidden // heads_or_dim, 1)
    by_heads = space.num_attention_heads is not None
    heads, head_dim = (heads_or_dim, other) if by_heads else (other, heads_or_dim)
    return Block(
        columns={
            "hidden_size": np.full((1,) * len(shape), hidden, np.int64),
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": np.maximum(heads // groups, 1),
            "kv_groups": groups,
            "head_dim": head_dim,
            "vocab_size": vocab,
            "ffn": ffn,
        },
        shape=shape,
        activations=len(space.hidden_act),
    )
