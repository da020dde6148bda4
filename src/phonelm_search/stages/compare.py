"""Shapes of equal size, measured: how far speed moves, how far loss."""

from collections.abc import Sequence

from phonelm_search.core.reporting import Reporter
from phonelm_search.outputs.export import write_sensitivity, write_tables
from phonelm_search.outputs.plots import draw_sensitivity, sensitivity_info
from phonelm_search.quality import ScoreSettings
from phonelm_search.reading import Sensitivity, StudyView, analyse, check_count, typical_size
from phonelm_search.space import spread_at_equal_size
from phonelm_search.stages.decide import save_plot
from phonelm_search.stages.measure import measure_chosen
from phonelm_search.stages.session import open_measuring
from phonelm_search.stages.setup import Setup
from phonelm_search.stages.train import close_score, prepare_corpus, score
from phonelm_search.store import Store

SENSITIVITY_SUFFIX = ".sensitivity"
"""Sets a comparison apart from the search of the same space and device."""


def run_sensitivity(
    store: Store,
    setup: Setup,
    settings: ScoreSettings,
    *,
    count: int,
    report: Reporter,
    data: Sequence[str] = (),
) -> tuple[Sensitivity, StudyView]:
    """Measure shapes of equal decoder size, train for them, and tell how far each quantity moves.

    Args:
        store: The database.
        setup: The study, which is an ordinary one afterwards.
        settings: How to train relatives that tell them apart.
        count: Shapes, spread over the space.
        report: Shows progress.
        data: Text to train on; nothing: the embedded corpus.

    Raises:
        PhonelmSearchError: As the stages do; what was finished before is kept.
    """
    sizes = setup.feasible.columns["decoder_parameters"]
    typical = typical_size(setup.space, sizes.tolist())
    assert typical is not None
    shapes = spread_at_equal_size(setup.feasible, count, target=typical)
    check_count(shapes)
    with open_measuring(store, setup, report=report) as session:
        # Text that cannot be used is refused before anything is measured.
        corpus = prepare_corpus(store, settings.vocab_size, data, report) if data else None
        measure_chosen(session, shapes)
        ids = {r.shape.shape_id for r in session.view.measured}
        measured = [s for s in shapes if s.shape_id in ids]
        check_count(measured)
        score(session, settings, top=len(measured), data=data, shapes=measured, corpus=corpus)
        view = session.view
        sensitivity = analyse(view, {s.shape_id for s in measured})
        write_tables(view, session.folder)
        write_sensitivity(sensitivity, session.folder)
        save_plot(session, draw_sensitivity(sensitivity_info(view, sensitivity)), "sensitivity")
        close_score(session)
    return sensitivity, view
