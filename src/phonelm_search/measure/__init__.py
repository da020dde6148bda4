"""The measuring protocol: what is run, what the samples say, how far to trust them."""

from phonelm_search.measure.profiler import Outcome, Profiler, Request
from phonelm_search.measure.settings import MeasureSettings
from phonelm_search.measure.summary import LatencySummary, summarise

__all__ = [
    "LatencySummary",
    "MeasureSettings",
    "Outcome",
    "Profiler",
    "Request",
    "summarise",
]
