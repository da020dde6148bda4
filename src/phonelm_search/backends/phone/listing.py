"""What ``adb devices`` lists, and what keeps a listed phone from being used."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

UDEV = (
    "install udev rules for Android (Debian: apt-get install adb brings them) and plug it in again"
)
_BY_PLACE = "name it by where it is plugged in, as `adb devices -l` shows it: --serial usb:BUS-PORT"
_PERMISSION = re.compile(
    r"\b(?:no|insufficient|missing) permissions?\b|access denied|udev|plugdev", re.IGNORECASE
)
_AGAIN = "start it anew: `adb reboot`, or what its screen offers"
_REMEDIES = {
    "absent": "plug it in, or `adb connect HOST:PORT`; switch on USB debugging on it",
    "offline": "unplug and plug it again; over the network: `adb disconnect` and `adb connect`",
    "unauthorized": "unlock it and accept the question that it shows",
    "authorizing": "wait a moment; where it shows a question, accept it",
    "connecting": "wait a moment, then try again",
    "recovery": _AGAIN,
    "rescue": _AGAIN,
    "sideload": _AGAIN,
    "bootloader": "start it anew: `fastboot reboot`, or what its screen offers",
    "fastboot": "start it anew: `fastboot reboot`, or what its screen offers",
    "detached": "let adb have it again: `adb attach`",
}
_PASSING = ("offline", "authorizing", "connecting")
_STATES = "|".join([*_REMEDIES, "device", "host", "unknown", "no device"])
_LINE = re.compile(
    rf"(?P<serial>.*?)\s+(?P<state>(?:{_STATES})(?=\s|$)|(?:no|insufficient) permissions?\b.*)"
)
_DETAIL = re.compile(r"\s+(?:usb|product|model|device|features|transport_id):\S.*")
_NAMELESS = re.compile(r"\(no serial number\)|\?*")
NO_SERIAL = "(no serial number)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of ``adb devices``."""

    serial: str
    """What adb calls it, to the letter: blanks in front are part of it."""
    state: str
    """``device`` when it can be used; ``offline``, ``unauthorized``, …"""

    @property
    def nameless(self) -> bool:
        """Whether adb cannot be told by this that the phone is meant."""
        name = self.serial.strip()
        return bool(_NAMELESS.fullmatch(name)) or not name.isprintable() or "\ufffd" in name

    @property
    def shown(self) -> str:
        """Its name for a person."""
        return self.serial.strip() or NO_SERIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What keeps a phone from being used."""

    what: str
    """As a sentence goes on behind the phone's name: ``is unauthorized``."""
    remedy: str
    """What to do."""
    passing: bool = False
    """Whether it may be over at the next try."""


def parse_listing(text: str) -> list[Listed]:
    """Phones in the output of ``adb devices``, with ``-l`` or without."""
    found = []
    for line in text.partition("List of devices attached")[2].split("\n")[1:]:
        serial, tab, state = line.rstrip().rpartition("\t")
        if not tab:
            match = _LINE.fullmatch(_DETAIL.sub("", line.rstrip()))
            if match is None:
                continue
            serial, state = match["serial"], match["state"]
        state = _DETAIL.sub("", state).strip()
        if state:
            found.append(Listed(serial=serial, state=state))
    return found


def named(listed: Sequence[Listed], serial: str) -> list[Listed]:
    """The listed phones that a person may mean by a name."""
    exactly = [p for p in listed if p.serial == serial]
    return exactly or [p for p in listed if p.shown == (serial.strip() or NO_SERIAL)]


def trouble_of(listed: Sequence[Listed], serial: str) -> Trouble | None:
    """What keeps a phone from being used: its state, then its name.

    Args:
        listed: All phones that adb lists.
        serial: Which one.
    """
    phones = named(listed, serial)
    state = next((p.state for p in phones if p.state != "device"), "device" if phones else "absent")
    if state != "device":
        return state_trouble(state)
    if phones[0].nameless:
        return Trouble(what="has no name that adb could be told", remedy=_BY_PLACE)
    if len(phones) > 1:
        what = f"is the name of {len(phones)} connected phones"
        return Trouble(what=what, remedy=f"unplug all but one, or {_BY_PLACE}")
    return None


def state_trouble(state: str) -> Trouble:
    """A state other than ``device``, and what to do about it."""
    remedy = UDEV if lacks_permission(state) or "permission" in state.lower() else None
    known = remedy or next((r for s, r in _REMEDIES.items() if state.startswith(s)), None)
    return Trouble(
        what=f"has {state}" if remedy else f"is {state}",
        remedy=known or "plug it in again",
        passing=state in _PASSING,
    )


def lacks_permission(text: str) -> bool:
    """Whether adb says, in any of its wordings, that this computer's user may not use a phone."""
    return _PERMISSION.search(text) is not None
