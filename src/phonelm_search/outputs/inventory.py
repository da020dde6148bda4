"""What there is: studies of a database, shapes of a space."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from phonelm_search.core.kernels import head_unit
from phonelm_search.core.precision import get_precision
from phonelm_search.reading import count_shapes
from phonelm_search.space import count_space, load_space, nearest_heads
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


def space_document(space: str, precision: str) -> dict[str, Any]:
    """Numbers of a space's shapes, and of those that each constraint excludes.

    Args:
        space: Its name, or the path of a YAML file.
        precision: Name of the scheme at which byte limits are counted.
    """
    loaded, scheme = load_space(space), get_precision(precision)
    counts = count_space(loaded, scheme)
    document = {"space": loaded.name, **asdict(counts)}
    heads = document.pop("refused_heads")
    document["remedies"] = [nearest_heads(heads, head_unit(scheme))] if heads else []
    return document
