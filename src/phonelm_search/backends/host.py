"""What this machine says about itself: identity, conditions, caches, memory."""

import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phonelm_search.backends.base import Placement
from phonelm_search.core.units import format_bytes
from phonelm_search.work import (
    cpu_quota,
    held_up_us,
    kernel_text,
    memory_limit,
    usable_cores,
)

_CPU = Path("/sys/devices/system/cpu")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MEMORY = Path("/proc/meminfo")
_SIZE = re.compile(r"([0-9]{1,9})([KMG]?)")
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}
_SECOND, _UNTOLD_CACHE_BYTES = 2, 32 * 2**20
_INTEGER = re.compile(r"-?[0-9]{1,15}")
_PLAUSIBLE_C = (5.0, 125.0)  # a sensor that is off or broken tells less or more


def _first(pattern: str, text: str | None) -> str | None:
    match = re.search(pattern, text or "", re.MULTILINE)
    return match[1].strip() if match else None


def machine() -> dict[str, str]:
    """What identifies this machine."""
    dmi = Path("/sys/devices/virtual/dmi/id/product_name")
    return {
        "device_model": kernel_text(dmi) or "unknown",
        "soc": _first(r"^model name\s*:\s*(.+)$", kernel_text(Path("/proc/cpuinfo")))
        or platform.processor()
        or platform.machine(),
        "architecture": platform.machine(),
        "build": platform.platform(terse=True),
    }


def pages(huge: str | None, page_bytes: int | None) -> dict[str, str]:
    """Pages of memory, where they are not small ones that programs must ask to have larger.

    Decode is a fifth faster in huge pages (results/LOG.md).

    Args:
        huge: Text of ``transparent_hugepage/enabled``, as ``always [madvise] never``.
        page_bytes: Size of an ordinary one.
    """
    found = {"huge_pages": "always"} if "[always]" in (huge or "") else {}
    if page_bytes not in (None, 4096):
        found["page_bytes"] = str(page_bytes)
    return found


def starved(threads: int) -> dict[str, str]:
    """A container's quota, where it does not pay for all threads: it then decides how fast."""
    quota = cpu_quota()
    return {} if quota is None or threads <= quota else {"quota_cores": f"{quota:.3g}"}


def environment(
    placement: Placement, *, execution_provider: str, provider_options: Mapping[str, str]
) -> dict[str, str]:
    """The identity of measurements through ONNX Runtime on this machine."""
    page_bytes = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    return {
        **machine(),
        **pages(kernel_text(_HUGE_PAGES), page_bytes),
        **starved(placement.threads),
        "kernel": platform.release(),
        "governor": kernel_text(_CPU / "cpu0/cpufreq/scaling_governor") or "unknown",
        "runtime": "onnxruntime",
        "runtime_version": version("onnxruntime"),
        "execution_provider": execution_provider,
        "provider_options": json.dumps(dict(provider_options), sort_keys=True),
        "threads": str(placement.threads),
        "affinity": ",".join(map(str, placement.cpus or sorted(usable_cores()))),
        # ONNX Runtime's shared pool always spins from Python; its switch is C's alone.
        "spinning": "on",
    }


def capabilities() -> str:
    """What the processor offers to integer and matrix kernels, for messages on numerics."""
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")
    text = kernel_text(Path("/proc/cpuinfo"))
    flags = (_first(r"^(?:flags|Features)\s*:\s*(.+)$", text) or "").split()
    return " ".join(f for f in wanted if f in flags) or "unknown"


