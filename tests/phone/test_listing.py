"""What adb lists, read as several releases print it, and what is said of each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.backends.phone.adb import check_serial
from phonelm_search.backends.phone.listing import (
    UDEV,
    Listed,
    lacks_permission,
    named,
    parse_listing,
    trouble_of,
)

MDNS = "adb-0123456789abcdef-aB3dEf (2)._adb-tls-connect._tcp"
SEE = "; see [http://developer.android.com/tools/device.html]"
WORDINGS = (
    "no permissions",
    "no permissions (verify udev rules)",
    f"no permissions (missing udev rules? user is in the plugdev group){SEE}",
    f"no permissions (user in plugdev group; are your udev rules wrong?){SEE}",
    f"no permissions (user u0_a1 is not in the plugdev group){SEE}",
    "insufficient permissions for device",
    "access denied",
)


def listing(*lines: str) -> list[Listed]:
    return parse_listing(
        "\n".join(["* daemon started", "List of devices attached", *lines, "", ""])
    )


@pytest.mark.parametrize(
    "serial",
    ["0A1B2C3D", MDNS, "[fe80::1%wlan0]:5555", "  0123456789ABCDEF", "(no serial number)", "???"],
)
@pytest.mark.parametrize("state", ["device", "offline", "sideload", "no device", *WORDINGS])
def test_names_and_states_are_read_to_the_letter(serial: str, state: str) -> None:
    wanted = [Listed(serial=serial, state=state)]
    assert listing(f"{serial}\t{state}") == wanted
    assert listing(f"{serial}\t{state}\r") == wanted
    details = " usb:1-1 product:p model:Pixel_8 device:husky transport_id:4"
    if not serial.startswith(" ") and state != "access denied":
        assert listing(f"{serial:<22} {state}{details}") == wanted


def test_nothing_is_listed_before_the_header() -> None:
    assert parse_listing("* daemon not running; starting now at tcp:5037\n") == []
    assert parse_listing("x\tdevice\n") == []
    assert listing() == []
    assert listing("\tdevice") == [Listed(serial="", state="device")]


@pytest.mark.parametrize("state", WORDINGS)
def test_every_wording_of_no_permission_leads_to_udev(state: str) -> None:
    for serial in ("????????????", "(no serial number)", "0A1B"):
        found = trouble_of(listing(f"{serial}\t{state}"), serial)
        assert found
        assert (found.remedy, found.passing) == (UDEV, False)
    assert lacks_permission(f"error: insufficient permissions for device: {state}")
    assert not lacks_permission("adb: error: failed to copy: Permission denied")


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("unauthorized", "accept the question"),
        ("authorizing", "wait a moment"),
        ("offline", "plug it again"),
        ("recovery", "adb reboot"),
        ("sideload", "adb reboot"),
        ("rescue", "adb reboot"),
        ("bootloader", "fastboot reboot"),
        ("detached", "adb attach"),
        ("whatever comes", "plug it in again"),
    ],
)
def test_each_state_has_its_remedy_whatever_the_name(state: str, remedy: str) -> None:
    for serial in ("0A1B", "(no serial number)", "????????????", MDNS):
        found = trouble_of([Listed(serial=serial, state=state)], serial)
        assert found
        assert found.what == f"is {state}"
        assert remedy in found.remedy


def test_a_phone_is_meant_by_its_name_without_the_blanks_in_front() -> None:
    found = listing("  0A1B\tdevice", "0A1B2\tdevice")
    assert named(found, "0A1B") == named(found, "  0A1B") == found[:1]
    assert trouble_of(found, "0A1B") is None
    absent = trouble_of(found, "0A1")
    assert absent
    assert absent.what == "is absent"


def test_phones_that_no_name_tells_apart_are_named_by_place() -> None:
    two = listing("0123456789ABCDEF\tdevice", "0123456789ABCDEF\tdevice")
    found = trouble_of(two, "0123456789ABCDEF")
    assert found
    assert found.what == "is the name of 2 connected phones"
    assert "--serial usb:BUS-PORT" in found.remedy
    for serial in ("(no serial number)", "", "a\x1b[31m", "a\ufffd"):
        nameless = trouble_of([Listed(serial=serial, state="device")], serial)
        assert nameless
        assert "--serial usb:BUS-PORT" in nameless.remedy


@pytest.mark.parametrize(
    "serial",
    [MDNS, "adb-X._adb._tcp.", "[fe80::1%wlan0]:5555", "fe80::1%eth0", "[::1]:5555", "usb:1-2"],
)
def test_names_that_adb_gives_can_be_typed(serial: str) -> None:
    assert check_serial(serial) == serial


@given(st.text(), st.text())
def test_whatever_adb_prints_is_read(serial: str, state: str) -> None:
    for phone in listing(f"{serial}\t{state}", f"{serial} {state}"):
        trouble_of([phone], phone.serial)
        assert phone.shown
