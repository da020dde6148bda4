"""Shapes that were measured twice: how far apart equal shapes are told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from phonelm_search.core.latency import Extent
from phonelm_search.core.shape import ModelShape
from phonelm_search.measure import extent
from phonelm_search.reading.readings import Readings


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinPair:
    """A shape that was measured twice, under two identities: the A/A pair."""

    shape: ModelShape
    """The shape."""
    device: str
    """Where."""
    ratio: Extent
    """Its second latency of the whole scenario over the first: 1, but for noise."""

    @property
    def holds_one(self) -> bool:
        """Whether the interval holds 1, as nineteen of twenty do."""
        return self.ratio.low <= 1 <= self.ratio.high


def twin_pairs(readings: Readings, shapes: Mapping[str, ModelShape]) -> Iterator[TwinPair]:
    """The A/A pairs of some shapes at one place."""
    for shape_id in readings.twins:
        first, second = (readings.own_draws(shape_id, twin=t) for t in (False, True))
        if shape_id in shapes and first is not None and second is not None:
            yield TwinPair(
                shape=shapes[shape_id],
                device=readings.place.device.name,
                ratio=extent(second / first),
            )
