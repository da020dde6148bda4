"""Which measured shapes are worth training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phonelm_search.core.pareto import dominance_rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the choice depends on."""

    shape_id: str
    """The shape."""
    latency: float
    """End-to-end time of the scenario, in one unit for all."""
    decoder_parameters: int
    """Its size."""
    num_hidden_layers: int
    """Its depth."""


def select_for_training(shapes: Sequence[Measured], count: int) -> list[str]:
    """The front and the near-front, spread over depth.

    At equal size the latency front collapses on the shallowest shapes, and short trainings
    favour them, too. So the measured depths are cut into ``count`` bins, and of each bin the
    shape of lowest dominance rank (latency against size), then lowest latency, is taken.

    Args:
        shapes: Measured shapes, each once.
        count: How many to take; fewer when there are fewer.

    Returns:
        Shape ids, fastest first.
    """
    if count < 1 or not shapes:
        return []
    ranks = dominance_rank([[s.latency, -float(s.decoder_parameters)] for s in shapes])
    order = sorted(
        range(len(shapes)), key=lambda i: (ranks[i], shapes[i].latency, shapes[i].shape_id)
    )
    depths = sorted({s.num_hidden_layers for s in shapes})
    chosen: list[int] = []
    for depth_bin in np.array_split(depths, min(count, len(depths))):
        members = {int(d) for d in depth_bin}
        chosen.append(next(i for i in order if shapes[i].num_hidden_layers in members))
    chosen += [i for i in order if i not in chosen][: count - len(chosen)]
    return [shapes[i].shape_id for i in sorted(chosen, key=lambda i: shapes[i].latency)]
