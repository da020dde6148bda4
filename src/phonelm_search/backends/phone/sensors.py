"""Which of a phone's temperature sensors can be believed, by what they told so far."""

from collections.abc import Callable, Sequence

from phonelm_search.backends.phone.state import PhoneState, Sensor, parse_sensors, parse_state
from phonelm_search.core.units import format_some

_LOADS = 3  # timed jobs that move every sensor of a processor
_STILL_SECONDS = 45.0  # in which a hot processor at rest cools by degrees
_MOST_NAMES = 3
_KINDS = ("zone", "service", "battery")  # the first that is there counts


class Sensors:
    """The sensors of one phone, each with its past.

    One that stands where no chip works, or at one value whatever the load, is left out; it is
    believed as soon as it moves.

    Args:
        note: Told once of each that is left out.
        clock: Seconds.
    """

    def __init__(self, note: Callable[[str], object], clock: Callable[[], float]) -> None:
        self._note, self._clock = note, clock
        self._last: dict[str, Sensor] = {}
        self._first_seen: dict[str, float] = {}
        self._moved: set[str] = set()
        self._suspected: set[str] = set()
        self._loads = 0
        self.left_out: dict[str, Sensor] = {}
        """By name, as they were when they were left out."""

    def state(self, text: str) -> PhoneState:
        """Read the output of `STATE_SCRIPT` by the sensors that can be believed."""
        for sensor in parse_sensors(text):
            self._see(sensor)
        self._leave_out(
            [s for s in self._last.values() if not s.plausible], "cannot be right by what they tell"
        )
        if self._loads >= _LOADS:
            self._leave_out(
                [s for s in self._last.values() if s.kind != "battery"], "do not move with load"
            )
        return parse_state(text, without=self.left_out)

    def loaded(self) -> None:
        """A timed job has ended: what has not moved by it is not believed where it was hot."""
        self._loads += 1
        self._leave_out([self._last[name] for name in self._suspected], "do not move with load")
        self._suspected.clear()

    def nothing_cools(self, limit_c: float) -> bool:
        """Whether waiting is of no use: all that is hot has stood still, ever since it was seen.

        Hot ones beside cool ones are left out; where there is none cooler, the next load tells.
        """
        believed = [s for s in self._last.values() if s.name not in self.left_out]
        kinds = {s.kind for s in believed}
        used = next((k for k in _KINDS if k in kinds), None)
        believed = [s for s in believed if s.kind == used]
        hot = [s for s in believed if s.degrees > limit_c]
        still = [s for s in hot if self._stands_still(s)]
        if not hot or len(still) < len(hot):
            return False
        if len(hot) < len(believed):
            self._leave_out(hot, "do not move while the others are cool")
            return False
        self._suspected |= {s.name for s in hot}
        return True

    def _see(self, sensor: Sensor) -> None:
        before = self._last.get(sensor.name)
        if before is None:
            self._first_seen[sensor.name] = self._clock()
        elif before.degrees != sensor.degrees:
            self._moved.add(sensor.name)
            if sensor.plausible:
                self.left_out.pop(sensor.name, None)
        self._last[sensor.name] = sensor

    def _stands_still(self, sensor: Sensor) -> bool:
        seen = self._clock() - self._first_seen[sensor.name]
        return sensor.name not in self._moved and seen >= _STILL_SECONDS

    def _leave_out(self, sensors: list[Sensor], why: str) -> None:
        new = [
            s
            for s in sensors
            if s.name not in self.left_out and (s.name not in self._moved or not s.plausible)
        ]
        if not new:
            return
        self.left_out |= {s.name: s for s in new}
        self._note(f"sensors that {why} are left out: {in_words(new)}")


def in_words(sensors: Sequence[Sensor]) -> str:
    """Sensors and what they told."""
    return format_some([f"{s.name} ({s.degrees:.0f} °C)" for s in sensors], _MOST_NAMES)
