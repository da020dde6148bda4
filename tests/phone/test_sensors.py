"""Sensors that cannot be believed are left out, said once, and never waited for."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.backends.native import Finished
from phonelm_search.backends.phone import Phone, bundle
from phonelm_search.backends.phone.adb import Said
from phonelm_search.backends.phone.sensors import Sensors
from phonelm_search.backends.phone.starting import ending, signal_number, start_failure
from phonelm_search.backends.phone.state import parse_sensors, parse_state
from phonelm_search.devices import DeviceProfile, Thermal

BATTERY = "  level: 80\n  temperature: 290\n"


def zones(**degrees: float) -> str:
    lines = [f"zone {name} {round(1000 * d)}" for name, d in degrees.items()]
    return "\n".join([*lines, BATTERY, "Thermal Status: 0"])


class Waiting:
    """A phone whose state is told, and a clock that only sleeping moves."""

    serial = "0A1B"

    def __init__(self, *, told: Callable[[float], str]) -> None:
        self.told, self.now = told, 0.0
        self.notes: list[str] = []
        profile = DeviceProfile(name="p", connection="adb", thermal=Thermal())
        self.phone = Phone(
            self,
            profile,
            note=self.notes.append,
            sleep=self._sleep,
            clock=lambda: self.now,  # type: ignore[arg-type]
        )

    def shell(self, script: str, *, seconds: float | None = None) -> Said:
        return Said(returncode=0, stdout=self.told(self.now), stderr="")

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def cooled(self) -> float | None:
        conditions = self.phone._cool_enough(wait=True)
        temperature: float | None = conditions["phone_temperature_c"]
        return temperature


@pytest.mark.parametrize("broken", [136.0, 0.0, -40.0, 1.234, 1234.0, -273.0])
def test_what_no_chip_can_be_is_left_out_at_once(broken: float) -> None:
    waiting = Waiting(told=lambda now: zones(tsens0=33, tsens4=broken))
    assert waiting.cooled() == 33
    assert waiting.now == 0
    (note,) = waiting.notes
    assert note.startswith(
        "0A1B: sensors that cannot be right by what they tell are left out: tsens4"
    )
    assert waiting.cooled() == 33
    assert len(waiting.notes) == 1


def test_a_hot_sensor_that_stands_still_among_cool_ones_is_left_out() -> None:
    waiting = Waiting(told=lambda now: zones(cpu0=33 + now / 1000, cpu1=95))
    assert waiting.cooled() == pytest.approx(33, abs=1)
    assert waiting.now <= 60
    assert waiting.notes[-1].endswith(
        "do not move while the others are cool are left out: cpu1 (95 °C)"
    )
    waiting.now = began = 1000.0
    waiting.cooled()
    assert waiting.now == began


def test_the_only_sensor_is_left_out_when_load_does_not_move_it_either() -> None:
    waiting = Waiting(told=lambda now: zones(cpu0=95))
    assert waiting.cooled() == 95  # and its round is suspect
    assert waiting.now == 45
    assert waiting.notes[-1] == "0A1B stays at 95 °C and is not waited for"
    waiting.phone._sensors.loaded()
    assert waiting.cooled() == 29  # the battery's
    assert waiting.now == 45


def test_a_phone_that_cools_is_waited_for() -> None:
    waiting = Waiting(told=lambda now: zones(cpu0=70 - now / 5, cpu1=60 - now / 5))
    assert waiting.cooled() == 45
    assert waiting.now == 125
    assert len(waiting.notes) == 1  # that it cools


def test_what_never_moves_with_load_is_left_out_until_it_moves() -> None:
    notes: list[str] = []
    sensors = Sensors(notes.append, lambda: 0.0)
    for load in range(4):
        state = sensors.state(zones(cpu0=25, cpu1=30 + load))
        assert state.temperature_c == 30 + load
        sensors.loaded()
    assert notes == ["sensors that do not move with load are left out: cpu0 (25 °C)"]
    assert sensors.state(zones(cpu0=80, cpu1=40)).temperature_c == 80


def test_sensors_of_one_name_are_told_apart() -> None:
    found = parse_sensors("zone cpu 30000\nzone cpu 140000\n")
    assert [(s.name, s.plausible) for s in found] == [("cpu", True), ("cpu 2", False)]


@given(st.integers(), st.from_regex(r"-?[0-9.]{1,40}", fullmatch=True))
def test_numbers_of_any_width_are_read(number: int, value: str) -> None:
    text = f"zone cpu {number}\nmValue={value}, mType=0\n temperature: {number}\n level: {number}\n"
    parse_state(text)
    long = "9" * 5000
    found = parse_state(
        f"zone cpu {long}\ntemperature: {long}\nlevel: {long}\nmValue={long}, mType=0"
    )
    assert (found.temperature_c, found.battery_level) == (None, None)


ENDINGS = (126, 127, 132, 139, 159, 2, 1, 134, 137, -4, -11, -31)


def starting(monkeypatch: pytest.MonkeyPatch, codes: dict[str, int], *, android: bool) -> Waiting:
    """A phone on which each flavour's probe ends with a code."""
    waiting = Waiting(told=lambda now: "")
    made = {
        flavour: bundle.Bundle(flavour=flavour, files={}, library="l")  # type: ignore[arg-type]
        for flavour in ("glibc", "android")
    }
    path = "phonelm_search.backends.phone.phone"
    monkeypatch.setattr(f"{path}.glibc_bundle", lambda: made["glibc"])
    monkeypatch.setattr(f"{path}.android_bundle", lambda: made["android"] if android else None)
    monkeypatch.setattr(waiting.phone, "_alone_and_again", lambda once: once())

    def once(chosen: bundle.Bundle, *_: object, **__: object) -> Finished:
        return Finished(returncode=codes[chosen.flavour], stdout="", stderr="kernel too old")

    monkeypatch.setattr(waiting.phone, "_once", once)
    return waiting


@pytest.mark.parametrize("code", ENDINGS)
def test_whatever_keeps_glibc_from_starting_android_is_tried(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    waiting = starting(monkeypatch, {"glibc": code, "android": 0}, android=True)
    assert waiting.phone._choose_bundle().flavour == "android"
    (note,) = waiting.notes
    assert note.endswith("so it gets the Android build")
    assert ("refuses system calls" in note) == (code in (159, -31))


@pytest.mark.parametrize("code", ENDINGS)
@pytest.mark.parametrize("android", [True, False])
def test_where_no_build_starts_each_is_said(
    monkeypatch: pytest.MonkeyPatch, code: int, android: bool
) -> None:
    waiting = starting(monkeypatch, {"glibc": code, "android": 127}, android=android)
    with pytest.raises(Exception, match=rf"status {code}") as caught:
        waiting.phone._choose_bundle()
    assert ("--ndk" in str(caught.value)) != android
    assert ("android build: status 127" in str(caught.value)) == android


def test_a_signal_is_named_by_either_way_of_telling_it() -> None:
    assert [signal_number(c) for c in (139, -11, 127, 1, 0, 300, -99)] == [11, 11, *[None] * 5]
    done = Finished(returncode=139, stdout="", stderr="a\nSegmentation fault\n")
    assert ending(done) == "status 139, SIGSEGV: Segmentation fault"
    only = bundle.Bundle(flavour="android", files={}, library="l")
    assert "--ndk" not in start_failure("s", [only], [done])
