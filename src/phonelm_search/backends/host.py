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
from phonelm_search.work import usable_cores

_CPU = Path("/sys/devices/system/cpu")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _first(pattern: str, text: str | None) -> str | None:
    match = re.search(pattern, text or "", re.MULTILINE)
    return match[1].strip() if match else None


def machine() -> dict[str, str]:
    """What identifies this machine."""
    dmi = Path("/sys/devices/virtual/dmi/id/product_name")
    return {
        "device_model": _read(dmi) or "unknown",
        "soc": _first(r"^model name\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")))
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


def environment(
    placement: Placement, *, execution_provider: str, provider_options: Mapping[str, str]
) -> dict[str, str]:
    """The identity of measurements through ONNX Runtime on this machine."""
    page_bytes = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    return {
        **machine(),
        **pages(_read(_HUGE_PAGES), page_bytes),
        "kernel": platform.release(),
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor") or "unknown",
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
    text = _read(Path("/proc/cpuinfo"))
    flags = (_first(r"^(?:flags|Features)\s*:\s*(.+)$", text) or "").split()
    return " ".join(f for f in wanted if f in flags) or "unknown"


def conditions() -> dict[str, Any]:
    """What varies from run to run; null where this machine does not tell."""
    load = _first(r"^([0-9.]+)", _read(Path("/proc/loadavg")))
    cores = sorted(usable_cores())
    frequencies, limits, full = (
        [int(text) for n in cores if (text := _read(_CPU / f"cpu{n}/cpufreq/{name}"))]
        for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")
    )
    zones = [_read(p) for p in sorted(Path("/sys/class/thermal").glob("thermal_zone*/temp"))]
    degrees = [int(z) / 1000 for z in zones if z and z.lstrip("-").isdigit()]
    return {
        "load_1min": float(load) if load else None,
        "frequency_khz": max(frequencies, default=None),
        "frequency_limits_khz": sum(limits) or None,
        "frequency_full_khz": sum(full) or None,
        "temperature_c": max(degrees, default=None),
        "available_bytes": available_bytes(),
        "swapped_pages": _swapped_pages(),
    }


def _swapped_pages() -> int | None:
    """Pages that the system has swapped in and out since its start, if it tells."""
    text = _read(Path("/proc/vmstat"))
    found = [_first(rf"^{name} ([0-9]+)$", text) for name in ("pswpin", "pswpout")]
    return sum(int(n) for n in found if n) if any(found) else None


def last_level_cache_bytes() -> int:
    """Size of the largest cache of the first core; 32 MiB where the kernel does not tell."""
    sizes = []
    for path in (_CPU / "cpu0/cache").glob("index*/size"):
        match = re.fullmatch(r"([0-9]+)([KMG]?)", _read(path) or "")
        if match:
            sizes.append(int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]])
    return max(sizes, default=32 * 2**20)


def available_bytes() -> int | None:
    """Memory that the kernel would give out without swapping, if it tells."""
    kilobytes = _first(r"^MemAvailable:\s*([0-9]+) kB", _read(Path("/proc/meminfo")))
    return int(kilobytes) * 1024 if kilobytes else None


def peak_resident_bytes() -> int | None:
    """High-water mark of this process's resident memory, if the kernel tells."""
    kilobytes = _first(r"^VmHWM:\s*([0-9]+) kB", _read(Path("/proc/self/status")))
    return int(kilobytes) * 1024 if kilobytes else None


def reset_peak_resident() -> None:
    """Start a new high-water mark at the present size (Linux; elsewhere nothing happens)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
