from .columns import Columns as Columns
from .coordinates import Coordinates as Coordinates
from .feasible import FeasibleSet as FeasibleSet
from .feasible import enumerate_space as enumerate_space
from .schema import SPACES as SPACES
from .schema import SearchSpace as SearchSpace
from .schema import load_space as load_space
from .spread import spread_at_equal_size as spread_at_equal_size
