"""Writing a shape for transformers and for ONNX Runtime."""

import json
from pathlib import Path

from phonelm_search.errors import ExportError
from phonelm_search.graph import WeightPool, build_graph, save_graph
from phonelm_search.hf_config import to_hf_config
from phonelm_search.precision import Precision
from phonelm_search.shape import ModelShape

_SEED = 0


def export_hf(shape: ModelShape, folder: Path) -> Path:
    """Write ``config.json`` for ``transformers.AutoConfig``.

    Raises:
        UnsupportedConfigError: If no architecture of transformers fits.
        ExportError: If the folder cannot be written.
    """
    content = json.dumps(to_hf_config(shape), indent=2) + "\n"
    path = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{path} must be writable: {error.strerror}") from error
    return path


def export_onnx(shape: ModelShape, precision: Precision, folder: Path) -> Path:
    """Write the measured graph with generated weights: ``model.onnx`` and its data file.

    Raises:
        UnsupportedShapeError: If the kernels refuse the shape.
        ExportError: If the folder cannot be written.
    """
    if precision.storage == "static":
        raise ExportError(
            f"--to onnx writes graphs of processors, {precision.name} is compiled for a chip; "
            "take --to hf"
        )
    graph = build_graph(shape, precision)
    return save_graph(folder, graph.model, graph.tensors, WeightPool(_SEED))
