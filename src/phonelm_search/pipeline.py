"""The whole thread: space → shapes → latencies → front → trained scores → pick and files."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from phonelm_search.devices import DeviceProfile, load_device
from phonelm_search.errors import (
    ConfigurationError,
    MeasurementError,
    StudyMismatchError,
    UnsupportedShapeError,
)
from phonelm_search.export import export_hf, export_onnx, write_tables
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure import Profiler, Request
from phonelm_search.pick import Pick, Rule, choose
from phonelm_search.plots.draw import draw_front, draw_training, save
from phonelm_search.plots.info import front_info, training_info
from phonelm_search.precision import get_precision
from phonelm_search.proxy.scoring import ScoreSettings, score_shapes
from phonelm_search.records import StudyRecord, StudyShape, identity
from phonelm_search.reporting import Reporter, ShapeProgress
from phonelm_search.runtimes.base import PROTOCOL_VERSION
from phonelm_search.search.driver import SearchDriver, TrialReport
from phonelm_search.search.objectives import Goals, choose_objectives
from phonelm_search.shortlist import candidates, typical_size
from phonelm_search.space import FeasibleSet, SearchSpace, enumerate_space, load_space
from phonelm_search.store import Store, study_lock
from phonelm_search.tables import StudyView, load_view
from phonelm_search.workload import Scenario

_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_COMPARED = ("space", "device", "scenario", "objectives", "versions")
_UNSURE = (0.05, 0.95)
_EXTRA_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that a search is started with."""

    study: str
    """Name of the study."""
    space: SearchSpace
    """The search space."""
    device: DeviceProfile
    """Where latency is measured."""
    feasible: FeasibleSet
    """The space's shapes."""
    goals: Goals
    """Objectives and scenario."""

    def config(self) -> dict[str, Any]:
        """The resolved configuration, as JSON."""
        return {
            "space": self.space.model_dump(mode="json"),
            "device": self.device.model_dump(mode="json"),
            "scenario": str(self.goals.scenario),
            "objectives": list(self.goals.objectives),
            "versions": {"graph": GRAPH_VERSION, "protocol": PROTOCOL_VERSION},
        }


def prepare(
    space: str,
    device: str,
    *,
    study: str | None = None,
    scenario: str = "chat=256:128",
    objectives: Sequence[str] = (),
    vocab_size: int | None = None,
    precision: str | None = None,
) -> Setup:
    """Resolve names and enumerate the space.

    Raises:
        ConfigurationError: If a name, a file or an option cannot be used.
    """
    loaded = load_space(space)
    if vocab_size is not None:
        loaded = loaded.with_vocab_size(vocab_size)
    profile = load_device(device)
    if precision is not None:
        profile = profile.model_copy(update={"precision": get_precision(precision).name})
    name = study or f"{loaded.name}.{profile.name}"
    check_study_name(name)
    feasible = enumerate_space(loaded, profile.scheme)
    goals = Goals(
        objectives=choose_objectives(list(objectives), feasible),
        scenario=Scenario.parse(scenario),
        precision=profile.scheme,
    )
    return Setup(study=name, space=loaded, device=profile, feasible=feasible, goals=goals)


def check_study_name(name: str) -> None:
    """A study's name is also a folder's.

    Raises:
        ConfigurationError: If it cannot be one.
    """
    if not _STUDY_NAME.fullmatch(name):
        raise ConfigurationError(
            "a study's name must be up to 100 letters, digits, dots, dashes and underscores, "
            f"got '{name}'"
        )


def run_search(
    store: Store,
    setup: Setup,
    *,
    trials: int,
    sampler: str,
    seed: int,
    remeasure: bool = False,
    report: Reporter,
) -> StudyView:
    """Measure references and trials until the study has ``trials`` distinct shapes in all.

    Raises:
        StudyMismatchError: If the study exists with another configuration or environment.
        MeasurementError: If not one shape could be measured.
        StoreError: If the database cannot be used, or another process works on the study.
    """
    with study_lock(store.results, setup.study):
        return _search(store, setup, trials, sampler, seed, report, remeasure=remeasure)


