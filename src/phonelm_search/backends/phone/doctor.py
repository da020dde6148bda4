"""What may be wrong with a phone, looked at one thing after another, each with its remedy."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from phonelm_search.backends.phone.adb import Adb, AdbPhone
from phonelm_search.backends.phone.connecting import in_words as connected_in_words
from phonelm_search.backends.phone.listing import named, state_trouble, trouble_of
from phonelm_search.backends.phone.phone import Phone
from phonelm_search.backends.phone.sensors import in_words
from phonelm_search.backends.phone.state import mismatch
from phonelm_search.core.errors import ConfigurationError, PhonelmSearchError
from phonelm_search.core.units import format_bytes
from phonelm_search.devices import DeviceProfile, Thermal

_LEAST_STORAGE_BYTES = 1e9
_LEAST_MEMORY_BYTES = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What."""
    ok: bool
    """Whether it is as it must be."""
    found: str
    """What was found."""
    remedy: str | None = None
    """What to do where it is not."""


def examine(profile: DeviceProfile, serial: str | None) -> Iterator[Check]:
    """Look at adb, authorisation, storage, memory, the runner and the temperature, in this order.

    Args:
        profile: Precision, provider and temperature limits count.
        serial: Which phone; None: the only connected one.

    Yields:
        A check at a time; the last one is the first without which nothing further can be seen.
    """
    if profile.connection == "local":
        raise ConfigurationError(f"the doctor is for phones, and {profile.name} is this machine")
    try:
        adb = Adb()
        listed = adb.listed()
    except PhonelmSearchError as error:
        yield Check(name="adb", ok=False, found=str(error), remedy="as the message says")
        return
    yield Check(name="adb", ok=True, found=str(adb.program))
    if serial is None and len(listed) != 1:
        listing = connected_in_words(listed)
        troubles = [t for p in listed if (t := trouble_of(listed, p.serial))]
        remedy = "name one with --serial" if listed else state_trouble("absent").remedy
        if listed and len(troubles) == len(listed):  # a name helps none of them
            remedy = "; ".join(dict.fromkeys(t.remedy for t in troubles))
        yield Check(name="connection", ok=False, found=f"connected: {listing}", remedy=remedy)
        return
    name = serial if serial is not None else listed[0].serial
    trouble = adb.trouble(name)
    if trouble is not None:
        found = f"{name.strip() or listed[0].shown} {trouble.what}"
        yield Check(name="connection", ok=False, found=found, remedy=trouble.remedy)
        return
    phone = AdbPhone(adb, next(iter(named(listed, name)), name))
    yield from _until_lost(
        lambda: _connected(phone), lambda: _inside(Phone(phone, profile), phone, profile)
    )


def _until_lost(*parts: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Checks of several parts; a failure to look ends them."""
    for part in parts:
        checks = part()
        while True:
            try:
                check = next(checks)
            except StopIteration:
                break
            except PhonelmSearchError as error:
                yield Check(name="phone", ok=False, found=str(error), remedy="as the message says")
                return
            yield check


def _connected(phone: AdbPhone) -> Iterator[Check]:
    phone.shell("true")
    yield Check(name="connection", ok=True, found=phone.serial)
    free = re.search(r"\s([0-9]+)\s+[0-9]+%", phone.shell("df -k /data/local/tmp").stdout)
    storage = 1024 * int(free[1]) if free else None
    yield Check(
        name="storage",
        ok=storage is None or storage >= _LEAST_STORAGE_BYTES,
        found=f"{format_bytes(storage)} free in /data/local/tmp",
        remedy=f"delete something: {format_bytes(_LEAST_STORAGE_BYTES)} are wanted",
    )


def _inside(place: Phone, phone: AdbPhone, profile: DeviceProfile) -> Iterator[Check]:
    memory = place.available_bytes()
    yield Check(
        name="memory",
        ok=memory is None or memory >= _LEAST_MEMORY_BYTES,
        found=f"{format_bytes(memory)} available",
        remedy=f"close apps: {format_bytes(_LEAST_MEMORY_BYTES)} are wanted, about twice the "
        "weights of a shape for each copy",
    )
    state, limits = place.state(), profile.thermal or Thermal()
    degrees = state.temperature_c
    limit = limits.limit_c(of_battery=state.of_battery)
    warm = degrees is not None and degrees > limit
    throttled = (state.thermal_status or 0) > 0
    shown = "is not told" if degrees is None else f"{degrees:.0f} °C"
    broken = place.left_out_sensors
    without = (
        f"; left out, for no phone is so warm or so cold: {in_words(broken)}" if broken else ""
    )
    status = "" if state.thermal_status is None else f", thermal status {state.thermal_status}"
    yield Check(
        name="temperature",
        ok=not warm and not throttled,
        found=f"{shown}{status}{without}",
        remedy=f"let it cool down below {limit:.0f} °C; take it off its charger or case",
    )
    problem = mismatch(profile.match, place.properties)
    yield Check(
        name="model",
        ok=problem is None,
        found=problem or place.properties.get("ro.product.model", "unknown"),
        remedy="name the profile that is this phone's; `phonelm-search devices list` shows it",
    )
    cores = ", ".join(f"{c.number} ({c.capacity or c.max_khz or '?'})" for c in place.cores)
    yield Check(name="cores", ok=True, found=cores)
    try:
        bundle = place.bundle
    except PhonelmSearchError as error:
        yield Check(name="runner", ok=False, found=str(error), remedy="as the message says")
        return
    yield Check(name="runner", ok=True, found=f"{bundle.flavour} build starts ({bundle.name})")
    if not profile.accelerated:
        return
    try:
        found = place.accelerator()
    except PhonelmSearchError as error:
        yield Check(name="accelerator", ok=False, found=str(error), remedy="as the message says")
        return
    yield Check(
        name="accelerator",
        ok=True,
        found=f"{found.plug_in} and {found.backend} are there; a measurement proves that they run",
    )
