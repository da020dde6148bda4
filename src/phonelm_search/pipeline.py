"""The whole thread: space → shapes → latencies → front → trained scores → pick and files."""

from collections.abc import Mapping
from dataclasses import replace

from phonelm_search.devices import DeviceProfile
from phonelm_search.errors import MeasurementError
from phonelm_search.export import export_hf, export_onnx, write_tables
from phonelm_search.measure import Profiler
from phonelm_search.pick import Pick, Rule, choose
from phonelm_search.plots.draw import draw_front, draw_training, save
from phonelm_search.plots.info import front_info, training_info
from phonelm_search.proxy.scoring import ScoreSettings, score_shapes
from phonelm_search.readings import places_of
from phonelm_search.reporting import Reporter
from phonelm_search.searching import SearchPlan, run_search
from phonelm_search.shortlist import candidates, typical_size
from phonelm_search.space import SearchSpace
from phonelm_search.store import Store
from phonelm_search.study import Setup
from phonelm_search.tables import StudyView, load_view


def run_all(
    store: Store,
    setup: Setup,
    plan: SearchPlan,
    settings: ScoreSettings,
    *,
    top: int,
    rule: Rule,
    report: Reporter,
) -> tuple[Pick, StudyView]:
    """Search, train the front, pick, and write the files of ``results/STUDY``.

    Args:
        store: The database.
        setup: The study.
        plan: How to search.
        settings: How to train.
        top: How many shapes to train.
        rule: How to pick.
        report: Shows progress.

    Raises:
        PhonelmSearchError: As the stages do; what was finished before is kept.
    """
    run_search(store, setup, plan, report=report)
    run_score(store, setup.study, settings, top=top, report=report)
    measure_peak(store, setup.study, rule=rule, report=report, serials=setup.serials)
    return finish(store, setup.study, rule=rule, report=report)


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


def measure_peak(
    store: Store,
    study: str,
    *,
    rule: Rule,
    report: Reporter,
    serials: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Measure the peak memory of the pick; a device that does not tell it is no error.

    Raises:
        TrainingError: If nothing was scored.
    """
    view = load_view(store, study)
    report.stage("peak memory of the pick", 1)
    try:
        row = choose(view, rule).row
        (device,) = [p.device for p in places_of(view.record) if p.device.name == row.device]
        named = (serials or {}).get(device.name, ())[:1]
        profiler = Profiler(store, device, serials=named, note=report.note)
        profiler.peak_bytes(row.shape, view.scenario.workloads[0])
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
