"""Runtimes: what runs a job of the runner's protocol on a device."""

from phonelm_search.runtimes.base import Runtime
from phonelm_search.runtimes.registry import (
    QNN_SIMULATOR,
    RUNTIMES,
    get_runtime,
    planned_cache_bytes,
)

__all__ = ["QNN_SIMULATOR", "RUNTIMES", "Runtime", "get_runtime", "planned_cache_bytes"]
