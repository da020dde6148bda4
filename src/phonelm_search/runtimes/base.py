"""The runner's protocol: one job in, one result out, both JSON.

A runner measures and never judges. The same documents serve the Python child process and the
C++ runner on a phone.
"""

from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phonelm_search.errors import MeasurementError

PROTOCOL_VERSION = 1


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorJob(_Document):
    """One tensor to make; the fields of `graph.TensorSpec`."""

    name: str
    shape: tuple[int, ...]
    type: Literal["float32", "uint8", "int8"]
    kind: str
    scale: float


class WeightsJob(_Document):
    """The weights to make, and where a session takes them from."""

    seed: int
    tensors: tuple[TensorJob, ...]
    source: Literal["memory", "file"] = "memory"
    """``file``: written to storage first, so that peak memory means something."""


class PhaseJob(_Document):
    """One phase to time."""

    kind: Literal["prefill", "decode"]
    tokens: int = Field(ge=1)
    past_tokens: int = Field(ge=0)


class CacheJob(_Document):
    """How weights meet the processor's cache in decode."""

    mode: Literal["warm", "rotate"]
    copies: int = Field(ge=1)
    """Sessions with distinct weights that are stepped in turn; 1 when warm."""


class Job(_Document):
    """What a runner shall do."""

    schema_version: int = Field(default=PROTOCOL_VERSION, alias="schema")
    tag: str
    """Random; the result must carry it."""
    graph: str
    """File name of the graph, in the runner's working folder."""
    vocab_size: int
    """Token ids are drawn below it."""
    weights: WeightsJob
    phases: tuple[PhaseJob, ...]
    logits: Literal["last", "all"] = "last"
    repetitions: int = Field(ge=1)
    warmups: int = Field(ge=0)
    """Untimed runs before; in a rotation, rounds over all copies."""
    max_seconds: float = Field(gt=0)
    """For each phase's timed runs; one that reaches it stops with what it has, at least 5."""
    cache: CacheJob
    threads: int = Field(ge=1)
    cpus: tuple[int, ...] = ()
    """Cores to run on; empty: as the process is."""
    execution_provider: str = "CPUExecutionProvider"
    provider_options: dict[str, str] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class RunnerError(_Document):
    """Why a runner could not finish."""

    stage: str
    message: str


class PhaseResult(_Document):
    """Raw samples of one phase."""

    kind: Literal["prefill", "decode"]
    tokens: int
    past_tokens: int
    warmup_ns: tuple[int, ...]
    samples_ns: tuple[int, ...] = Field(min_length=1)
    peak_bytes: int | None
    """High-water mark of resident memory, only where weights came from a file."""


class LogitsResult(_Document):
    """A digest of the last step's logits, for comparing devices."""

    first: tuple[float, ...]
    sum: float
    l2: float


class Result(_Document):
    """What a runner did."""

    schema_version: int = Field(default=PROTOCOL_VERSION, alias="schema")
    tag: str
    ok: bool
    error: RunnerError | None
    phases: tuple[PhaseResult, ...]
    logits: LogitsResult | None
    environment: dict[str, str]
    """What identifies the place of a measurement; results of different ones never mix."""
    conditions: dict[str, dict[str, Any]]
    """What varies from run to run, ``before`` and ``after``; never part of the identity."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Runtime(Protocol):
    """Runs jobs on one device."""

    def environment(self) -> dict[str, str]:
        """The identity that results of this runtime will carry, without running anything."""
        ...

    def cache_bytes(self) -> int:
        """Size of the last-level cache; decode must stream at least twice as much."""
        ...

    def run(self, job: Job, model: bytes) -> Result:
        """Run a job on a serialised graph.

        Raises:
            MeasurementError: If no complete result came back; ``stage`` says where it failed.
        """
        ...


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
    asked = [(p.kind, p.tokens, p.past_tokens) for p in job.phases]
    given = [(p.kind, p.tokens, p.past_tokens) for p in result.phases]
    if asked != given:
        raise MeasurementError(
            f"the result must hold the phases {asked}, got {given}", stage="protocol"
        )
    return result
