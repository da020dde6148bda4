"""What phones print, read: as devices of several makers do, and as nobody should."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.backends.phone.state import (
    PhoneState,
    mismatch,
    parse_available_bytes,
    parse_cores,
    parse_properties,
    parse_state,
)
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.yamlfile import validate
from phonelm_search.devices import Core, DeviceProfile, Thermal

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  level: 87
  temperature: 312
"""
SERVICE = """IsStatusOverride: false
Thermal Status: 1
	Temperature{mValue=54.6, mType=0, mName=CPU0, mStatus=0}
	Temperature{mValue=58.0, mType=0, mName=CPU7, mStatus=0}
	Temperature{mValue=38.1, mType=3, mName=SKIN, mStatus=1}
"""


def test_the_hottest_part_of_the_processor_counts_and_no_charger() -> None:
    zones = "zone cpu-0-0-usr 41000\nzone BIG 52300\nzone charger-therm 71000\nzone cpu-9 -40000\n"
    assert parse_state(f"{zones}{BATTERY}Thermal Status: 0\n") == PhoneState(
        temperature_c=52.3, of_battery=False, thermal_status=0, battery_level=87, charging=True
    )


def test_where_files_are_denied_the_service_tells_and_then_the_battery() -> None:
    denied = "zone  \nzone  \n"
    assert parse_state(denied + BATTERY + SERVICE).temperature_c == 58.0
    found = parse_state(denied + BATTERY)
    assert (found.temperature_c, found.of_battery) == (31.2, True)
    assert found.thermal_status is None


def test_a_battery_has_a_limit_of_its_own() -> None:
    limits = Thermal(highest_start_c=45, battery_start_c=36)
    assert limits.limit_c(of_battery=False) == 45
    assert limits.limit_c(of_battery=True) == 36


@given(text=st.text())
def test_whatever_a_phone_prints_is_read_without_an_error(text: str) -> None:
    state = parse_state(text)
    assert state.temperature_c is None or state.temperature_c == state.temperature_c
    parse_cores(text)
    parse_properties(text)
    parse_available_bytes(text)


def test_cores_online_are_read() -> None:
    text = "cpu0 250 1800000\ncpu10 1024 2900000\ncpu1 - -\nnonsense\ncpufreq 1 2\n"
    assert parse_cores(text) == (
        Core(number=0, capacity=250, max_khz=1_800_000),
        Core(number=1, capacity=None, max_khz=None),
        Core(number=10, capacity=1024, max_khz=2_900_000),
    )


def test_properties_are_read_as_they_are() -> None:
    text = "[a.b]: [c d]\r\n[empty]: []\n[two]: [first\nsecond]\n[hostile]: [$(x) ] [y]\n"
    found = parse_properties(text)
    assert (found["a.b"], found["empty"], found["two"]) == ("c d", "", "first")
    assert found["hostile"] == "$(x) ] [y"


def test_memory_is_in_bytes() -> None:
    assert parse_available_bytes("MemTotal: 9 kB\nMemAvailable:    2048 kB\n") == 2048 * 1024
    assert parse_available_bytes("") is None


def test_a_mismatch_says_what_was_wanted_and_what_is() -> None:
    assert mismatch({}, {}) is None
    assert mismatch({"a": "1"}, {"a": "1", "b": "2"}) is None
    assert mismatch({"a": "1"}, {}) == "a must be '1', got ''"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"match": {"a": "b"}}, "match and thermal are for connection: adb"),
        ({"connection": "adb", "cores": "little"}, "cores"),
        ({"connection": "adb", "cores": []}, "cores"),
        ({"connection": "adb", "cores": [-1]}, "cores"),
        ({"connection": "usb"}, "connection: input should be 'local' or 'adb', got 'usb'"),
        ({"connection": "adb", "thermal": {"start": 1}}, "thermal.start: unknown key; allowed"),
    ],
)
def test_a_profile_that_cannot_be_names_the_key(lines: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        validate({"name": "p", **lines}, DeviceProfile, source=str(Path("p.yaml")))
