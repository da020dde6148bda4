"""The runner's protocol: one job in, one result out, both JSON.

A runner measures and never judges. The same documents serve the Python child process and the
C++ runner on a phone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phonelm_search.core.errors import MeasurementError
from phonelm_search.graph import TensorSpec

PROTOCOL_VERSION = 4
Files = Mapping[str, bytes | Path]
"""What a job needs beside it, by plain file name: contents, or where they are."""
LEAST_PHONE_CACHE_BYTES = 16 * 2**20
"""Taken for a phone's last-level cache where its kernel tells less: caches that the whole chip
shares, of some megabytes, are not told."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorJob(_Document):
    """One tensor to make; the fields of `graph.TensorSpec`."""

    name: str
    shape: tuple[int, ...]
    type: Literal["float32", "uint8", "int8"]
    kind: str
    scale: float

    @property
    def spec(self) -> TensorSpec:
        """The same for the generator."""
        return TensorSpec(**self.model_dump())


class WeightsJob(_Document):
    """The weights to make, and where a session takes them from."""

    seed: int
    tensors: tuple[TensorJob, ...]
    source: Literal["memory", "file"] = "memory"
    """``file``: written to storage first, so that peak memory means something."""


Control = Literal["warm", "tiny", "pause"]


class PhaseJob(_Document):
    """One phase to time."""

    kind: Literal["prefill", "decode"]
    tokens: int = Field(ge=1)
    past_tokens: int = Field(ge=0)
    control: Control | None = None
    """What the loop itself does to a latency. ``warm``: on one copy; ``tiny``: on the tiny model;
    ``pause``: as a flush, but sleeping for as long as the flush takes."""


class CacheJob(_Document):
    """How weights meet the processor's cache in decode."""

    mode: Literal["warm", "rotate", "flush"]
    copies: int = Field(ge=1)
    """Sessions of each model with distinct weights that are stepped in turn; 1 unless rotating."""
    flush_bytes: int = Field(default=0, ge=0)
    """Bytes to read between steps when flushing."""


class WarmupJob(_Document):
    """Untimed runs: windows until two in a row have medians that agree; two at least."""

    window_seconds: float = Field(ge=0)
    """Least length of a window; it holds whole turns over all copies, at least one."""
    tolerance: float = Field(gt=0)
    """Relative difference at which two medians agree."""
    most: int = Field(ge=0)
    """Windows after which timing begins all the same; 0 for no warm-up."""


class AffineJob(_Document):
    """How integers stand for numbers: real = (integer − zero_point) · scale."""

    scale: float
    zero_point: int


class StaticJob(_Document):
    """What the runner must know of a graph without dynamic dimensions."""

    cache_tokens: int = Field(ge=0)
    """Length of its KV cache."""
    seen: int
    masked: int
    """Integers of the mask where a position is seen, and elsewhere."""
    outputs: dict[str, AffineJob]
    """Of the logits and of the new columns of the cache."""
    context_bytes: int = Field(ge=0)
    """Size of what was compiled."""
    hand_over: Literal["copy", "convert"]
    """What each run does with the new columns: ``copy`` into a cache of the same integers, or
    ``convert`` to float32 for another provider's decode. Part of the phase's time."""


class ModelJob(_Document):
    """A graph beside the measured one."""

    graph: str
    """Its file name, in the runner's working folder."""
    vocab_size: int
    weights: WeightsJob
    static: StaticJob | None = None
    """Of a graph that was compiled for an accelerator; its weights are inside."""


class Job(_Document):
    """What a runner shall do.

    Every phase is timed for every model, in one loop that steps all models in turn (in cold decode
    all copies of all models), so that what disturbs one disturbs all. Controls and warm decode are
    loops of one model after another.
    """

    schema_version: int = Field(default=PROTOCOL_VERSION, alias="schema")
    tag: str
    """Random; the result must carry it."""
    graph: str
    """File name of the graph, in the runner's working folder."""
    vocab_size: int
    """Token ids are drawn below it."""
    weights: WeightsJob
    static: StaticJob | None = None
    """As in `ModelJob`."""
    beside: tuple[ModelJob, ...] = ()
    """Further models to measure in the same process."""
    phases: tuple[PhaseJob, ...]
    repetitions: int = Field(ge=1)
    """Samples at most of a phase of one model."""
    warmup: WarmupJob
    max_seconds: float = Field(gt=0)
    """For a phase's timed runs of one model; it stops then with what it has, at least 3."""
    cache: CacheJob
    tiny: ModelJob | None = None
    """Wakes the workers after a flush, and shows what the loop itself costs."""
    bandwidth_bytes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Buffers to read with all threads, for the read bandwidth of a cache or of memory."""
    threads: int = Field(ge=1)
    cpus: tuple[int, ...] = ()
    """Cores to run on; empty: as the process is."""
    execution_provider: str = "CPUExecutionProvider"
    provider_options: dict[str, str] = {}
    plug_in: str | None = None
    """Library of a provider that is no part of ONNX Runtime."""
    may_fall_back: bool = False
    """Whether nodes that the provider did not take may run on the processor."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def models(self) -> tuple[ModelJob, ...]:
        """All models to measure, the first one at the head."""
        first = ModelJob(
            graph=self.graph,
            vocab_size=self.vocab_size,
            weights=self.weights,
            static=self.static,
        )
        return (first, *self.beside)

    @property
    def stored_bytes(self) -> int:
        """Weights of one copy of every model."""
        weights = sum(t.spec.nbytes for m in self.models for t in m.weights.tensors)
        return weights + sum(m.static.context_bytes for m in self.models if m.static)


