"""What every child process of ours does first."""

import contextlib
import ctypes
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Make this process end when its parent does, and be the first to go when memory runs out.

    A killed search must not leave children behind that disturb the next measurement. Linux only;
    elsewhere nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def why_it_ended(returncode: int, stderr: str) -> str:
    """A sentence on a child that ended badly: the signal, or the last line it wrote."""
    number = -returncode if returncode < 0 else returncode - 128  # as a shell tells it
    if number in {s.value for s in signal.Signals}:
        name = signal.Signals(number).name
        why = "; most likely memory ran out" if name == "SIGKILL" else ""
        return f"the child process was ended by {name}{why}"
    last = (stderr.strip().splitlines() or ["it printed nothing"])[-1]
    return f"the child process failed: {last}"
