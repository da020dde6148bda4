from .comparison import (
    QUICK_LOOK as QUICK_LOOK,
)
from .comparison import (
    Comparison as Comparison,
)
from .comparison import (
    Score as Score,
)
from .comparison import (
    SeedDeviation as SeedDeviation,
)
from .comparison import (
    gather as gather,
)
from .scoring import (
    ScorePlan as ScorePlan,
)
from .scoring import (
    ScoreSettings as ScoreSettings,
)
from .scoring import (
    Scoring as Scoring,
)
from .scoring import (
    plan_scoring as plan_scoring,
)
from .scoring import (
    score_shapes as score_shapes,
)
from .validation import (
    LEAST_COMPARED as LEAST_COMPARED,
)
from .validation import (
    LEAST_SHAPES as LEAST_SHAPES,
)
from .validation import (
    Order as Order,
)
from .validation import (
    Validation as Validation,
)
from .validation import (
    plan_validation as plan_validation,
)
from .validation import (
    validate_scores as validate_scores,
)
