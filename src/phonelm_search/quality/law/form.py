"""Loss of a decoder after training, by a law over sizes: ``E + a·T^-α + s·(b·W^-β + c·D^-γ)·F``.

The form is that of Nemotron-Flash (Fu et al., arXiv 2511.18890) with T tokens, W effective width
and D layers. Exponents and the shape's part are shared by all data sets; floor E, coefficient a and
scale s are each data set's own. F holds what else a shape has: head dimension, share of the
feed-forward network, key-value groups, activation.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Floats
from phonelm_search.space import Columns

LOGARITHMS = (
    "data_exponent", "width_exponent", "depth_exponent", "width", "depth", "head", "head_exponent",
    "share", "best_share",
)  # fmt: skip
"""Shared coefficients that are kept as logarithms."""
SHARED = (*LOGARITHMS, "groups", "relu", "relu2", "gelu", "plain")
"""Coefficients of all data sets; behind the logarithms are shares of the shape's part."""
OWN = ("floor", "data", "scale")
"""Logarithms of coefficients that each data set has for itself."""
_TOKENS, _WIDTH, _DEPTH, _HEAD = 1e10, 512, 12, 64  # units
_LAYER = 15  # parameters of a layer over width², of the trainings that the law was found on


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """What the law sees of shapes; all arrays are ``[n]``."""

    width: Floats
    """Effective one: that of a layer of 15·width² parameters with as many as the shape's."""
    depth: Floats
    """Layers."""
    head_dim: Floats
    """Of one head."""
    share: Floats
    """Parameters of the feed-forward network over those of attention."""
    groups: Floats
    """Query heads for each key-value head."""
    kinds: Floats
    """``[n, 4]``: whether the activation is relu, relu2, gelu; whether nothing gates it."""

    @classmethod
    def of(cls, shapes: Columns) -> "Dimensions":
        """Of shapes as columns."""
        hidden = shapes.hidden_size.astype(float)
        attention = 2 * hidden * (shapes.q_size + shapes.kv_size)
        forward = (shapes.gates + 1) * hidden * shapes.intermediate_size
        kinds = [shapes.hidden_act == name for name in ("relu", "relu2", "gelu")]
        return cls(
            width=np.sqrt((attention + forward) / _LAYER),
            depth=shapes.num_hidden_layers.astype(float),
            head_dim=shapes.head_dim.astype(float),
            share=forward / attention,
            groups=shapes.num_attention_heads / shapes.num_key_value_heads,
            kinds=np.stack([*kinds, shapes.ffn == "plain"], axis=1).astype(float),
        )

    @property
    def parameters(self) -> Floats:
        """Decoder parameters, norms left out."""
        parameters: Floats = _LAYER * self.width**2 * self.depth
        return parameters

    @property
    def aspect(self) -> Floats:
        """Effective width over depth."""
        return self.width / self.depth

    def rows(self, index: "npt.NDArray[np.bool_] | slice") -> "Dimensions":
        """Those of an index."""
        return Dimensions(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def log_loss(
    shared: Floats, own: Floats, shapes: Dimensions, tokens: Floats
) -> tuple[Floats, Floats]:
    """Logarithm of the loss, and its derivatives.

    Args:
        shared: ``[14]``, as `SHARED`.
        own: ``[3]``, as `OWN`.
        shapes: ``[n]``.
        tokens: ``[n]``, trained on.

    Returns:
        ``[n]``; ``[n, 17]`` by shared, then own coefficients.
    """
    alpha, beta, gamma, b, c, h, q, u, best = np.exp(shared[:9])
    floor, data, scale = np.exp(own)
    log_w, log_d = np.log(shapes.width / _WIDTH), np.log(shapes.depth / _DEPTH)
    log_t, log_h = np.log(tokens / _TOKENS), np.log(_HEAD / shapes.head_dim)
    wide, deep = b * np.exp(-beta * log_w), c * np.exp(-gamma * log_d)
    learnt, heads = data * np.exp(-alpha * log_t), h * np.exp(q * log_h)
    off = np.log(shapes.share / best)
    groups = np.log2(shapes.groups)
    factor = 1 + heads + u * off**2 + shared[9] * groups + shapes.kinds @ shared[10:]
    part = wide + deep
    loss = floor + learnt + scale * part * factor
    by_factor = scale * part
    by = np.stack(
        [
            -alpha * log_t * learnt,
            -beta * log_w * wide * scale * factor,
            -gamma * log_d * deep * scale * factor,
            wide * scale * factor,
            deep * scale * factor,
            by_factor * heads,
            by_factor * heads * q * log_h,
            by_factor * u * off**2,
            by_factor * -2 * u * off,
            by_factor * groups,
            *(by_factor * kind for kind in shapes.kinds.T),
            np.broadcast_to(floor, loss.shape),
            learnt,
            scale * part * factor,
        ],
        axis=1,
    )
    return np.log(loss), by / loss[:, None]
