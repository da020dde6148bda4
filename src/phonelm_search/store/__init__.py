"""The database of shapes, measurements, scores and studies."""

from phonelm_search.store.database import Store

__all__ = ["Store"]
