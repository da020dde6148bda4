from .driver import LatencySource as LatencySource
from .driver import SearchDriver as SearchDriver
from .driver import TrialReport as TrialReport
from .objectives import Goals as Goals
from .objectives import choose_objectives as choose_objectives
from .samplers import SAMPLERS as SAMPLERS
from .worst import WorstDevice as WorstDevice
