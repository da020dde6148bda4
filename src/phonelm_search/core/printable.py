"""Text that somebody else wrote, made fit for a terminal, a spreadsheet and Markdown."""

import re
import unicodedata

_JOINERS = "\u200c\u200d\u00ad"
"""Invisible, and part of how words and emoji are written."""
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_FORMULA = tuple("=+-@＝＋－＠\t\r\n")
_NUMBER = re.compile(r"[+-]\d+(\.\d+)?(e[+-]?\d+)?( ?%| [a-z]+(/[a-z]+)?)?", re.IGNORECASE)
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|<*$"})


def visible(text: str) -> str:
    r"""Text in one line that no terminal obeys: a line's end becomes ``\n``, ESC ``\x1b``.

    Letters of every script stay; control characters, marks that turn the direction of writing, and
    halves of surrogate pairs are written as Python writes them.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) for c in text)


def _escape(letter: str) -> str:
    if letter in _JOINERS or unicodedata.category(letter) not in _UNSEEN:
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def spreadsheet_text(text: str) -> str:
    """Text that no spreadsheet computes: an apostrophe before what begins a formula.

    Lines stay, as CSV quotes them. A number with its unit (``-3.2 %``) stays as it is.
    """
    shown = "\n".join(map(visible, text.split("\n")))
    formula = text.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{shown}" if formula else shown


def markdown_text(text: str) -> str:
    """Text in one line that ends no cell and begins no element of Markdown but `code`."""
    shown = visible(text).translate(_MARKDOWN).replace("](", "]\\(")
    return shown.replace("`", "\\`") if shown.count("`") % 2 else shown


def markdown_cell(text: str) -> str:
    """Likewise for a cell of a table, where backticks are what was written."""
    return visible(text).translate(_MARKDOWN).replace("](", "]\\(").replace("`", "\\`")
