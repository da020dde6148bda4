"""Text files that a person gives: read to a sane size, with or without a byte-order mark."""

import codecs
import json
import os
import stat
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import ConfigurationError

MOST_BYTES = 10_000_000
"""Largest file of settings that is read; the largest `config.json` that is known has 1 MB."""
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, *, most_bytes: int = MOST_BYTES) -> str:
    """Read a UTF-8 file; a byte-order mark at its beginning is no part of the text.

    Args:
        path: The file.
        most_bytes: How large it may be.

    Raises:
        ConfigurationError: If it is no regular file, cannot be read, is larger or no UTF-8.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(most_bytes + 1) if regular else b""
    except OSError as error:
        raise ConfigurationError(f"{path} must be readable: {error.strerror}") from error
    except ValueError as error:  # a name with a null character
        raise ConfigurationError(f"{str(path)!r} must be the name of a file: {error}") from error
    if not regular:
        raise ConfigurationError(
            f"{path} must be a regular file, not a device or pipe; write the text to a file"
        )
    if len(data) > most_bytes:
        raise ConfigurationError(
            f"{path} must be no larger than {most_bytes / 1e6:g} MB; is it the file that you meant?"
        )
    if data.startswith(_WIDE):
        raise ConfigurationError(f"{path} must be UTF-8, it is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} must be UTF-8: byte {error.start} is none; save it as UTF-8"
        ) from error


def parse_json(text: str) -> Any:
    """Content of a JSON file.

    Raises:
        ValueError: If it is none; says what it must be.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("must be valid JSON; it is nested too deeply") from error
    except ValueError as error:
        well_formed = not isinstance(error, json.JSONDecodeError)
        why = "a number in it has thousands of digits" if well_formed else error
        raise ValueError(f"must be valid JSON; {why}") from error


def _without_waiting(path: str, flags: int) -> int:
    """An open file; that of a pipe nobody writes to, at once."""
    return os.open(path, flags | os.O_NONBLOCK)
