"""Which cores this process may use."""

import os


def usable_cores() -> frozenset[int]:
    """Numbers of the cores that this process may use: all, where the system tells no others."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
