"""The documents of one file: parts between marks, or JSON objects, one a line."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.units import format_some
from phonelm_search.train.messages import shortened
from phonelm_search.train.packed import PACKED, text_blocks

SEPARATOR = "<|endoftext|>"
"""Between documents of one file."""
PLAIN, LINES = (".txt", ".text", ".md"), (".jsonl", ".ndjson")
"""Endings of files of text, and of JSON lines; upper case counts, too."""
KEYS = ("text", "content", "raw_content", "body", "document", "article", "story")
"""Where a record keeps its text; the first that it has."""
_SHOWN_KEYS = 12
_RENAME = "give the one to train on that name: jq -c '{text: .KEY}' OLD > NEW.jsonl"
_TYPES: Mapping[type, str] = {
    type(None): "null", bool: "true or false", int: "a number", float: "a number",
    str: "a string", list: "a list", dict: "an object",
}  # fmt: skip


def ending(file: Path) -> str:
    """A file's, in lower case, without that of what packed it."""
    name = file.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix


def documents_of(file: Path, *, most: int, note: Callable[[str], None]) -> Iterator[str]:
    """Read a file no further than it is asked for.

    Args:
        file: JSON lines by their ending (.json is, where it is named), else text.
        most: Characters of one document or line; a longer document ends there.
        note: Told what a person should know.

    Raises:
        TrainingError: If it cannot be read; names the line.
    """
    blocks = text_blocks(file)
    if ending(file) in (*LINES, ".json"):
        yield from _records(file, split_at(blocks, "\n", most=most), most=most, note=note)
    else:
        yield from split_at(blocks, SEPARATOR, most=most)


def split_at(blocks: Iterable[str], mark: str, *, most: int) -> Iterator[str]:
    """As ``"".join(blocks).split(mark)``, a part at a time; ends after a part longer than most."""
    parts: list[str] = []
    size = 0
    tail = ""  # may be the beginning of a mark
    for block in blocks:
        *whole, rest = (tail + block).split(mark)
        for part in whole:
            yield "".join((*parts, part))
            parts, size = [], 0
        cut = max(0, len(rest) - len(mark) + 1)
        parts.append(rest[:cut])
        size += cut
        tail = rest[cut:]
        if size > most:
            break
    yield "".join((*parts, tail))


def text_key(keys: Iterable[str]) -> str | None:
    """Which of a record's keys holds its text."""
    present = set(keys)
    return next((k for k in KEYS if k in present), None)


def keys_text(keys: Iterable[str]) -> str:
    """Keys for a message, the first ones."""
    names = [k if len(k) <= 40 else f"{k[:39]}…" for k in keys]
    return format_some(names, _SHOWN_KEYS) if names else "none"


def text_in(record: Mapping[str, Any], key: str) -> str:
    """A record's text.

    Raises:
        ValueError: If it has none; says what it has.
    """
    if key not in record:
        raise ValueError(f'no "{key}" but the keys {keys_text(record)}')
    text = record[key]
    if not isinstance(text, str):
        raise ValueError(f'a "{key}" that is {_TYPES.get(type(text), type(text).__name__)}')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f'half a surrogate pair in its "{key}"') from None
    return text


def _records(
    file: Path, lines: Iterable[str], *, most: int, note: Callable[[str], None]
) -> Iterator[str]:
    key: str | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip("\ufeff \t\r\n"):
            continue
        if len(line) > most:
            raise _refusal(file, number, f"more than {most / 1e6:,.0f} MB", key)
        record = _parsed(file, number, line)
        if key is None:
            key = text_key(record)
            if key is None:
                raise _refusal(file, number, f"the keys {keys_text(record)}", None, _RENAME)
            if key != KEYS[0]:
                note(f'{shortened(file)}: "{key}" of its objects is trained on')
        try:
            yield text_in(record, key)
        except ValueError as error:
            raise _refusal(file, number, str(error), key) from error


def _parsed(file: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5,000 digits
        if number == 1 and line.lstrip("\ufeff \t").startswith("["):
            raise _array(file) from error
        why = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too long"
        raise _refusal(file, number, f"a cut or malformed object ({why})", None) from error
    if isinstance(record, dict):
        return record
    if number == 1 and isinstance(record, list):
        raise _array(file)
    raise _refusal(file, number, _TYPES[type(record)], None)


def _array(file: Path) -> TrainingError:
    return _refusal(
        file, 1, "the beginning of a list", None, "unfold it: jq -c '.[]' OLD > NEW.jsonl"
    )


def _refusal(
    file: Path, number: int, what: str, key: str | None, remedy: str = "mend or remove the line"
) -> TrainingError:
    return TrainingError(
        f'{shortened(file)} must hold JSON objects with a string "{key or KEYS[0]}", one a line; '
        f"line {number} has {what}; {remedy}"
    )
