"""Rounds as readings of a study need them: what was recorded beside samples is left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from phonelm_search.core.judgement import Verdict
from phonelm_search.core.reason import Reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """What was said of a round when it was made.

    Rounds of which the same was said share one, and two are equal where they are the same object:
    what thousands of rounds come to is worked out once for each.
    """

    verdict: Verdict
    """How far to trust the round."""
    reasons: tuple[Reason, ...]
    """Why it is not valid; empty when it is."""
    notes: tuple[str, ...]
    """What is unusual about the graph."""
    coverage: float | None = None
    """Share of the graph's nodes that the accelerator took; None on a processor."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the measuring protocol."""


class JudgedRound(NamedTuple):
    """What a study's reading needs of a `Measurement`, whose fields are called the same.

    Its samples, and what was recorded beside them, are most of a record and are left in the
    database: what they come to is the comparison's to tell. A tuple, for there are a million of
    a large study.
    """

    key: str
    """Digest of everything that makes measurements comparable."""
    shape_id: str
    """The shape."""
    peak_bytes: int | None
    """High-water mark of resident memory, only of ``file`` rounds."""
    bandwidth_bytes_per_s: float | None
    """Read bandwidth in the round's process."""
    judgement: Judgement
    """What was said of it."""


class RoundConditions(NamedTuple):
    """When and how a round was made, and what time it took; likewise."""

    key: str
    """Digest of everything that makes measurements comparable."""
    phase: str
    """Of what was timed: prefill or decode."""
    verdict: Verdict
    """How far to trust the round."""
    bandwidth_bytes_per_s: float | None
    """Read bandwidth in the round's process."""
    package_version: str
    """Release that measured."""
    created_at: str
    """UTC time of the end, ISO 8601."""
    conditions: Mapping[str, Any]
    """Load, frequency, temperature before and after."""
    taken_ns: int
    """What its runs took, untimed ones and samples, in nanoseconds."""
