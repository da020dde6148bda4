"""Rows as text that spreadsheets read."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Rows as CSV; lists joined by ``; ``, missing values empty.

    Args:
        rows: Each may lack some keys of the others; the columns are all keys, as they come.
        columns: What stands in the first line where there is no row.
    """
    keys = list(dict.fromkeys(k for row in rows for k in row)) or list(columns)
    text = io.StringIO()
    writer = csv.DictWriter(text, keys, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "; ".join(map(str, v)) if isinstance(v, list) else v
                         for k, v in row.items()})  # fmt: skip
    return text.getvalue()
