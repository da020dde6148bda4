"""How much of a static graph's arithmetic each node does."""

import math

import onnx

_MOVES = frozenset(
    ("Reshape", "Transpose", "Concat", "Split", "Slice", "Gather", "Identity", "Cast", "Squeeze",
     "Unsqueeze", "QuantizeLinear", "DequantizeLinear")
)  # fmt: skip


def node_flops(model: bytes) -> dict[str, int]:
    """Floating-point operations of each node by its name.

    Twice the multiply-adds of ``Gemm`` and ``MatMul``, one for each output element of any other
    node that computes, none for one that only moves data.

    Args:
        model: A serialised ModelProto without dynamic dimensions.
    """
    loaded = onnx.load_model_from_string(model)
    graph = onnx.shape_inference.infer_shapes(loaded, strict_mode=True).graph
    dims = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    dims |= {i.name: list(i.dims) for i in graph.initializer}
    found = {}
    for node in graph.node:
        size = math.prod(dims[node.output[0]])
        if node.op_type in ("Gemm", "MatMul"):
            # Both multiply the last dimension of their first input away.
            found[node.name] = 2 * size * dims[node.input[0]][-1]
        else:
            found[node.name] = 0 if node.op_type in _MOVES else size
    return found
