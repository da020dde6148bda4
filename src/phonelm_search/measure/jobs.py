"""Jobs for a runner: graphs, phases and how weights meet the cache."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phonelm_search.backends import (
    CacheJob,
    Files,
    Job,
    ModelJob,
    PhaseJob,
    Placement,
    TensorJob,
    WarmupJob,
    WeightsJob,
    needed_bytes,
)
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import Graph, build_graph
from phonelm_search.measure.reference import TINY
from phonelm_search.measure.settings import MeasureSettings

SEED = 20241105  # arXiv 2411.05046
_MOST_COPIES = 64
ONE_COPY = CacheJob(mode="warm", copies=1)
_POSITIONS = 4096
_GRAPH, _TINY_GRAPH = "model-{}.onnx", "tiny.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A job and the graphs that it runs."""

    job: Job
    """The job."""
    files: Files
    """Graphs by file name."""
    graphs: tuple[Graph, ...]
    """The measured ones; empty where they were compiled."""
    rotation_bytes: int
    """Weights that a turn of cold decode over all copies streams; 0 where it does not rotate."""
    coverage: tuple[float, ...] = ()
    """Share of each graph's nodes that the accelerator took; empty without one."""
    notes: tuple[tuple[str, ...], ...] = ()
    """What a reader should know of each model; empty where there is nothing."""


