"""Shape and precision → ONNX graph, and the weights that fill it."""

from phonelm_search.graph.builder import GRAPH_VERSION, Graph, build_graph, check_kernels
from phonelm_search.graph.weights import TensorSpec, WeightPool, save_graph

__all__ = [
    "GRAPH_VERSION",
    "Graph",
    "TensorSpec",
    "WeightPool",
    "build_graph",
    "check_kernels",
    "save_graph",
]
