"""Which phones are connected, and which profiles they fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phonelm_search.backends.phone.adb import Adb, AdbPhone, check_serial
from phonelm_search.backends.phone.connecting import properties_of
from phonelm_search.backends.phone.listing import named, trouble_of
from phonelm_search.backends.phone.state import mismatch
from phonelm_search.core.errors import ConfigurationError, MeasurementError
from phonelm_search.devices import DeviceProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedPhone:
    """One phone that adb knows of."""

    serial: str
    """What adb calls it."""
    state: str
    """``device`` when it can be used."""
    model: str | None
    """What it calls itself, where it can be asked."""
    fits: tuple[str, ...]
    """Names of the profiles that it fits, the most particular first."""
    remedy: str | None = None
    """What to do where it cannot be used."""


def connected_phones(profiles: Sequence[DeviceProfile]) -> list[ConnectedPhone]:
    """All phones that adb knows of; none where adb is not installed."""
    try:
        adb = Adb()
        listed = adb.listed()
    except (ConfigurationError, MeasurementError):
        return []
    found = []
    for phone in listed:
        properties: Mapping[str, str] | None = None
        trouble = trouble_of(listed, phone.serial)
        if trouble is None:
            try:
                properties = properties_of(AdbPhone(adb, phone), patient=False)
            except (ConfigurationError, MeasurementError):
                properties = None  # it went away meanwhile
        fits = [
            p
            for p in profiles
            if properties is not None
            and p.connection == "adb"
            and mismatch(p.match, properties) is None
        ]
        fits.sort(key=lambda p: (-len(p.match), p.name))
        found.append(
            ConnectedPhone(
                serial=phone.serial or phone.shown,
                state=phone.state,
                model=(properties or {}).get("ro.product.model"),
                fits=tuple(p.name for p in fits),
                remedy=trouble.remedy if trouble else None,
            )
        )
    return found


def assign_phones(
    profiles: Sequence[DeviceProfile], serials: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Which of the named phones each profile is measured on.

    Args:
        profiles: Those that are measured; one for phones takes all serials.
        serials: Phones; empty: whichever fits.

    Raises:
        ConfigurationError: If a serial is none, or fits none or several of the profiles.
        TransportError: If a phone does not answer.
    """
    wanted = [p for p in profiles if p.connection == "adb"]
    if not serials:
        return {}
    names = tuple(map(_known_serial, serials))
    if not wanted:
        raise ConfigurationError(
            "--serial is for phones, and none of the devices is one; leave it out, or name a "
            "profile of connection: adb with --device"
        )
    if len(wanted) == 1:
        return {wanted[0].name: names}
    found: dict[str, tuple[str, ...]] = {p.name: () for p in wanted}
    adb = Adb()
    listed = adb.listed()
    for serial in names:
        properties = properties_of(AdbPhone(adb, next(iter(named(listed, serial)), serial)))
        fits = [p.name for p in wanted if mismatch(p.match, properties) is None]
        if len(fits) != 1:
            raise ConfigurationError(
                f"{serial} must fit one of {', '.join(p.name for p in wanted)}, it fits "
                f"{', '.join(fits) or 'none'}; `phonelm-search devices list` shows which fits which"
            )
        found[fits[0]] += (serial,)
    return found


def _known_serial(serial: str) -> str:
    """A phone's name as adb writes it; adb is asked only where it looks like none.

    Raises:
        ConfigurationError: If it is none.
    """
    try:
        return check_serial(serial)
    except ConfigurationError:
        try:
            return Adb().known_serial(serial)
        except MeasurementError:  # adb cannot be asked
            return check_serial(serial)
