"""A batch system's stop and a closed terminal end a command as Ctrl-C does."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
_ENDING = ("SIGTERM", "SIGHUP")  # SIGHUP is not on Windows


@dataclass(slots=True, kw_only=True)
class Stopping:
    """What ended the command."""

    signal: int | None = None
    """The first signal; None while there was none but Ctrl-C."""

    @property
    def code(self) -> int:
        """The exit code, as a shell tells it."""
        return INTERRUPTED if self.signal is None else 128 + self.signal


@contextmanager
def as_ctrl_c() -> Iterator[Stopping]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt; what is ignored, as under nohup, stays so.

    Only the first one does: what it begins, removing files and ending children, comes to its end.
    After the block nothing is left to stop, and all of them are ignored.
    """
    stopping = Stopping()

    def stop(number: int, _: FrameType | None) -> None:
        if stopping.signal is None:
            stopping.signal = number
            raise KeyboardInterrupt

    for name in _ENDING:
        if signal.getsignal(number := getattr(signal, name, signal.SIGINT)) == signal.SIG_DFL:
            signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for name in ("SIGINT", *_ENDING):
            if (number := getattr(signal, name, None)) is not None:
                signal.signal(number, signal.SIG_IGN)
