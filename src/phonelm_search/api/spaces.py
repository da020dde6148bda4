"""Functions of the commands about search spaces."""

from pathlib import Path
from typing import Any

import pandas as pd

from phonelm_search.core import defaults as d
from phonelm_search.core.textfile import read_text
from phonelm_search.outputs import space_document
from phonelm_search.space import SPACES


def list_spaces() -> pd.DataFrame:
    """All search spaces, those of ``./search_spaces`` before the built-in ones."""
    rows = [(name, str(path)) for name, path in SPACES.names().items()]
    return pd.DataFrame(rows, columns=["space", "file"])


def show_space(space: str) -> str:
    """Text of a search space's file."""
    return read_text(SPACES.resolve(space))


def check_space(space: str, *, precision: str = d.DEFAULT_PRECISION) -> dict[str, Any]:
    """Numbers of feasible shapes, by depth and width too, and of those that a constraint excludes.

    Args:
        space: Its name, or the path of a YAML file.
        precision: Scheme at which byte limits are counted.
    """
    return space_document(space, precision)


def copy_space(space: str) -> Path:
    """Copy a built-in space into ``./search_spaces`` for editing."""
    return SPACES.copy(space)
