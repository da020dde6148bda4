"""Runtimes: what runs a job of the runner's protocol on a device."""

from phonelm_search.runtimes.base import Runtime
from phonelm_search.runtimes.registry import RUNTIMES, get_runtime, planned_cache_bytes

__all__ = ["RUNTIMES", "Runtime", "get_runtime", "planned_cache_bytes"]
