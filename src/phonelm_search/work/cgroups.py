"""What a container allows this process: processor time and memory, by its cgroups.

Both versions are read, side by side where a system has both. Limits of every level from the
process's own cgroup up to the mount hold together, so the tightest counts. Sources: the kernel's
``admin-guide/cgroup-v2.rst``, ``scheduler/sched-bwc.rst``, ``admin-guide/cgroup-v1/memory.rst``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOST_BYTES = 1 << 20  # of a file of the kernel's: none that is read here is as large
_NUMBER = re.compile(r"[0-9]{1,19}")
_USUAL_PERIOD_US = 100_000
_LEAST_QUOTA = 0.001  # a millisecond, the least, of the longest period, a second
_NO_LIMIT_BYTES = 2**60
"""From here on it is version 1's way to say that there is none, a multiple of the page's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """The level of a container's memory that has least left."""

    limit_bytes: int
    """What its processes may use together."""
    available_bytes: int
    """What is left of that: files that are only cached count as free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """One cgroup that this process is in."""

    folder: Path
    unified: bool
    """Whether it is of version 2."""

    def text(self, name: str) -> str:
        return kernel_text(self.folder / name) or ""

    def number(self, name: str) -> int | None:
        return _whole(self.text(name))

    def stat(self, name: str, key: str) -> int | None:
        """A number of a file of lines ``key number``."""
        match = re.search(rf"^{key} ([0-9]{{1,19}})$", self.text(name), re.MULTILINE)
        return int(match[1]) if match else None


def kernel_text(path: Path) -> str | None:
    """Text of a file of /proc or /sys, as much as any of them holds; None: cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode(errors="replace").strip("\0\n ")
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores that all threads together may keep busy; None: as many as there are.

    Args:
        root: Where /proc and /sys are; tests give another one.
    """
    return min(filter(None, map(_quota, _levels(root))), default=None)


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """The memory that a container allows; None where it sets no limit."""
    limits = [found for level in _levels(root) if (found := _memory(level))]
    return min(limits, key=lambda m: m.available_bytes, default=None)


def held_up_us(root: Path = Path("/")) -> int | None:
    """Time for which quotas have kept threads from running so far; None where none is set."""
    found = [_held_up(level) for level in _levels(root) if _quota(level)]
    return sum(filter(None, found)) if found else None


def _quota(level: _Level) -> float | None:
    if level.unified:
        quota, period = [*level.text("cpu.max").split(), "", ""][:2]
    else:
        quota, period = level.text("cpu.cfs_quota_us"), level.text("cpu.cfs_period_us")
    allowed = _whole(quota)  # "max" and -1: none
    if not allowed:
        return None
    cores = allowed / (_whole(period) or _USUAL_PERIOD_US)
    return cores if cores >= _LEAST_QUOTA else None


def _memory(level: _Level) -> MemoryLimit | None:
    # Above "high" the kernel holds every thread up, which no time survives.
    names = ("memory.max", "memory.high") if level.unified else ("memory.limit_in_bytes",)
    limits = [level.number(name) for name in names]
    if not level.unified:  # of levels, too, that this process cannot see
        limits.append(level.stat("memory.stat", "hierarchical_memory_limit"))
    limit = min((n for n in limits if n and n < _NO_LIMIT_BYTES), default=None)
    if limit is None:
        return None
    total = "" if level.unified else "total_"
    used = level.number("memory.current" if level.unified else "memory.usage_in_bytes") or 0
    cached = sum(
        level.stat("memory.stat", f"{total}{key}") or 0 for key in ("inactive_file", "active_file")
    )
    left = limit - max(0, used - cached)
    return MemoryLimit(limit_bytes=limit, available_bytes=max(0, left))


def _held_up(level: _Level) -> int | None:
    if level.unified:
        return level.stat("cpu.stat", "throttled_usec")
    nanoseconds = level.stat("cpu.stat", "throttled_time")
    return None if nanoseconds is None else nanoseconds // 1000


def _levels(root: Path) -> Iterator[_Level]:
    """All cgroups of this process that can be seen, each with its parents."""
    groups = kernel_text(root / "proc/self/cgroup") or ""
    mounts = kernel_text(root / "proc/self/mountinfo") or ""
    for line in mounts.splitlines():
        place, _, kind = line.partition(" - ")
        fields, kinds = place.split(" "), kind.split(" ")
        if len(fields) < 5 or kinds[0] not in ("cgroup", "cgroup2"):
            continue
        unified = kinds[0] == "cgroup2"
        group = _path(groups, frozenset() if unified else frozenset(kinds[-1].split(",")))
        if group is None:
            continue
        base = root / _unescaped(fields[4]).lstrip("/")
        parts = _below(group, _unescaped(fields[3]))
        for depth in range(len(parts), -1, -1):
            yield _Level(folder=base.joinpath(*parts[:depth]), unified=unified)


def _path(groups: str, controllers: frozenset[str]) -> str | None:
    """This process's cgroup in the hierarchy of some controllers; of none: version 2's.

    Args:
        groups: Text of ``/proc/self/cgroup``.
        controllers: Options of the hierarchy's mount, the controllers among them.
    """
    for line in groups.splitlines():
        fields = line.split(":", 2)
        if len(fields) < 3:
            continue
        names = set(filter(None, fields[1].split(",")))
        if names & controllers or (not names and not controllers):
            return fields[2]
    return None


def _below(group: str, mounted: str) -> list[str]:
    """Folders from the mount's to the cgroup's; none where the mount does not show it."""
    above = mounted.rstrip("/")
    if group != above and not group.startswith(f"{above}/"):
        return []
    parts = [part for part in group[len(above) :].split("/") if part]
    return [] if ".." in parts else parts


def _unescaped(text: str) -> str:
    """A path of mountinfo, where blanks and the like are octal."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)


def _whole(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
