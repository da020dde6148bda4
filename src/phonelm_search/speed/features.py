"""What a run of each shape costs in physical terms, and the coordinates of its latency."""

from typing import Any

import numpy as np

from phonelm_search.core.precision import Precision
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Workload
from phonelm_search.space import Columns

_OPERATORS_A_LAYER = 11  # norms, matrices, attention, activation of the optimised graph


def features(shapes: Columns, scheme: Precision, workload: Workload) -> Floats:
    """What one run costs: ``[n, 9]``, to be priced by a fit.

    Bytes of the weights of attention, of the feed-forward network and of the head; multiply-adds
    × 2 of the same three; attention over the context; operators; and one for the run itself. A
    prefill reads weights once for all its tokens and computes the head for the last one alone.
    """
    c, layers, tokens = shapes, shapes.num_hidden_layers, workload.tokens
    size: Any = scheme.matrix_bytes  # takes arrays as well as integers
    h, f, q, kv = c.hidden_size, c.intermediate_size, c.q_size, c.kv_size
    columns = (
        layers * (size(h, q + 2 * kv) + size(q, h)),
        layers * (c.gates * size(h, f) + size(f, h)),
        size(h, c.vocab_size),
        2 * tokens * layers * h * (2 * q + 2 * kv),
        2 * tokens * layers * h * f * (c.gates + 1),
        2 * h * c.vocab_size,
        layers * tokens * (workload.past_tokens + (tokens + 1) / 2) * (4 * q + 8 * kv),
        layers * _OPERATORS_A_LAYER,
        np.ones(len(c)),
    )
    found: Floats = np.stack([np.asarray(column, float) for column in columns], axis=1)
    return found


def coordinates(shapes: Columns) -> Floats:
    """Dimensions for a smooth residual: ``[n, d]``, doublings of sizes, and a column a name."""
    c = shapes
    sizes = (
        np.log2(c.hidden_size),
        np.log2(c.num_hidden_layers),
        np.log2(c.intermediate_size / c.hidden_size),
        np.log2(c.num_attention_heads / c.num_key_value_heads),
        np.log2(c.head_dim),
    )
    names = (c.hidden_act == "relu", c.hidden_act == "silu", c.ffn == "plain")
    return np.stack([*sizes, *(n.astype(float) for n in names)], axis=1)
