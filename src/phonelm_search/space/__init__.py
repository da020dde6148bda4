"""Search spaces: the YAML file, its feasible shapes, and the points a sampler asks for."""

from phonelm_search.space.coordinates import Coordinates, Dimension
from phonelm_search.space.feasible import FeasibleSet, enumerate_space
from phonelm_search.space.schema import SPACES, SearchSpace, load_space
from phonelm_search.space.spread import spread_at_equal_size

__all__ = [
    "SPACES",
    "Coordinates",
    "Dimension",
    "FeasibleSet",
    "SearchSpace",
    "enumerate_space",
    "load_space",
    "spread_at_equal_size",
]
