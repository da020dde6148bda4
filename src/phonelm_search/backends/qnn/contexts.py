"""Shapes compiled for a chip on this machine, and what a runner must know to run them."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from phonelm_search.backends.base import AffineJob, LogitsResult, Result, StaticJob
from phonelm_search.backends.qnn.calibration import CALIBRATION_VERSION, Quantised, Tokens
from phonelm_search.backends.qnn.compile import Compiled, compile_and_run, provider_versions
from phonelm_search.backends.qnn.quantising import quantised_apart
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.node_coverage import Coverage, coverage_of
from phonelm_search.core.precision import QUANTISED_LIMIT
from phonelm_search.core.records import compilation_key
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import (
    GRAPH_VERSION,
    MASKED,
    Feeds,
    WeightPool,
    empty_cache,
    feeds,
    node_flops,
)
from phonelm_search.work import folder_under_way

CONTEXT_VERSION = 1
"""Counted up when what is kept of a compilation, or how it is made, changes."""
SEED = 7
"""Of the inputs that a runner makes."""
_MANIFEST, _UNDER_WAY = "manifest.json", ".compiling-"
_PHONES = ("aarch64", "arm64", "armv8l")


def compiled(
    found: Quantised,
    workload: Workload,
    device: DeviceProfile,
    inputs: Sequence[Feeds],
    folder: Path,
    *,
    name: str = "context",
) -> tuple[Compiled, Coverage]:
    """Compile for the device's chip and run it here; what ran where.

    Raises:
        MeasurementError: If the graph does not compile.
        ConfigurationError: If the provider is not installed.
    """
    provider = device.execution_provider.of(workload.phase)
    made = compile_and_run(
        found.quantised.path, provider, device.provider_options, inputs, folder, name=name
    )
    return made, coverage_of(made.assigned, provider, node_flops(found.graph.model))


def context_key(shape: ModelShape, workload: Workload, device: DeviceProfile) -> str:
    """Digest of what a compilation depends on.

    Raises:
        ConfigurationError: If the provider is not installed.
    """
    provider = device.execution_provider.of(workload.phase)
    return compilation_key(
        shape_id=shape.shape_id,
        layers=shape.num_hidden_layers,
        provider=provider,
        precision=device.precision.of(workload.phase),
        workload=workload,
        provider_options=device.provider_options,
        versions=provider_versions(provider),
        graph_version=GRAPH_VERSION,
        calibration_version=CALIBRATION_VERSION,
        context_version=CONTEXT_VERSION,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A whole shape, compiled."""

    graph: str
    """File that a session is made of; the others lie beside it."""
    files: tuple[Path, ...]
    """All files."""
    static: StaticJob
    """What a runner must know."""
    coverage: Coverage
    """What the accelerator took of the graph."""
    expected: LogitsResult
    """Logits on a runner's own inputs, as computed here."""
    handed_over: LogitsResult
    """New columns of the KV cache on the same, as they are handed over."""
    errors: Mapping[str, float]
    """Relative root mean square of each output against fp32, on text."""


