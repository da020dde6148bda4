"""What stands behind a study's numbers: where time went, and the devices as they were found."""

import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from phonelm_search.core.judged_round import RoundConditions
from phonelm_search.core.units import format_counted
from phonelm_search.measure import beside_reference
from phonelm_search.outputs import TWIN_MISSES
from phonelm_search.reading import Place, StudyRow, StudyView, environments
from phonelm_search.store import Store

Card = dict[str, Any]
_NS = 1e9


def rounds_of_places(store: Store, view: StudyView) -> list[list[RoundConditions]]:
    """Rounds of a study's shapes at each of its places."""
    return [_rounds(store, view, place, _shapes(view)) for place in view.places]


def time_spent(
    store: Store, view: StudyView, rounds: Sequence[Sequence[RoundConditions]]
) -> list[Card]:
    """Seconds of each kind of work, and in words what is in them.

    Rounds count with their warm-up and all samples. What is not kept is in none of them: starting
    processes, making weights, cooling down, the reference's steps. Work of several processes adds
    up.
    """
    whole = [m for found in rounds for m in found]
    told = [(place, _blocks(store, view, place)) for place in view.places]
    blocks = [m for place, ids in told for m in _rounds(store, view, place, ids)]
    found: list[Card] = [
        _spent(f"{phase} of whole models", [m for m in whole if m.phase == phase])
        for phase in ("prefill", "decode")
    ]
    found.append(_spent("blocks of layers", blocks))
    for what, stopped in (("training to the end", False), ("training that was stopped", True)):
        runs = [t for t in view.trainings if t.stopped is stopped]
        found.append(
            {
                "what": what,
                "seconds": sum(r.seconds for r in runs),
                "detail": format_counted(len(runs), "training"),
            }
        )
    return [f for f in found if f["seconds"] > 0]


def _spent(what: str, rounds: Sequence[RoundConditions]) -> Card:
    seconds = sum(m.taken_ns for m in rounds) / _NS
    return {"what": what, "seconds": seconds, "detail": format_counted(len(rounds), "round")}


def _shapes(view: StudyView) -> set[str]:
    measured = set(view.table.ids)
    return measured | {f.shape.shape_id for f in view.failed}


def _blocks(store: Store, view: StudyView, place: Place) -> set[str]:
    """Truncated models that the study's estimates come from, and that are no shapes of its own."""
    shapes = dict(zip(view.table.ids, view.table.shapes, strict=True))
    estimates = store.estimates(shape_ids=list(shapes), environment_id=place.environment_id)
    found = {
        replace(shapes[e.shape_id], num_hidden_layers=depth).shape_id
        for e in estimates
        for depth in e.depths
    }
    return found - set(shapes)


def device_cards(view: StudyView, rounds_of: Sequence[Sequence[RoundConditions]]) -> list[Card]:
    """A card a device: its environment, how quiet it was, how warm it got.

    Returns:
        ``{"name", "facts": [[name, text], ...]}`` each.
    """
    known = environments(view.record)
    cards = []
    for readings, rounds in zip(view.readings, rounds_of, strict=True):
        name = readings.place.device.name
        measured = [r for r in view.rows if r.times[name].kind == "measured"]
        both = [
            (r.estimate_ms, own.end_to_end.ms)
            for r in measured
            if r.estimate_ms and r.device == name and (own := readings.own_time(r.shape.shape_id))
        ]
        cards.append(
            {
                "name": name,
                "facts": [
                    *([k.replace("_", " "), str(v)] for k, v in known[name].items()),
                    *_quiet(rounds, [_half_width(r, view, name) for r in measured]),
                    *_resolution(view, name),
                    *_estimates(both),
                ],
            }
        )
    return cards


def _rounds(
    store: Store, view: StudyView, place: Place, shape_ids: Collection[str]
) -> list[RoundConditions]:
    """Rounds of the study's own workloads at a place: no other study's, precision or prompt."""
    keys = {key for w in view.scenario.workloads for key in place.keys(shape_ids, w)}
    where = place.environment_id
    found = store.round_conditions(shape_ids=list(shape_ids), environment_id=where)
    return [m for m in found if m.key in keys]


def _half_width(row: StudyRow, view: StudyView, device: str) -> float:
    """Of a row's relative interval, as a share; of several devices, of its parts on one."""
    told = [row.latency]
    if len(view.devices) > 1:
        known = view.readings[view.devices.index(device)].comparisons.values()
        parts = [beside_reference(row.shape.shape_id, c) for c in known]
        told = [p for p in parts if p]
    return sum((t.high - t.low) / (2 * t.value) for t in told) / len(told) if told else 0.0


def _quiet(rounds: Sequence[RoundConditions], halves: Sequence[float]) -> Iterator[list[str]]:
    """How far this device can be trusted: verdicts, noise floor, bandwidth, temperatures."""
    if rounds:
        verdicts = [m.verdict for m in rounds]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        yield ["rounds", f"{len(rounds)}: {counts}"]
        ends = sorted(m.created_at for m in rounds)
        yield ["measured", f"{ends[0]} to {ends[-1]}"]
        releases = sorted({m.package_version for m in rounds})
        yield ["phonelm-search", ", ".join(releases)]
    if halves:
        count = format_counted(len(halves), "shape")
        yield ["noise floor", f"± {statistics.median(halves):.1%} of the end-to-end time, the "
                              f"median of {count} (95 % intervals)"]  # fmt: skip
    speeds = [m.bandwidth_bytes_per_s / 1e9 for m in rounds if m.bandwidth_bytes_per_s]
    if speeds:
        yield ["read bandwidth", f"{statistics.median(speeds):.1f} GB/s in the median round, "
                                 f"{min(speeds):.1f} to {max(speeds):.1f}"]  # fmt: skip
    warm = list(_conditions(rounds, "temperature_c"))
    if warm:
        yield ["temperature", f"{min(warm):.0f} to {max(warm):.0f} °C"]
    clocks = [c / 1e6 for c in _conditions(rounds, "frequency_khz")]
    if clocks:
        yield ["frequency", f"{min(clocks):.2f} to {max(clocks):.2f} GHz"]


def _resolution(view: StudyView, device: str) -> Iterator[list[str]]:
    """What differences the study can tell there, and how far apart it tells equal shapes."""
    if view.smallest_difference is not None:
        yield ["smallest difference", f"{view.smallest_difference:.1%} of the end-to-end time is "
                                      "told in 80 % of trials, of the median pair"]  # fmt: skip
    for pair in view.twins:
        if pair.device == device:
            value, low, high = pair.ratio
            note = "" if pair.holds_one else f"; {TWIN_MISSES}"
            yield ["A/A pair", f"{pair.shape.label} against itself: {value:.3f} "
                               f"({low:.3f} to {high:.3f}){note}"]  # fmt: skip


def _estimates(both: Iterable[tuple[float | None, float]]) -> Iterator[list[str]]:
    """How far blocks were off where a shape was measured whole, too; milliseconds in pairs."""
    errors = sorted(abs(told / ms - 1) for told, ms in both if told)
    if errors:
        yield ["estimates", f"{statistics.median(errors):.1%} off in the median, {errors[-1]:.1%} "
                            f"at most, where blocks told a shape that was measured whole, too: "
                            f"{len(errors)}"]  # fmt: skip


def _conditions(rounds: Iterable[RoundConditions], key: str) -> Iterator[float]:
    """Numbers that stand beside rounds, before and after them."""
    for m in rounds:
        for moment in m.conditions.values():
            value = moment.get(key) if isinstance(moment, Mapping) else None
            if isinstance(value, int | float):
                yield float(value)
