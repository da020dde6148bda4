"""Nodes and tensor specs → a serialised ONNX model with external weights."""

from typing import Any, Literal

from onnx import TensorProto, helper

from phonelm_search.core.shape import ModelShape
from phonelm_search.graph.weights import DATA_FILE, TensorSpec, file_offsets

Logits = Literal["last", "all"]
"""Positions whose logits are an output; all of them are compared with the torch decoder's."""
CONTRIB = "com.microsoft"
_OPSET, _IR_VERSION = 22, 10
_TYPES = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
}


def serialise(
    shape: ModelShape,
    nodes: list[Any],
    constants: list[Any],
    specs: tuple[TensorSpec, ...],
    logits: Logits,
) -> bytes:
    """Make the ModelProto of a decoder.

    Args:
        shape: Gives the inputs and outputs.
        nodes: In topological order.
        constants: Small initializers that stay inside the model.
        specs: Weights; they lie in ``model.onnx.data`` in this order.
        logits: Positions whose logits are an output.
    """
    initializers = [
        external(spec, offset) for spec, offset in zip(specs, file_offsets(specs), strict=True)
    ]
    inputs = [
        _value("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
        _value("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
    ]
    rows: int | str = 1 if logits == "last" else "sequence_length"
    outputs = [_value("logits", TensorProto.FLOAT, ["batch_size", rows, shape.vocab_size])]
    for layer in range(shape.num_hidden_layers):
        for part in ("key", "value"):
            for group, prefix, length in (
                (inputs, "past_key_values", "past_sequence_length"),
                (outputs, "present", "present_sequence_length"),
            ):
                dims: list[int | str] = [
                    "batch_size",
                    shape.num_key_value_heads,
                    length,
                    shape.head_dim,
                ]
                group.append(_value(f"{prefix}.{layer}.{part}", TensorProto.FLOAT, dims))
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, [*constants, *initializers])
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(CONTRIB, 1)],
        ir_version=_IR_VERSION,
        producer_name="phonelm-search",
    )
    return bytes(model.SerializeToString())


def _value(name: str, kind: int, dims: list[int | str]) -> Any:
    return helper.make_tensor_value_info(name, kind, dims)


def external(spec: TensorSpec, offset: int) -> Any:
    """The initializer of a weight that lies in ``model.onnx.data``."""
    proto = TensorProto(
        name=spec.name,
        dims=spec.shape,
        data_type=_TYPES[spec.type],
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in (("location", DATA_FILE), ("offset", offset), ("length", spec.nbytes)):
        proto.external_data.add(key=key, value=str(value))
    return proto
