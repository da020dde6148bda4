"""The only place that renders and parses units. Decimal prefixes throughout: 1 kB = 1000 bytes."""

import re
from collections.abc import Sequence
from typing import Any

from phonelm_search.core.errors import shown

LARGEST = 2**63 - 1
"""The largest integer that arrays and databases hold."""
_LONGEST = 100  # characters of a quantity
_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}
_TIME = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s)\s*$")
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_QUANTITY = re.compile(
    rf"^\s*({_DIGITS}(?:\.[0-9]+)?(?:[eE]\+?[0-9]{{1,2}})?)\s*([kKMBG]?)\s*(B?)\s*$", re.ASCII
)


def _scaled(value: float, suffixes: tuple[str, ...]) -> str:
    for suffix in suffixes[:-1]:
        if abs(value) < 999.5:
            return f"{value:.3g}{suffix}"
        value /= 1000.0
    return f"{value:.4g}{suffixes[-1]}" if value < 9999.5 else f"{value:.0f}{suffixes[-1]}"


def format_count(value: float) -> str:
    """Render a number of parameters or tokens: ``85000000`` → ``85M``."""
    return _scaled(value, ("", "k", "M", "B"))


def format_counted(count: int, noun: str) -> str:
    """Render a number with what it counts: ``1 shape``, ``1,000 shapes``; a plural ends in s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_some(texts: Sequence[str], most: int, *, total: int | None = None) -> str:
    """The first ones, and how many more there are: ``a, b and 3 more``.

    Args:
        texts: All, or those that are named.
        most: How many are named.
        total: How many there are; None: as many as texts.
    """
    more = (len(texts) if total is None else total) - most
    named = ", ".join(texts[:most])
    return f"{named} and {more} more" if more > 0 else named


def format_bytes(value: float | None) -> str:
    """Render bytes with decimal prefixes: ``80000000`` → ``80 MB``; None → ``–``."""
    return "–" if value is None else _scaled(value, (" B", " kB", " MB", " GB"))


def format_ms(value: float | None) -> str:
    """Render milliseconds with three significant digits; None → ``–``."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def format_difference(value: float, low: float, high: float) -> str:
    """Render a share of something as what it is more or less, with its interval in per cent."""
    return f"{value - 1:+.1%} ({100 * (low - 1):.1f} to {100 * (high - 1):.1f})"


def format_seconds(value: float) -> str:
    """Render a duration: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    seconds = round(value)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def parse_count(text: str | int | float) -> int:
    """Parse a number of parameters or tokens.

    Args:
        text: ``85M``, ``1.5B``, ``512k``, ``6e5``, ``1_000`` or a plain number.

    Raises:
        ValueError: If it is no such quantity, or no integer of 64 bits.
    """
    return _whole(text, what="a count", examples="512k, 85M, 6e5 or 1.5B", both=False)


def parse_bytes(text: str | int | float) -> int:
    """Parse bytes: ``80MB``, ``32kB``, ``2GB`` or a plain number; 1 kB = 1000 bytes.

    Raises:
        ValueError: If it is no such quantity, or no integer of 64 bits.
    """
    return _whole(text, what="bytes", examples="32kB, 80MB or 2GB", both=True)


def _whole(given: Any, *, what: str, examples: str, both: bool) -> int:
    """A quantity as an integer.

    Args:
        given: As a person wrote it.
        what: What it is, for messages.
        examples: For messages.
        both: Whether a prefix may stand before B for bytes; else B is a prefix itself.
    """
    refusal = ValueError(f"{what} must be a number such as {examples}, got {shown(given)}")
    if isinstance(given, bool):
        raise refusal
    if isinstance(given, str):
        match = _QUANTITY.match(given) if len(given) <= _LONGEST else None
        if match is None or (match[3] and (match[2] == "B" if both else match[2])):
            raise refusal
        prefix = match[2] if both else match[2] or match[3]
        number = match[1].replace("_", "")
        scale = _PREFIXES["k" if prefix == "K" else "" if both and prefix == "B" else prefix]
        exact = number.isdigit()
        value = int(number) * int(scale) if exact else float(number) * scale
    elif isinstance(given, int | float):
        value = given
    else:
        raise refusal
    if not -LARGEST <= value <= LARGEST:  # nan, too
        raise ValueError(f"{what} must be less than 2^63, got {shown(given)}")
    return value if isinstance(value, int) else round(value)


def parse_ms(text: str) -> float:
    """Parse a time: ``400ms`` or ``1.2s`` → milliseconds.

    Raises:
        ValueError: If the text is no such quantity.
    """
    match = _TIME.match(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(f"a time must be such as 400ms or 1.2s, got {shown(text)}")
    return float(match[1]) * (1000 if match[2] == "s" else 1)


def parse_fraction(text: str | float) -> float:
    """Parse a share: ``5%`` or ``0.05`` → 0.05.

    Raises:
        ValueError: If the text is no number or lies outside [0, 1].
    """
    try:
        value = (
            float(text.strip().removesuffix("%")) / 100
            if isinstance(text, str) and text.strip().endswith("%")
            else float(text)
        )
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"a share must be written as 5% or 0.05, got {shown(text)}") from None
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a share must lie between 0% and 100%, got {shown(text)}")
    return value
