"""The database of shapes, measurements, scores and studies."""

from phonelm_search.store.database import Store
from phonelm_search.store.lock import study_lock

__all__ = ["Store", "study_lock"]