def _search(
    store: Store,
    setup: Setup,
    trials: int,
    sampler: str,
    seed: int,
    report: Reporter,
    *,
    remeasure: bool,
) -> StudyView:
    profiler = Profiler(store, setup.device)
    open_study(store, setup, profiler.environment)
    if remeasure:
        _measure_again(store, setup, profiler, report)
    progress = ShapeProgress(report, profiler.settings.rounds)
    driver = SearchDriver(
        store,
        setup.study,
        setup.feasible,
        profiler,
        setup.goals,
        sampler=sampler,
        seed=seed,
        on_round=progress.on_round,
    )
    done = driver.finished()
    report.stage("measuring", len(setup.space.references) + max(0, trials - done))
    _measure_references(store, setup, profiler, report)

    def on_trial(trial: TrialReport) -> None:
        if trial.reason:
            report.note(f"{trial.shape.shape_id} left out: {trial.reason}")
        progress.on_shape(trial.shape)

    driver.run(trials, on_trial)
    view = load_view(store, setup.study)
    if not view.sampled and trials > 0:
        reasons = [f.reason for f in view.failed]
        raise MeasurementError(
            f"at least one shape must be measured; all {len(reasons)} failed, the first: "
            f"{reasons[0] if reasons else 'unknown'}",
            stage="run",
        )
    return settle_front(store, setup, profiler, report)


def settle_front(store: Store, setup: Setup, profiler: Profiler, report: Reporter) -> StudyView:
    """Measure again what may or may not belong to the front, before it is declared."""
    view = load_view(store, setup.study)
    for extra in range(1, _EXTRA_ROUNDS + 1):
        likely = view.front_probabilities()
        unsure = [
            r.shape
            for r in view.sampled
            if _UNSURE[0] < likely.get(r.shape.shape_id, 0.0) < _UNSURE[1]
        ]
        if not unsure:
            break
        title = f"measuring {len(unsure)} shapes again that may belong to the front"
        report.stage(title, len(unsure))
        profiler.measure(
            [Request(shape=s, workloads=setup.goals.workloads) for s in unsure],
            extra_rounds=extra,
            on_round=lambda shape: report.advance(1, shape.shape_id),
        )
        view = load_view(store, setup.study)
    return view


def _measure_again(store: Store, setup: Setup, profiler: Profiler, report: Reporter) -> None:
    """Measure what a study has already; the sampler goes on with the values that it was told."""
    shapes = [r.shape for r in load_view(store, setup.study).rows]
    progress = ShapeProgress(report, profiler.settings.rounds)
    report.stage(f"measuring {len(shapes)} shapes again", len(shapes))
    profiler.measure(
        [Request(shape=s, workloads=setup.goals.workloads) for s in shapes],
        remeasure=True,
        on_round=progress.on_round,
    )


def _measure_references(store: Store, setup: Setup, profiler: Profiler, report: Reporter) -> None:
    """Measure the known models; what the runtime refuses is listed and never fatal."""
    for reference in setup.space.references:
        shape = reference.shape(setup.space)
        reason = None
        try:
            profiler.latencies(shape, setup.goals.workloads)
        except (MeasurementError, UnsupportedShapeError) as error:
            reason = str(error)
            report.note(f"reference {reference.name} left out: {reason}")
        part = StudyShape(
            shape_id=shape.shape_id, role="reference", name=reference.name, reason=reason
        )
        store.set_study_shape(setup.study, shape, part)
        report.advance(1, reference.name)


def open_study(store: Store, setup: Setup, environment: dict[str, str]) -> StudyRecord:
    """Start a study, or check that an existing one may go on with this setup.

    Raises:
        StudyMismatchError: If configuration or environment differ; says what.
    """
    fresh = StudyRecord(
        name=setup.study,
        config=setup.config(),
        environment_id=identity(environment),
        environment=environment,
    )
    known = {s.name: s for s in store.studies()}.get(setup.study)
    if known is None:
        store.save_study(fresh)
        return fresh
    differs = []
    for key in _COMPARED:
        differs += _differences(known.config.get(key), fresh.config[key], key)
    differs += _differences(dict(known.environment), environment, "environment")
    if differs:
        raise StudyMismatchError(
            f"study '{setup.study}' must be continued as it was started; differs: "
            f"{'; '.join(differs)}; use another --study or the first settings"
        )
    return known


