"""How far to trust a round, with reasons that say what to do."""

from collections.abc import Sequence

from phonelm_search.measure.statistics import bootstrap_median
from phonelm_search.records import Verdict
from phonelm_search.units import format_bytes

SINGLE_ROUND = "single round"
_LEAST_SAMPLES = 5
_WIDEST_INTERVAL = 0.10


def judge(
    samples_ns: Sequence[int],
    *,
    rounds: int,
    cold: bool,
    streamed_bytes: int,
    cache_bytes: int,
) -> tuple[Verdict, tuple[str, ...]]:
    """Judge one round.

    Args:
        samples_ns: Timed runs.
        rounds: Rounds of this measurement, this one included.
        cold: Whether the weights should have come from memory.
        streamed_bytes: Bytes of weights that all copies together stream.
        cache_bytes: Size of the last-level cache.

    Returns:
        The verdict and the reasons why it is not valid.
    """
    if any(s <= 0 for s in samples_ns):
        return "rejected", ("a sample is not positive: the device's clock cannot be trusted",)
    reasons = [SINGLE_ROUND] if rounds == 1 else []
    if len(samples_ns) < _LEAST_SAMPLES:
        reasons.append(f"only {len(samples_ns)} samples, fewer than {_LEAST_SAMPLES}")
    median, low, high = bootstrap_median(samples_ns)
    if (high - low) / median > _WIDEST_INTERVAL:
        reasons.append(
            f"interval {(high - low) / median:.0%} of the median, wider than "
            f"{_WIDEST_INTERVAL:.0%}; close other programs and measure again"
        )
    if cold and streamed_bytes < 2 * cache_bytes:
        reasons.append(
            f"copies stream {format_bytes(streamed_bytes)}, less than twice the cache of "
            f"{format_bytes(cache_bytes)}"
        )
    return ("suspect" if reasons else "valid"), tuple(reasons)
