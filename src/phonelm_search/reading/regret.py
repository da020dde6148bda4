"""What picking on one device costs on another: the cross-device regret matrix of a study."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.pareto import front
from phonelm_search.core.records import identity
from phonelm_search.reading.place import Place
from phonelm_search.reading.readings import Readings
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.view import StudyView
from phonelm_search.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """One cell: shapes of one device's front, used on another."""

    front_of: str
    """Device whose front is taken."""
    used_on: str
    """Device that it is used on."""
    shapes: int
    """Shapes that were measured on both."""
    front: int
    """How many of them the other device's own front holds."""
    mean: float | None
    """Mean extra latency over the points of the own front, as a share; None where only the taken
    front itself was measured there, so that nothing better could be found."""
    worst: float | None
    """The largest."""


def regret_matrix(store: Store, view: StudyView) -> list[Regret]:
    """Regrets between all devices on which the study's shapes were measured.

    For each point of the own front of a device, the fastest shape there of the other device's
    front whose loss is no higher is looked for; the regret is how much slower it is, as a share.

    Raises:
        ConfigurationError: If its shapes were measured on one device only.
        StoreError: If the database cannot be read.
    """
    rows = view.sampled
    times = times_by_device(store, view, rows)
    quality = {r.shape.shape_id: r.loss.value for r in rows}
    return [_regret(a, b, times[a], times[b], quality) for a in times for b in times]


def times_by_device(
    store: Store, view: StudyView, rows: Sequence[StudyRow]
) -> dict[str, dict[str, float]]:
    """End-to-end milliseconds by device and shape, of every environment that has all workloads.

    Raises:
        ConfigurationError: If the shapes were measured on one device only.
    """
    found = {name: t for name, t in _times(store, view, rows).items() if len(t) >= 2}
    if len(found) < 2:
        study = view.record.name
        raise ConfigurationError(
            f"shapes of study '{study}' must be measured on two devices to compare them, they are "
            f"on {', '.join(found) or 'none'}; run `phonelm-search profile --study {study} --all "
            "--device B`"
        )
    return found


def _times(store: Store, view: StudyView, rows: Sequence[StudyRow]) -> dict[str, dict[str, float]]:
    ids = [r.shape.shape_id for r in rows]
    own = view.places
    known = {p.environment_id: p for p in own}
    for m in store.measurements(shape_ids=ids):
        if (
            m.precision != own[0].device.precision.of(m.workload.phase)
            or m.weights_source != "memory"
        ):
            continue
        # Another device's profile matters here for its name and cache mode alone.
        mode = "warm" if m.workload.phase == "decode" and m.cache_mode == "warm" else "cold"
        device = own[0].device.model_copy(update={"name": m.device, "cache": mode})
        if m.workload.phase == "decode" and not m.is_control:
            known.setdefault(
                identity(m.environment),
                Place(
                    device=device,
                    environment_id=identity(m.environment),
                    versions=own[0].versions,
                ),
            )
    found: dict[str, dict[str, float]] = {}
    for place in known.values():
        readings = Readings(store, place, view.scenario, ids)
        measured = {i: readings.measured(i) for i in ids}
        name = place.device.name
        if name in found:  # the same profile in another environment
            name = f"{name} ({place.environment_id})"
        found[name] = {}
        for shape_id, time in measured.items():
            draws = readings.end_to_end_draws(shape_id)
            if time and time.verdict != "rejected" and draws is not None:
                found[name][shape_id] = float(np.median(draws))
    return found


def _regret(
    a: str,
    b: str,
    times_a: dict[str, float],
    times_b: dict[str, float],
    quality: dict[str, float],
) -> Regret:
    both = sorted(times_a.keys() & times_b.keys())
    front_a = front(both, lambda i: (times_a[i], quality[i]))
    front_b = front(both, lambda i: (times_b[i], quality[i]))
    # The best shape of all is on every front, so each point is reached.
    extra = [
        min(times_b[i] for i in front_a if quality[i] <= quality[point]) / times_b[point] - 1
        for point in front_b
    ]
    told = a == b or times_a.keys() <= times_b.keys() or set(both) - set(front_a)
    return Regret(
        front_of=a,
        used_on=b,
        shapes=len(both),
        front=len(front_b),
        mean=float(np.mean(extra)) if told else None,
        worst=max(extra) if told else None,
    )
