"""What a phone tells of itself, read from the text of its own commands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from phonelm_search.devices import CPU_FOLDER, Core, parse_core

_CPU_ZONE = re.compile(r"cpu|soc|apc|tsens|cluster|big|mid|little|exynos", re.IGNORECASE)
_PLAUSIBLE_C = (1.0, 150.0)  # a zone that is switched off reads 0, -40 or its like

CORES_SCRIPT = (
    f"for c in {CPU_FOLDER}/cpu[0-9]*; do "
    '[ "$(cat $c/online 2>/dev/null || echo 1)" = 1 ] && echo "${c##*/} '
    "$(cat $c/cpu_capacity 2>/dev/null || echo -) "
    '$(cat $c/cpufreq/cpuinfo_max_freq 2>/dev/null || echo -)"; done; true'
)
STATE_SCRIPT = (
    "for z in /sys/class/thermal/thermal_zone*; do "
    'echo "zone $(cat $z/type 2>/dev/null) $(cat $z/temp 2>/dev/null)"; done; '
    "dumpsys battery; dumpsys thermalservice | grep -e 'Thermal Status' -e 'mType=0'; true"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneState:
    """What varies on a phone."""

    temperature_c: float | None
    """Of the hottest part of the processor, or of the battery where no such part is told."""
    of_battery: bool
    """Whether it is the battery's: far cooler, and slower to change."""
    thermal_status: int | None
    """Android's, 0 (none) to 6 (shutdown)."""
    battery_level: int | None
    """In per cent."""
    charging: bool | None
    """Whether it is powered from outside."""


def parse_state(text: str) -> PhoneState:
    """Read the output of `STATE_SCRIPT`."""
    zones: list[float] = []
    for match in re.finditer(r"^zone (\S+) (-?[0-9]+)\s*$", text, re.MULTILINE):
        degrees = int(match[2]) / 1000
        if _CPU_ZONE.search(match[1]) and _PLAUSIBLE_C[0] <= degrees <= _PLAUSIBLE_C[1]:
            zones.append(degrees)
    if not zones:  # files are denied on many phones; the service then tells the same
        told = re.findall(r"mValue=(-?[0-9.]+), mType=0", text)
        zones = [float(t) for t in told if _PLAUSIBLE_C[0] <= float(t) <= _PLAUSIBLE_C[1]]
    battery = _number(r"^\s*temperature: (-?[0-9]+)", text)
    powered = re.findall(r"^\s*(?:AC|USB|Wireless|Dock) powered: (true|false)", text, re.MULTILINE)
    return PhoneState(
        temperature_c=max(zones, default=None if battery is None else battery / 10),
        of_battery=not zones and battery is not None,
        thermal_status=_number(r"Thermal Status: ([0-9]+)", text),
        battery_level=_number(r"^\s*level: ([0-9]+)", text),
        charging="true" in powered if powered else None,
    )


def parse_cores(text: str) -> tuple[Core, ...]:
    """Read the output of `CORES_SCRIPT`: the cores that are online."""
    lines = [line.split() for line in text.splitlines()]
    found = [parse_core(*words) for words in lines if len(words) == 3]
    return tuple(sorted((c for c in found if c), key=lambda c: c.number))


def parse_properties(text: str) -> dict[str, str]:
    """Read the output of ``getprop``; of values over several lines the first."""
    return dict(re.findall(r"^\[([^\]]+)\]: \[(.*?)\]?\r?$", text, re.MULTILINE))


def parse_available_bytes(text: str) -> int | None:
    """Memory that may be used without swapping, from ``/proc/meminfo``."""
    kilobytes = _number(r"^MemAvailable:\s+([0-9]+) kB", text)
    return None if kilobytes is None else 1024 * kilobytes


def mismatch(match: Mapping[str, str], properties: Mapping[str, str]) -> str | None:
    """What a profile asks for and a phone is not; None where the phone fits."""
    for name, wanted in match.items():
        if properties.get(name, "") != wanted:
            return f"{name} must be '{wanted}', got '{properties.get(name, '')}'"
    return None


def _number(pattern: str, text: str) -> int | None:
    match = re.search(pattern, text, re.MULTILINE)
    return int(match[1]) if match else None
