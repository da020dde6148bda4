from .coordinates import Coordinates as Coordinates
from .feasible import FeasibleSet as FeasibleSet, enumerate_space as enumerate_space
from .schema import SPACES as SPACES, SearchSpace as SearchSpace, load_space as load_space
from .spread import spread_at_equal_size as spread_at_equal_size
