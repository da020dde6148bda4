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
DEFAULT_TOP = 8
"""Shapes of the front whose differences the trainings are chosen for."""
DEFAULT_TOKENS_PER_PARAMETER = 2.0
"""The least horizon of a training."""
DEFAULT_BUDGET = 1_000_000
"""Decoder parameters of the largest relatives."""
DEFAULT_SCORE_MINUTES = 3.0
"""Of `score`."""
TRAINING_SHARE = 0.2
"""Of the minutes of `run`."""
SHIPPED_LAW = "shipped"
"""In place of the file of a law: the one that is part of the package."""
DEFAULT_RESULTS = Path("results")

DEFAULT_ENGINE: Literal["local"] = "local"
LOOPBACK = "127.0.0.1"
"""Where a cluster of one machine is reached: from that machine alone."""
DEFAULT_RAY_PORT = 6379

DEFAULT_LIMIT = 50
"""Predicted shapes that a table shows."""
COMPARED_SHAPES = 12
"""Of `sensitivity`."""


def training_minutes(minutes: float | None) -> float:
    """Time for trainings, of the time for all; where there is no limit, that of `score`."""
    return DEFAULT_SCORE_MINUTES if minutes is None else TRAINING_SHARE * minutes
