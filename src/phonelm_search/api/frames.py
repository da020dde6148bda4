"""What functions take and give."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from phonelm_search.outputs import STUDY_COLUMNS, predicted_rows, study_rows
from phonelm_search.reading import StudyView
from phonelm_search.store import Store

Names = str | Sequence[str]
Folder = str | Path


def open_store(results: Folder, storage: str | None) -> Store:
    """A database that must be there.

    Raises:
        StoreError: If it is not.
    """
    return Store(Path(results), url=storage, create=False)


def list_of(names: Names) -> list[str]:
    """One name or several as several."""
    return [names] if isinstance(names, str) else list(names)


def frame_of(view: StudyView, *, front: bool = False, predicted: int = 0) -> pd.DataFrame:
    """A row for each shape of a study, or of its front, and for some that were predicted."""
    rows = study_rows(view, view.front if front else view.rows)
    rows += predicted_rows(view, predicted) if predicted else []
    return pd.DataFrame(rows, columns=None if rows else list(STUDY_COLUMNS))
