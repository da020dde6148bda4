"""All feasible shapes of a search space, enumerated once with numpy."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import ConfigurationError, EmptySpaceError
from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import SIZES, ModelShape, sizes_in
from phonelm_search.core.units import format_bytes
from phonelm_search.space.schema import ParameterTarget, SearchSpace

Ints = npt.NDArray[np.int64]
_MAX_COMBINATIONS = 100_000_000
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
        return _of_size(self.columns, target, tied=self.space.tie_word_embeddings)

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


def enumerate_space(space: SearchSpace, *precisions: Precision) -> FeasibleSet:
    """Enumerate the feasible shapes.

    Args:
        space: The search space.
        precisions: Schemes at which byte limits are counted: a device that runs its phases in
            different ones keeps weights in each; the KV cache is kept in the first.

    Raises:
        EmptySpaceError: If none is feasible; names the constraint whose removal helps most.
        ConfigurationError: If there are more than 100 million combinations.
    """
    parts: list[dict[str, Ints]] = []
    failures: dict[str, int] = {}
    sole: dict[str, int] = {}
    combinations = 0
    for chunk in _chunks(space):
        combinations += len(chunk["hidden_size"])
        if combinations > _MAX_COMBINATIONS:
            raise ConfigurationError(
                f"a space must have at most {_MAX_COMBINATIONS:,} combinations, "
                f"'{space.name}' has more; use larger steps"
            )
        broken = _broken(chunk, space, precisions)
        count = sum((b.astype(np.int8) for b in broken.values()), np.zeros(1, np.int8))
        for name, mask in broken.items():
            failures[name] = failures.get(name, 0) + int(mask.sum())
            sole[name] = sole.get(name, 0) + int((mask & (count == 1)).sum())
        keep = np.broadcast_to(count == 0, chunk["hidden_size"].shape)
        parts.append({name: chunk[name][keep] for name in _COLUMNS})
    columns = {name: np.concatenate([p[name] for p in parts]) for name in _COLUMNS}
    feasible = FeasibleSet(
        space=space, columns=columns, combinations=combinations, failures=failures
    )
    if not len(feasible):
        tightest = max(failures, key=lambda name: (sole[name], failures[name]))
        without = f"; without it {sole[tightest]:,} would be" if sole[tightest] else ""
        raise EmptySpaceError(
            f"search space '{space.name}' has no feasible shape among {combinations:,} "
            f"combinations; tightest constraint: {tightest}{without}"
        )
    return feasible


def _chunks(space: SearchSpace) -> Iterator[dict[str, Ints]]:
    """Combinations for one (width, vocabulary, ffn) at a time, as columns."""
    heads_given = space.num_attention_heads is not None
    for hidden, vocab, ffn in product(space.hidden_size, space.vocab_size, range(len(space.ffn))):
        axes = (
            np.asarray(_intermediate_sizes(space, hidden), np.int64),
            np.asarray(space.num_hidden_layers, np.int64),
            np.asarray(space.num_attention_heads or space.head_dim, np.int64),
            np.asarray(space.kv_groups, np.int64),
            np.arange(len(space.hidden_act), dtype=np.int64),
        )
        if int(np.prod([len(a) for a in axes])) > _MAX_COMBINATIONS:
            raise ConfigurationError(
                f"a space must have at most {_MAX_COMBINATIONS:,} combinations, "
                f"'{space.name}' has more; use larger steps"
            )
        mesh = [m.ravel() for m in np.meshgrid(*axes, indexing="ij")]
        intermediate, layers, heads_or_dim, groups, act = mesh
        # The integer quotient is wrong where it does not divide; `_broken` drops those rows.
        other = np.maximum(hidden // heads_or_dim, 1)
        heads, head_dim = (heads_or_dim, other) if heads_given else (other, heads_or_dim)
        kv_heads = np.maximum(heads // groups, 1)
        chunk = {
            "hidden_size": np.full_like(layers, hidden),
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "kv_groups": groups,
            "head_dim": head_dim,
            "vocab_size": np.full_like(layers, vocab),
            "ffn": np.full_like(layers, ffn),
            "hidden_act": act,
        }
        gates = 2 if space.ffn[ffn] == "gated" else 1
        chunk["decoder_parameters"] = decoder_parameters(
            hidden, intermediate, layers, heads * head_dim, _kv_size(chunk), gates
        )
        yield chunk


def _intermediate_sizes(space: SearchSpace, hidden: int) -> list[int]:
    raw = space.intermediate_size or [ratio * hidden for ratio in space.ffn_ratio or ()]
    unit = space.multiple_of
    return sorted({max(unit, round(size / unit) * unit) for size in raw})


def decoder_parameters(
    hidden: Ints | int, intermediate: Ints, layers: Ints, q: Ints, kv: Ints, gates: Ints | int
) -> Ints:
    """`ModelShape.decoder_parameters` of many, without biases and norms of queries and keys."""
    layer: Any = 2 * hidden * (q + kv) + (gates + 1) * hidden * intermediate + 2 * hidden
    counts: Ints = layers * layer + hidden
    return counts


def _of_size(c: dict[str, Ints], target: ParameterTarget, *, tied: bool) -> npt.NDArray[np.bool_]:
    """Where decoder or total parameters lie within bounds."""
    size = c["decoder_parameters"]
    if target.count == "total":
        size = size + c["hidden_size"] * c["vocab_size"] * (1 if tied else 2)
    low, high = target.bounds
    return np.asarray((size >= low) & (size <= high))


def _kv_size(c: dict[str, Ints]) -> Ints:
    return c["num_key_value_heads"] * c["head_dim"]


def _matrix_sizes(c: dict[str, Ints]) -> dict[str, Ints]:
    """`ModelShape.matrix_sizes`, column-wise."""
    return {
        "hidden_size": c["hidden_size"],
        "intermediate_size": c["intermediate_size"],
        "head_dim": c["head_dim"],
        "num_attention_heads × head_dim": c["num_attention_heads"] * c["head_dim"],
        "num_key_value_heads × head_dim": _kv_size(c),
    }


def _weight_bytes(c: dict[str, Ints], space: SearchSpace, precision: Precision) -> Ints:
    """`ModelShape.weight_bytes(...).total`, column-wise; the scheme's arithmetic is elementwise."""
    size: Any = precision.matrix_bytes  # takes arrays as well as integers
    h, f = c["hidden_size"], c["intermediate_size"]
    q = c["num_attention_heads"] * c["head_dim"]
    ups = 2 if space.ffn[int(c["ffn"][0])] == "gated" else 1
    layer = size(h, q + 2 * _kv_size(c)) + size(q, h) + ups * size(h, f) + size(f, h) + 8 * h
    vocab, hidden = int(c["vocab_size"][0]), int(h[0])
    table = precision.embedding_bytes(vocab, hidden, shared=space.tie_word_embeddings)
    total: Ints = c["num_hidden_layers"] * layer + 4 * h + size(hidden, vocab) + table
    return total


