"""What is kept: measured latencies and trained scores, each a type of its own.

A predicted value never shares a type with a measured one.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from phonelm_search.core.judgement import Verdict
from phonelm_search.core.node_coverage import Coverage
from phonelm_search.core.reason import Reason
from phonelm_search.core.workload import Workload

Kind = Literal["measured", "estimated", "predicted"]
CacheMode = Literal["cold", "warm", "one-copy", "tiny", "pause"]
CONTROL_MODES: Mapping[str, CacheMode] = {"warm": "one-copy", "tiny": "tiny", "pause": "pause"}
"""Cache modes of records of the runner's controls, apart from those of measurements."""


def identity(content: Mapping[str, Any]) -> str:
    """A short digest of a JSON-able mapping; equal content, equal digest."""
    return _digest(_canonical(content))


_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode  # one, for many


def _digest(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One round of one workload on one device, with every sample."""

    shape_id: str
    """The shape that was measured."""
    twin: bool = False
    """Whether it is the second of an A/A pair: the same shape with other weights, measured as if it
    were another one, so that a study shows how far apart equal shapes are told."""
    device: str
    """Name of the device profile."""
    precision: str
    """Name of the weight scheme."""
    workload: Workload
    """What was timed."""
    cache_mode: CacheMode
    """Whether weights came from memory (cold) or nothing saw to that (warm: prefill, which is bound
    by computing); or a control: the loop on one copy, on the tiny model, or with a pause as long as
    a flush."""
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
    settled: bool = True
    """Whether the last two windows of the warm-up agreed."""
    samples_ns: tuple[int, ...]
    """Timed runs in nanoseconds, in order."""
    peak_bytes: int | None
    """High-water mark of resident memory, only of ``file`` rounds."""
    coverage: float | None = None
    """Share of the graph's nodes that the accelerator took; None on a processor."""
    disturbance: Mapping[str, Any] = field(default_factory=dict)
    """Per sample: ``cpu_ns`` and involuntary context ``switches`` of the runner; ``windows`` of
    the system's load."""
    drift: float | None = None
    """How much slower the reference shape was than usual in this round, as a share; None in records
    since rounds are compared by their processes."""
    bandwidth_bytes_per_s: float | None = None
    """Read bandwidth in the round's process."""
    bandwidth_drift: float | None = None
    """How far that is from the usual, as a share; None in the same records."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the measuring protocol."""
    verdict: Verdict
    """How far to trust the round."""
    reasons: tuple[Reason, ...]
    """Why it is not valid; empty when it is."""
    notes: tuple[str, ...]
    """What is unusual about the graph, for example an operator off the fast path."""
    conditions: Mapping[str, Any]
    """Load, frequency, temperature before and after."""
    package_version: str
    """Release that measured; no part of the identity."""
    created_at: str
    """UTC time of the end, ISO 8601."""
    process: str | None = None
    """Random name of the process that measured, which its companions share."""
    place: int | None = None
    """Place of its session among those of the process, in the order in which they were made."""
    paired_ns: float | None = None
    """Median of the samples without what each turn did to all models of the process."""

    @property
    def environment_id(self) -> str:
        """Digest of the environment."""
        return identity(self.environment)

    @property
    def serial(self) -> str | None:
        """The phone that it was made on; None on a device without serial."""
        return (self.conditions.get("before") or {}).get("serial")

    @property
    def is_control(self) -> bool:
        """Whether it shows what the loop does, not what the shape takes."""
        return self.cache_mode in CONTROL_MODES.values()

    @property
    def key(self) -> str:
        """Digest of everything that makes measurements comparable."""
        return measurement_key(workload=self.workload, parts=_key_parts(self), twin=self.twin)


def _key_parts(record: "Measurement | LatencyEstimate") -> dict[str, str | int]:
    names = (
        "shape_id", "precision", "environment_id", "cache_mode", "weights_source",
        "graph_version", "protocol_version",
    )  # fmt: skip
    return {name: getattr(record, name) for name in names if hasattr(record, name)}


def measurement_key(
    *, workload: Workload, parts: Mapping[str, str | int], twin: bool = False
) -> str:
    """Digest of what identifies a measurement.

    Args:
        workload: What is timed.
        parts: Shape, precision, environment, cache mode, source of the weights, versions.
        twin: See `Measurement.twin`.
    """
    return identity(_identified(workload, parts, twin=twin))


def measurement_keys(
    shape_ids: Iterable[str], *, workload: Workload, parts: Mapping[str, str | int]
) -> Iterator[str]:
    """The same of many shapes.

    Args:
        shape_ids: The shapes.
        workload: What is timed.
        parts: All but the shape.
    """
    whole = _canonical(_identified(workload, {**parts, "shape_id": _ANY}, twin=False))
    before, after = whole.split(_canonical(_ANY))
    for shape_id in shape_ids:
        yield _digest(before + _canonical(shape_id) + after)


_ANY = "any shape"
"""Stands for a shape's id, which has no blanks."""


def _identified(
    workload: Workload, parts: Mapping[str, str | int], *, twin: bool
) -> dict[str, Any]:
    work = (workload.phase, workload.tokens, workload.past_tokens, workload.logits)
    second = {"twin": True} if twin else {}  # keys from before there were twins stay
    return {**parts, **second, "workload": list(work)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericsCheck:
    """Logits of a graph on a device against the dequantised reference."""

    shape_id: str
    """The shape whose graph ran: a measured one cut to few layers and words."""
    precision: str
    """Name of the weight scheme."""
    environment_id: str
    """Where it ran."""
    graph_version: int
    """Version of the graph builder."""
    prefill_error: float
    """Relative root mean square of the difference of logits after a prefill."""
    decode_error: float
    """The same after a decode step."""
    limit: float
    """Largest error that passes."""
    created_at: str
    """UTC time, ISO 8601."""

    @property
    def passed(self) -> bool:
        """Whether both errors are within the limit; an error that is no number is not."""
        return self.prefill_error <= self.limit and self.decode_error <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """What an accelerator's compiler made of a shape here: no latency, whatever it took."""

    key: str
    """Digest of everything that it depends on."""
    shape_id: str
    """The shape that was compiled."""
    layers: int
    """How many of its layers were compiled."""
    device: str
    """Name of the device profile."""
    precision: str
    """Name of the scheme."""
    workload: Workload
    """Prefill of a chunk, or a decode step with a cache of fixed length."""
    provider_options: Mapping[str, str]
    """The chip that was compiled for."""
    versions: Mapping[str, str]
    """Releases of runtime and provider."""
    graph_version: int
    """Version of the static graph's builder."""
    coverage: Coverage
    """What the accelerator took of the graph."""
    errors: Mapping[str, float]
    """Relative root mean square of each output against fp32."""
    compile_seconds: float
    """Wall time of compiling."""
    context_bytes: int
    """Size of the compiled context."""
    package_version: str
    """Release that compiled."""
    created_at: str
    """UTC time, ISO 8601."""


def error_of_columns(errors: Mapping[str, float]) -> float:
    """The largest error of keys and values, of errors by the output's name."""
    return max(error for name, error in errors.items() if name != "logits")


def compilation_key(*, workload: Workload, **parts: Any) -> str:
    """Digest of what identifies a compilation: shape, work, precision, chip and versions."""
    return identity({**parts, "workload": workload.name})


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyEstimate:
    """Latency of a whole model as blocks of its layers tell it: never a measurement."""

    shape_id: str
    """The whole model."""
    device: str
    """Name of the device profile."""
    precision: str
    """Name of the weight scheme."""
    workload: Workload
    """What it is an estimate of."""
    cache_mode: CacheMode
    """As of the measurements below it."""
    environment_id: str
    """Where those were made."""
    graph_version: int
    """Version of the graph builder."""
    protocol_version: int
    """Version of the runner's protocol."""
    latency_ms: float
    """The estimate: intercept + layers × slope."""
    ci_low_ms: float
    """Lower end of the 95 % interval, propagated from the samples."""
    ci_high_ms: float
    """Upper end."""
    intercept_ms: float
    """Head, embedding and the loop: pooled over the blocks of one width and vocabulary."""
    slope_ms: float
    """One layer."""
    depths: tuple[int, ...]
    """Depths of this block that were measured."""
    verdict: Verdict
    """The worst of the measurements below it."""
    reasons: tuple[Reason, ...]
    """Why it is not valid."""
    created_at: str
    """UTC time, ISO 8601."""

    @property
    def kind(self) -> Kind:
        """What programs call it."""
        return "estimated"

    @property
    def key(self) -> str:
        """Digest of everything that makes estimates comparable."""
        return measurement_key(
            workload=self.workload, parts={**_key_parts(self), "weights_source": "memory"}
        )


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
    """Validation score, lower is better; None when training failed or was stopped early."""
    chunk_bits: tuple[float, ...]
    """Bits of each validation chunk, in the same order for every candidate."""
    chunk_bytes: tuple[int, ...]
    """Text bytes of each validation chunk."""
    curve: tuple[tuple[int, float], ...]
    """(tokens, training bits per byte, smoothed) along the run."""
    rungs: tuple[tuple[int, float], ...] = ()
    """(tokens, validation bits per byte of undecayed weights) where it was compared on its way."""
    quantised: Mapping[str, float] = field(default_factory=dict)
    """Bits per byte after weights were rounded as a precision scheme stores them, by its name."""
    seconds: float
    """Wall time."""
    reason: str | None
    """Why there is no score."""
    transient: bool = False
    """Whether another try may succeed."""
    stopped: bool = False
    """Whether halving ended it; the reason says where."""
    package_version: str
    """Release that trained."""
    created_at: str
    """UTC time of the end, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyShape:
    """A shape's part in a study."""

    shape_id: str
    """The shape."""
    role: Literal["trial", "reference", "screened"]
    """Sampled, a known model beside the search, or one of a space that was screened by blocks."""
    name: str | None = None
    """A reference's name."""
    reason: str | None = None
    """Why it could not be measured; None when it was."""
    transient: bool = False
    """Whether another try may succeed: memory, time or the connection ran out."""


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
