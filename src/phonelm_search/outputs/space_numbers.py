"""Shapes of a space, in numbers."""

from dataclasses import asdict
from typing import Any

from phonelm_search.core.kernels import head_unit
from phonelm_search.core.precision import get_precision
from phonelm_search.space import count_space, load_space, nearest_heads


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
