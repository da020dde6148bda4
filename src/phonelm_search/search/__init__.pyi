from .driver import LatencySource as LatencySource, SearchDriver as SearchDriver, TrialReport as TrialReport
from .objectives import Goals as Goals, choose_objectives as choose_objectives
from .samplers import SAMPLERS as SAMPLERS
from .selection import Measured as Measured, select_for_training as select_for_training
from .worst import WorstDevice as WorstDevice
