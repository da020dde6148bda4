"""Ray itself: the one place that imports it, and only where it is asked for."""

import os
from typing import Any

from phonelm_search.core.errors import EngineError

HOW_TO_INSTALL = "pip install 'phonelm-search[ray]'"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Environment of whatever we start of it: nothing is reported to anybody."""


def ray_library() -> Any:
    """The library.

    Raises:
        EngineError: If it is not installed.
    """
    os.environ.update({k: v for k, v in QUIET.items() if k not in os.environ})
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise EngineError(f"--engine ray needs Ray: {HOW_TO_INSTALL}") from error
    return ray
