"""What stands behind a study's numbers: where time went, and the devices as they were found."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from phonelm_search.core.units import format_counted
from phonelm_search.measure import beside_reference
from phonelm_search.outputs import TWIN_MISSES
from phonelm_search.outputs.report.rounds import RoundsSummary, StudyRounds
from phonelm_search.reading import Readings, StudyView, Table, environments

Card = dict[str, Any]
_NS = 1e9


def time_spent(view: StudyView, rounds: StudyRounds) -> list[Card]:
    """Seconds of each kind of work, and in words what is in them.

    Rounds count with their warm-up and all samples. What is not kept is in none of them: starting
    processes, making weights, cooling down, the reference's steps. Work of several processes adds
    up.
    """
    found: list[Card] = [
        _spent(f"{phase} of whole models", [s.phases.get(phase, (0, 0)) for s in rounds.places])
        for phase in ("prefill", "decode")
    ]
    found.append(_spent("blocks of layers", [p for s in rounds.blocks for p in s.phases.values()]))
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


def _spent(what: str, phases: Sequence[tuple[int, int]]) -> Card:
    seconds = sum(taken_ns for _, taken_ns in phases) / _NS
    return {
        "what": what,
        "seconds": seconds,
        "detail": format_counted(sum(count for count, _ in phases), "round"),
    }


def device_cards(view: StudyView, places: Sequence[RoundsSummary]) -> list[Card]:
    """A card a device: its environment, how quiet it was, how warm it got.

    Returns:
        ``{"name", "facts": [[name, text], ...]}`` each.
    """
    known = environments(view.record)
    cards = []
    for readings, rounds in zip(view.readings, places, strict=True):
        name = readings.place.device.name
        measured = view.table.only(view.table.times(name).measured) if view.rows else view.table
        both = [
            (told.end_to_end.ms, own.end_to_end.ms)
            for shape_id, device in zip(measured.ids, measured.devices, strict=True)
            if device == name
            and (told := readings.estimated(shape_id))
            and (own := readings.own_time(shape_id))
        ]
        cards.append(
            {
                "name": name,
                "facts": [
                    *([k.replace("_", " "), str(v)] for k, v in known[name].items()),
                    *_quiet(rounds, _half_widths(measured, readings, alone=len(view.devices) == 1)),
                    *_resolution(view, name),
                    *_estimates(both),
                ],
            }
        )
    return cards


def _half_widths(rows: Table, readings: Readings, *, alone: bool) -> list[float]:
    """Of rows' relative intervals, as shares; of one of several devices, of their parts there."""
    if alone:
        value, low, high = rows.latency.T
        halves: list[float] = ((high - low) / (2 * value)).tolist()
        return halves
    found = []
    for shape_id in rows.ids:
        told = [beside_reference(shape_id, c) for c in readings.comparisons.values()]
        parts = [(t.high - t.low) / (2 * t.value) for t in told if t]
        found.append(sum(parts) / len(parts) if parts else 0.0)
    return found


def _quiet(rounds: RoundsSummary, halves: Sequence[float]) -> Iterator[list[str]]:
    """How far this device can be trusted: verdicts, noise floor, bandwidth, temperatures."""
    if rounds.created:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in rounds.verdicts.items())
        yield ["rounds", f"{rounds.count}: {counts}"]
        yield ["measured", "{} to {}".format(*rounds.created)]
        yield ["phonelm-search", ", ".join(rounds.releases)]
    if halves:
        count = format_counted(len(halves), "shape")
        yield ["noise floor", f"± {statistics.median(halves):.1%} of the end-to-end time, the "
                              f"median of {count} (95 % intervals)"]  # fmt: skip
    if rounds.bandwidth:
        usual, least, most = rounds.bandwidth
        yield ["read bandwidth", f"{usual:.1f} GB/s in the median round, "
                                 f"{least:.1f} to {most:.1f}"]  # fmt: skip
    if rounds.temperature_c:
        least, most = rounds.temperature_c
        yield ["temperature", f"{least:.0f} to {most:.0f} °C"]
    if rounds.frequency_khz:
        least, most = (khz / 1e6 for khz in rounds.frequency_khz)
        yield ["frequency", f"{least:.2f} to {most:.2f} GHz"]


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
