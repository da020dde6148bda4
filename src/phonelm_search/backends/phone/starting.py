"""How a runner failed to start on a phone, in words."""

import signal
from collections.abc import Sequence

from phonelm_search.backends.native import SIGSYS, Finished
from phonelm_search.backends.phone.adb import last_line
from phonelm_search.backends.phone.bundle import Bundle

HOW_TO_PREPARE = "build it with `phonelm-search devices prepare --ndk FOLDER --ort-aar FILE`"
_OF_SIGNALS = 128  # what a shell adds to a signal's number


def signal_number(returncode: int) -> int | None:
    """The signal that ended a process, by either way of telling it; None: it ended by itself."""
    number = -returncode if returncode < 0 else returncode - _OF_SIGNALS
    return number if number in {s.value for s in signal.Signals} else None


def ending(done: Finished) -> str:
    """Status, signal and last words: ``status 139, SIGSEGV: Segmentation fault``."""
    number = signal_number(done.returncode)
    name = "" if number is None else f", {signal.Signals(number).name}"
    return f"status {done.returncode}{name}: {last_line(done.stderr)}"


def start_failure(serial: str, bundles: Sequence[Bundle], failures: Sequence[Finished]) -> str:
    """Why none of the flavours starts, and what to do where one was not tried.

    Args:
        serial: The phone.
        bundles: Those that were tried.
        failures: How each ended.
    """
    tried_android = bundles[-1].flavour == "android"
    first = failures[0]
    if signal_number(first.returncode) == SIGSYS - _OF_SIGNALS and not tried_android:
        return (
            f"{serial} must allow the runner's system calls and ended it with status "
            f"{first.returncode} (SIGSYS); {HOW_TO_PREPARE}"
        )
    endings = "; ".join(
        f"{b.flavour} build: {ending(f)}" for b, f in zip(bundles, failures, strict=True)
    )
    remedy = "" if tried_android else f"; the Android build may start: {HOW_TO_PREPARE}"
    return f"the runner must start on {serial} and ended with {endings}{remedy}"