def conditions() -> dict[str, Any]:
    """What varies from run to run; null where this machine does not tell."""
    load = _first(r"^([0-9]{1,9}\.[0-9]{1,9}) ", kernel_text(Path("/proc/loadavg")))
    cores = sorted(usable_cores())
    frequencies, limits, full = (
        [khz for n in cores if (khz := _integer(_CPU / f"cpu{n}/cpufreq/{name}"))]
        for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")
    )
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone*/temp"))
    degrees = [milli / 1000 for z in zones if (milli := _integer(z)) is not None]
    degrees = [d for d in degrees if _PLAUSIBLE_C[0] <= d <= _PLAUSIBLE_C[1]]
    return {
        "load_1min": float(load) if load else None,
        "frequency_khz": max(frequencies, default=None),
        "frequency_limits_khz": sum(limits) or None,
        "frequency_full_khz": sum(full) or None,
        "temperature_c": max(degrees, default=None),
        "available_bytes": available_bytes(),
        "swapped_pages": _swapped_pages(),
        **container_conditions(),
    }


def container_conditions() -> dict[str, Any]:
    """What a container's limits do, where it sets any."""
    found: dict[str, Any] = {}
    held_up = held_up_us()
    if held_up is not None:
        found |= {"quota_cores": cpu_quota(), "quota_held_up_us": held_up}
    limit = memory_limit()
    if limit is not None and _is_tight(limit.available_bytes):
        found["memory_limit_bytes"] = limit.limit_bytes
    return found


def memory_advice() -> str:
    """What to do where memory is short: a container's limit is nobody's program."""
    limit = memory_limit()
    if limit is None or not _is_tight(limit.available_bytes):
        return "close programs"
    return (
        f"this container may use {format_bytes(limit.limit_bytes)}: give it more (docker run "
        "--memory, a pod's limits.memory)"
    )


def _is_tight(left_bytes: int) -> bool:
    """Whether a container's limit leaves less than the machine has."""
    free = _meminfo_available()
    return free is None or left_bytes < free


def _integer(path: Path) -> int | None:
    text = kernel_text(path) or ""
    return int(text) if _INTEGER.fullmatch(text) else None


def _swapped_pages() -> int | None:
    """Pages that the system has swapped in and out since its start, if it tells."""
    text = kernel_text(Path("/proc/vmstat"))
    found = [_first(rf"^{name} ([0-9]{{1,15}})$", text) for name in ("pswpin", "pswpout")]
    return sum(int(n) for n in found if n) if any(found) else None


def last_level_cache_bytes() -> int:
    """Size of the last-level caches of all cores that this process may use, together.

    A machine may have several, and threads use those of all their cores. Where the kernel shows
    no third level, as in many guests, there may be one all the same: then at least 32 MiB.
    """
    caches: dict[tuple[int, str], int] = {}
    for core in usable_cores():
        for folder in (_CPU / f"cpu{core}/cache").glob("index*"):
            size = _SIZE.fullmatch(kernel_text(folder / "size") or "")
            if size is None:
                continue
            level = _integer(folder / "level") or 0
            shared = kernel_text(folder / "shared_cpu_list") or ""
            caches[level, shared] = int(size[1]) << _SHIFTS[size[2]]
    last = max((level for level, _ in caches), default=0)
    size_bytes = sum(size for (level, _), size in caches.items() if level == last)
    return size_bytes if last > _SECOND else max(size_bytes, _UNTOLD_CACHE_BYTES)


def available_bytes() -> int | None:
    """Memory that may be used without swapping, of the machine's and a container's the less."""
    limit = memory_limit()
    told = [_meminfo_available(), limit.available_bytes if limit else None]
    return min((n for n in told if n is not None), default=None)


def _meminfo_available() -> int | None:
    kilobytes = _first(r"^MemAvailable:\s*([0-9]{1,15}) kB", kernel_text(_MEMORY))
    return int(kilobytes) * 1024 if kilobytes else None


def peak_resident_bytes() -> int | None:
    """High-water mark of this process's resident memory, if the kernel tells."""
    kilobytes = _first(r"^VmHWM:\s*([0-9]{1,15}) kB", kernel_text(Path("/proc/self/status")))
    return int(kilobytes) * 1024 if kilobytes else None


def reset_peak_resident() -> None:
    """Start a new high-water mark at the present size (Linux; elsewhere nothing happens)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
