"""Signals that end a command: before it begins, while it works, and once it is over.

Loads next to nothing: until these handlers stand, Python's own print a traceback.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
STOPPED = "stopped; everything finished so far is kept, run again to continue"
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # SIGHUP is not on Windows
_AGAIN_SECONDS = 0.05


class Stopping:
    """Hears Ctrl-C, a batch system's SIGTERM and a closed terminal's SIGHUP from now on.

    What is ignored, as under nohup, stays so. Before the command begins nothing has to be put in
    order, and the process ends at once. While it works, they raise KeyboardInterrupt: of SIGTERM
    and SIGHUP only the first one does, so that what it begins, removing files and ending children,
    comes to its end. Once the command is over nothing is left to stop, and all are ignored.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The first signal; None while there was none."""
        self._begun = self._over = self._lost = False
        usual = (signal.SIG_DFL, signal.default_int_handler)
        numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
        self._heard = [n for n in numbers if signal.getsignal(n) in usual]
        for number in self._heard:
            signal.signal(number, self._hear)
        sys.unraisablehook = self._unraisable
        threading.excepthook = self._thread_failed

    @property
    def code(self) -> int:
        """The exit code, as a shell tells it."""
        return INTERRUPTED if self.signal is None else 128 + self.signal

    @contextmanager
    def raises(self) -> Iterator[None]:
        """The command works; `KeyboardInterrupt` comes out of here and from nowhere else."""
        self._begun = True
        try:
            yield
        finally:
            self._over = True
            for number in self._heard:  # also while Python itself comes to its end
                signal.signal(number, signal.SIG_IGN)

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self._over:
            return
        if not self._begun:
            with suppress(OSError):
                os.write(2, f"phonelm-search: {STOPPED}\n".encode())
            os._exit(128 + number)
        if self.signal is None or number == signal.SIGINT or self._lost:
            self.signal, self._lost = self.signal or number, False
            raise KeyboardInterrupt

    def _unraisable(self, ignored: "UnraisableHookArgs") -> None:
        """What was raised in a destructor reaches nobody: the interrupt comes once more."""
        if self.signal is None:
            sys.__unraisablehook__(ignored)
        elif ignored.exc_type is KeyboardInterrupt and not self._over:
            self._lost = True
            again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), self.signal))
            again.daemon = True
            again.start()

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """A thread that others were taken away from ends without a word."""
        if self.signal is None:
            threading.__excepthook__(failure)

    def log_plainly(self) -> None:
        """Let libraries log a line to stderr without a traceback, and nothing once it was stopped.

        Where a program configures no logging, Python prints warnings and what caused them.
        """
        import logging

        class Plain(logging.Formatter):
            def format(self, record: logging.LogRecord) -> str:
                return record.getMessage()

        if (last := logging.lastResort) is not None:
            last.setFormatter(Plain())
            last.addFilter(lambda record: self.signal is None)
