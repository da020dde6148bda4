"""Functions of the commands about device profiles and phones."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from phonelm_search.api.frames import Names, list_of
from phonelm_search.backends.phone import examine
from phonelm_search.core import defaults as d
from phonelm_search.core.reporting import LoggedReporter
from phonelm_search.core.textfile import read_text
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import DEVICES, load_device
from phonelm_search.stages import (
    Added,
    add_phone,
    bundle_for_phones,
    environment_of,
    known_devices,
)


def list_devices() -> pd.DataFrame:
    """All profiles, those of ``./device_profiles`` first, and the phones that fit each."""
    found = known_devices()
    for fault in found.faults:
        LoggedReporter().note(fault)
    return pd.DataFrame(found.rows)


def show_device(device: str) -> str:
    """Text of a device profile's file."""
    return read_text(DEVICES.resolve(device))


def check_device(device: str, *, serial: str | None = None) -> dict[str, str]:
    """The environment that measurements of a profile would carry.

    Args:
        device: Name of a profile, or the path of its file.
        serial: Which phone; None: the only connected one.
    """
    return environment_of(device, serial)


def copy_device(device: str) -> Path:
    """Copy a built-in profile into ``./device_profiles`` for editing."""
    return DEVICES.copy(device)


def add_device(
    *,
    serial: str | None = None,
    name: str | None = None,
    precision: str = d.DEFAULT_PRECISION,
    scenario: str = d.DEFAULT_SCENARIO,
) -> Added:
    """Write a profile for a plugged-in phone: its fastest cores and threads, its numbers checked.

    Args:
        serial: Which phone; None: the only connected one.
        name: Of the profile; by default made from the phone's model.
        precision: Of the profile.
        scenario: Whose time decides about cores and threads.
    """
    return add_phone(
        serial,
        name=name,
        precision=precision,
        scenario=Scenario.parse(scenario),
        report=LoggedReporter(),
    )


def examine_phone(device: str = d.DEFAULT_PHONE, *, serial: str | None = None) -> pd.DataFrame:
    """What ``devices doctor`` looks at: a row for each check, with a remedy where it fails."""
    return pd.DataFrame([asdict(check) for check in examine(load_device(device), serial)])


def prepare_phones(
    *,
    ndk: str | Path | None = None,
    ort_aar: str | Path | None = None,
    qnn_aar: Names = (),
) -> str:
    """Build what phones are given; see ``devices prepare``.

    Returns:
        Name of the build.
    """
    bundle = bundle_for_phones(
        Path(ndk) if ndk else None,
        Path(ort_aar) if ort_aar else None,
        [Path(p) for p in list_of(qnn_aar)],
    )
    return bundle.name
