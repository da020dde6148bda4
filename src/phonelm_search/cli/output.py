"""Tables and JSON on stdout, everything else on stderr."""

import json
import os
import sys
from collections.abc import Sequence
from typing import IO, Any

from phonelm_search.cli.layout import TextColumn, fill, lay_out
from phonelm_search.cli.options import Format
from phonelm_search.core.printable import markdown_cell, visible
from phonelm_search.core.tables import to_csv

ROWS_SCHEMA = 1
_LEAST_WIDTH = 20
Row = dict[str, Any]
Column = tuple[str, str]
"""Key of a row, and its heading."""


def say(text: str) -> None:
    """A line for people, on stderr; in a terminal as many as its width needs."""
    _print(fill(visible(text), terminal_width(sys.stderr)), sys.stderr)


def tell(text: str) -> None:
    """A line of what was asked for, on stdout; likewise."""
    _print(fill(visible(text), terminal_width(sys.stdout)), sys.stdout)


def show_file(text: str) -> None:
    """A file as it is; a terminal is shown what it would obey."""
    if terminal_width(sys.stdout) is not None:
        text = "\n".join(visible(line.expandtabs()) for line in text.split("\n"))
    _print(text, sys.stdout)


def print_json(rows: Sequence[Row], **extra: Any) -> None:
    """The document that programs read."""
    document = {"schema": ROWS_SCHEMA, "rows": list(rows), **extra}
    _print(json.dumps(document, indent=2, allow_nan=False), sys.stdout)


def print_rows(
    rows: Sequence[Row],
    columns: Sequence[Column],
    fmt: Format,
    *,
    title: str = "",
    first: Sequence[str] = (),
    ways: str = "`--format csv`, `--json`",
) -> None:
    """Rows as a table for people, or all their columns as CSV or JSON lines.

    Args:
        rows: What is shown.
        columns: From left to right.
        fmt: How.
        title: Above a table.
        first: Keys of the columns that matter most where a terminal is narrow, the most important
            one first.
        ways: How the command prints all columns.
    """
    if fmt == "jsonl":
        for row in rows:
            _print(json.dumps(row, allow_nan=False), sys.stdout)
    elif fmt == "csv":
        _print(to_csv(rows, [k for k, _ in columns]).removesuffix("\n"), sys.stdout)
    elif fmt == "md":
        lines = [[h for _, h in columns], *_cells(rows, columns)]
        head, *body = [f"| {' | '.join(map(markdown_cell, line))} |" for line in lines]
        _print("\n".join([head, "|" + "---|" * len(columns), *body]), sys.stdout)
    else:
        _print_table(rows, columns, title, first, ways)


def _print_table(
    rows: Sequence[Row], columns: Sequence[Column], title: str, first: Sequence[str], ways: str
) -> None:
    width = terminal_width(sys.stdout)
    cells = _cells(rows, columns)
    keys = [k for k, _ in columns]
    layout = lay_out(
        [
            TextColumn(
                heading=visible(heading),
                cells=tuple(visible(line[i]) for line in cells),
                numeric=any(isinstance(r.get(key), int | float) for r in rows),
            )
            for i, (key, heading) in enumerate(columns)
        ],
        [keys.index(k) for k in first if k in keys],
        width,
    )
    if title:
        tell(title)
    if layout.head and width is None:
        _print("\n".join(layout.head), sys.stdout)
    elif layout.head:
        _print_bold("\n".join(layout.head))
    if layout.body:
        _print("\n".join(layout.body), sys.stdout)
    if layout.hidden:
        are = "is" if len(layout.hidden) == 1 else "are"
        tell(
            f"{len(layout.hidden)} of {len(columns)} columns {are} left out at this width: "
            f"{', '.join(layout.hidden)}; all of them: {ways}, or a wider terminal"
        )


def _cells(rows: Sequence[Row], columns: Sequence[Column]) -> list[list[str]]:
    shown = [{**row, "verdict": verdict_text(row)} for row in rows]
    return [[text(row.get(k)) for k, _ in columns] for row in shown]


def _print_bold(head: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console().print(Text(head, style="bold"), soft_wrap=True)


def terminal_width(stream: IO[str] | None) -> int | None:
    """Letters of a line of a terminal; None where a stream is none."""
    if stream is None or not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return max(_LEAST_WIDTH, int(given))
    try:
        found = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        found = 0
    return max(_LEAST_WIDTH, found) if found else 80


def _print(text: str, stream: IO[str] | None) -> None:
    if stream is not None:
        stream.write(f"{text}\n")
        stream.flush()


def text(value: Any) -> str:
    """A cell: four significant digits, thousands apart, lists joined, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:.4g}"
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return str(value)


def verdict_text(row: Row) -> str | None:
    """A verdict with its first reason: ``suspect: single round (+1)``."""
    verdict, reasons = row.get("verdict"), row.get("reasons") or []
    if verdict is None or not reasons:
        return verdict
    more = f" (+{len(reasons) - 1})" if len(reasons) > 1 else ""
    return f"{verdict}: {reasons[0]}{more}"
