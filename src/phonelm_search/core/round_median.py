"""A round as the comparison of shapes needs it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundMedian:
    """What the comparison of shapes needs of a measurement: everything but its samples."""

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
