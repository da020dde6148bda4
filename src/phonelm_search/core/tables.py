"""Rows as text that spreadsheets read."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from phonelm_search.core.printable import spreadsheet_text


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Rows as CSV; lists joined by ``; ``, missing values empty, text no formula.

    Args:
        rows: Each may lack some keys of the others; the columns are all keys, as they come.
        columns: What stands in the first line where there is no row.
    """
    keys = list(dict.fromkeys(k for row in rows for k in row)) or list(columns)
    text = io.StringIO()
    writer = csv.DictWriter(text, keys, lineterminator="\n")
    writer.writerow({k: spreadsheet_text(k) for k in keys})
    for row in rows:
        writer.writerow({k: _cell(v) for k, v in row.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    return spreadsheet_text(value) if isinstance(value, str) else value
