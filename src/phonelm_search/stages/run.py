"""The whole thread: space → shapes → latencies → front → trained scores → pick and files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.reporting import Reporter
from phonelm_search.measure import Profiler
from phonelm_search.outputs.export import hand_off, write_sensitivity, write_tables
from phonelm_search.outputs.plots import (
    draw_front,
    draw_sensitivity,
    draw_training,
    front_info,
    save,
    sensitivity_info,
    training_info,
)
from phonelm_search.outputs.report import write_report
from phonelm_search.quality import ScoreSettings
from phonelm_search.reading import (
    Pick,
    Rule,
    Sensitivity,
    StudyView,
    analyse,
    check_count,
    choose,
    load_view,
    places_of,
    typical_size,
)
from phonelm_search.space import spread_at_equal_size
from phonelm_search.stages.measure import SearchPlan, measure_chosen, run_search
from phonelm_search.stages.setup import Setup
from phonelm_search.stages.train import run_score
from phonelm_search.store import Store
from phonelm_search.train import too_narrow


def run_all(
    store: Store,
    setup: Setup,
    plan: SearchPlan,
    settings: ScoreSettings,
    *,
    top: int,
    rule: Rule,
    report: Reporter,
    data: Sequence[str] = (),
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
        data: Text to train on; nothing: the embedded corpus.

    Raises:
        PhonelmSearchError: As the stages do; what was finished before is kept.
    """
    run_search(store, setup, plan, report=report)
    run_score(store, setup.study, settings, top=top, report=report, data=data)
    measure_peak(store, setup.study, rule=rule, report=report, serials=setup.serials)
    return finish(store, setup.study, rule=rule, report=report)


def run_sensitivity(
    store: Store,
    setup: Setup,
    settings: ScoreSettings,
    *,
    count: int,
    report: Reporter,
    data: Sequence[str] = (),
) -> tuple[Sensitivity, StudyView]:
    """Measure and train shapes of equal decoder size, and tell how far each moves.

    Args:
        store: The database.
        setup: The study, which is an ordinary one afterwards.
        settings: How to train; all shapes train to the end.
        count: Shapes, spread over the space.
        report: Shows progress.
        data: Text to train on; nothing: the embedded corpus.

    Raises:
        PhonelmSearchError: As the stages do; what was finished before is kept.
    """
    sizes = setup.feasible.columns["decoder_parameters"]
    typical = typical_size(setup.space, sizes.tolist())
    assert typical is not None
    shapes = spread_at_equal_size(
        setup.feasible,
        count,
        target=typical,
        usable=lambda s: too_narrow(s, typical, settings.budget) is None,
    )
    check_count(shapes)
    settings = replace(settings, finalists=len(shapes))
    measured = measure_chosen(store, setup, shapes, report=report).measured
    ids = {r.shape.shape_id for r in measured}
    ours = [s for s in shapes if s.shape_id in ids]
    view = run_score(
        store, setup.study, settings, top=len(ours), report=report, data=data, shapes=ours
    )
    found = analyse(view, {s.shape_id for s in ours})
    folder = store.results / setup.study
    write_tables(view, folder)
    write_sensitivity(found, folder)
    _save_plot(draw_sensitivity(sensitivity_info(view, found)), folder, "sensitivity")
    return found, view


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
    report.stage("files", 2)
    folder = store.results / study
    write_tables(view, folder)
    _save_plot(draw_front(front_info(view)), folder, "front")
    _save_plot(draw_training(training_info(view)), folder, "training")
    report.advance(1)
    write_report(store, view)
    for line in hand_off(store, view, pick.row, folder / "winner"):
        report.note(line)
    report.advance(1)
    return pick, view


def _save_plot(figure: Figure, folder: Path, name: str) -> None:
    for suffix in (".png", ".svg"):
        save(figure, folder / "plots" / f"{name}{suffix}")
