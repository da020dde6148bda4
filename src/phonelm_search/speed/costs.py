"""About how long measuring takes, before anything is measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile, Thermal
from phonelm_search.measure import REFERENCE, MeasureSettings, rotation_copies
from phonelm_search.space import Columns
from phonelm_search.speed.features import features

_USUAL_PRICES = np.array([1 / 30, 1 / 30, 1 / 30, 1 / 120, 1 / 120, 1 / 120, 1 / 60, 10_000, 0])
"""Of `features`, in ns: two cores with 30 GB/s, 120 GFLOP/s and 10 µs an operator."""
_START_SECONDS = 1.0  # a process, and the read bandwidth in it
_WEIGHT_BYTES_PER_SECOND = 250e6  # making and packing
_LEAST_SAMPLES = 3
_UNKNOWN_COOLDOWN = 0.1  # of the longest that a profile allows: a guess


def measuring_seconds(
    shapes: Sequence[ModelShape],
    workloads: Sequence[Workload],
    device: DeviceProfile,
    *,
    settings: MeasureSettings,
    cache_bytes: int,
) -> float:
    """Time to measure shapes in all their rounds, a few and the reference to a process.

    Args:
        shapes: What is measured.
        workloads: Of each.
        device: Where.
        settings: Rounds and their length.
        cache_bytes: Size of the last-level cache, which copies must exceed.
    """
    scheme, models = device.scheme, settings.models
    company = Columns.of([*shapes, REFERENCE])
    weights = [s.weight_bytes(scheme) for s in (*shapes, REFERENCE)]
    typical = models * np.mean([w.streamed for w in weights[:-1]]) + weights[-1].streamed
    copies = rotation_copies(round(float(typical)), settings.turn_bytes(cache_bytes))
    each = copies * np.array([w.total for w in weights]) / _WEIGHT_BYTES_PER_SECOND
    for workload in workloads:
        each += _running(company, scheme, workload, settings)
    process = _START_SECONDS + float(each[-1]) + _cooldown_s(device)
    return settings.rounds * (float(each[:-1].sum()) + len(shapes) / models * process)


def round_seconds(
    shapes: Columns,
    workloads: Sequence[Workload],
    device: DeviceProfile,
    *,
    settings: MeasureSettings,
) -> Floats:
    """``[n]`` seconds of one round of each shape, its part of a process among them.

    A model counts as one copy: what more a small one needs is little beside a large one.
    """
    scheme = device.scheme
    size: Any = scheme.matrix_bytes  # takes arrays as well as integers
    hidden = shapes.hidden_size
    stored = size(hidden, shapes.decoder_parameters // hidden) + size(hidden, shapes.vocab_size)
    seconds: Floats = stored / _WEIGHT_BYTES_PER_SECOND
    for workload in workloads:
        seconds = seconds + _running(shapes, scheme, workload, settings)
    return seconds + (_START_SECONDS + _cooldown_s(device)) / settings.models


def _running(
    shapes: Columns, scheme: Precision, workload: Workload, settings: MeasureSettings
) -> np.ndarray:
    """``[n]`` seconds of warm-up and samples."""
    one = features(shapes, scheme, workload) @ _USUAL_PRICES / 1e9
    samples = np.minimum(settings.repetitions * one, settings.max_seconds)
    warm_up = np.maximum(one, settings.warmup_window_seconds / settings.models)
    seconds: np.ndarray = np.maximum(_LEAST_SAMPLES * one, samples) + warm_up
    return seconds


def _cooldown_s(device: DeviceProfile) -> float:
    """How long a phone may cool down before a process."""
    if device.connection == "local":
        return 0.0
    return _UNKNOWN_COOLDOWN * (device.thermal or Thermal()).longest_cooldown_s
