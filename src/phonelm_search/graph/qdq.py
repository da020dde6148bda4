"""A static decoder → integers, as NPUs take them, by ONNX Runtime's own quantiser for QNN.

Graph inputs and outputs are integers, too: a conversion at the border would run on the CPU.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, numpy_helper

from phonelm_search.core.logs import quiet
from phonelm_search.core.precision import Precision
from phonelm_search.graph.inputs import Feeds
from phonelm_search.graph.static import EMBEDDED, EMBEDDING, StaticGraph

Array = npt.NDArray[Any]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """How integers stand for numbers: real = (integer − zero point) · scale."""

    scale: float
    """Step."""
    zero_point: int
    """Integer of 0."""
    dtype: str
    """numpy's name of the integer type."""

    def quantise(self, values: Array) -> Array:
        """To integers, saturating."""
        limits = np.iinfo(self.dtype)
        codes = np.rint(values / self.scale) + self.zero_point
        found: Array = np.clip(codes, limits.min, limits.max).astype(self.dtype)
        return found

    def dequantise(self, codes: Array) -> Array:
        """To float32."""
        return ((codes.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisedGraph:
    """A graph of integers."""

    path: Path
    """Its file."""
    borders: Mapping[str, Affine]
    """How inputs and outputs stand for numbers; those not named are integers of their own."""

    def feed(self, values: Feeds) -> Feeds:
        """Inputs as the graph takes them."""
        return {k: self.borders[k].quantise(v) if k in self.borders else v
                for k, v in values.items()}  # fmt: skip

    def read(self, outputs: Feeds) -> Feeds:
        """Outputs as numbers."""
        return {k: self.borders[k].dequantise(v) if k in self.borders else v
                for k, v in outputs.items()}  # fmt: skip


def quantise_graph(
    graph: StaticGraph,
    path: Path,
    precision: Precision,
    calibration: Iterable[Feeds],
    cache_ranges: Mapping[str, Range],
    target: Path,
) -> QuantisedGraph:
    """Quantise a static graph.

    Args:
        graph: What was built.
        path: Its file, with weights.
        precision: A ``qdq`` scheme.
        calibration: Inputs whose activations set the ranges.
        cache_ranges: Smallest and largest of ``key`` and ``value`` by layer, named ``{i}.key``:
            cache and new columns share them, so that a column is copied as it is.
        target: Where the quantised graph goes.
    """
    # Here, since it loads torch, which takes seconds that every command would wait.
    from onnxruntime.quantization import QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    overrides: dict[str, Any] = {
        tensor: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
        for name, (low, high) in cache_ranges.items()
        for tensor in graph.cache_tensors(int(name.split(".")[0]), name.split(".")[1])
    }
    if precision.activation_bits == 16:
        # The quantiser takes a gathered table for an activation. As weights of the head, 16 bits
        # are refused by the NPU unless they are symmetric, so it has 8, and its rows are widened.
        overrides[EMBEDDING] = [{"quant_type": QuantType.QUInt8}]
        overrides[EMBEDDED] = [
            {"quant_type": QuantType.QUInt8, "convert": {"quant_type": QuantType.QUInt16}}
        ]
    config = get_qnn_qdq_config(
        path,
        _Reader(calibration),
        activation_type={16: QuantType.QUInt16, 8: QuantType.QUInt8}[precision.activation_bits],
        weight_type=QuantType.QUInt8,
        init_overrides=overrides,
    )
    # The quantiser advises, as the root logger, to simplify the graph; ours is simple.
    with quiet("root"):
        quantize(path, target, config)
    model = onnx.load(target)
    borders = _integer_borders(model.graph)
    weights = target.with_name(f"{target.name}.weights")
    weights.unlink(missing_ok=True)  # what is there is added to
    # Apart, since a message holds no more than 2 GB.
    onnx.save(model, target, save_as_external_data=True, location=weights.name)
    return QuantisedGraph(path=target, borders=borders)


class _Reader:
    """A `CalibrationDataReader`: hands out inputs one by one."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._left: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._left, None)


def _integer_borders(graph: Any) -> dict[str, Affine]:
    """Take conversions off inputs and outputs, which become integers."""
    constants = {i.name: i for i in graph.initializer}

    def affine(node: Any) -> Affine:
        scale, zero = (numpy_helper.to_array(constants[n]) for n in node.input[1:3])
        return Affine(scale=float(scale), zero_point=int(zero), dtype=str(zero.dtype))

    def rename(old: str, new: str) -> None:
        for node in graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new

    found: dict[str, Affine] = {}
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            (node,) = (n for n in graph.node if value.name in n.input)
            found[value.name] = affine(node)
            graph.node.remove(node)
            rename(node.output[0], value.name)
    for value in graph.output:
        (node,) = (n for n in graph.node if value.name in n.output)
        found[value.name] = affine(node)
        rename(value.name, f"{value.name}.float")
        rename(node.input[0], value.name)
        if not any(f"{value.name}.float" in n.input for n in graph.node):
            graph.node.remove(node)
    for value in (*graph.input, *graph.output):
        if value.name in found:
            dtype = np.dtype(found[value.name].dtype)
            value.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return found


def cache_ranges(outputs: Iterable[Feeds]) -> dict[str, Range]:
    """Smallest and largest keys and values of some runs, by ``{layer}.key|value``."""
    found: dict[str, Range] = {}
    for values in outputs:
        for name, array in values.items():
            if name.startswith("present."):
                key = name.removeprefix("present.")
                low, high = found.get(key, (0.0, 0.0))
                found[key] = (min(low, float(array.min())), max(high, float(array.max())))
    return found


class CpuSession:
    """A graph that runs on this machine's processor.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._names = [o.name for o in self._session.get_outputs()]

    def __call__(self, values: Feeds) -> Feeds:
        """Outputs by name."""
        return dict(zip(self._names, self._session.run(self._names, dict(values)), strict=True))


def run_graph(path: Path, feeds: Sequence[Feeds]) -> list[Feeds]:
    """Outputs of a graph on this machine's processor, one after another."""
    return list(map(CpuSession(path), feeds))
