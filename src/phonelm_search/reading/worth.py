"""What a shape is worth: at equal loss, in size and in time."""

from dataclasses import dataclass

from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_count, format_ms
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.view import StudyView

_STEP = 0.01
"""Of loss, as a share, within which its price is told."""
_LESS = 0.003
"""Less than this of loss is none."""
_SAME = 0.005
"""Less than this of latency is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """A shape beside all others of any size, as the models tell them."""

    equal_parameters: float | None
    """Decoder parameters of the smallest shape with its loss; None beyond the sizes that are told.
    """
    equal_latency: float | None
    """Latency of the shape over that of the smallest one."""
    fastest: ModelShape | None
    """The fastest shape whose loss is no higher; None where the shape itself is."""
    fastest_latency: float | None
    """Latency of the shape over that of the fastest one."""
    best: ModelShape | None
    """The shape of lowest loss that is no slower; None where the shape itself is."""
    best_loss: float | None
    """Loss of that shape over this one's."""
    ms_a_percent: float | None
    """Milliseconds that one per cent of loss costs along the front at the shape's loss."""

    @property
    def text(self) -> str:
        """In words; empty where nothing is told."""
        parts = []
        if self.equal_parameters and self.equal_latency:
            size = format_count(self.equal_parameters)
            parts.append(
                f"as good as the best shape of {size}, {_faster(self.equal_latency)} than that"
            )
        if self.fastest and self.fastest_latency:
            size = format_count(self.fastest.decoder_parameters)
            parts.append(
                f"{self.fastest.label} of {size} is as good and {_faster(1 / self.fastest_latency)}"
            )
        if self.best and self.best_loss:
            size = format_count(self.best.decoder_parameters)
            parts.append(
                f"{self.best.label} of {size} is as fast and has {1 - self.best_loss:.1%} less loss"
            )
        if self.ms_a_percent is not None:
            parts.append(f"one per cent of loss costs {format_ms(self.ms_a_percent)} ms here")
        return "; ".join(parts)


def worth_of(view: StudyView, row: StudyRow) -> Worth | None:
    """What a row of a study is worth; None where no model holds."""
    found = view.modelled
    if found is None:
        return None
    latency, loss = row.latency.value, row.loss.value
    equal = found.equal_size(loss)
    fastest = found.fastest_at(loss)
    shape = None if fastest is None else found.shape(fastest)
    ratio = None if fastest is None else latency / float(found.latency[fastest])
    better = shape is not None and ratio is not None and shape != row.shape and ratio > 1 + _SAME
    best = found.best_at(latency)
    other = None if best is None else found.shape(best)
    share = None if best is None else float(found.loss[best]) / loss
    lower = other is not None and share is not None and other != row.shape and share < 1 - _LESS
    return Worth(
        equal_parameters=equal[0] if equal else None,
        equal_latency=latency / equal[1] if equal else None,
        fastest=shape if better else None,
        fastest_latency=ratio if better else None,
        best=other if lower else None,
        best_loss=share if lower else None,
        ms_a_percent=_ms_a_percent(view, row),
    )


def _ms_a_percent(view: StudyView, row: StudyRow) -> float | None:
    """Slope of the front of any size at the row's loss, in ms of the scenario."""
    found = view.modelled
    assert found is not None
    ends = [found.fastest_at(row.loss.value * (1 + sign * _STEP)) for sign in (-1, 1)]
    if None in ends or ends[0] == ends[1]:  # beyond an end of the front
        return None
    slow, fast = (float(found.latency[e]) for e in ends if e is not None)
    unit_ms = row.end_to_end_ms / row.latency.value
    return (slow - fast) * unit_ms / (2 * 100 * _STEP)


def _faster(ratio: float) -> str:
    """What a ratio of times says."""
    if abs(ratio - 1) < _SAME:
        return "as fast"
    return f"{1 - ratio:.0%} faster" if ratio < 1 else f"{ratio - 1:.0%} slower"
