"""stdout and stderr that no locale breaks, and a stderr that stops nothing."""

import codecs
import contextlib
import io
import os
import sys

_PLAIN = {
    "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "±": "+-", "→": "->", "↓": "v", "≤": "<=",
    "·": "-", "█": "#", "━": "-", "“": '"', "”": '"', "‘": "'", "’": "'", "\xa0": " ",
}  # fmt: skip
_HANDLER = "phonelm-search-plain"


def prepare_streams() -> None:
    """Make the standard streams of this process take whatever is printed.

    What the locale's encoding lacks is replaced. Nobody has to read stderr: where it cannot be
    written, it is silent. A stream that is closed leads nowhere, so that no file takes its place.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error(_HANDLER, _plain)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_HANDLER)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = PatientStream(
            sys.stderr.buffer, encoding=sys.stderr.encoding, errors=_HANDLER, line_buffering=True
        )


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c, "?") for c in letters), error.end


class PatientStream(io.TextIOWrapper):
    """Text that goes nowhere once its file cannot be written: full, closed, or hung up."""

    def write(self, text: str, /) -> int:
        """Write; a fault costs the text and nothing else."""
        try:
            return super().write(text)
        except OSError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        """Likewise."""
        try:
            super().flush()
        except OSError:
            self._silence()

    def _silence(self) -> None:
        with contextlib.suppress(OSError):
            target = os.open(os.devnull, os.O_WRONLY)
            os.dup2(target, self.fileno())
            os.close(target)
