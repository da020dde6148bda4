"""Tables and JSON on stdout, everything else on stderr."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import typer

from phonelm_search.cli.options import Format
from phonelm_search.core.tables import to_csv

ROWS_SCHEMA = 1
_WIDE = 1000
Row = dict[str, Any]
Column = tuple[str, str]
"""Key of a row, and its heading."""


def say(text: str) -> None:
    """A line for people, on stderr."""
    typer.echo(text, err=True)


def print_json(rows: Sequence[Row], **extra: Any) -> None:
    """The document that programs read."""
    document = {"schema": ROWS_SCHEMA, "rows": list(rows), **extra}
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def print_rows(
    rows: Sequence[Row], columns: Sequence[Column], fmt: Format, *, title: str = ""
) -> None:
    """Rows as a table for people, or all their columns as CSV or JSON lines."""
    if fmt == "jsonl":
        for row in rows:
            typer.echo(json.dumps(row, allow_nan=False))
    elif fmt == "csv":
        typer.echo(to_csv(rows, [k for k, _ in columns]), nl=False)
    elif fmt == "md":
        typer.echo("| " + " | ".join(h for _, h in columns) + " |")
        typer.echo("|" + "---|" * len(columns))
        for row in rows:
            shown = {**row, "verdict": verdict_text(row)}
            typer.echo("| " + " | ".join(text(shown.get(k)) for k, _ in columns) + " |")
    else:
        _print_table(rows, columns, title)


def _print_table(rows: Sequence[Row], columns: Sequence[Column], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    rows = [{**row, "verdict": verdict_text(row)} for row in rows]
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for key, heading in columns:
        numeric = any(isinstance(r.get(key), int | float) for r in rows)
        # An id is copied into the next command, so it stays in one piece.
        whole = key == "shape_id"
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(text(row.get(k)) for k, _ in columns))
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=_WIDE)  # one line a row, for grep and pagers
    console.print(table)


def text(value: Any) -> str:
    """A cell: four significant digits, lists joined, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
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
