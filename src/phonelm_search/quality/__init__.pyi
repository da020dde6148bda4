from .comparison import Comparison as Comparison, Score as Score, SeedDeviation as SeedDeviation, gather as gather
from .scoring import QUICK_LOOK as QUICK_LOOK, ScorePlan as ScorePlan, ScoreSettings as ScoreSettings, Scoring as Scoring, plan_scoring as plan_scoring, score_shapes as score_shapes
from .validation import LEAST_COMPARED as LEAST_COMPARED, LEAST_SHAPES as LEAST_SHAPES, Order as Order, Validation as Validation, plan_validation as plan_validation, validate_scores as validate_scores
