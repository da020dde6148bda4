"""Writing a shape for transformers and for ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import ExportError, unwritable
from phonelm_search.core.hf_config import MAX_POSITIONS, to_hf_config
from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph import WeightPool, build_graph, save_graph

_SEED = 0
_NO_TOKEN = 0


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file.

    Raises:
        ExportError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ExportError(unwritable(path, error)) from error
    return path


def export_hf(shape: ModelShape, folder: Path) -> Path:
    """Write ``config.json`` for ``transformers.AutoConfig``.

    Raises:
        UnsupportedConfigError: If no architecture of transformers fits.
        ExportError: If the folder cannot be written.
    """
    return write_json(folder / "config.json", to_hf_config(shape))


def export_onnx(shape: ModelShape, precision: Precision, folder: Path) -> Path:
    """Write the measured graph with generated weights, as onnxruntime-genai deploys it.

    ``model.onnx``, its data file and ``genai_config.json``.

    Raises:
        UnsupportedShapeError: If the kernels refuse the shape.
        ExportError: If the folder cannot be written.
    """
    if precision.storage == "static":
        raise ExportError(
            f"--to onnx writes graphs of processors, {precision.name} is compiled for a chip; "
            "take --to hf"
        )
    graph = build_graph(shape, precision, max_positions=MAX_POSITIONS)
    path = save_graph(folder, graph.model, graph.tensors, WeightPool(_SEED))
    write_json(folder / "genai_config.json", genai_config(shape))
    return path


def genai_config(shape: ModelShape) -> dict[str, Any]:
    """``genai_config.json``: how onnxruntime-genai finds its way in the graph.

    A tokenizer is not chosen yet, so the ids of special tokens are placeholders.
    """
    return {
        "model": {
            "type": "llama",
            "vocab_size": shape.vocab_size,
            "context_length": MAX_POSITIONS,
            "bos_token_id": _NO_TOKEN,
            "eos_token_id": _NO_TOKEN,
            "pad_token_id": _NO_TOKEN,
            "decoder": {
                "filename": "model.onnx",
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "hidden_size": shape.hidden_size,
                "head_size": shape.head_dim,
                "num_hidden_layers": shape.num_hidden_layers,
                "num_attention_heads": shape.num_attention_heads,
                "num_key_value_heads": shape.num_key_value_heads,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": False,
            "max_length": MAX_POSITIONS,
            "past_present_share_buffer": True,
        },
    }
