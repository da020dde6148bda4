"""Every error that this package raises on purpose.

PhonelmSearchError
├── ConfigurationError (ValueError)     what a person wrote cannot be used
│   ├── UnknownNameError (LookupError)  no such space, device, study, shape, precision
│   ├── ShapeError                      the numbers of a shape contradict each other
│   ├── UnsupportedConfigError          a config.json holds what ModelShape cannot represent
│   └── EmptySpaceError                 a search space has no feasible shape
├── UnsupportedShapeError               a runtime's kernels refuse this shape
├── MeasurementError                    a runtime failed; carries the stage
│   └── TransportError                  the connection to a phone failed
├── StoreError                          the database cannot be read or written
│   ├── StoreMissingError               there is none yet, or nothing in it
│   ├── StoreVersionError               another release wrote it
│   └── StudyMismatchError              a study would mix what may not be mixed
├── ChildError                          a child process gave no answer; carries the stage
├── EngineError                         the engine that places work cannot be used
├── TrainingError                       a candidate cannot be trained
└── ExportError                         a result cannot be written

Messages state what must hold, then what was given, then what to do, in less than a kilobyte.
"""

import errno
import reprlib
from typing import Any

_MOST_SHOWN = 160  # characters of a value
_MOST_BYTES, _HEAD_BYTES, _TAIL_BYTES = 900, 560, 240
_SHELLS_SIGNAL = 128  # what a shell adds to a signal's number
_ROOM = "make room on its disk, then run again; what was finished before is kept"
_RIGHTS = "give this user the rights, or take another folder"
_WRITING = {
    errno.ENOSPC: _ROOM,
    getattr(errno, "EDQUOT", errno.ENOSPC): _ROOM,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "its disk is read-only; take another folder",
}
_TRANSIENT = {
    "memory", "stopped", "timeout", "start", "protocol", "transport", "estimate", "rejected",
}  # fmt: skip
_STAGES = {
    *_TRANSIENT, "load", "run", "storage", "numerics", "compile", "coverage", "simulated",
}  # fmt: skip


