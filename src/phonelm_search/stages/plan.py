"""What a run would do and about how long it would take, without touching a device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from phonelm_search.backends import planned_cache_bytes
from phonelm_search.core.errors import StoreError, TrainingError
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.quality import ScorePlan, ScoreSettings, plan_scoring
from phonelm_search.reading import typical_size
from phonelm_search.speed import measuring_seconds
from phonelm_search.stages.session import SETTINGS
from phonelm_search.stages.setup import Setup
from phonelm_search.store import Store
from phonelm_search.train import too_narrow
from phonelm_search.work import usable_cores

_COMPILED_PER_SECOND = 3e6  # parameters of one graph, quantised and compiled on two cores


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a run would do."""

    shapes: int
    """Feasible shapes."""
    references: int
    """References to measure."""
    trials: int
    """Trials to measure."""
    search_seconds: float
    """About how long measuring takes."""
    scoring: ScorePlan
    """What would be trained, on a sample of the space in place of the front."""
    score_seconds: float
    """About how long training takes."""


def finished_trials(results: Path, url: str | None, study: str) -> int:
    """Shapes that a study has already; 0 where there is no database or no such study."""
    try:
        parts = Store(results, url=url, create=False).study_shapes(study)
    except StoreError:
        return 0
    return sum(p.role == "trial" for p in parts)


def plan_run(setup: Setup, trials: int, top: int, settings: ScoreSettings) -> DryRun:
    """Estimate a run from the shapes of the space, without touching the device.

    Args:
        setup: What is to be run.
        trials: Shapes to measure.
        top: Shapes to train.
        settings: How they are trained.
    """
    count = len(setup.feasible)
    sizes = setup.feasible.columns["decoder_parameters"]
    typical = typical_size(setup.space, sizes.tolist()) or int(sizes[0])
    settings = replace(settings, typical=typical)
    spread = [setup.feasible.shape(row) for row in range(0, count, max(1, count // 200))]
    wide = [s for s in spread if not too_narrow(s, typical, settings.budget)]
    if not wide:
        raise TrainingError(str(too_narrow(spread[0], typical, settings.budget)))
    sample = wide[:: max(1, len(wide) // top)][:top]
    scoring = plan_scoring(sample, settings)
    references = len(setup.space.references)
    spaced = range(0, count, max(1, count // max(1, trials)))
    asked = [setup.feasible.shape(r) for r in spaced][:trials]
    shapes = [*asked, *(r.shape(setup.space) for r in setup.space.references)]
    return DryRun(
        shapes=count,
        references=references,
        trials=trials,
        search_seconds=sum(
            _search_seconds(shapes, setup.goals.workloads, d) for d in setup.devices
        ),
        scoring=scoring,
        score_seconds=scoring.estimated_seconds(settings, len(usable_cores())),
    )


def _search_seconds(
    shapes: Sequence[ModelShape], workloads: Sequence[Workload], device: DeviceProfile
) -> float:
    """About how long measuring takes on one device, compiling among it."""
    measuring = measuring_seconds(
        shapes, workloads, device, settings=SETTINGS, cache_bytes=planned_cache_bytes(device)
    )
    graphs = sum(device.is_accelerated(w.phase) for w in workloads)
    return measuring + graphs * sum(s.parameters for s in shapes) / _COMPILED_PER_SECOND
