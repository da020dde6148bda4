"""Phones through the ``adb`` program: authorisation, USB and wireless pairing come with it.

What was seen to go wrong, and is held against here: a phone that drops in the middle of a command
makes adb exit with 0 and truncated output; a dropped push leaves a partial file; a hung phone
still counts as connected and blocks for ever; adb joins its arguments by spaces and the phone's
shell reads them again.
"""

import hashlib
import importlib.util
import re
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from phonelm_search.backends.phone.listing import (
    UDEV,
    Listed,
    Trouble,
    lacks_permission,
    named,
    parse_listing,
    state_trouble,
    trouble_of,
)
from phonelm_search.core.errors import ConfigurationError, MeasurementError, TransportError
from phonelm_search.work import folder_under_way

_Answer = TypeVar("_Answer")

_SERIAL = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
    r"|[A-Za-z0-9][A-Za-z0-9._:() -]{0,127}\._adb[a-z-]*\._tcp\.?"  # as a network announces it
    r"|\[?[0-9A-Fa-f:.]{2,64}(?:%[A-Za-z0-9._~-]{1,64})?\]?(?::[0-9]{1,5})?"  # IPv6
)
_PLACE = "usb:"
_NETWORK = re.compile(r"(?!usb:).+:[0-9]+")
_SHORT_SECONDS = 20.0
_WAIT_SECONDS = 30.0  # for a phone that starts anew
_PUSH_BYTES_PER_SECOND = 1e6  # slowest plausible
_BACK_OFF_SECONDS = (1.0, 2.0, 4.0)
_FULL = re.compile(r"no space left|disk full|ENOSPC", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command on a phone gave."""

    returncode: int
    """The command's own."""
    stdout: str
    """Its output."""
    stderr: str
    """Its error output."""


def check_serial(serial: str) -> str:
    """Refuse what cannot be a serial, before it is part of any command.

    What adb itself lists is taken as it is; see `Adb.phone`.

    Raises:
        ConfigurationError: If it is neither of letters, digits, dots, colons, dashes and
            underscores, nor the name or address of a phone in the network.
    """
    if not _SERIAL.fullmatch(serial):
        raise ConfigurationError(
            "a serial must be letters, digits, dots, colons, dashes and underscores, or what "
            f"`adb devices` shows, got {serial!r}"
        )
    return serial


def find_adb() -> Path:
    """The adb program: the one on PATH, else the one that the adbutils package carries.

    Raises:
        ConfigurationError: If there is none; says how to install one.
    """
    if found := shutil.which("adb"):
        return Path(found)
    spec = importlib.util.find_spec("adbutils")
    if spec and spec.origin:
        bundled = Path(spec.origin).parent / "binaries" / "adb"
        if bundled.exists():
            return bundled
    raise ConfigurationError(
        "phones need the adb program on PATH and it is not there; on Debian: apt-get install adb, "
        "elsewhere: install Android's platform tools, or pip install adbutils"
    )


class Adb:
    """The adb program and its server."""

    def __init__(self) -> None:
        self.program = find_adb()

    def call(self, *words: str, seconds: float | None = None) -> Said:
        """Run adb once, for so long at most.

        Raises:
            TransportError: If it does not end in time.
        """
        seconds = _SHORT_SECONDS if seconds is None else seconds
        try:
            done = subprocess.run(
                [str(self.program), *words],
                capture_output=True,
                stdin=subprocess.DEVNULL,  # adb reads it, and would eat a script's
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TransportError(
                f"adb must answer within {seconds:.0f} s and did not ({_verb(words)})"
            ) from error
        except OSError as error:
            raise ConfigurationError(f"{self.program} cannot be started: {error}") from error
        stdout, stderr = (t.decode(errors="replace") for t in (done.stdout, done.stderr))
        return Said(returncode=done.returncode, stdout=stdout, stderr=stderr)

    def listed(self) -> list[Listed]:
        """All phones that adb knows of, whatever their state.

        Raises:
            TransportError: If adb's server cannot be reached.
        """
        said = self.call("devices")
        if said.returncode:
            raise TransportError(f"adb must list the phones: {last_line(said.stderr)}")
        return parse_listing(said.stdout)

    def known_serial(self, serial: str) -> str:
        """A phone's name as adb writes it, if it is one that adb lists or could list.

        Raises:
            ConfigurationError: If it cannot be a serial.
        """
        phones = named(self.listed(), serial)
        return phones[0].serial if phones else check_serial(serial)

    def trouble(self, serial: str) -> Trouble | None:
        """What keeps a phone from being used; None where nothing does."""
        listed = self.listed()
        if serial.startswith(_PLACE) and not named(listed, serial):
            said = self.call("-s", check_serial(serial), "get-state")
            state = "absent" if said.returncode else said.stdout.strip()
            return None if state == "device" else state_trouble(state)
        return trouble_of(listed, serial)


class AdbPhone:
    """One connected phone.

    Args:
        adb: The program.
        serial: Which phone; one that adb lists is taken as it is.
        sleep: Waits between tries; tests give another one.
    """

    def __init__(
        self, adb: Adb, serial: str | Listed, *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._adb, self._sleep = adb, sleep
        self.serial = serial.serial if isinstance(serial, Listed) else check_serial(serial)

    def shell(self, script: str, *, seconds: float | None = None) -> Said:
        """Run a script on the phone; whoever writes it quotes every part that is not its own.

        Raises:
            TransportError: If there is no complete answer.
        """
        tag = secrets.token_hex(8)
        end = f"printf '\\n%s %d\\n' {tag} $?"  # only a complete answer ends so
        said = self._adb.call("-s", self.serial, "shell", f"(\n{script}\n)\n{end}", seconds=seconds)
        text, _, last = said.stdout.rstrip("\n").rpartition("\n")
        match = re.fullmatch(rf"{tag} ([0-9]+)\r?", last)
        if match is None or said.returncode:
            raise self._lost(said)
        return Said(
            returncode=int(match[1]),
            stdout=text.removesuffix("\n").removesuffix("\r"),
            stderr=said.stderr,
        )

    def push(self, files: Mapping[str, bytes | Path], folder: str) -> int:
        """Put files into a new folder that appears only once all of them are there and right.

        Args:
            files: Contents, or where they are, by plain file name.
            folder: Absolute path on the phone.

        Returns:
            Bytes pushed.

        Raises:
            TransportError: If the connection fails.
            MeasurementError: If the phone's storage is full (stage ``storage``).
        """
        part = f"{folder}.part"
        with folder_under_way("phonelm-push-") as local:
            wanted = {file: _placed(local / file, content) for file, content in files.items()}
            size = sum((local / file).stat().st_size for file in files)
            self._checked(f"rm -rf {shlex.quote(part)} && mkdir -p {shlex.quote(part)}")
            said = self._adb.call(
                "-s",
                self.serial,
                "push",
                *(str(local / file) for file in files),
                f"{part}/",
                seconds=_SHORT_SECONDS + size / _PUSH_BYTES_PER_SECOND,
            )
        if said.returncode:
            lines = f"{said.stderr}\n{said.stdout}".splitlines()
            if full := [line for line in lines if _FULL.search(line)]:
                raise self._full(full[0].strip())
            raise self._lost(said)
        found = self.hashes(part, list(files))
        if not found:
            raise MeasurementError(
                f"{self.serial} must have sha256sum (Android 8 or later) and does not answer it",
                stage="start",
            )
        if found != wanted:
            raise TransportError(f"files on {self.serial} must arrive unchanged and did not")
        quoted, target = shlex.quote(part), shlex.quote(folder)
        # Executable before it appears, so that what is there under its name can be run.
        self._checked(f"chmod -R 755 {quoted} && rm -rf {target} && mv {quoted} {target}")
        return size

    def hashes(self, folder: str, files: Sequence[str]) -> dict[str, str]:
        """SHA-256 of files of a folder, those that are there, by name."""
        names = " ".join(map(shlex.quote, files))
        said = self.shell(
            f"cd {shlex.quote(folder)} 2>/dev/null && sha256sum {names} 2>/dev/null; true",
            seconds=2 * _SHORT_SECONDS,
        )
        pairs = (line.split(maxsplit=1) for line in said.stdout.splitlines())
        return {p[1].strip().lstrip("*"): p[0] for p in pairs if len(p) == 2}

    def retrying(self, action: Callable[[], _Answer]) -> _Answer:
        """Call ``action`` until the connection holds, up to three times more.

        Raises:
            TransportError: If it does not hold, or only a person can mend it.
        """
        for wait in _BACK_OFF_SECONDS:
            try:
                return action()
            except TransportError as error:
                if not error.retry:
                    raise
                self._sleep(wait)
                self.recover()
        return action()

    def recover(self) -> None:
        """Make a lost phone come back: a restarted one stays offline until it is connected anew."""
        try:
            if _NETWORK.fullmatch(self.serial):
                self._adb.call("disconnect", self.serial)
                self._adb.call("connect", self.serial)
            self._adb.call("-s", self.serial, "wait-for-device", seconds=_WAIT_SECONDS)
        except TransportError:
            return  # the next call tells

    def state(self) -> str:
        """As ``adb devices`` says; ``absent`` where it does not."""
        found = {p.serial: p.state for p in self._adb.listed()}
        return found.get(self.serial, "absent")

    def _checked(self, script: str) -> None:
        said = self.shell(script)
        if said.returncode:
            message = last_line(said.stderr or said.stdout)
            if _FULL.search(message):
                raise self._full(message)
            raise MeasurementError(
                f"{self.serial} must let files be written: {message}", stage="storage"
            )

    def _full(self, message: str) -> MeasurementError:
        return MeasurementError(
            f"{self.serial} must have free storage: {message}; delete something there",
            stage="storage",
        )

    def _lost(self, said: Said) -> TransportError:
        """What adb's failure means, and what to do about it."""
        # Its own words alone: the command's errors come on the same stream.
        own = [x for x in said.stderr.lower().splitlines() if x.startswith(("error:", "adb:"))]
        message = "\n".join(own)
        if "unauthorized" in message or "authorizing" in message:
            return TransportError(
                f"{self.serial} must trust this computer: unlock it and accept the question that "
                "it shows",
                retry=False,
            )
        if lacks_permission(message):
            return TransportError(
                f"{self.serial} must let this user reach it, adb says: {own[0]}; {UDEV}",
                retry=False,
            )
        if "more than one" in message:
            return TransportError(
                f"{self.serial} must be the name of one phone, adb knows several; unplug all but "
                "one",
                retry=False,
            )
        if "offline" in message:
            return TransportError(f"{self.serial} must be online, adb says offline")
        if "not found" in message or "no devices" in message:
            return TransportError(f"{self.serial} must be connected, adb does not find it")
        why = last_line(said.stderr) if said.stderr.strip() else "the connection was cut"
        return TransportError(f"{self.serial} must answer completely: {why}")


def last_line(text: str) -> str:
    """The last line of a foreign program's output that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _placed(path: Path, content: bytes | Path) -> str:
    """Put a file where adb takes it from; its SHA-256."""
    if isinstance(content, Path):
        path.symlink_to(content.resolve())
    else:
        path.write_bytes(content)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verb(words: Sequence[str]) -> str:
    """Which of adb's commands a call was."""
    return next((w for w in words[2:] if words[0] == "-s"), words[0])