def first_line(error: Exception) -> str:
    """What a foreign exception says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def unwritable(what: object, error: OSError) -> str:
    """A sentence on a file or folder that cannot be written, and what helps."""
    remedy = _WRITING.get(error.errno or 0)
    reason = f"{what} must be writable: {error.strerror or error}"
    return f"{reason}; {remedy}" if remedy else reason


def clipped(text: str) -> str:
    """A message of at most 900 bytes; of a longer one the beginning and the end."""
    data = text.encode("utf-8", "replace")
    if len(data) <= _MOST_BYTES:
        return text
    head, tail = data[:_HEAD_BYTES], data[-_TAIL_BYTES:]
    return f"{head.decode('utf-8', 'ignore')} … {tail.decode('utf-8', 'ignore')}"


def shown(value: Any) -> str:
    """A value as messages show it: one that is long or deep is cut."""
    text = _SHORT.repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 6
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        """One of more digits than Python prints is told by its length."""
        if x.bit_length() <= 200:
            return str(x)
        return f"an integer of about {round(x.bit_length() * 0.30103)} digits"


_SHORT = _Short()


class PhonelmSearchError(Exception):
    """Root of the tree; the command line prints its message as one line and exits with 1."""

    def __init__(self, message: str = "") -> None:
        super().__init__(clipped(message))


class ConfigurationError(PhonelmSearchError, ValueError):
    """Something that a person wrote (a file, an option) cannot be used."""


class UnknownNameError(ConfigurationError, LookupError):
    """A name that nothing answers to.

    Args:
        kind: What was looked for, for example ``"device profile"``.
        name: The name as it was given.
        known: The names that exist; they are listed in the message.
        remedy: What to do instead, if the list alone does not say it.
    """

    def __init__(self, kind: str, name: str, known: list[str], remedy: str = "") -> None:
        listed = ", ".join(known) if known else "none"
        tail = f"; {remedy}" if remedy else ""
        super().__init__(f"unknown {kind} '{name}'; known: {listed}{tail}")
        self.known = tuple(known)


class ShapeError(ConfigurationError):
    """The dimensions of a shape contradict each other."""


class UnsupportedConfigError(ConfigurationError):
    """A Hugging Face configuration holds something that a ModelShape cannot represent."""


class EmptySpaceError(ConfigurationError):
    """No shape of a search space meets all of its constraints."""


class UnsupportedShapeError(PhonelmSearchError):
    """The kernels of a runtime refuse a shape; the message names the nearest that they take."""


class MeasurementError(PhonelmSearchError):
    """A runtime failed to measure.

    Args:
        message: What happened.
        stage: Where: ``start``, ``load``, ``run``, ``timeout``, ``memory``, ``protocol``,
            ``transport``, ``storage``, ``numerics``, ``estimate``, ``compile``, ``coverage``;
            ``stopped``: others ended the process; ``simulated``: no chip ran it; or ``rejected``:
            every round was disturbed. A message that tells one already keeps that.
    """

    def __init__(self, message: str, *, stage: str) -> None:
        before, _, last = message.rpartition(" (stage: ")
        if last.endswith(")") and last[:-1] in _STAGES:  # of the error that it hands on
            message, stage = before, last[:-1]
        super().__init__(f"{clipped(message)} (stage: {stage})")
        self.message, self.stage = message, stage

    @property
    def transient(self) -> bool:
        """Whether another try may succeed."""
        return self.stage in _TRANSIENT


class TransportError(MeasurementError):
    """The connection to a phone failed; its stage is ``transport``.

    Args:
        message: What happened.
        retry: Whether the same call may succeed by itself, without a person's help.
    """

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message, stage="transport")
        self.retry = retry


class ChildError(PhonelmSearchError):
    """A child process gave no answer; who asked says what that means.

    Args:
        message: Why.
        stage: ``start``, ``timeout``, ``memory``, ``stopped``, ``ended``, or what the child itself
            says.
        returncode: Of a process that has ended.
        printed: The last line of its output, of one that ended without a message.
        kind: Name of the error that the child says it is.
    """

    def __init__(
        self,
        message: str,
        *,
        stage: str,
        returncode: int | None = None,
        printed: str = "",
        kind: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.stage, self.returncode, self.printed, self.kind = stage, returncode, printed, kind

    @property
    def killed(self) -> bool:
        """Whether a signal ended the process, or its machine was lost: another try may succeed."""
        code = self.returncode
        return self.stage == "lost" or (code is not None and (code < 0 or code > _SHELLS_SIGNAL))

    @property
    def told(self) -> PhonelmSearchError:
        """The error that the child says it is, where it is one of measuring; else this one."""
        if self.kind == "TransportError":
            return TransportError(self.message)
        if self.kind == "UnsupportedShapeError":
            return UnsupportedShapeError(self.message)
        if self.kind == "ConfigurationError":
            return ConfigurationError(self.message)
        if self.kind == "MeasurementError":
            return MeasurementError(self.message, stage=self.stage)
        return self


class EngineError(PhonelmSearchError):
    """The engine that places work is missing, not reachable, or has no place for it."""


class StoreError(PhonelmSearchError):
    """The database cannot be read or written."""


class StoreMissingError(StoreError):
    """There is no database yet, or nothing in it."""


class StoreVersionError(StoreError):
    """The database was written by a newer release, or by an older one where it must not be."""


class StudyMismatchError(StoreError):
    """A study would mix measurements or settings that may not be mixed."""


class TrainingError(PhonelmSearchError):
    """A candidate could not be trained."""


class ModelError(PhonelmSearchError):
    """What was measured is too little, or tells too badly, to predict other shapes from."""


class ExportError(PhonelmSearchError):
    """A result could not be written."""
