"""Latency of whole models from blocks of their layers."""

from phonelm_search.latency.block import Block, blocks_of
from phonelm_search.latency.costs import device_costs, expected_cooldown_s
from phonelm_search.latency.estimator import (
    BlockEstimator,
    BlockPlan,
    Estimated,
    measured_depths,
    plan_blocks,
    planned_seconds,
)
from phonelm_search.latency.plan import Costs
from phonelm_search.latency.roofline import Roofline, against_roofline, far_off

__all__ = [
    "Block",
    "BlockEstimator",
    "BlockPlan",
    "Costs",
    "Estimated",
    "Roofline",
    "against_roofline",
    "blocks_of",
    "device_costs",
    "expected_cooldown_s",
    "far_off",
    "measured_depths",
    "plan_blocks",
    "planned_seconds",
]
