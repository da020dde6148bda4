"""Commands that look for a phone, with an adb that answers from a text."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from phonelm_search.backends.phone import assign_phones, connected_phones, examine
from phonelm_search.backends.phone.adb import Adb, AdbPhone, Said
from phonelm_search.backends.phone.connecting import fitting_phone, named_phone
from phonelm_search.backends.phone.doctor import Check
from phonelm_search.core.errors import ConfigurationError, TransportError
from phonelm_search.devices import DeviceProfile

MDNS = "adb-0123456789abcdef-aB3dEf (2)._adb-tls-connect._tcp"
PHONE = DeviceProfile(name="p", connection="adb", runtime="onnxruntime-native")
OTHER = DeviceProfile(name="o", connection="adb", match={"ro.product.model": "Other"})
Plugged = Callable[..., list[tuple[str, ...]]]


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Plugged:
    """Makes adb list some lines; gives what it was asked."""
    asked: list[tuple[str, ...]] = []

    def plug(*lines: str, places: tuple[str, ...] = (), error: str = "") -> list[tuple[str, ...]]:
        def call(_: Adb, *words: str, seconds: float | None = None) -> Said:
            asked.append(words)
            if words[0] == "devices":
                text = "\n".join(["List of devices attached", *lines, "", ""])
                return Said(returncode=0, stdout=text, stderr="")
            if words[2] == "get-state":
                here = words[1] in places
                return Said(returncode=not here, stdout="device\n" if here else "", stderr="")
            tag = re.search(r"([0-9a-f]{16}) \$\?", words[-1])
            if error or tag is None:
                return Said(returncode=1, stdout="", stderr=error)
            out = "[ro.product.model]: [Acme]" if "getprop" in words[-1] else ""
            return Said(returncode=0, stdout=f"{out}\n{tag[1]} 0\n", stderr="")

        monkeypatch.setattr(Adb, "__init__", lambda self: setattr(self, "program", Path("adb")))
        monkeypatch.setattr(Adb, "call", call)
        return asked

    return plug


def checks(serial: str | None = None) -> Check:
    """The last check on the way to a connection."""
    *_, last = (c for c in examine(PHONE, serial) if c.name in ("adb", "connection"))
    return last


@pytest.mark.parametrize("serial", [MDNS, "[fe80::1%wlan0]:5555", "  0A1B"])
def test_a_name_that_adb_lists_is_given_back_to_the_letter(plugged: Plugged, serial: str) -> None:
    asked = plugged(f"{serial}\tdevice")
    assert checks().ok
    assert checks(serial.strip()).ok
    assert fitting_phone(Adb(), PHONE).serial == serial
    assert named_phone(Adb(), serial.strip()).serial == serial
    (found,) = connected_phones([PHONE])
    assert (found.model, found.fits, found.remedy) == ("Acme", ("p",), None)
    assert assign_phones([PHONE, OTHER], [serial.strip()])["p"] == (serial.strip(),)
    assert {words[1] for words in asked if words[0] == "-s"} == {serial}


@pytest.mark.parametrize(
    "line",
    ["????????????\tno permissions", "(no serial number)\tno permissions (verify udev rules)"],
)
def test_the_state_is_looked_at_before_the_name(plugged: Plugged, line: str) -> None:
    plugged(line)
    serial = line.partition("\t")[0]
    for check in (checks(), checks(serial)):
        assert not check.ok
        assert "udev rules for Android" in (check.remedy or "")
    (found,) = connected_phones([PHONE])
    assert "udev rules for Android" in (found.remedy or "")
    with pytest.raises(ConfigurationError, match=r"none does; .*udev rules for Android"):
        fitting_phone(Adb(), PHONE)


def test_a_phone_in_recovery_is_told_to_start_anew(plugged: Plugged) -> None:
    plugged("0A1B\trecovery")
    with pytest.raises(
        ConfigurationError, match="0A1B must be connected and ready, it is recovery"
    ):
        named_phone(Adb(), "0A1B")
    plugged("0A1B\toffline")
    assert named_phone(Adb(), "0A1B").serial == "0A1B"  # it may come back by itself


@pytest.mark.parametrize(
    "lines", [["(no serial number)\tdevice"], ["0123\tdevice", "0123\tdevice"], ["\tdevice"]]
)
def test_phones_without_a_name_of_their_own_are_named_by_place(
    plugged: Plugged, lines: list[str]
) -> None:
    asked = plugged(*lines, places=("usb:1-2",))
    assert "--serial usb:BUS-PORT" in (checks().remedy or "")
    with pytest.raises(ConfigurationError, match="--serial usb:BUS-PORT"):
        fitting_phone(Adb(), PHONE)
    assert all(words[0] != "-s" for words in asked)
    assert checks("usb:1-2").ok
    assert named_phone(Adb(), "usb:1-2").serial == "usb:1-2"
    with pytest.raises(
        ConfigurationError, match="usb:9-9 must be connected and ready, it is absent"
    ):
        named_phone(Adb(), "usb:9-9")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("error: insufficient permissions for device: missing udev rules?", "udev rules for And"),
        ("adb: no permissions (user in plugdev group)\nSee [http://x]", "udev rules for Android"),
        ("error: more than one device/emulator", "must be the name of one phone"),
    ],
)
def test_what_only_a_person_can_mend_is_not_tried_again(
    plugged: Plugged, error: str, message: str
) -> None:
    plugged("0A1B\tdevice", error=error)
    with pytest.raises(TransportError, match=message) as caught:
        AdbPhone(Adb(), "0A1B").shell("true")
    assert not caught.value.retry
