"""The fixed small shape that every round is held against, and the tiny one of the controls."""

from collections.abc import Sequence
from statistics import median

from phonelm_search.measure.statistics import relative_difference
from phonelm_search.shape import ModelShape
from phonelm_search.workload import Workload, decode, prefill

REFERENCE = ModelShape(
    hidden_size=1024,
    intermediate_size=3072,
    num_hidden_layers=2,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=64,
    vocab_size=8192,
    hidden_act="relu",
)
"""33M parameters in few, wide layers: small matrices would react to a change of the machine more
strongly than the shapes that are held against it."""

REFERENCE_WORKLOADS: tuple[Workload, Workload] = (prefill(128), decode(64))

TINY = ModelShape(
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=64,
    vocab_size=128,
    hidden_act="relu",
)
"""Its step is nearly the loop alone; it also wakes the workers after a flush."""


def drift(before_ms: float, after_ms: float, usual_ms: float) -> float:
    """How far the reference moved around a round.

    Args:
        before_ms: Its median before the round.
        after_ms: Its median after it.
        usual_ms: Its usual median in this environment.

    Returns:
        The larger of two shares: the move between before and after, and the distance of their
        mean from the usual.
    """
    away = abs((before_ms + after_ms) / 2 / usual_ms - 1)
    return max(relative_difference(before_ms, after_ms), away)


def usual(medians_ms: Sequence[float]) -> float:
    """The median of earlier medians: where a machine has two speeds, the commoner one."""
    return float(median(medians_ms))
