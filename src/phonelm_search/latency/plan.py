"""Which depths of a block to measure: the narrowest estimate for the seconds it takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from phonelm_search.latency.block import Block
from phonelm_search.latency.roofline import Roofline
from phonelm_search.measure.settings import MeasureSettings
from phonelm_search.precision import Precision
from phonelm_search.shape import ModelShape
from phonelm_search.workload import Workload

RELATIVE_DEVIATION = 0.012  # of a median over three rounds on a shared machine, results/LOG.md
_START_SECONDS = 0.9
_WEIGHT_BYTES_PER_SECOND = 150e6  # making and packing
_WARMUP_SHARE = 0.3
_NEARLY = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What measuring costs on a device."""

    roofline: Roofline
    """How long a run takes."""
    scheme: Precision
    """How weights are stored."""
    cache_bytes: int
    """Last-level cache, which copies must exceed twice."""
    settings: MeasureSettings
    """Rounds and their length."""

    def seconds(self, shape: ModelShape, workloads: Sequence[Workload]) -> float:
        """Time to measure a shape in all its rounds."""
        s = self.settings
        weights = shape.weight_bytes(self.scheme)
        copies = max(1, -(-2 * self.cache_bytes // weights.streamed))
        loading = weights.total * copies / _WEIGHT_BYTES_PER_SECOND
        running = sum(self._sampling(shape, w) for w in workloads)
        return s.rounds * (_START_SECONDS + loading + running)

    def _sampling(self, shape: ModelShape, workload: Workload) -> float:
        one = self.roofline.milliseconds(shape, self.scheme, workload) / 1000
        samples = max(5 * one, min(self.settings.repetitions * one, self.settings.max_seconds))
        return samples * (1 + _WARMUP_SHARE) + 2 * self.settings.warmup_window_seconds


def choose_depths(
    block: Block,
    workloads: Sequence[Workload],
    costs: Costs,
    *,
    intercept_known: bool,
    whole: bool = True,
) -> tuple[int, ...]:
    """Depths to measure of a block.

    Every choice has a variance of the estimate at the greatest wanted depth and a time; the one
    of the smallest product is taken, as the variance of repeated measuring falls with time. The
    choices are: each wanted depth whole; two depths k₁ < k₂; and, where blocks of the same width
    have told the intercept, one depth.

    Args:
        block: With its wanted depths.
        workloads: What is measured; the variance is that of the workload estimated worst.
        costs: What measuring costs.
        intercept_known: Whether an earlier block of the width was measured at two depths.
        whole: Whether measuring the wanted depths themselves is a choice.

    Returns:
        Ascending depths; the wanted ones themselves where measuring whole models is best.
    """
    greatest = block.greatest_depth
    choices: list[tuple[int, ...]] = [(a, b) for b in range(2, greatest + 1) for a in range(1, b)]
    if whole or not choices:
        choices.append(block.depths)
    if intercept_known:
        choices += [(k,) for k in range(1, greatest)]
    times = {k: costs.seconds(block.at(k), workloads) for k in range(1, greatest + 1)}
    tables = _latencies(block, workloads, costs)

    def price(depths: tuple[int, ...]) -> float:
        variance = max(_relative_variance(table, depths) for table in tables)
        return variance * sum(times[k] for k in depths)

    return min(choices, key=lambda depths: (price(depths), len(depths), depths))


def good_enough(
    block: Block,
    depths: tuple[int, ...],
    chosen: tuple[int, ...],
    workloads: Sequence[Workload],
    costs: Costs,
) -> bool:
    """Whether depths that were measured before estimate nearly as well as the chosen ones."""
    tables = _latencies(block, workloads, costs, beyond=max(depths))

    def variance(of: tuple[int, ...]) -> float:
        return max(_relative_variance(table[: block.greatest_depth], of, table) for table in tables)

    return variance(depths) <= _NEARLY**2 * variance(chosen)


def _latencies(
    block: Block, workloads: Sequence[Workload], costs: Costs, *, beyond: int = 0
) -> list[list[float]]:
    """Predicted ms of each workload at depth 1, 2, …; a layer adds the same to each."""
    tables = []
    for w in workloads:
        one, two = (costs.roofline.milliseconds(block.at(k), costs.scheme, w) for k in (1, 2))
        deepest = max(block.greatest_depth, beyond)
        tables.append([one + k * (two - one) for k in range(deepest)])
    return tables


def _relative_variance(
    table: Sequence[float], depths: tuple[int, ...], beyond: Sequence[float] | None = None
) -> float:
    """Variance of the estimate at the greatest depth, as a share of the latency squared.

    Args:
        table: Predicted latency of depths 1 to the greatest.
        depths: Measured ones.
        beyond: The same table for depths beyond the greatest, where some were measured.
    """
    greatest, whole = len(table), table[-1]
    known = beyond or table

    def error(depth: int) -> float:
        return RELATIVE_DEVIATION * known[depth - 1]

    if greatest in depths:
        return (error(greatest) / whole) ** 2
    if len(depths) == 1:
        return (greatest / depths[0] * error(depths[0]) / whole) ** 2
    low, high = depths[0], depths[-1]
    share = (greatest - low) / (high - low)
    return ((share * error(high)) ** 2 + ((1 - share) * error(low)) ** 2) / whole**2
