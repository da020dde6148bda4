"""What a phone tells of itself, read from the text of its own commands."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from phonelm_search.devices import CPU_FOLDER, Core, parse_core

_MOST_DIGITS = 18
_CPU_ZONE = re.compile(r"cpu|soc|apc|tsens|cluster|big|mid|little|exynos", re.IGNORECASE)
# A sensor that is off or broken reads 0, -40, 1.234 or its like; no chip of a phone works at more.
_PLAUSIBLE_C = (5.0, 125.0)
_PLAUSIBLE_BATTERY_C = (-20.0, 80.0)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """One temperature sensor and what it tells."""

    name: str
    """As the phone calls it; of several of one name each has a number behind it."""
    kind: Literal["zone", "service", "battery"]
    """A file of the kernel's, Android's service, or the battery's."""
    degrees: float
    """In Celsius."""

    @property
    def plausible(self) -> bool:
        """Whether a phone at work can be that warm."""
        low, high = _PLAUSIBLE_BATTERY_C if self.kind == "battery" else _PLAUSIBLE_C
        # Batteries are measured in tenths: exactly 0 is one that is not measured.
        return low <= self.degrees <= high and self.degrees != 0


def parse_sensors(text: str) -> tuple[Sensor, ...]:
    """The sensors of processor and battery in the output of `STATE_SCRIPT`."""
    return tuple(_sensors(text))


def _sensors(text: str) -> Iterator[Sensor]:
    count: Counter[str] = Counter()

    def name(told: str) -> str:
        count[told] += 1
        return told if count[told] == 1 else f"{told} {count[told]}"

    for match in re.finditer(r"^zone (\S+) (-?[0-9]{1,9})\s*$", text, re.MULTILINE):
        if _CPU_ZONE.search(match[1]):
            yield Sensor(name=name(match[1]), kind="zone", degrees=int(match[2]) / 1000)
    number = r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
    for match in re.finditer(rf"mValue={number}, mType=0(?:, mName=([^,}}]+))?", text):
        yield Sensor(name=name(match[2] or "CPU"), kind="service", degrees=float(match[1]))
    battery = _number(r"^\s*temperature: (-?[0-9]+)", text)
    if battery is not None:
        yield Sensor(name="battery", kind="battery", degrees=battery / 10)


def parse_state(text: str, *, without: Collection[str] = ()) -> PhoneState:
    """Read the output of `STATE_SCRIPT`.

    Args:
        text: The output.
        without: Names of sensors that are not believed.
    """
    sensors = [s for s in _sensors(text) if s.plausible and s.name not in without]
    # Files are denied on many phones; the service then tells the same.
    zones = [s.degrees for s in sensors if s.kind == "zone"] or [
        s.degrees for s in sensors if s.kind == "service"
    ]
    battery = next((s.degrees for s in sensors if s.kind == "battery"), None)
    powered = re.findall(r"^\s*(?:AC|USB|Wireless|Dock) powered: (true|false)", text, re.MULTILINE)
    return PhoneState(
        temperature_c=max(zones, default=battery),
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
    return int(match[1]) if match and len(match[1]) < _MOST_DIGITS else None
