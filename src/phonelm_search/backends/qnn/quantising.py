"""Quantising in a child process: it takes several times the weights, and ends alone."""

from dataclasses import asdict
from pathlib import Path

from safetensors.numpy import load_file

from phonelm_search.backends.host import available_bytes, memory_advice
from phonelm_search.backends.qnn.calibration import Quantised, Tokens, static_graph
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_bytes
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import Affine, QuantisedGraph, save_feeds
from phonelm_search.work import ask

TOKENS, TEST, EXPECTED = "tokens.safetensors", "test.safetensors", "expected.safetensors"
_SECONDS = 3600.0
_WEIGHTS = 5
"""Peak memory in fp32 weights: 4.6 were measured of a shape of 0.5B (``results/LOG.md``)."""


def quantised_apart(
    shape: ModelShape, workload: Workload, device: DeviceProfile, tokens: Tokens, folder: Path
) -> Quantised:
    """Build and quantise the static graph of a workload in a child process.

    Args:
        shape: The decoder.
        workload: Prefill of a prompt, or a decode step after a past that fills the cache.
        device: Its precision for the phase counts.
        tokens: Text ``[n]`` to calibrate on, ids below the shape's vocabulary.
        folder: Where files go; must exist.

    Raises:
        MeasurementError: If it cannot be built or quantised (stage ``compile``), memory is or runs
            short (``memory``), the disk is full for the child (``storage``), or it does not end
            (``timeout``).
        OSError: If the disk is full already.
    """
    needed, available = _WEIGHTS * 4 * shape.parameters, available_bytes()
    if available is not None and needed > available:
        raise MeasurementError(
            f"quantising {workload.name} of {shape.shape_id} needs about {format_bytes(needed)}, "
            f"{format_bytes(available)} are available; {memory_advice()}, or take a smaller shape",
            stage="memory",
        )
    save_feeds(folder / TOKENS, {"tokens": tokens})
    job = {
        "shape": shape.as_dict(), "workload": asdict(workload),
        "precision": device.precision.of(workload.phase), "folder": str(folder.resolve()),
    }  # fmt: skip
    answer = ask(
        "phonelm_search.backends.qnn.quantising_child", job,
        what=f"quantising {workload.name} of {shape.shape_id}", seconds=_SECONDS,
    )  # fmt: skip
    made = QuantisedGraph(
        path=folder / answer["path"],
        borders={name: Affine(**border) for name, border in answer["borders"].items()},
    )
    return Quantised(
        graph=static_graph(shape, workload), quantised=made,
        test=load_file(folder / TEST), expected=load_file(folder / EXPECTED),
    )  # fmt: skip
