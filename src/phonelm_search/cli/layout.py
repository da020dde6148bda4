"""How rows and sentences fit a terminal; a number, a unit or a name is never broken."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_GAP = 2  # spaces between columns
_PROSE = 24  # letters beyond which a cell with spaces is prose and may be broken at them
_LEAST_PROSE = 20  # letters of a line of prose in a column
_LEAST_COLUMNS = 3  # with fewer, a row tells too little: cards instead
_UNIT = re.compile(
    r"(?<=tg) (?=@)|(?<=@) (?=d\d)|(?<=\d) (?=[%°A-Za-z][A-Za-z/]{0,2}(?![A-Za-z]))|(?<=±) (?=\d)"
)
_COMMAND = re.compile(r"`[^`]*`")
_TIED = "\xa0"
_DASH = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Lines of a table or of cards."""

    head: tuple[str, ...]
    """Headings."""
    body: tuple[str, ...]
    """Rows."""
    hidden: tuple[str, ...]
    """Headings of columns that had no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextColumn:
    """A column of a table as text."""

    heading: str
    """What stands above it."""
    cells: tuple[str, ...]
    """A line each."""
    numeric: bool
    """Set to the right."""

    @property
    def is_prose(self) -> bool:
        """Whether its cells may be broken between words."""
        return not self.numeric and any(_width(c) > _PROSE and " " in c for c in self.cells)

    @property
    def whole(self) -> int:
        """Letters of its widest line."""
        return max(map(_width, (self.heading, *self.cells)))

    @property
    def least(self) -> int:
        """Letters that it cannot do without."""
        words = self.heading.split()
        if not self.is_prose:
            return max(map(_width, (*words, *self.cells)), default=0)
        words += [w for c in self.cells for w in _tied(c).split(" ")]
        return min(self.whole, max(_LEAST_PROSE, *map(_width, words)))

    @property
    def is_empty(self) -> bool:
        """Whether no row has a value."""
        return all(c in ("", _DASH) for c in self.cells)


def lay_out(columns: Sequence[TextColumn], first: Sequence[int], width: int | None) -> Layout:
    """Columns side by side; those that matter least go where a terminal has no room.

    Args:
        columns: From left to right.
        first: Places of those that matter most, the most important one first; then come the others
            from the left, and last those without a value.
        width: Letters of a line; None: as many as needed.
    """
    if width is None:
        return _table(columns, [c.whole for c in columns], hidden=())
    order = [*first, *(i for i in range(len(columns)) if i not in first)]
    order.sort(key=lambda i: columns[i].is_empty)
    least = [c.least for c in columns]
    kept: list[int] = []
    for i in order:
        if _total([least[k] for k in (*kept, i)]) <= width:
            kept.append(i)
    if len(kept) >= min(_LEAST_COLUMNS, len(columns)) and kept[0] == order[0]:
        shown = sorted(kept)
        chosen = [columns[i] for i in shown]
        widths = _widths(
            [least[i] for i in shown],
            [c.whole for c in chosen],
            [shown.index(i) for i in kept],
            width,
        )
        hidden = tuple(c.heading for i, c in enumerate(columns) if i not in kept)
        return _table(chosen, widths, hidden=hidden)
    return Layout(head=(), body=tuple(_cards(columns, order, width)), hidden=())


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _widths(
    least: Sequence[int], whole: Sequence[int], order: Sequence[int], width: int
) -> list[int]:
    widths = list(least)
    left = width - _total(widths)
    for i in order:
        more = min(left, whole[i] - widths[i])
        widths[i], left = widths[i] + more, left - more
    return widths


def _table(
    columns: Sequence[TextColumn], widths: Sequence[int], *, hidden: tuple[str, ...]
) -> Layout:
    blocks = [
        [_broken(line, w) for line in (c.heading, *c.cells)]
        for c, w in zip(columns, widths, strict=True)
    ]
    lines = []
    for cells in zip(*blocks, strict=True):
        height = max(map(len, cells))
        parts = [[*cell, *[""] * (height - len(cell))] for cell in cells]
        lines.append(
            tuple(
                (" " * _GAP)
                .join(
                    _padded(text, w, right=c.numeric)
                    for text, w, c in zip(line, widths, columns, strict=True)
                )
                .rstrip()
                for line in zip(*parts, strict=True)
            )
        )
    head, *body = lines or [()]
    return Layout(head=head, body=tuple(line for row in body for line in row), hidden=hidden)


def _cards(columns: Sequence[TextColumn], order: Sequence[int], width: int) -> list[str]:
    """A row as its most important value and a line for each of the others."""
    title, *others = [
        columns[i] for i in (order[0], *(i for i in range(len(columns)) if i != order[0]))
    ]
    label = max((_width(c.heading) for c in others), default=0)
    lines: list[str] = []
    for row, name in enumerate(title.cells):
        lines += [""] * bool(row) + [name]
        for column in others:
            text = column.cells[row]
            if text in ("", _DASH):
                continue
            room = width - label - 2 * _GAP
            if _width(text) <= room:
                lines.append(f"{' ' * _GAP}{_padded(column.heading, label)}{' ' * _GAP}{text}")
                continue
            lines.append(f"{' ' * _GAP}{column.heading}".rstrip())
            lines += [f"{' ' * 2 * _GAP}{part}" for part in _broken(text, width - 2 * _GAP)]
    return lines


def fill(text: str, width: int | None) -> str:
    """A sentence in lines of so many letters, the later ones set in; a command stays in one."""
    if width is None or _width(text) <= width:
        return text
    begin = text[: len(text) - len(text.lstrip(" "))]
    tied = _COMMAND.sub(lambda m: m[0].replace(" ", _TIED), _tied(text[len(begin) :]))
    lines = _wrapped(tied, max(1, width - len(begin) - _GAP))
    return f"\n{begin}{' ' * _GAP}".join([f"{begin}{lines[0]}", *lines[1:]])


def _broken(text: str, width: int) -> list[str]:
    return _wrapped(_tied(text), width) if _width(text) > width else [text]


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, max(1, width), break_long_words=False, break_on_hyphens=False)
    return [line.replace(_TIED, " ") for line in lines] or [""]


def _tied(text: str) -> str:
    return _UNIT.sub(_TIED, text)


def _padded(text: str, width: int, *, right: bool = False) -> str:
    blank = " " * (width - _width(text))
    return f"{blank}{text}" if right else f"{text}{blank}"


def _width(text: str) -> int:
    if text.isascii() or text == _DASH:
        return len(text)
    from rich.cells import cell_len  # loaded where letters may be wide alone

    return cell_len(text)
