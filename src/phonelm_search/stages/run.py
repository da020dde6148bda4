"""The whole thread: space → shapes → latencies → front → trained scores → pick and files."""

from collections.abc import Sequence
from pathlib import Path

from phonelm_search.core.budget import Budget, check_budgets
from phonelm_search.core.deadline import Deadline
from phonelm_search.core.reporting import Reporter
from phonelm_search.quality import ScoreSettings
from phonelm_search.reading import Pick, Rule, StudyView
from phonelm_search.stages.aims import read_law, set_budgets, set_law, set_train_tokens
from phonelm_search.stages.decide import decide, measure_peak
from phonelm_search.stages.measure import SearchPlan, search, search_on
from phonelm_search.stages.race import race
from phonelm_search.stages.session import open_measuring
from phonelm_search.stages.setup import Setup
from phonelm_search.stages.train import close_score, prepare_corpus, score
from phonelm_search.store import Store
from phonelm_search.work import Engine

_FINISHING_SECONDS = 20.0  # peak memory, plots and the page


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
    train_tokens: float | None = None,
    budgets: Sequence[Budget] = (),
    law: str | Path | None = None,
    engine: Engine | None = None,
) -> tuple[Pick, StudyView]:
    """Search, train the front, pick, and write the files of ``results/STUDY``.

    Args:
        store: The database.
        setup: The study.
        plan: How to search.
        settings: How to train; its minutes are part of the plan's.
        top: Shapes whose differences the trainings are chosen for.
        rule: How to pick.
        report: Shows progress.
        data: Text to train on; nothing: the embedded corpus.
        train_tokens: That a person will train the pick on; None: 100 for each decoder parameter.
        budgets: What the pick must keep, see `with_budgets`.
        law: A file that `fit_law` wrote; ``shipped`` goes back to the package's own.
        engine: What places rounds and trainings; None: this process does.

    Raises:
        PhonelmSearchError: As the stages do; what was finished before is kept.
    """
    check_budgets(budgets, [d.name for d in setup.devices], str(setup.goals.scenario))
    chosen_law = read_law(law)
    with open_measuring(store, setup, report=report, engine=engine) as session:
        deadline = plan.deadline()  # from where nothing is waited for
        ending = deadline.earlier(_FINISHING_SECONDS)
        # Text that cannot be used is refused before hours of measuring, not after them.
        corpus = prepare_corpus(store, settings.vocab_size, data, report) if data else None
        session.start()
        set_law(session, chosen_law)
        set_train_tokens(session, train_tokens)
        set_budgets(session, budgets)
        search(session, plan, ending.earlier(60 * settings.minutes))
        training = Deadline(min(60 * settings.minutes, ending.left))
        score(session, settings, top=top, data=data, deadline=training, corpus=corpus)
        if deadline.ends:
            search_on(session, plan, ending)
        race(session, ending)
        measure_peak(session, rule=rule)
        decision = decide(session, rule=rule)
        close_score(session)
        return decision
