from .costs import device_costs as device_costs, expected_cooldown_s as expected_cooldown_s
from .estimator import BlockEstimator as BlockEstimator, BlockPlan as BlockPlan, Estimated as Estimated, plan_blocks as plan_blocks, planned_seconds as planned_seconds
from .plan import Costs as Costs
from .roofline import Roofline as Roofline, against_roofline as against_roofline, far_off as far_off
