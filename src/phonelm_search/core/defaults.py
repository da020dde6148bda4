"""Defaults that commands and functions share, each once."""

from pathlib import Path
from typing import Literal

DEFAULT_SPACE = "slm-100m"
DEFAULT_DEVICE = "host-cpu"
DEFAULT_PHONE = "android-arm64"
DEFAULT_PRECISION = "int4-b32"
DEFAULT_SCENARIO = "chat=256:128"
DEFAULT_TRIALS = 24
DEFAULT_MINUTES = 10.0
"""Of `run`: measuring and training together."""
DEFAULT_SAMPLER = "model"
DEFAULT_RULE: Literal["knee"] = "knee"
DEFAULT_TOP = 4
"""Shapes of the front and near-front that enter training."""
DEFAULT_FINALISTS = 4
"""Candidates that train to the end."""
DEFAULT_TOKENS_PER_PARAMETER = 0.5
DEFAULT_BUDGET = 1_000_000
"""Decoder parameters of miniatures."""
DEFAULT_RESULTS = Path("results")

COMPARED_SHAPES = 12
"""Of `sensitivity`."""
COMPARED_SEEDS = 2
COMPARED_TOKENS_PER_PARAMETER = 1.0