def _broken(
    c: dict[str, Ints], space: SearchSpace, precisions: Sequence[Precision]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Constraint → where it is broken."""
    h, heads = c["hidden_size"], c["num_attention_heads"]
    broken: dict[str, npt.NDArray[np.bool_]] = {
        "hidden_size is a multiple of the head count": heads * c["head_dim"] != h,
        "head_dim is even": c["head_dim"] % 2 != 0,
        "num_attention_heads is a multiple of kv_groups": heads % c["kv_groups"] != 0,
    }
    for p in precisions:
        if p.storage == "block":
            # As `graph.check_kernels`: the kernel that looks embeddings up reads whole blocks.
            name = f"hidden_size is a multiple of {p.name}'s block of {p.block_size}"
            broken[name] = h % p.block_size != 0
    if space.parameters is not None:
        broken[f"{space.parameters}"] = ~_of_size(
            c, space.parameters, tied=space.tie_word_embeddings
        )
    if space.limits.align is not None:
        for name, size in _matrix_sizes(c).items():
            broken[f"{name} is a multiple of {space.limits.align}"] = size % space.limits.align != 0
    if space.limits.weight_bytes is not None:
        limit = space.limits.weight_bytes
        name = f"weight_bytes ≤ {format_bytes(limit)} at {' + '.join(p.name for p in precisions)}"
        stored: Ints = np.sum([_weight_bytes(c, space, p) for p in precisions], axis=0)
        broken[name] = stored > limit
    if space.limits.kv_bytes_per_token is not None:
        limit = space.limits.kv_bytes_per_token
        first = precisions[0]
        per_token = 2 * c["num_hidden_layers"] * _kv_size(c) * first.kv_bytes_per_element
        broken[f"kv_bytes_per_token ≤ {format_bytes(limit)} at {first.name}"] = per_token > limit
    return broken
