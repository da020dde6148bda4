"""stdout and stderr that no locale breaks, and a stderr that stops nothing."""

import codecs
import contextlib
import io
import os
import sys
from typing import Self

_PLAIN = {
    "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "±": "+-", "→": "->", "↓": "v", "≤": "<=",
    "·": "-", "█": "#", "━": "-", "“": '"', "”": '"', "‘": "'", "’": "'", "\xa0": " ",
}  # fmt: skip
_HANDLER = "phonelm-search-plain"
STDOUT = "stdout"
"""What a fault of that stream names as its file."""


def prepare_streams() -> None:
    """Make the standard streams of this process take whatever is printed.

    What the locale's encoding lacks is replaced. Nobody has to read stderr: where it cannot be
    written, it is silent. A fault of stdout is raised once, by its name. A stream that is closed
    leads nowhere, so that no file takes its place.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error(_HANDLER, _plain)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = NamedStream.in_place_of(sys.stdout, sys.stdout.line_buffering)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = PatientStream.in_place_of(sys.stderr, True)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c, "?") for c in letters), error.end


class _Stream(io.TextIOWrapper):
    """Text that goes nowhere once its file cannot be written: full, closed, or hung up."""

    before: io.TextIOWrapper

    @classmethod
    def in_place_of(cls, before: io.TextIOWrapper, line_buffering: bool) -> Self:
        """A stream to the same file."""
        stream = cls(
            before.buffer, encoding=before.encoding, errors=_HANDLER, line_buffering=line_buffering
        )
        stream.before = before  # else it would close the file
        return stream

    def write(self, text: str, /) -> int:
        """Write, or tell `fail`."""
        try:
            return super().write(text)
        except OSError as error:
            self._silence()
            self.fail(error)
            return len(text)

    def flush(self) -> None:
        """Likewise."""
        try:
            super().flush()
        except OSError as error:
            self._silence()
            self.fail(error)

    def fail(self, error: OSError) -> None:
        """Told of a fault, after which all goes nowhere."""

    def _silence(self) -> None:
        with contextlib.suppress(OSError):
            target = os.open(os.devnull, os.O_WRONLY)
            os.dup2(target, self.fileno())
            os.close(target)


class PatientStream(_Stream):
    """A fault costs the text and nothing else."""


class NamedStream(_Stream):
    """A fault is raised once, and names the stream."""

    def fail(self, error: OSError) -> None:
        """Raise it."""
        error.filename = STDOUT
        raise error
