from .builder import GRAPH_VERSION as GRAPH_VERSION, Graph as Graph, build_graph as build_graph
from .dequantise import generated_state as generated_state
from .flops import node_flops as node_flops
from .inputs import Feeds as Feeds, empty_cache as empty_cache, feeds as feeds, save_feeds as save_feeds, write_columns as write_columns
from .qdq import Affine as Affine, QuantisedGraph as QuantisedGraph, Runner as Runner, cache_ranges as cache_ranges, quantise_graph as quantise_graph, run_graph as run_graph
from .quantise import rounded as rounded
from .static import MASKED as MASKED, StaticGraph as StaticGraph, build_static_graph as build_static_graph
from .weights import Array as Array, TensorSpec as TensorSpec, WeightPool as WeightPool, fnv1a64 as fnv1a64, save_graph as save_graph
