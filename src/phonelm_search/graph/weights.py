"""Weights that are generated, never sent: the same bytes in Python and in the C++ runner.

A pool of 4 MiB of SplitMix64 words is filled from the job's seed. Every tensor reads it from an
offset given by FNV-1a-64 of its name, wrapping around, so that no two tensors hold equal bytes:
ONNX Runtime shares byte-identical packed weights, which would halve decode latency.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import ExportError, unwritable

Array = npt.NDArray[Any]
TensorType = Literal["float32", "uint8", "int8"]
TensorKind = Literal["uniform", "positive", "int4", "int8", "rotary_cos", "rotary_sin"]

POOL_WORDS = 4 * 2**20 // 8
DATA_FILE = "model.onnx.data"
_ALIGNMENT = 4096  # so that a runtime can map the file


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One weight tensor of a graph and the rule that fills it.

    ``uniform``: zero mean, standard deviation ``scale``. ``positive``: ``scale · (1 + u/4)``, u
    uniform on [-1, 1). ``int4``: two nibbles a byte, low one first, ``1 + x mod 15`` each,
    around zero point 8. ``int8``: ``1 + x mod 255`` around zero point 128, less 128 where the
    type is signed. ``rotary_*``: cosine or sine of position × ``scale^(-2i/head_dim)``.
    """

    name: str
    """Name of the initializer."""
    shape: tuple[int, ...]
    """Dimensions as stored."""
    type: TensorType
    """Element type."""
    kind: TensorKind
    """How it is filled."""
    scale: float
    """The kind's parameter."""

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        return math.prod(self.shape) * (4 if self.type == "float32" else 1)


def fnv1a64(name: str) -> int:
    """64-bit FNV-1a hash of a UTF-8 name."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def splitmix64(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """The first ``count`` outputs of the SplitMix64 generator (Steele et al., OOPSLA 2014)."""
    steps = np.arange(1, count + 1, dtype=np.uint64)
    z = np.uint64(seed % 2**64) + steps * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def rotary_table(kind: TensorKind, shape: tuple[int, ...], theta: float) -> Array:
    """Cosines or sines ``[positions, head_dim/2]`` of rotary embedding, float32."""
    positions, half = shape
    inverse = theta ** (-np.arange(half, dtype=np.float64) / half)
    angles = np.arange(positions, dtype=np.float64)[:, None] * inverse
    return (np.cos if kind == "rotary_cos" else np.sin)(angles).astype(np.float32)


class WeightPool:
    """The generator of one seed.

    Args:
        seed: Seed of the job; copy i of a rotation uses seed + i.
    """

    def __init__(self, seed: int) -> None:
        self._words = splitmix64(seed, POOL_WORDS)
        self._derived: dict[str, Array] = {}

    def fill(self, spec: TensorSpec) -> Array:
        """Make a tensor: an array of the spec's shape and type."""
        if spec.kind in ("rotary_cos", "rotary_sin"):
            return rotary_table(spec.kind, spec.shape, spec.scale)
        pool, per_word = self._pool(spec.kind)
        start = fnv1a64(spec.name) % POOL_WORDS * per_word
        flat = _wrap(pool, start, math.prod(spec.shape))
        if spec.kind == "uniform":
            # u = pool / 2^23 lies in [-1, 1) and has deviation 1/√3.
            flat = flat * np.float32(spec.scale * math.sqrt(3) / 2**23)
        elif spec.kind == "positive":
            flat = np.float32(spec.scale) + flat * np.float32(spec.scale / 2**25)
        elif spec.kind == "int8" and spec.type == "int8":
            flat = (flat.astype(np.int16) - 128).astype(np.int8)
        return flat.reshape(spec.shape)

    def integers(self, name: str, count: int, below: int) -> npt.NDArray[np.int64]:
        """``count`` integers in [0, below), for example token ids."""
        start = fnv1a64(name) % POOL_WORDS
        words = _wrap(self._words, start, count)
        return (words % np.uint64(below)).astype(np.int64)

    def _pool(self, kind: str) -> tuple[Array, int]:
        """The pool as a kind reads it, and its elements per 64-bit word; made on first use."""
        key = "float" if kind in ("uniform", "positive") else kind
        if key not in self._derived:
            octets = self._words.astype("<u8").view(np.uint8)
            if key == "float":
                top = (self._words >> np.uint64(40)).astype(np.int64) - 2**23
                self._derived[key] = top.astype(np.float32)
            elif key == "int4":
                nibbles = 1 + octets % 15
                self._derived[key] = nibbles[0::2] | (nibbles[1::2] << 4)
            else:
                self._derived[key] = (1 + octets.astype(np.uint16) % 255).astype(np.uint8)
        return self._derived[key], {"float": 1, "int4": 4, "int8": 8}[key]


def _wrap(pool: Array, start: int, count: int) -> Array:
    """``count`` elements of a circular pool from ``start`` on, always a copy."""
    out = np.empty(count, pool.dtype)
    done = 0
    while done < count:
        part = pool[start : start + count - done]
        out[done : done + len(part)] = part
        done, start = done + len(part), 0
    return out


def file_offsets(specs: Iterable[TensorSpec]) -> list[int]:
    """Where each tensor begins in the weights file."""
    offsets, position = [], 0
    for spec in specs:
        offsets.append(position)
        position += -(-spec.nbytes // _ALIGNMENT) * _ALIGNMENT
    return offsets


def save_graph(
    folder: Path,
    model: bytes,
    specs: tuple[TensorSpec, ...],
    weights: WeightPool | Mapping[str, Array],
) -> Path:
    """Write ``model.onnx`` and its weights file, one tensor at a time.

    Returns:
        The path of ``model.onnx``.

    Raises:
        ExportError: If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / DATA_FILE).open("wb") as file:
            for spec, offset in zip(specs, file_offsets(specs), strict=True):
                file.seek(offset)
                array = (
                    weights.fill(spec) if isinstance(weights, WeightPool) else weights[spec.name]
                )
                file.write(np.ascontiguousarray(array).tobytes())
        path = folder / "model.onnx"
        path.write_bytes(model)
    except OSError as error:
        raise ExportError(unwritable(folder, error)) from error
    return path
