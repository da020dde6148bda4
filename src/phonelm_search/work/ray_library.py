"""Ray itself: the one place that imports it, and only where it is asked for."""

import os
import sys
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import EngineError
from phonelm_search.work.underway import temporary_folder

HOW_TO_INSTALL = "pip install 'phonelm-search[ray]'"
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Of whatever we start or connect to, unless a person has set it: who has not the cluster's token
is refused, and nothing is reported to anybody."""
KEPT_PROCESSES = "RAY_num_workers_soft_limit"
"""Environment variable of a node: so many idle processes stay for the next task. Ray's own is one
for each processor, and a phone's round takes none: each would wait for a new process."""
HOW_TO_JOIN = "copy ~/.ray/auth_token from the head to this machine"
_LONGEST = 30
_SHORT = Path("/tmp/ray")  # noqa: S108 - Ray's own, one folder for each session


def ray_library() -> Any:
    """The library.

    Raises:
        EngineError: If it is not installed.
    """
    if "ray" not in sys.modules:  # it has read them once it is imported
        os.environ.update({**ENVIRONMENT, **os.environ})
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise EngineError(f"--engine ray needs Ray: {HOW_TO_INSTALL}") from error
    return ray


def short_folder() -> str | None:
    """Where a head keeps its sockets and logs, if not in its usual folder of temporary files.

    A socket's path has 107 bytes, of which Ray takes 70; a batch system's TMPDIR may have more.
    """
    usual = temporary_folder() / "ray"
    return None if len(os.fsencode(usual)) <= _LONGEST or os.name != "posix" else str(_SHORT)
