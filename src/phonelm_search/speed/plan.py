"""Which depths of a block to measure: the narrowest estimate for the seconds it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.measure import REFERENCE, MeasureSettings, Sampling, rotation_copies
from phonelm_search.speed.block import Block
from phonelm_search.speed.roofline import Roofline

RELATIVE_DEVIATION = 0.012  # of a median over three rounds: half the change from test to retest
_START_SECONDS = 1.0  # a process, and the read bandwidth in it
_WEIGHT_BYTES_PER_SECOND = 250e6  # making and packing
_NEARLY = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What measuring costs on a device."""

    roofline: Roofline
    """How long a run takes."""
    scheme: Precision
    """How weights are stored."""
    cache_bytes: int
    """Last-level cache, which copies must exceed."""
    settings: MeasureSettings
    """Rounds and their length."""
    cooldown_s: float = 0.0
    """How long a phone cools down before a process."""

    def seconds(
        self, shape: ModelShape, workloads: Sequence[Workload], *, truncated: bool = False
    ) -> float:
        """Time to measure a shape in all its rounds, which it shares with others.

        Args:
            shape: The model.
            workloads: What is timed of it.
            truncated: Whether only an estimate is made from it; see `measure.Request`.
        """
        s = self.settings
        sampling = s.sampling(truncated=truncated)
        streamed, reference = (m.weight_bytes(self.scheme).streamed for m in (shape, REFERENCE))
        copies = rotation_copies(
            sampling.models * streamed + reference, s.turn_bytes(self.cache_bytes)
        )
        own, shared = (
            copies * m.weight_bytes(self.scheme).total / _WEIGHT_BYTES_PER_SECOND
            + sum(self._running(m, w, sampling) for w in workloads)
            for m in (shape, REFERENCE)
        )
        return s.rounds * (own + (_START_SECONDS + self.cooldown_s + shared) / sampling.models)

    def _running(self, shape: ModelShape, workload: Workload, sampling: Sampling) -> float:
        one = self.roofline.milliseconds(shape, self.scheme, workload) / 1000
        # Models that share a process warm up in one loop.
        window = self.settings.warmup_window_seconds / sampling.models
        samples = max(5 * one, min(sampling.repetitions * one, sampling.max_seconds))
        return samples + 2 * max(one, window)


def choose_depths(
    block: Block,
    workloads: Sequence[Workload],
    costs: Costs,
    *,
    intercept_known: bool,
) -> tuple[int, ...]:
    """Depths to measure of a block.

    Every choice has a variance of the estimate at the greatest wanted depth and a time; the one
    of the smallest product is taken, as the variance of repeated measuring falls with time. The
    choices are two depths k₁ < k₂ below the greatest wanted one and, where blocks of the same
    width have told the intercept, one. Wanted depths are measured as whole models.

    Args:
        block: With its wanted depths.
        workloads: What is measured; the variance is that of the workload estimated worst.
        costs: What measuring costs.
        intercept_known: Whether an earlier block of the width was measured at two depths.

    Returns:
        Ascending depths; the wanted ones where no two are below the greatest.
    """
    greatest = block.greatest_depth
    below = range(1, greatest)
    choices: list[tuple[int, ...]] = [*combinations(below, 2)]
    if intercept_known:
        choices += [(k,) for k in below]
    if not choices:
        return block.depths
    times = {
        k: costs.seconds(block.at(k), workloads, truncated=k not in block.depths) for k in below
    }
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
        share = greatest / depths[0]  # and the intercept is known as well as a model of one layer
        return ((share * error(depths[0])) ** 2 + ((share - 1) * error(1)) ** 2) / whole**2
    low, high = depths[0], depths[-1]
    share = (greatest - low) / (high - low)
    return ((share * error(high)) ** 2 + ((1 - share) * error(low)) ** 2) / whole**2
