"""What a run would do and about how long it would take, without touching a device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phonelm_search.backends import planned_cache_bytes
from phonelm_search.core.errors import StoreMissingError
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.quality import (
    Rung,
    ScoreSettings,
    plan_ladder,
    possible_rungs,
    training_seconds,
)
from phonelm_search.quality.law import QualityLaw, load_prior
from phonelm_search.reading import TOKENS_PER_PARAMETER
from phonelm_search.speed import measuring_seconds
from phonelm_search.stages.aims import own_law
from phonelm_search.stages.session import SETTINGS
from phonelm_search.stages.setup import Setup, check_settings
from phonelm_search.store import Store, check_trials, check_writable, has_trials
from phonelm_search.train import STEP_TOKENS, load_text, usual_workers

_COMPILED_PER_SECOND = 3e6  # parameters of one graph, quantised and compiled on two cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a study has already."""

    trials: int = 0
    """Its trials."""
    references: int = 0
    """Known models that were measured beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a run would do."""

    shapes: int
    """Feasible shapes."""
    references: int
    """References to measure."""
    trials: int
    """Trials to measure."""
    finished: Finished
    """What the study has already."""
    search_seconds: float
    """About how long measuring takes."""
    rungs: tuple[Rung, ...]
    """What would be trained, for a sample of the space in place of the front."""
    score_seconds: float
    """About how long training takes."""


def finished_shapes(results: Path, url: str | None, setup: Setup) -> Finished:
    """Shapes that a study has already; none where there is no database or no such study.

    What a run would refuse of the database is refused, too; no device is asked, nothing written.

    Raises:
        StoreError: If the database is none, or could not be made or written.
        StudyMismatchError: If the study was started with other settings, or by another program.
    """
    check_writable(results, url)
    try:
        store = Store(results, url=url, create=False)
    except StoreMissingError:
        return Finished()
    started = setup.study in {s.name for s in store.studies()}
    if started:
        check_settings(store.study(setup.study), setup)
    if has_trials(store):
        check_trials(store, setup.study, setup.goals.directions, started=started)
    parts = store.study_shapes(setup.study)
    return Finished(
        trials=sum(p.role == "trial" for p in parts),
        references=sum(p.role == "reference" and p.reason is None for p in parts),
    )


def plan_run(
    setup: Setup,
    trials: int,
    top: int,
    settings: ScoreSettings,
    *,
    finished: Finished | None = None,
    train_tokens: float | None = None,
    law: str | Path | None = None,
    data: Sequence[str] = (),
) -> DryRun:
    """Estimate a run from the shapes of the space, without touching the device.

    What a run would refuse before it measures is refused, too.

    Args:
        setup: What is to be run.
        trials: Shapes that the study shall have in total.
        top: Shapes whose differences the trainings are chosen for.
        settings: How to train.
        finished: What it has already; None: nothing.
        train_tokens: That the pick will be trained on.
        law: File of the law; None and ``shipped``: the package's own.
        data: Text to train on, which is read; nothing: the embedded corpus.

    Raises:
        ConfigurationError: If the law cannot be read.
        TrainingError: If the text cannot be used.
    """
    if data:
        load_text(data)
    count = len(setup.feasible)
    sample = [setup.feasible.shape(row) for row in range(0, count, max(1, count // top))][:top]
    workers = usual_workers()
    rungs = plan_ladder(
        QualityLaw(load_prior(own_law(law))),
        sample,
        possible_rungs(
            sample,
            largest=settings.budget,
            tokens_per_parameter=settings.tokens_per_parameter,
            vocab_size=settings.vocab_size,
            step_tokens=STEP_TOKENS,
        ),
        tokens=train_tokens or TOKENS_PER_PARAMETER * sample[0].decoder_parameters,
        seconds=60 * settings.minutes * workers,
    )
    references = len(setup.space.references)
    finished = finished or Finished()
    left = max(0, trials - finished.trials)
    spaced = range(0, count, max(1, count // max(1, left)))
    asked = [setup.feasible.shape(r) for r in spaced][:left]
    shapes = [*asked, *(r.shape(setup.space) for r in setup.space.references)]
    return DryRun(
        shapes=count,
        references=references,
        trials=left,
        finished=finished,
        search_seconds=sum(
            _search_seconds(shapes, setup.goals.workloads, d) for d in setup.devices
        ),
        rungs=tuple(rungs),
        score_seconds=sum(training_seconds(r.shape, r.tokens) for r in rungs) / workers,
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
