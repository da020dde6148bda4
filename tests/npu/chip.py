"""Small shapes and the chip that they are compiled for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from helpers import small_shape
from phonelm_search.backends.qnn import Tokens
from phonelm_search.backends.qnn.calibration import Quantised, quantised
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import StaticGraph, build_static_graph

QNN = "QNNExecutionProvider"
A16W8 = "qdq-a16w8"
CHIP = {"soc_model": "57", "htp_arch": "75"}


def chip(**changes: Any) -> DeviceProfile:
    base: dict[str, Any] = {
        "name": "chip",
        "runtime": "qnn-simulator",
        "execution_provider": QNN,
        "provider_options": CHIP,
        "precision": A16W8,
        "threads": 1,
    }
    return DeviceProfile(**{**base, **changes})


def shape(**changes: Any) -> ModelShape:
    """As small as the chip's matrix units like it."""
    base = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32, "vocab_size": 512}
    return small_shape(**{**base, **changes})


def text() -> Tokens:
    return np.random.default_rng(0).integers(0, 320, 4096)


def written(folder: Path, found: ModelShape) -> Path:
    """A config.json of a shape."""
    from phonelm_search.outputs.export.winner import export_hf

    return export_hf(found, folder)


def quantised_here(
    found: ModelShape, work: Workload, device: DeviceProfile, tokens: Tokens, folder: Path
) -> Quantised:
    """In this process, where a test can put another graph in."""
    return quantised(found, work, device.precision.of(work.phase), tokens, folder)


def with_asinh(*args: object, **kwargs: object) -> StaticGraph:
    """A decoder whose activation is one that the chip does not have."""
    graph = build_static_graph(*args, **kwargs)  # type: ignore[arg-type]
    model = onnx.load_model_from_string(graph.model)
    for n in model.graph.node:
        if n.op_type == "Relu":
            n.op_type = "Asinh"
    return replace(graph, model=model.SerializeToString())
