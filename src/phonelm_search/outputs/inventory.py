"""What there is in a database."""

from typing import TYPE_CHECKING

from phonelm_search.reading import count_shapes
from phonelm_search.store import Store

if TYPE_CHECKING:
    from phonelm_search.outputs.rows import Row  # what makes rows reads whole studies


def count_rows(store: Store) -> "list[Row]":
    """A row for each study, with the numbers of its shapes."""
    rows = []
    for record in store.studies():
        counts = count_shapes(store, record)
        rows.append(
            {
                "study": record.name,
                "space": record.config["space"]["name"],
                "device": record.config["device"]["name"],
                "scenario": record.config["scenario"],
                "measured": counts.measured,
                "failed": counts.failed,
                "trained": counts.trained,
            }
        )
    return rows
