from .costs import measuring_seconds as measuring_seconds
from .costs import round_seconds as round_seconds
from .latency_model import LEAST_SHAPES as LEAST_SHAPES
from .latency_model import HeldOut as HeldOut
from .latency_model import LatencyModel as LatencyModel
from .prices import against_prices as against_prices
from .prices import far_off as far_off
