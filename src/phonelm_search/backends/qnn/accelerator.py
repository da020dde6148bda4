"""What can be proven of an accelerator without its chip: coverage, numerics, the context's size."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from phonelm_search import __version__
from phonelm_search.backends.qnn.calibration import Tokens
from phonelm_search.backends.qnn.compile import provider_versions
from phonelm_search.backends.qnn.contexts import compiled, context_key, errors_of
from phonelm_search.backends.qnn.quantising import quantised_apart
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.records import Compilation
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.work import folder_under_way, temporary_folder

_LAYERS = 2


def cut(shape: ModelShape) -> ModelShape:
    """What is compiled of a shape: layers are alike, and all of them take x86 minutes."""
    return replace(shape, num_hidden_layers=min(_LAYERS, shape.num_hidden_layers))


def check_key(shape: ModelShape, workload: Workload, device: DeviceProfile) -> str:
    """Key of the record that `check_accelerator` would make.

    Raises:
        ConfigurationError: If the provider is not installed.
    """
    return context_key(cut(shape), workload, device)


def check_accelerator(
    shape: ModelShape,
    workload: Workload,
    device: DeviceProfile,
    tokens: Tokens,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Compilation:
    """Compile a shape's first layers for an accelerator and compare its numbers with fp32.

    Args:
        shape: The decoder; of it, what `cut` leaves.
        workload: Prefill of a prompt, or a decode step after a past.
        device: Names the provider, its options and a ``qdq`` precision.
        tokens: Text ``[n]`` to calibrate on, ids below the shape's vocabulary.
        clock: Present time, for the record.

    Raises:
        MeasurementError: If the graph does not compile.
        ConfigurationError: If the provider is not installed.
    """
    try:
        with folder_under_way("phonelm-npu-") as folder:
            return _check(cut(shape), workload, device, tokens, folder, clock)
    except OSError as error:
        raise MeasurementError(
            f"{error.filename or temporary_folder()} must take the graph while it is compiled: "
            f"{error.strerror or error}; make room, or set TMPDIR to a larger disk",
            stage="storage",
        ) from error


def _check(
    shape: ModelShape,
    workload: Workload,
    device: DeviceProfile,
    tokens: Tokens,
    folder: Path,
    clock: Callable[[], datetime],
) -> Compilation:
    """The record of a shape that is compiled whole, in a folder for its files."""
    made = quantised_apart(shape, workload, device, tokens, folder)
    found, coverage = compiled(made, workload, device, [made.quantised.feed(made.test)], folder)
    return Compilation(
        key=context_key(shape, workload, device),
        shape_id=shape.shape_id,
        layers=shape.num_hidden_layers,
        device=device.name,
        precision=device.precision.of(workload.phase),
        workload=workload,
        provider_options=dict(device.provider_options),
        versions=provider_versions(coverage.provider),
        graph_version=GRAPH_VERSION,
        coverage=coverage,
        errors=errors_of(made, found.outputs[0]),
        compile_seconds=found.compile_seconds,
        context_bytes=found.context_bytes,
        package_version=__version__,
        created_at=clock().isoformat(timespec="seconds"),
    )
