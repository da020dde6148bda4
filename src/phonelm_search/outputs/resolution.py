"""What was checked of a study's latencies, and what it means for the pick, in plain words."""

from collections.abc import Iterator, Mapping
from typing import Any

from phonelm_search.core.units import format_counted, format_some
from phonelm_search.measure import WIDEST_HALF
from phonelm_search.outputs.rows import Row
from phonelm_search.reading import StudyView, TwinPair, current_pick, names_of, near_in_time

TWIN_MISSES = (
    "that interval misses 1, which one pair in twenty does by chance; where it stays so with more "
    "rounds (--minutes), this study's intervals are too narrow, and shapes that are near each "
    "other are told apart less surely than it says"
)
"""Of an A/A pair whose interval does not hold 1."""
_MOST_NAMES = 5


def resolution_row(view: StudyView) -> Row:
    """What a study can tell apart: smallest difference, A/A pairs, errors of its predictions."""
    return {
        "smallest_difference": view.smallest_difference,
        "twins": [
            {
                "shape_id": t.shape.shape_id,
                "device": t.device,
                "ratio": t.ratio.value,
                "low": t.ratio.low,
                "high": t.ratio.high,
                "holds_one": t.holds_one,
                "note": None if t.holds_one else TWIN_MISSES,
            }
            for t in view.twins
        ],
        "prediction": view.record.config.get("prediction"),
        "sentences": list(resolution_sentences(view)),
    }


def resolution_sentences(view: StudyView) -> tuple[str, ...]:
    """The same for people; nothing where nothing was measured."""
    return tuple(_sentences(view)) if view.rows else ()


def _sentences(view: StudyView) -> Iterator[str]:
    yield _valid(view)
    if view.smallest_difference is not None:
        yield (
            f"two shapes that differ by {view.smallest_difference:.1%} of their end-to-end time "
            "are told apart in 80 of 100 tries (the median pair); nearer ones less often"
        )
    if meaning := _for_the_pick(view):
        yield meaning
    for pair in view.twins:
        yield twin_sentence(pair)
    if told := view.record.config.get("prediction"):
        yield _predicted(told)


def _valid(view: StudyView) -> str:
    """How many latencies are valid, and what that is."""
    count = len(view.rows)
    valid = sum(j.verdict == "valid" for j in view.table.judgements)
    return (
        f"{valid:,} of {format_counted(count, 'shape')} {'has' if count == 1 else 'have'} a valid "
        f"latency: known, as a share of {view.baseline}, to ± {WIDEST_HALF:.0%} or better (95 %), "
        "by rounds that ran under like conditions"
    )


def _for_the_pick(view: StudyView) -> str | None:
    """Which shapes are too near the pick in time to say which is the faster one."""
    pick, others = current_pick(view), len(view.sampled) - 1
    if pick is None or others < 1:
        return None
    near = near_in_time(view, pick.row)
    if not near:
        return f"for the pick that means: its time is told apart from {_each_other(others)}"
    shown = format_some(names_of([pick.row, *near])[1:], _MOST_NAMES)
    return (
        f"for the pick that means: of {format_counted(others, 'other shape')} "
        f"{'one is' if len(near) == 1 else f'{len(near):,} are'} too near in time to say which is "
        f"faster: {shown}"
    )


def _each_other(others: int) -> str:
    return "that of the other shape" if others == 1 else f"that of each of {others:,} other shapes"


def twin_sentence(pair: TwinPair) -> str:
    """How far apart a shape is told from itself, and whether that is as it should be."""
    value, low, high = pair.ratio
    text = (
        f"A/A pair on {pair.device}, one shape measured twice as if it were two: "
        f"{pair.shape.shape_id} is {value:.3f} of itself ({low:.3f} to {high:.3f})"
    )
    return f"{text}; 1 lies within, as it should" if pair.holds_one else f"{text}; {TWIN_MISSES}"


def _predicted(told: Mapping[str, Any]) -> str:
    errors = "; ".join(
        f"{name} {e['median']:.1%} off in the median, {e['p95']:.1%} at the 95th percentile"
        for name, e in told["held_out"].items()
    )
    return (
        f"all {format_counted(told['shapes'], 'shape')} of the space were predicted from "
        f"{told['measured']:,} measured ones; tried on measured ones that were held out: {errors}"
    )
