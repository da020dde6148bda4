"""Cores of a device by what its kernel tells, and the ones that a profile asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.work import kernel_text, usable_cores

CPU_FOLDER = "/sys/devices/system/cpu"
CoreChoice = Literal["big", "all"] | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One core."""

    number: int
    """As the kernel counts."""
    capacity: int | None
    """Relative speed, 1024 for the fastest core (``cpu_capacity``), where the kernel tells."""
    max_khz: int | None
    """Highest frequency (``cpuinfo_max_freq``), where the kernel tells."""


def parse_core(name: str, capacity: str | None, max_khz: str | None) -> Core | None:
    """A core from its folder's name and its files' texts; None where it is no core's folder."""
    match = re.fullmatch(r"cpu([0-9]{1,6})", name)
    if not match:
        return None

    def number(text: str | None) -> int | None:
        told = (text or "").strip("\0 \n")
        return int(told) if re.fullmatch(r"[0-9]{1,15}", told) else None

    return Core(number=int(match[1]), capacity=number(capacity), max_khz=number(max_khz))


def local_cores() -> tuple[Core, ...]:
    """Cores of this machine that this process may use."""
    found = []
    for number in sorted(usable_cores()):
        folder = Path(CPU_FOLDER) / f"cpu{number}"
        capacity, khz = (
            kernel_text(folder / name) for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq")
        )
        core = parse_core(f"cpu{number}", capacity, khz)
        assert core is not None
        found.append(core)
    return tuple(found)


def choose_cores(cores: Sequence[Core], wanted: CoreChoice, *, device: str) -> tuple[int, ...]:
    """Numbers of the cores to run on, ascending.

    Args:
        cores: Those of the device that are usable.
        wanted: ``all``; ``big``, whose capacity is at least half of the largest, or, where the
            kernel tells no capacity, all but those of the lowest highest frequency; or numbers.
        device: Name of the device, for the message.

    Raises:
        ConfigurationError: If a number is not a usable core's.
    """
    known = sorted(c.number for c in cores)
    if wanted == "all":
        return tuple(known)
    if wanted == "big":
        return tuple(sorted(c.number for c in _big(cores)))
    missing = sorted(set(wanted) - set(known))
    if missing:
        raise ConfigurationError(
            f"cores of {device} must be among {', '.join(map(str, known))}, got "
            f"{', '.join(map(str, missing))}; write big, all, or numbers of these"
        )
    return tuple(sorted(set(wanted)))


def _big(cores: Sequence[Core]) -> Sequence[Core]:
    largest = max((c.capacity or 0 for c in cores), default=0)
    if largest:
        return [c for c in cores if 2 * (c.capacity or 0) >= largest]
    slowest = min((c.max_khz or 0 for c in cores), default=0)
    return [c for c in cores if (c.max_khz or 0) > slowest] or cores


def clusters(cores: Sequence[Core]) -> list[tuple[int, ...]]:
    """Numbers of cores that are alike, the fastest group first."""
    groups: dict[tuple[int, int], list[int]] = {}
    for core in cores:
        groups.setdefault((core.capacity or 0, core.max_khz or 0), []).append(core.number)
    return [tuple(sorted(groups[speed])) for speed in sorted(groups, reverse=True)]
