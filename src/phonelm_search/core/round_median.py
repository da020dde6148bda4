"""A round as the comparison of shapes needs it."""

from typing import NamedTuple


class RoundMedian(NamedTuple):
    """What the comparison of shapes needs of a measurement: everything but its samples.

    A tuple, for there are a million of a large study.
    """

    shape_id: str
    """The shape."""
    twin: bool
    """See `Measurement.twin`."""
    paired_ns: float
    """See `Measurement.paired_ns`."""
    process: str
    """The process that measured it."""
    place: int
    """Place of its session in the process."""
    serial: str | None
    """The phone; None on a device without serial."""
    created_at: str
    """UTC time of the end, ISO 8601."""