def _differences(before: Any, now: Any, path: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now})
        return [d for k in keys for d in _differences(before.get(k), now.get(k), f"{path}.{k}")]
    return [] if before == now else [f"{path} was {_short(before)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def run_score(
    store: Store,
    study: str,
    settings: ScoreSettings,
    *,
    top: int,
    report: Reporter,
    retrain: bool = False,
) -> StudyView:
    """Train the front and near-front of a study.

    Raises:
        UnknownNameError: If there is no such study.
        TrainingError: If nothing was measured yet.
        StoreError: If the database cannot be used.
    """
    view = load_view(store, study)
    space = SearchSpace.model_validate(view.record.config["space"])
    sizes = [r.shape.decoder_parameters for r in view.sampled]
    # Settled by the first scoring: shapes measured later must not move the width factor.
    before = view.record.config.get("score") or {}
    settings = replace(settings, typical=before.get("typical") or typical_size(space, sizes))
    shapes, left_out = candidates(view, top, settings)
    if left_out:
        report.note(f"{len(left_out)} measured shapes cannot be trained, the first: {left_out[0]}")
    report.stage("preparing the text", 0)
    progress: dict[int, int] = {}

    def on_start(jobs: int, tokens: int) -> None:
        if jobs:
            report.stage("training", jobs * tokens)

    def on_progress(index: int, tokens: int, bits: float) -> None:
        report.advance(tokens - progress.get(index, 0), f"{bits:.3f} bits per byte")
        progress[index] = tokens

    scores, settings_id = score_shapes(
        store, shapes, settings, retrain=retrain, on_start=on_start, on_progress=on_progress
    )
    for score in scores:
        if score.reason:
            report.note(f"{score.shape_id} has no score: {score.reason}")
    chosen = {
        "settings_id": settings_id,
        "tokens_per_parameter": settings.tokens_per_parameter,
        "budget": settings.budget,
        "vocab_size": settings.vocab_size,
        "seed": settings.seed,
        "typical": settings.typical,
    }
    store.save_study(replace(view.record, config={**view.record.config, "score": chosen}))
    return load_view(store, study)


def measure_peak(store: Store, study: str, *, rule: Rule, report: Reporter) -> None:
    """Measure the peak memory of the pick; a device that does not tell it is no error.

    Raises:
        TrainingError: If nothing was scored.
    """
    view = load_view(store, study)
    device = DeviceProfile.model_validate(view.record.config["device"])
    report.stage("peak memory of the pick", 1)
    try:
        shape = choose(view, rule).row.shape
        Profiler(store, device).peak_bytes(shape, view.scenario.workloads[0])
    except MeasurementError as error:
        report.note(f"peak memory is unknown: {error}")
    report.advance(1)


def finish(
    store: Store, study: str, *, rule: Rule | None = None, report: Reporter
) -> tuple[Pick, StudyView]:
    """Pick a shape and write the files of ``results/STUDY``; never touches a device.

    Args:
        store: The database.
        study: Name of the study.
        rule: By default the one that the study was last finished with, at first the knee.
        report: Shows progress.

    Raises:
        TrainingError: If nothing was scored.
        ExportError: If a file cannot be written.
    """
    view = load_view(store, study)
    pick = choose(view, rule)
    if rule is not None:
        store.save_study(replace(view.record, config={**view.record.config, "pick": rule}))
        view = load_view(store, study)
    device = DeviceProfile.model_validate(view.record.config["device"])
    report.stage("files", 2)
    folder = store.results / study
    write_tables(view, folder)
    for name, figure in (
        ("front", draw_front(front_info(view))),
        ("training", draw_training(training_info(view))),
    ):
        for suffix in (".png", ".svg"):
            save(figure, folder / "plots" / f"{name}{suffix}")
    report.advance(1)
    export_onnx(pick.row.shape, device.scheme, folder / "winner")
    export_hf(pick.row.shape, folder / "winner")
    report.advance(1)
    return pick, view
