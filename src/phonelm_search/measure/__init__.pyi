from .executor import Executor as Executor
from .jobs import rotation_copies as rotation_copies
from .numerics import gate_shape as gate_shape, refusal as refusal
from .placement_sweep import Tried as Tried, choices as choices, sweep as sweep
from .profiler import Outcome as Outcome, Profiler as Profiler, Request as Request
from .reference import REFERENCE as REFERENCE
from .settings import MeasureSettings as MeasureSettings, Sampling as Sampling
from .summary import summarise as summarise
from .verdict import WIDEST_INTERVAL as WIDEST_INTERVAL
