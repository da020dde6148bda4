from .builder import GRAPH_VERSION as GRAPH_VERSION
from .builder import Graph as Graph
from .builder import build_graph as build_graph
from .dequantise import generated_state as generated_state
from .flops import node_flops as node_flops
from .inputs import (
    Feeds as Feeds,
)
from .inputs import (
    empty_cache as empty_cache,
)
from .inputs import (
    feeds as feeds,
)
from .inputs import (
    save_feeds as save_feeds,
)
from .inputs import (
    write_columns as write_columns,
)
from .qdq import (
    Affine as Affine,
)
from .qdq import (
    CpuSession as CpuSession,
)
from .qdq import (
    QuantisedGraph as QuantisedGraph,
)
from .qdq import (
    cache_ranges as cache_ranges,
)
from .qdq import (
    quantise_graph as quantise_graph,
)
from .qdq import (
    run_graph as run_graph,
)
from .quantise import rounded as rounded
from .static import (
    MASKED as MASKED,
)
from .static import (
    StaticGraph as StaticGraph,
)
from .static import (
    build_static_graph as build_static_graph,
)
from .weights import (
    Array as Array,
)
from .weights import (
    TensorSpec as TensorSpec,
)
from .weights import (
    WeightPool as WeightPool,
)
from .weights import (
    fnv1a64 as fnv1a64,
)
from .weights import (
    save_graph as save_graph,
)
