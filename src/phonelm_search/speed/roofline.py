"""Latency in physical terms: bytes, operations, KV bytes and a price for every operator.

It orders blocks before they are measured and flags measurements far from it; it is never shown
as a latency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload

Floats = npt.NDArray[np.float64]

_LEAST_FOR_A_FIT = 12  # measurements; four prices are fitted to them
_FAR = 0.25
_MOST_STEPS = 1000  # of the solver; it takes a few
_OPERATORS_A_LAYER = 11  # norms, matrices, attention, activation of the optimised graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """Prices of one device and precision, each not negative.

    The default is a processor of two cores (30 GB/s, 120 GFLOP/s, 10 µs an operator) and is
    replaced by a fit as soon as there are measurements.
    """

    ns_per_byte: float = 1 / 30
    """Streamed weights."""
    ns_per_flop: float = 1 / 120
    """Multiply-adds × 2."""
    ns_per_kv_byte: float = 1 / 15
    """Read of the KV cache."""
    ns_per_operator: float = 10_000.0
    """Start of an operator and agreement among its threads."""

    def milliseconds(self, shape: ModelShape, scheme: Precision, workload: Workload) -> float:
        """Predicted latency: the sum of the four prices."""
        prices = np.array(
            [self.ns_per_byte, self.ns_per_flop, self.ns_per_kv_byte, self.ns_per_operator]
        )
        return float(features(shape, scheme, workload) @ prices) / 1e6


def features(shape: ModelShape, scheme: Precision, workload: Workload) -> Floats:
    """Streamed bytes, FLOPs, KV bytes and operators of one run.

    A prefill reads the weights once for all its tokens; a decode step reads them for one.
    """
    kv_bytes = workload.past_tokens * shape.kv_bytes_per_token(scheme.kv_bytes_per_element)
    flops = (
        shape.prefill_flops(workload.tokens)
        if workload.phase == "prefill"
        else shape.decode_flops(workload.past_tokens)
    )
    operators = _OPERATORS_A_LAYER * shape.num_hidden_layers + 3
    return np.array([shape.weight_bytes(scheme).streamed, flops, kv_bytes, operators], float)


def fit_roofline(rows: Sequence[Floats], latencies_ms: Sequence[float]) -> Roofline:
    """Prices that fit measured latencies best, by relative squares and none negative.

    Args:
        rows: `features` of each measurement.
        latencies_ms: Its latency.

    Returns:
        The prices; without measurements the default. Fewer measurements than prices leave some
        at 0.
    """
    if not rows:
        return Roofline()
    from scipy.optimize import nnls  # takes half a second to load

    targets = np.asarray(latencies_ms, float) * 1e6
    design = np.asarray(rows, float) / targets[:, None]
    prices, _ = nnls(design, np.ones(len(design)), maxiter=_MOST_STEPS)
    return Roofline(
        ns_per_byte=float(prices[0]),
        ns_per_flop=float(prices[1]),
        ns_per_kv_byte=float(prices[2]),
        ns_per_operator=float(prices[3]),
    )


def against_roofline(
    found: Sequence[tuple[ModelShape, Workload, float]], scheme: Precision
) -> list[float] | None:
    """Measured over predicted by physical terms whose prices are fitted to the same measurements.

    Args:
        found: Shapes with a workload and its latency in ms, all of one device.
        scheme: How weights are stored.

    Returns:
        One for each; None where fewer than 12 measurements say nothing about any.
    """
    if len(found) < _LEAST_FOR_A_FIT:
        return None
    fit = fit_roofline([features(s, scheme, w) for s, w, _ in found], [ms for _, _, ms in found])
    return [ms / fit.milliseconds(s, scheme, w) for s, w, ms in found]


def far_off(
    found: Sequence[tuple[ModelShape, Workload, float]], scheme: Precision
) -> list[float | None]:
    """Measurements that are far from what physical terms predict.

    Args:
        found: As of `against_roofline`.
        scheme: How weights are stored.

    Returns:
        For each, measured over predicted where that is 25 % from 1 or more; None where it is
        nearer, or where there are too few to tell.
    """
    ratios = against_roofline(found, scheme)
    if ratios is None:
        return [None] * len(found)
    return [r if abs(r - 1) >= _FAR else None for r in ratios]