class RunnerError(_Document):
    """Why a runner could not finish."""

    stage: str
    message: str


class LogitsResult(_Document):
    """A digest of the last position's logits, for comparing devices."""

    first: tuple[float, ...]
    l2: float


class SystemWindow(_Document):
    """What the system did while some samples were taken; its clock ticks every 10 ms."""

    samples: int
    """How many samples the window holds."""
    wall_ns: int
    foreign_share: float
    """Processor time of other processes, as a share of the measured cores' time."""
    steal_share: float
    """Time that the hypervisor gave to others, as a share of the measured cores' time."""


class PhaseResult(_Document):
    """Raw samples of one phase of one model."""

    model: int = 0
    """Which of the job's models."""
    kind: Literal["prefill", "decode"]
    tokens: int
    past_tokens: int
    control: Control | None = None
    warmup_ns: tuple[int, ...]
    settled: bool
    """Whether the last two windows of the warm-up agreed; True where none was asked for."""
    samples_ns: tuple[int, ...] = Field(min_length=1)
    cpu_ns: tuple[int, ...] = ()
    """Processor time of the runner during each sample, all threads together."""
    switches: tuple[int, ...] = ()
    """Involuntary context switches of the runner during each sample."""
    windows: tuple[SystemWindow, ...] = ()
    """Empty where the system does not tell."""
    peak_bytes: int | None
    """High-water mark of resident memory, only where weights came from a file."""
    logits: LogitsResult | None = None
    """Digest after the phase's last run on the first copy; None for controls."""
    handed_over: LogitsResult | None = None
    """The same of the KV cache's new columns, of static graphs."""


class Result(_Document):
    """What a runner did."""

    schema_version: int = Field(default=PROTOCOL_VERSION, alias="schema")
    tag: str
    ok: bool
    error: RunnerError | None
    phases: tuple[PhaseResult, ...]
    """In the order asked, all of the first model, then all of the next."""
    logits: LogitsResult | None
    """The last phase's digest once more."""
    bandwidth_bytes_per_s: tuple[tuple[float, ...], ...] = ()
    """Samples of each buffer that the job asked for."""
    backends: tuple[str, ...] = ()
    """The accelerator's libraries that the runner's process had loaded."""
    environment: dict[str, str]
    """What identifies the place of a measurement; results of different ones never mix."""
    conditions: dict[str, dict[str, Any]]
    """What varies from run to run, ``before`` and ``after``; never part of the identity."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where on a device a job computes."""

    threads: int
    """Threads that compute."""
    cpus: tuple[int, ...] = ()
    """Cores to run on; empty: as the process is."""


class Runtime(Protocol):
    """Runs jobs on one device."""

    def placement(self) -> Placement:
        """The threads and cores that jobs for this runtime name."""
        ...

    def environment(self) -> dict[str, str]:
        """The identity that results of this runtime will carry, without running anything."""
        ...

    def cache_bytes(self) -> int:
        """Size of the last-level cache as the device tells it, which may be far from what it is."""
        ...

    def available_bytes(self) -> int | None:
        """Memory that may be used without swapping; None where the device does not tell."""
        ...

    def capabilities(self) -> str:
        """Hardware capabilities and kernel settings, for messages on wrong numerics."""
        ...

    def run(self, job: Job, files: Files) -> Result:
        """Run a job on serialised graphs, given by the file names that the job uses.

        Raises:
            MeasurementError: If no complete result came back; ``stage`` says where it failed.
        """
        ...


def put_files(files: Files, folder: Path) -> None:
    """Put a job's files into a folder of this machine."""
    for name, content in files.items():
        if isinstance(content, Path):
            (folder / name).symlink_to(content.resolve())
        else:
            (folder / name).write_bytes(content)


def needed_bytes(stored: int, copies: int, *, kv_bytes: int = 0) -> int:
    """Memory for copies of weights of ``stored`` bytes and their KV caches, with the runtime's own.

    Weights given from memory are kept beside the form that the kernels pack them into.
    """
    return round((2.9 * stored + kv_bytes) * copies + 300e6)


def parse_result(text: str, job: Job) -> Result:
    """Read a runner's answer: the last non-empty line of what it printed.

    Raises:
        MeasurementError: If it is no result of this job, or says that the job failed.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise MeasurementError("the runner printed no result", stage="protocol")
    try:
        result = Result.model_validate_json(lines[-1])
    except ValidationError as error:
        problem = error.errors()[0]
        raise MeasurementError(
            f"the runner's result is malformed: {'.'.join(map(str, problem['loc']))} "
            f"{problem['msg']}",
            stage="protocol",
        ) from error
    if result.schema_version != PROTOCOL_VERSION or result.tag != job.tag:
        raise MeasurementError(
            f"the result must be of schema {PROTOCOL_VERSION} and carry tag {job.tag}, "
            f"got {result.schema_version} and {result.tag}",
            stage="protocol",
        )
    if not result.ok:
        failure = result.error or RunnerError(stage="run", message="no reason given")
        raise MeasurementError(failure.message, stage=failure.stage)
    buffers, read = len(job.bandwidth_bytes), len(result.bandwidth_bytes_per_s)
    if buffers != read:
        raise MeasurementError(
            f"the result must hold the bandwidth of {buffers} buffers, got {read}", stage="protocol"
        )
    asked = [
        (i, p.kind, p.tokens, p.past_tokens, p.control)
        for i in range(len(job.models))
        for p in job.phases
    ]
    given = [(p.model, p.kind, p.tokens, p.past_tokens, p.control) for p in result.phases]
    if asked != given:
        raise MeasurementError(
            f"the result must hold the phases {asked}, got {given}", stage="protocol"
        )
    return result