class Contexts:
    """Compiles shapes, and keeps what was compiled by shape, chip and versions.

    Args:
        device: The chip, the precisions, and what may run on the CPU.
        tokens: Text to calibrate on.
        folder: Where contexts are kept.
    """

    def __init__(self, device: DeviceProfile, tokens: Tokens, folder: Path) -> None:
        self._device, self._tokens, self._folder = device, tokens, folder

    def of(self, shape: ModelShape, workload: Workload) -> Context:
        """The context of a workload.

        Raises:
            MeasurementError: If it does not compile, or the accelerator does not take all of it.
            ConfigurationError: If the provider is not installed.
        """
        key = context_key(shape, workload, self._device)
        target = self._folder / key
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # One at a time: phones share the folder, and a compilation takes much memory.
            with FileLock(self._folder / ".lock"):
                if not (target / _MANIFEST).exists():
                    self._make(shape, workload, target)
            found = self._read(target)
        except OSError as error:
            raise MeasurementError(
                f"{self._folder} must take compiled shapes: {error.strerror or error}",
                stage="storage",
            ) from error
        if refusal := found.coverage.refused(self._device.allow_fallback):
            raise MeasurementError(refusal, stage="coverage")
        return found

    def _make(self, shape: ModelShape, workload: Workload, target: Path) -> None:
        with folder_under_way(_UNDER_WAY, self._folder) as folder:
            made = quantised_apart(
                shape, workload, self._device, self._tokens % shape.vocab_size, folder
            )
            inputs = runner_inputs(made, workload)
            test = made.quantised.feed(made.test)
            found, coverage = compiled(
                made, workload, self._device, [inputs, test], folder, name=target.name
            )
            static = _static_job(made, found.context_bytes)
            manifest = {
                "static": static.model_dump(),
                "coverage": asdict(coverage),
                "errors": errors_of(made, found.outputs[1]),
                "digests": _digests(made, found.outputs[0]),
            }
            ready = folder / "ready"
            ready.mkdir()
            for file in found.context_files:
                shutil.move(file, ready / file.name)
            (ready / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            ready.replace(target)

    def _read(self, folder: Path) -> Context:
        found: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        # Who reads the columns is the profile's business, not the compilation's.
        hand_over = "copy" if self._device.is_accelerated("decode") else "convert"
        return Context(
            graph=f"{folder.name}.onnx",
            files=tuple(p for p in sorted(folder.iterdir()) if p.name != _MANIFEST),
            static=StaticJob(**{**found["static"], "hand_over": hand_over}),
            coverage=Coverage.from_dict(found["coverage"]),
            expected=_kept_digest(found["digests"]["logits"]),
            handed_over=_kept_digest(found["digests"][hand_over]),
            errors=found["errors"],
        )


def check_accelerated(result: Result, contexts: Sequence[Context]) -> None:
    """Refuse a result that is not the accelerator's.

    Args:
        result: Of a job on compiled graphs.
        contexts: Of its models, in order.

    Raises:
        MeasurementError: If it was simulated, or its logits are not those of the same graphs here.
    """
    if result.environment.get("architecture") not in _PHONES:
        raise MeasurementError(
            "a latency of an accelerator must come from its chip, this one was simulated on "
            f"{result.environment.get('architecture')}",
            stage="simulated",
        )
    for phase in result.phases:
        context = contexts[phase.model]
        for what, got, expected in (
            ("logits", phase.logits, context.expected),
            ("keys and values", phase.handed_over, context.handed_over),
        ):
            error = _digest_error(got, expected)
            if error > QUANTISED_LIMIT:
                raise MeasurementError(
                    f"{what} of the accelerator must be within {QUANTISED_LIMIT:g} of the same "
                    f"graph's as computed here (relative RMS), got {error:.3g}, so nothing is kept",
                    stage="numerics",
                )


def _digest_error(got: LogitsResult | None, expected: LogitsResult) -> float:
    if got is None or len(got.first) != len(expected.first):
        return math.inf
    wanted = np.asarray(expected.first)
    rms = np.linalg.norm(np.asarray(got.first) - wanted) / np.linalg.norm(wanted)
    error = max(float(rms), abs(got.l2 - expected.l2) / expected.l2)
    return error if math.isfinite(error) else math.inf


def errors_of(made: Quantised, outputs: Feeds) -> dict[str, float]:
    """Relative root mean square of the difference to fp32, of each output on the held-out text."""
    found = made.quantised.read(outputs)
    return {
        k: float(np.linalg.norm(found[k] - v) / np.linalg.norm(v)) for k, v in made.expected.items()
    }


def _digests(made: Quantised, outputs: Feeds) -> dict[str, Any]:
    """What a runner tells of outputs: logits, and new columns as they are handed over."""
    read, columns = made.quantised.read(outputs), [n for n in outputs if n.startswith("present.")]
    ordered = [n for n in made.graph.outputs if n in columns]
    return {
        "logits": _digest(read["logits"]),
        "convert": _digest(np.concatenate([read[n].ravel() for n in ordered])),
        "copy": _digest(np.concatenate([outputs[n].ravel() for n in ordered])),
    }


def _digest(values: npt.NDArray[Any]) -> dict[str, Any]:
    flat = values.ravel().astype(np.float64)
    return {
        "first": flat[:16].tolist(),
        "l2": float(np.linalg.norm(flat)),
    }


def _kept_digest(document: Mapping[str, Any]) -> LogitsResult:
    # By name: compilations of earlier releases hold a sum, too, and take hours to make again.
    return LogitsResult(first=document["first"], l2=document["l2"])


def runner_inputs(made: Quantised, workload: Workload) -> Feeds:
    """The inputs that a runner makes for a static graph."""
    pool, graph = WeightPool(SEED), made.graph
    ids = pool.integers("input_ids", graph.tokens, graph.shape.vocab_size)
    found = dict(made.quantised.feed(feeds(ids, cache_tokens=graph.cache_tokens,
                                           past=workload.past_tokens)))  # fmt: skip
    for name, like in made.quantised.feed(empty_cache(graph.shape, graph.cache_tokens)).items():
        if graph.cache_tokens:
            codes = pool.integers(name, like.size, np.iinfo(like.dtype).max + 1)
            found[name] = codes.astype(like.dtype).reshape(like.shape)
    return found


def _static_job(made: Quantised, context_bytes: int) -> StaticJob:
    borders = made.quantised.borders
    mask = borders["attention_mask"].quantise(np.array([0.0, MASKED]))
    return StaticJob(
        cache_tokens=made.graph.cache_tokens,
        seen=int(mask[0]),
        masked=int(mask[1]),
        outputs={
            name: AffineJob(scale=b.scale, zero_point=b.zero_point)
            for name, b in borders.items()
            if name == "logits" or name.startswith("present.")
        },
        context_bytes=context_bytes,
        hand_over="copy",
    )
