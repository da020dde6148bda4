"""What measuring costs on a device, by what was measured on it."""

from collections.abc import Sequence

import numpy as np

from phonelm_search.core.records import Measurement
from phonelm_search.core.statistics import median_of_rounds
from phonelm_search.devices import DeviceProfile, Thermal
from phonelm_search.measure import Profiler
from phonelm_search.speed.plan import Costs
from phonelm_search.speed.roofline import features, fit_roofline
from phonelm_search.store import Store

_UNKNOWN_COOLDOWN = 0.1  # of the longest that a profile allows


def device_costs(store: Store, profiler: Profiler) -> Costs:
    """What measuring costs on a device, with prices fitted to what was measured on it."""
    scheme = profiler.device.scheme
    known = store.measurements(environment_id=profiler.environment_id)
    usable = [
        m
        for m in known
        if m.precision == scheme.name
        and m.verdict == "valid"
        and m.weights_source == "memory"
        and m.cache_mode == profiler.device.cache_mode(m.workload)
    ]
    shapes = store.shapes(list({m.shape_id for m in usable}))
    return Costs(
        roofline=fit_roofline(
            [features(shapes[m.shape_id], scheme, m.workload) for m in usable],
            [median_of_rounds([m.samples_ns]) / 1e6 for m in usable],
        ),
        scheme=scheme,
        cache_bytes=profiler.cache_bytes,
        settings=profiler.settings,
        cooldown_s=_usual_cooldown_s(profiler.device, usable),
    )


def expected_cooldown_s(device: DeviceProfile) -> float:
    """How long a phone may cool down before a process, where nothing is known yet: a guess."""
    if device.connection == "local":
        return 0.0
    return _UNKNOWN_COOLDOWN * (device.thermal or Thermal()).longest_cooldown_s


def _usual_cooldown_s(device: DeviceProfile, known: Sequence[Measurement]) -> float:
    waits = [m.conditions.get("before", {}).get("cooldown_s") for m in known]
    told = [float(w) for w in waits if w is not None]
    return float(np.mean(told)) if told else expected_cooldown_s(device)
