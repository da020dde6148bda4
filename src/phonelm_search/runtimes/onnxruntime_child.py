"""The child process: reads a job from stdin, prints its result as the last line of stdout."""

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from phonelm_search.childprocess import die_with_parent
from phonelm_search.graph.weights import Array, TensorSpec, WeightPool, save_graph
from phonelm_search.runtimes import host
from phonelm_search.runtimes.base import (
    Job,
    LogitsResult,
    PhaseJob,
    PhaseResult,
    Result,
    RunnerError,
)

_SEVERITY_ERROR = 3
_LEAST_SAMPLES = 5


class _StageError(Exception):
    """A step that failed, with the stage it belongs to."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class _Copy:
    """One session with weights of its own, bound to buffers that it reads and writes in place."""

    def __init__(self, job: Job, index: int) -> None:
        self._job = job
        self._pool = WeightPool(job.weights.seed + index)
        specs = tuple(TensorSpec(**t.model_dump()) for t in job.weights.tensors)
        options = ort.SessionOptions()
        options.use_per_session_threads = False  # one pool for all copies, its workers awake
        options.log_severity_level = _SEVERITY_ERROR
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        self._kept: list[Array] = []  # a session does not own what it was given
        path: str = job.graph
        if job.weights.source == "file":
            # A folder for each copy: a session maps its file, which must never change under it.
            model = Path(job.graph).read_bytes()
            path = str(save_graph(Path(f"copy-{index}"), model, specs, self._pool))
        else:
            self._kept = [self._pool.fill(s) for s in specs]
            values = [ort.OrtValue.ortvalue_from_numpy(a) for a in self._kept]
            options.add_external_initializers([s.name for s in specs], values)
        gc.collect()
        host.reset_peak_resident()
        providers = [(job.execution_provider, dict(job.provider_options))]
        try:
            self.session = ort.InferenceSession(path, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base
            raise _StageError("load", _first_line(error)) from error
        if self.session.get_providers()[0] != job.execution_provider:
            raise _StageError(
                "load",
                f"execution provider {job.execution_provider} is not available; "
                f"available: {', '.join(ort.get_available_providers())}",
            )

    def bind(self, phase: PhaseJob) -> Any:
        """Bind the phase's inputs and outputs; past and present are the same buffer."""
        binding = self.session.io_binding()
        total = phase.tokens + phase.past_tokens
        ids = self._pool.integers("input_ids", phase.tokens, self._job.vocab_size)[None]
        feeds = {"input_ids": ids, "attention_mask": np.ones((1, total), np.int64)}
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, self._keep(array))
        for declared in self.session.get_inputs()[2:]:
            heads, head_dim = declared.shape[1], declared.shape[3]
            spec = TensorSpec(
                name=declared.name,
                shape=(1, heads, total, head_dim),
                type="float32",
                kind="uniform",
                scale=1.0,
            )
            value = self._keep(self._pool.fill(spec))
            binding.bind_ortvalue_input(declared.name, value)
            binding.bind_ortvalue_output(declared.name.replace("past_key_values", "present"), value)
        rows = phase.tokens if self._job.logits == "all" else 1
        self.logits = np.zeros((1, rows, self._job.vocab_size), np.float32)
        binding.bind_ortvalue_output("logits", self._keep(self.logits))
        return binding

    def _keep(self, array: Array) -> Any:
        self._kept.append(array)
        return ort.OrtValue.ortvalue_from_numpy(array)


def _time(copies: list[_Copy], phase: PhaseJob, job: Job) -> tuple[list[int], list[int]]:
    """Step the copies in turn without a pause; warm-up and timed samples in nanoseconds."""
    steps = [(c.session.run_with_iobinding, c.bind(phase)) for c in copies]
    warmups: list[int] = []
    samples: list[int] = []
    clock = time.perf_counter_ns
    deadline = None
    turn = 0
    while len(samples) < job.repetitions:
        run, binding = steps[turn % len(steps)]
        begin = clock()
        run(binding)
        end = clock()
        if turn < job.warmups * len(steps):
            warmups.append(end - begin)
        else:
            samples.append(end - begin)
            deadline = deadline or begin + int(job.max_seconds * 1e9)
            if end > deadline and len(samples) >= _LEAST_SAMPLES:
                break
        turn += 1
    return warmups, samples


def _digest(logits: Array) -> LogitsResult:
    row = logits[0, -1].astype(np.float64)
    return LogitsResult(
        first=tuple(row[:16].tolist()), sum=float(row.sum()), l2=float(np.sqrt((row**2).sum()))
    )


def _measure(job: Job) -> tuple[list[PhaseResult], LogitsResult | None]:
    ort.set_global_thread_pool_sizes(job.threads, 1)
    copies = [_Copy(job, 0)]
    phases, digest = [], None
    for phase in sorted(job.phases, key=lambda p: p.kind == "decode"):  # prefill: one session
        if phase.kind == "decode" and job.cache.mode == "rotate":
            copies += [_Copy(job, i) for i in range(len(copies), job.cache.copies)]
        try:
            warmup_ns, samples_ns = _time(copies, phase, job)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base
            raise _StageError("run", _first_line(error)) from error
        if not np.isfinite(copies[0].logits).all():
            raise _StageError("run", "the logits must be finite and are not")
        digest = _digest(copies[0].logits)
        phases.append(
            PhaseResult(
                kind=phase.kind,
                tokens=phase.tokens,
                past_tokens=phase.past_tokens,
                warmup_ns=tuple(warmup_ns),
                samples_ns=tuple(samples_ns),
                peak_bytes=host.peak_resident_bytes() if job.weights.source == "file" else None,
            )
        )
    order = {(p.kind, p.tokens, p.past_tokens): i for i, p in enumerate(job.phases)}
    phases.sort(key=lambda p: order[(p.kind, p.tokens, p.past_tokens)])
    return phases, digest


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def main() -> int:
    """Run one job."""
    die_with_parent()
    ort.set_default_logger_severity(_SEVERITY_ERROR)
    job = Job.model_validate_json(sys.stdin.read())
    if job.cpus:
        os.sched_setaffinity(0, job.cpus)
    before = host.conditions()
    phases: list[PhaseResult] = []
    digest: LogitsResult | None = None
    error: RunnerError | None = None
    try:
        phases, digest = _measure(job)
    except _StageError as failure:
        error = RunnerError(stage=failure.stage, message=str(failure))
    except MemoryError:
        error = RunnerError(stage="memory", message="memory ran out")
    result = Result(
        tag=job.tag,
        ok=error is None,
        error=error,
        phases=tuple(phases),
        logits=digest,
        environment=host.environment(
            threads=job.threads, execution_provider=job.execution_provider
        ),
        conditions={"before": before, "after": host.conditions()},
    )
    print(json.dumps(result.model_dump(by_alias=True)), flush=True)
    return 0 if error is None else 1


if __name__ == "__main__":
    sys.exit(main())
