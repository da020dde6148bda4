"""From a profile or a name to the connection of the one phone that is meant."""

from collections.abc import Sequence

from phonelm_search.backends.phone.adb import Adb, AdbPhone
from phonelm_search.backends.phone.listing import Listed, named, trouble_of
from phonelm_search.backends.phone.state import mismatch, parse_properties
from phonelm_search.core.errors import ConfigurationError, TransportError
from phonelm_search.devices import DeviceProfile


def named_phone(adb: Adb, serial: str) -> AdbPhone:
    """The phone of a name; its state is looked at first.

    Raises:
        ConfigurationError: If it is not there, or only a person can make it ready.
    """
    listed = adb.listed()
    phone = AdbPhone(adb, next(iter(named(listed, serial)), serial))
    trouble = adb.trouble(serial)
    if trouble and not trouble.passing:
        raise ConfigurationError(
            f"{serial} must be connected and ready, it {trouble.what}; connected: "
            f"{in_words(listed)}; {trouble.remedy}"
        )
    return phone


def fitting_phone(adb: Adb, profile: DeviceProfile) -> AdbPhone:
    """The one connected phone that a profile fits.

    Raises:
        ConfigurationError: If none fits, or several do.
    """
    listed = adb.listed()
    troubles = {p.serial: trouble_of(listed, p.serial) for p in listed}
    fitting = []
    for found in listed:
        if troubles[found.serial]:
            continue
        try:
            phone = AdbPhone(adb, found)
            fits = mismatch(profile.match, properties_of(phone, patient=False)) is None
        except (ConfigurationError, TransportError):
            continue  # another phone's trouble is not this one's
        if fits:
            fitting.append(phone)
    if len(fitting) != 1:
        what = "more than one does" if fitting else "none does"
        remedies = [t.remedy for t in troubles.values() if t and not fitting]
        remedy = [*remedies, "name one with --serial"][0]
        raise ConfigurationError(
            f"one connected phone must fit {profile.name} and {what}; connected: "
            f"{in_words(listed)}; {remedy}, or see `phonelm-search devices doctor`"
        )
    return fitting[0]


def in_words(listed: Sequence[Listed]) -> str:
    """Phones and their states; ``none`` where there are none."""
    return ", ".join(f"{p.shown} ({p.state})" for p in listed) or "none"


def properties_of(phone: AdbPhone, *, patient: bool = True) -> dict[str, str]:
    """What ``getprop`` tells on a phone; with patience, a lost connection is made again."""
    said = phone.retrying(lambda: phone.shell("getprop")) if patient else phone.shell("getprop")
    return parse_properties(said.stdout)
