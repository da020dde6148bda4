"""What a model tells of many shapes at once."""

from dataclasses import dataclass

from phonelm_search.core.statistics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Logarithms of a quantity, or of its ratio to another one's; ``[n]`` each."""

    mean: Floats
    """The middle."""
    deviation: Floats
    """Its standard deviation."""
