"""From what a person names to files of text, each once."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.units import format_counted
from phonelm_search.train.messages import shortened
from phonelm_search.train.packed import PACKED
from phonelm_search.train.textfile import LINES, PLAIN, ending

DATASET = "hf:"
"""Before the name of a dataset of the Hugging Face Hub."""
_SHOWN_ENDINGS = 8
_SKIPPED = "__MACOSX"  # what macOS adds to archives, with files that begin with a dot
_KINDS = (
    (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


class Sources:
    """Finds files; one that several names or links lead to is found once.

    Args:
        note: Told what is left out.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._known: set[tuple[int, int]] = set()

    def files(self, source: str) -> list[Path]:
        """The files of one name: itself, or a folder's and its linked folders', sorted.

        Hidden ones are left out of folders.

        Raises:
            TrainingError: If there is nothing to read.
        """
        path = Path(source)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            raise TrainingError(_missing(source, error)) from error
        if stat.S_ISDIR(mode):
            files = self._walk(path)
        elif stat.S_ISREG(mode):
            files = [path]
        else:
            kind = next((name for test, name in _KINDS if test(mode)), "none")
            raise TrainingError(
                f"--data must name files, {shortened(source)} is {kind}; save the text to a file "
                "first"
            )
        fresh = [f for f in files if self._is_fresh(f)]
        if len(fresh) < len(files):
            twice = format_counted(len(files) - len(fresh), "file")
            self._note(f"named twice and read once: {twice} of {shortened(path)}")
        return fresh

    def _is_fresh(self, file: Path) -> bool:
        key = _identity(file)
        fresh = key not in self._known
        self._known.add(key)
        return fresh

    def _walk(self, top: Path) -> list[Path]:
        def left_out(error: OSError) -> None:
            if error.filename == str(top):
                raise TrainingError(
                    f"{shortened(top)} must be readable: {error.strerror}"
                ) from error
            self._note(f"left out: {shortened(error.filename)}: {error.strerror}")

        files: list[Path] = []
        endings: set[str] = set()
        folders = {_identity(p) for p in top.resolve().parents}
        for name, below, inside in os.walk(top, followlinks=True, onerror=left_out):
            if (folder := _identity(Path(name))) in folders:  # a link back
                below.clear()
                continue
            folders.add(folder)
            below[:] = sorted(n for n in below if not n.startswith(".") and n != _SKIPPED)
            for file in (Path(name, n) for n in inside if not n.startswith(".")):
                if ending(file) not in (*PLAIN, *LINES):
                    endings.add(file.suffix or file.name)
                elif file.is_file():
                    files.append(file)
                else:
                    self._note(f"left out: {shortened(file)} is no file, or a link to none")
        if not files:
            raise TrainingError(_useless(top, sorted(endings)))
        return sorted(files)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _missing(source: str, error: OSError | ValueError) -> str:
    code = error.errno if isinstance(error, OSError) else errno.ENOENT
    name = shortened(source)
    if code == errno.ELOOP:
        return f"--data must name files, {name} is a link that leads back to itself"
    if code not in (errno.ENOENT, errno.ENOTDIR):
        return f"--data must name readable files, {name}: {os.strerror(code or 0)}"
    if "\0" not in source and Path(source).is_symlink():
        target = shortened(Path(source).readlink())
        return f"--data must name files, {name} is a link to {target}, which is missing"
    remedy = f"a dataset of the Hugging Face Hub is {DATASET}NAME"
    if "://" in source:
        remedy = f"download it first, or take {DATASET}NAME of the Hugging Face Hub"
    elif source.startswith("~"):
        remedy = "write the home folder out"
    elif any(c in source for c in "*?["):
        remedy = "give the folder, or repeat --data for each file"
    return f"--data must name text files, a folder or {DATASET}NAME, there is no {name}; {remedy}"


def _useless(folder: Path, endings: list[str]) -> str:
    message = (
        f"a folder of text must hold {', '.join((*PLAIN, *LINES))} files, perhaps packed "
        f"({', '.join(PACKED)}), {shortened(folder)} holds none"
    )
    if not endings:
        return f"{message}; it is empty: put text there, or give another --data"
    shown = ", ".join(e[:40] for e in endings[:_SHOWN_ENDINGS])
    if ".parquet" in endings or ".arrow" in endings:
        remedy = f"give it as {DATASET}FOLDER"
    else:
        remedy = "if that is text, name each such file with --data"
    return f"{message} but {shown}; {remedy}"
