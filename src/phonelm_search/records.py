"""What is kept: measured latencies and trained scores, each a type of its own.

A predicted value never shares a type with a measured one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from phonelm_search.workload import Workload

Verdict = Literal["valid", "suspect", "rejected"]


def identity(content: Mapping[str, Any]) -> str:
    """A short digest of a JSON-able mapping; equal content, equal digest."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One round of one workload on one device, with every sample."""

    shape_id: str
    """The shape that was measured."""
    device: str
    """Name of the device profile."""
    precision: str
    """Name of the weight scheme."""
    workload: Workload
    """What was timed."""
    cache_mode: Literal["cold", "warm"]
    """Whether weights came from memory (cold) or stayed in the processor's cache."""
    copies: int
    """Distinct weight copies that were stepped in turn."""
    weights_source: Literal["memory", "file"]
    """``file`` rounds exist for their peak memory."""
    environment: Mapping[str, str]
    """The identity of the place; measurements of different ones never mix."""
    graph_version: int
    """Version of the graph builder."""
    protocol_version: int
    """Version of the runner's protocol."""
    round: int
    """Number of the round, from 0."""
    warmup_ns: tuple[int, ...]
    """Untimed runs before the samples, in nanoseconds."""
    samples_ns: tuple[int, ...]
    """Timed runs in nanoseconds, in order."""
    peak_bytes: int | None
    """High-water mark of resident memory, only of ``file`` rounds."""
    verdict: Verdict
    """How far to trust it."""
    reasons: tuple[str, ...]
    """Why it is not valid; empty when it is."""
    notes: tuple[str, ...]
    """What is unusual about the graph, for example an operator off the fast path."""
    conditions: Mapping[str, Any]
    """Load, frequency, temperature before and after."""
    package_version: str
    """Release that measured; no part of the identity."""
    created_at: str
    """UTC time of the end, ISO 8601."""

    @property
    def environment_id(self) -> str:
        """Digest of the environment."""
        return identity(self.environment)

    @property
    def key(self) -> str:
        """Digest of everything that makes measurements comparable."""
        w = self.workload
        return measurement_key(
            shape_id=self.shape_id,
            workload=w,
            precision=self.precision,
            environment_id=self.environment_id,
            cache_mode=self.cache_mode,
            weights_source=self.weights_source,
            graph_version=self.graph_version,
            protocol_version=self.protocol_version,
        )


def measurement_key(*, workload: Workload, **parts: str | int) -> str:
    """Digest of what identifies a measurement: shape, work, precision, place and versions."""
    work = (workload.phase, workload.tokens, workload.past_tokens, workload.logits)
    return identity({**parts, "workload": list(work)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyScore:
    """One short-horizon training of one candidate with one seed."""

    shape_id: str
    """The candidate."""
    settings_id: str
    """Digest of the training settings; only equal ones compare."""
    settings: Mapping[str, Any]
    """The settings themselves."""
    trained: Mapping[str, Any]
    """Fields of the shape that was trained: the candidate or its miniature."""
    miniature: bool
    """Whether a smaller stand-in was trained."""
    notes: tuple[str, ...]
    """What the miniature did not preserve."""
    seed: int
    """Seed of initial weights and data order."""
    tokens: int
    """Tokens that were trained on."""
    tokens_per_parameter: float
    """Tokens per decoder parameter of the trained shape."""
    bits_per_byte: float | None
    """Validation score, lower is better; None when training failed."""
    chunk_bits: tuple[float, ...]
    """Bits of each validation chunk, in the same order for every candidate."""
    chunk_bytes: tuple[int, ...]
    """Text bytes of each validation chunk."""
    curve: tuple[tuple[int, float], ...]
    """(tokens, training bits per byte, smoothed) along the run."""
    seconds: float
    """Wall time."""
    reason: str | None
    """Why there is no score."""
    package_version: str
    """Release that trained."""
    created_at: str
    """UTC time of the end, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyShape:
    """A shape's part in a study."""

    shape_id: str
    """The shape."""
    role: Literal["trial", "reference"]
    """Sampled, or a known model beside the search."""
    name: str | None = None
    """A reference's name."""
    reason: str | None = None
    """Why it could not be measured; None when it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A study and everything it was started with."""

    name: str
    """Its name."""
    config: Mapping[str, Any]
    """Resolved configuration: space, device, scenario, objectives."""
    environment_id: str
    """The place that its measurements come from."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The same, spelled out."""
