from .costs import device_costs as device_costs
from .costs import expected_cooldown_s as expected_cooldown_s
from .estimator import (
    BlockEstimator as BlockEstimator,
)
from .estimator import (
    BlockPlan as BlockPlan,
)
from .estimator import (
    Estimated as Estimated,
)
from .estimator import (
    plan_blocks as plan_blocks,
)
from .estimator import (
    planned_seconds as planned_seconds,
)
from .plan import Costs as Costs
from .roofline import Roofline as Roofline
from .roofline import against_roofline as against_roofline
from .roofline import far_off as far_off
