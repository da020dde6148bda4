"""The measuring protocol: what is run, what the samples say, how far to trust them."""

from phonelm_search.measure.profiler import MeasureSettings, Profiler
from phonelm_search.measure.statistics import LatencySummary, summarise

__all__ = ["LatencySummary", "MeasureSettings", "Profiler", "summarise"]
