"""Which shape to take, and the files of a study; no device but for the pick's peak memory."""

from matplotlib.figure import Figure

from phonelm_search.core.errors import MeasurementError
from phonelm_search.outputs.export import hand_off, write_tables
from phonelm_search.outputs.plots import (
    draw_front,
    draw_training,
    front_info,
    save,
    training_info,
)
from phonelm_search.outputs.report import write_report
from phonelm_search.reading import Pick, Rule, StudyView, choose
from phonelm_search.stages.session import MeasuringSession, Session


def decide(session: Session, *, rule: Rule | None = None) -> tuple[Pick, StudyView]:
    """Pick a shape and write the files of ``results/STUDY``.

    Args:
        session: The study.
        rule: By default the one that the study was last finished with, at first the knee.

    Raises:
        TrainingError: If nothing was measured.
        ExportError: If a file cannot be written.
    """
    pick = choose(session.view, rule)
    if rule is not None:
        session.configure("pick", rule)
    view, report = session.view, session.report
    report.stage("files", 2)
    write_tables(view, session.folder)
    save_plot(session, draw_front(front_info(view)), "front")
    save_plot(session, draw_training(training_info(view)), "training")
    report.advance(1)
    write_report(session.store, view)
    for line in hand_off(view, pick.row, session.folder / "winner"):
        report.note(line)
    report.advance(1)
    return pick, view


def measure_peak(session: MeasuringSession, *, rule: Rule) -> None:
    """Measure the peak memory of the pick; a device that does not tell it is no error.

    Raises:
        TrainingError: If nothing was measured.
    """
    view, report = session.view, session.report
    report.stage("peak memory of the pick", 1)
    row = choose(view, rule).row
    (profiler,) = [p for p in session.profilers if p.device.name == row.device]
    try:
        profiler.peak_bytes(row.shape, view.scenario.workloads[0])
    except MeasurementError as error:
        report.note(f"peak memory is unknown: {error}")
    report.advance(1)


def save_plot(session: Session, figure: Figure, name: str) -> None:
    """Write a picture of the study in both formats."""
    for suffix in (".png", ".svg"):
        save(figure, session.folder / "plots" / f"{name}{suffix}")
