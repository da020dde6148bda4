"""Jobs for a runner whose graphs were compiled for an accelerator: one phase each."""

from collections.abc import Sequence
from pathlib import Path

from phonelm_search.backends import CacheJob, Job, ModelJob, Placement, WeightsJob
from phonelm_search.backends.qnn import SEED, Context
from phonelm_search.core.records import error_of_columns
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure.jobs import Prepared, common_parts, new_tag, phase_of
from phonelm_search.measure.settings import MeasureSettings

_ERRORS = "off fp32 by {:.1%} (logits) and {:.1%} (keys and values), relative RMS"
IN_TURN = CacheJob(mode="rotate", copies=1)
"""One copy of each model, in turn: together they outgrow a phone's system cache once they are worth
measuring, and an NPU's address space holds few."""


def prepare_static(
    shapes: Sequence[ModelShape],
    contexts: Sequence[Context],
    device: DeviceProfile,
    workload: Workload,
    placement: Placement,
    settings: MeasureSettings,
    *,
    repetitions: int,
    tag: str | None = None,
) -> Prepared:
    """The job of one phase, all models in turn.

    The bandwidth that a processor reads with tells nothing of an accelerator: none is asked for.

    Args:
        shapes: What to run, in one process.
        contexts: Of each shape.
        device: Where, as `DeviceProfile.for_phase` gives it.
        workload: The phase.
        placement: Threads and cores of what the processor does beside.
        settings: Warm-up and time.
        repetitions: Samples at most.
        tag: Name of the process; None: a random one.
    """
    first, *beside = (
        ModelJob(
            graph=context.graph,
            vocab_size=shape.vocab_size,
            weights=WeightsJob(seed=SEED, tensors=()),
            static=context.static,
        )
        for shape, context in zip(shapes, contexts, strict=True)
    )
    job = Job(
        **first.model_dump(),
        **common_parts(tag or new_tag(), device, placement, settings),
        beside=tuple(beside),
        phases=(phase_of(workload),),
        repetitions=repetitions,
        cache=IN_TURN,
        may_fall_back=any(c.coverage.fallbacks for c in contexts),
    )
    files: dict[str, bytes | Path] = {f.name: f for c in contexts for f in c.files}
    return Prepared(
        job=job,
        files=files,
        graphs=(),
        rotation_bytes=0,
        coverage=tuple(c.coverage.share for c in contexts),
        notes=tuple(
            (_ERRORS.format(c.errors["logits"], error_of_columns(c.errors)),) for c in contexts
        ),
    )
