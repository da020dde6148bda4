"""Which cores this process may use, and how many threads at once."""

import os

from phonelm_search.work.cgroups import cpu_quota

MORE_CORES = "give it more (docker run --cpus, a pod's limits.cpu)"
"""What to do about a quota."""
_NEARLY = 0.05  # a quota of 1.96 is meant as 2


def usable_cores() -> frozenset[int]:
    """Numbers of the cores that this process may use: all, where the system tells no others.

    A cpuset is among it: the kernel takes what it forbids out of the affinity.
    """
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def usable_threads() -> int:
    """Threads that can compute at once: one for each core, within a container's quota."""
    cores, quota = len(usable_cores()), cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota + _NEARLY)))


def tight_quota() -> float | None:
    """Cores that a container allows, where that is less than the cores that are there."""
    quota = cpu_quota()
    return quota if quota is not None and quota < len(usable_cores()) else None


def quota_in_words(quota: float) -> str:
    """What a container allows, as a person reads it."""
    return f"this container may use {quota:.3g} {'of a core' if quota < 1 else 'cores'}"
