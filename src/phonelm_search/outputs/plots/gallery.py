"""All kinds of pictures by name."""

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from phonelm_search.outputs.plots.bandwidth import bandwidth_info, draw_bandwidth
from phonelm_search.outputs.plots.depth import depth_info, draw_depth
from phonelm_search.outputs.plots.devices import devices_info, draw_devices
from phonelm_search.outputs.plots.draw import draw_front, draw_spread, draw_training
from phonelm_search.outputs.plots.info import front_info, spread_info, training_info
from phonelm_search.outputs.plots.map import draw_map, map_info
from phonelm_search.outputs.plots.processes import draw_processes, processes_info
from phonelm_search.outputs.plots.validation import draw_validation, validation_info
from phonelm_search.reading import StudyView
from phonelm_search.store import Store

PICTURES: Mapping[str, Callable[[Store, StudyView], Figure]] = {
    "front": lambda store, view: draw_front(front_info(view)),
    "training": lambda store, view: draw_training(training_info(view)),
    "spread": lambda store, view: draw_spread(spread_info(view)),
    "map": lambda store, view: draw_map(map_info(view)),
    "latency-vs-depth": lambda store, view: draw_depth(depth_info(view)),
    "bandwidth": lambda store, view: draw_bandwidth(bandwidth_info(view)),
    "processes": lambda store, view: draw_processes(processes_info(view)),
    "devices": lambda store, view: draw_devices(devices_info(store, view)),
    "validation": lambda store, view: draw_validation(validation_info(view)),
}
"""Kind → a figure of a study; raises PhonelmSearchError where the study lacks what it shows."""
