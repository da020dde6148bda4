"""Shapes through an accelerator's compiler on this machine: what is proven, and no latency."""

from collections.abc import Sequence
from functools import cache, partial

import numpy as np

from phonelm_search.backends.qnn import Tokens, check_accelerator, check_key, cut
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.reporting import Reporter
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.outputs import NO_LATENCY, SIMULATED, Row, compilation_row, latency_row
from phonelm_search.store import Store
from phonelm_search.train import load_text, tokenise

_VOCABULARY = 512


def calibration_tokens(store: Store) -> Tokens:
    """The embedded text's validation part, which ranges are calibrated on."""
    found = tokenise(load_text(), _VOCABULARY, store.results / "cache").validation
    return np.asarray(found, np.int64)


def compile_shapes(
    store: Store,
    shapes: Sequence[tuple[str | None, ModelShape]],
    device: DeviceProfile,
    workloads: Sequence[Workload],
    *,
    remeasure: bool = False,
    report: Reporter,
) -> tuple[list[Row], int]:
    """Compile shapes for an accelerator and tell coverage and numerics.

    Args:
        store: Keeps what was compiled, and the text that ranges are calibrated on.
        shapes: Names and shapes.
        device: A profile with a static precision scheme.
        workloads: One graph each.
        remeasure: Compile even what is known.
        report: Told the progress.

    Returns:
        Rows, one a workload, latencies null; and how many shapes failed or were refused.
    """
    report.stage("compiling", len(shapes) * len(workloads))
    tokens = cache(partial(calibration_tokens, store))
    rows: list[Row] = []
    failed = 0
    for name, shape in shapes:
        called = f"{name or shape.shape_id} on {device.name}"
        refusals: list[str] = []
        for workload in workloads:
            try:
                found = None if remeasure else store.compilation(check_key(shape, workload, device))
                if found is None:
                    found = check_accelerator(shape, workload, device, tokens() % shape.vocab_size)
                    store.set_compilation(cut(shape), found)
            except MeasurementError as error:
                refusals.append(str(error))
                row = latency_row(shape, device, workload, None, name=name, reasons=[str(error)])
                rows.append({**row, "kind": SIMULATED})
            else:
                rows.append(compilation_row(shape, device, found, name=name))
                if refusal := found.coverage.refused(device.allow_fallback):
                    refusals.append(refusal)
            report.advance(1, name or shape.shape_id)
        for refusal in dict.fromkeys(refusals):
            report.note(f"{called}: {refusal}")
        if not refusals:
            report.note(
                f"{called}: {cut(shape).num_hidden_layers} of {shape.num_hidden_layers} layers "
                f"were compiled; {NO_LATENCY}"
            )
        failed += bool(refusals)
    return rows, failed