def rotation_copies(streamed_bytes: int, turn_bytes: int) -> int:
    """Copies of models that stream so much together, for a turn to stream ``turn_bytes``."""
    return max(1, -(-turn_bytes // streamed_bytes))


def plan_cache(
    shapes: Sequence[ModelShape],
    device: DeviceProfile,
    workloads: Sequence[Workload],
    *,
    turn_bytes: int,
    available_bytes: int | None,
) -> CacheJob:
    """How decode meets the cache, of shapes that share a process.

    Cold is a rotation over copies that together stream a multiple of the cache. Where that
    takes more memory than there is, or more sessions than are worth making, the cache is flushed
    before every step instead.
    """
    if all(device.cache_mode(w) == "warm" for w in workloads):
        return ONE_COPY
    streamed = sum(s.weight_bytes(device.scheme).streamed for s in shapes)
    copies = rotation_copies(streamed, turn_bytes)
    needed = memory_bytes(shapes, device, workloads, copies=copies)
    fits = available_bytes is None or needed <= available_bytes
    if copies == 1 or (fits and copies <= _MOST_COPIES):
        return CacheJob(mode="rotate", copies=copies)
    return CacheJob(mode="flush", copies=1, flush_bytes=turn_bytes)


def memory_bytes(
    shapes: Sequence[ModelShape],
    device: DeviceProfile,
    workloads: Sequence[Workload],
    *,
    copies: int,
) -> int:
    """Memory that copies of shapes take in one process, with the KV caches of the longest work."""
    scheme = device.scheme
    longest = max(w.tokens + w.past_tokens for w in workloads)
    kv_bytes = sum(longest * s.kv_bytes_per_token(scheme.kv_bytes_per_element) for s in shapes)
    return needed_bytes(
        sum(s.weight_bytes(scheme).total for s in shapes), copies, kv_bytes=kv_bytes
    )


def prepare(
    shapes: Sequence[ModelShape],
    device: DeviceProfile,
    phases: Sequence[PhaseJob],
    cache: CacheJob,
    placement: Placement,
    settings: MeasureSettings,
    *,
    repetitions: int,
    tag: str | None = None,
    from_file: bool = False,
    bandwidth_bytes: Sequence[int] = (),
) -> Prepared:
    """Build the graphs and the job.

    Args:
        shapes: What to run, in one process.
        device: Where, as `DeviceProfile.for_phase` gives it: one provider, one precision.
        phases: What to time.
        cache: As `plan_cache` says.
        placement: Threads and cores.
        settings: Warm-up and time.
        repetitions: Samples at most; 0 for one run without warm-up.
        tag: Name of the process; None: a random one.
        from_file: Load the weights from storage, for peak memory.
        bandwidth_bytes: Buffers to read for their bandwidth.

    Raises:
        UnsupportedShapeError: If the kernels refuse the shape.
    """
    longest = max(p.tokens + p.past_tokens for p in phases)
    positions = max(_POSITIONS, longest)
    graphs = tuple(build_graph(s, device.scheme, max_positions=positions) for s in shapes)
    files: dict[str, bytes | Path] = {
        _GRAPH.format(i): graph.model for i, graph in enumerate(graphs)
    }
    first, *beside = _models(shapes, graphs, from_file=from_file)
    tiny = None
    if cache.mode == "flush" or any(p.control for p in phases):
        small = build_graph(TINY, device.scheme, max_positions=64)
        files[_TINY_GRAPH] = small.model
        tiny = ModelJob(graph=_TINY_GRAPH, vocab_size=TINY.vocab_size, weights=_weights(small))
    job = Job(
        **first.model_dump(),
        **common_parts(tag or new_tag(), device, placement, settings, warm_up=repetitions > 0),
        beside=tuple(beside),
        phases=tuple(phases),
        repetitions=max(1, repetitions),
        cache=cache,
        tiny=tiny,
        bandwidth_bytes=tuple(bandwidth_bytes),
    )
    turn = cache.copies * sum(s.weight_bytes(device.scheme).streamed for s in shapes)
    return Prepared(
        job=job,
        files=files,
        graphs=graphs,
        rotation_bytes=turn if cache.mode == "rotate" else 0,
    )


def _models(
    shapes: Sequence[ModelShape], graphs: Sequence[Graph], *, from_file: bool
) -> Iterator[ModelJob]:
    """With seeds apart, so that no copy of one has the weights of another."""
    for i, (shape, graph) in enumerate(zip(shapes, graphs, strict=True)):
        weights = _weights(graph, seed=SEED + i * _MOST_COPIES, from_file=from_file)
        yield ModelJob(graph=_GRAPH.format(i), vocab_size=shape.vocab_size, weights=weights)


def new_tag() -> str:
    """A random name for a process."""
    return secrets.token_hex(8)


def drawn_order(tag: str, count: int) -> list[int]:
    """In which order a process makes its sessions and steps them: drawn from its name.

    The first one that is made is slower (results/LOG.md), so none must be first every time.
    """
    return [int(i) for i in np.random.default_rng(int(tag, 16)).permutation(count)]


def common_parts(
    tag: str,
    device: DeviceProfile,
    placement: Placement,
    settings: MeasureSettings,
    *,
    warm_up: bool = True,
) -> dict[str, Any]:
    """What every job has by its place and by the protocol, whatever it runs."""
    return {
        "tag": tag,
        "warmup": WarmupJob(
            window_seconds=settings.warmup_window_seconds,
            tolerance=1.0,  # one window is enough: models that take turns are disturbed alike
            most=1 if warm_up else 0,
        ),
        "max_seconds": settings.max_seconds,
        "threads": placement.threads,
        "cpus": placement.cpus,
        "execution_provider": device.execution_provider.decode,
        "provider_options": device.provider_options,
    }


def phase_of(workload: Workload) -> PhaseJob:
    """A workload as a runner's phase."""
    return PhaseJob(kind=workload.phase, tokens=workload.tokens, past_tokens=workload.past_tokens)


def controls(workloads: Sequence[Workload], cache: CacheJob) -> tuple[PhaseJob, ...]:
    """Loops that show what the loop itself does, on the first decode step of ``workloads``.

    The same loop on one copy (warm) and on the tiny model; where the cache is flushed, a pause
    as long as the flush.
    """
    first = next((w for w in workloads if w.phase == "decode"), None)
    if first is None or cache.mode == "warm":
        return ()
    base = phase_of(first)
    names = ("warm", "tiny", "pause") if cache.mode == "flush" else ("warm", "tiny")
    return tuple(base.model_copy(update={"control": name}) for name in names)


def _weights(graph: Graph, *, seed: int = SEED, from_file: bool = False) -> WeightsJob:
    return WeightsJob(
        seed=seed,
        tensors=tuple(TensorJob(**asdict(spec)) for spec in graph.tensors),
        source="file" if from_file else "memory",
    )
