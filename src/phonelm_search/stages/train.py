"""Training for a study: relatives that tell its candidates apart, chosen, trained and kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from phonelm_search.core.deadline import Deadline
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.reporting import Reporter
from phonelm_search.core.shape import ModelShape
from phonelm_search.quality import (
    Rung,
    ScoreSettings,
    larger_rung,
    plan_ladder,
    possible_rungs,
    settle_acceleration,
    train_rungs,
)
from phonelm_search.reading import Pick, Rule, StudyView, candidates, ladder_of, law_of
from phonelm_search.stages.decide import decide
from phonelm_search.stages.session import Session, open_session
from phonelm_search.store import Store
from phonelm_search.train import (
    Pool,
    TokenisedCorpus,
    TrainingRuns,
    TrainingSettings,
    load_text,
    tokenise,
    tokens_file,
)

_HELD_OUT = 8  # trainings of the rung that the law is held against


def run_score(
    store: Store,
    study: str,
    settings: ScoreSettings,
    *,
    top: int,
    report: Reporter,
    data: Sequence[str] = (),
    retrain: bool = False,
    validate: bool = False,
    train_tokens: float | None = None,
    rule: Rule | None = None,
    command: str | None = None,
    pool: Callable[[], Pool] | None = None,
) -> tuple[Pick, StudyView]:
    """Train for the front of a study, pick, and write the study's files.

    Args:
        store: The database.
        study: Name of the study.
        settings: How to train, and for how long.
        top: Shapes of the front and near-front whose differences shall be told.
        report: Shows progress.
        data: Text to train on, see `train.load_text`; nothing: the embedded corpus.
        retrain: Drop what was trained for the study, and begin anew.
        validate: Whether a rung of twice the largest size is trained, too, see `validate_law`.
        train_tokens: That a person will train the pick on; None leaves it.
        rule: How to pick; by default as before.
        command: The command line that asks for it, which the study keeps.
        pool: Makes what trains; by default child processes, one per core or GPU.

    Raises:
        UnknownNameError: If there is no such study.
        TrainingError: If nothing was measured yet, or the text cannot be used.
        StoreError: If the database cannot be used, or another process works on the study.
        ExportError: If a file cannot be written.
    """
    with open_session(store, study, report=report, pool=pool) as session:
        set_train_tokens(session, train_tokens)
        score(session, settings, top=top, data=data, retrain=retrain, command=command)
        if validate:
            validate_law(session, settings, top=top, data=data)
        return decide(session, rule=rule)


def set_train_tokens(session: Session, tokens: float | None) -> None:
    """Keep how long a person will train, where they say so."""
    if tokens is not None:
        session.configure("train_tokens", float(tokens))


def score(
    session: Session,
    settings: ScoreSettings,
    *,
    top: int,
    data: Sequence[str] = (),
    retrain: bool = False,
    shapes: Sequence[ModelShape] | None = None,
    command: str | None = None,
    deadline: Deadline | None = None,
) -> None:
    """Train what tells the front of an open study apart, or given ``shapes``, and keep it.

    What is trained is chosen before the first training, and a rerun after a stop chooses the same.
    Told again after its end, it goes on for as long.

    Raises:
        TrainingError: If nothing was measured yet, or the text cannot be used.
        StoreError: If the database cannot be used.
    """
    view = session.view
    if shapes is None:
        if not view.sampled:
            raise TrainingError(
                f"study '{session.study}' must have measured shapes to train for; run "
                "`phonelm-search search` first"
            )
        shapes = candidates(view, top)
    with _Trainings(session, settings, data) as trainings:
        session.remember(command)
        if retrain:
            trainings.forget()
        possible = possible_rungs(
            shapes,
            largest=settings.budget,
            tokens_per_parameter=settings.tokens_per_parameter,
            vocab_size=trainings.corpus.vocab_size,
            step_tokens=trainings.training.step_tokens,
        )
        view = session.view
        seconds = 60 * settings.minutes * trainings.runner.pool.workers
        plan = plan_ladder(
            law_of(view.prior, view.evidence),
            shapes,
            trainings.unknown(possible),
            tokens=view.train_tokens,
            seconds=seconds,
        )
        trainings.train(plan, deadline or Deadline(60 * settings.minutes))


def validate_law(
    session: Session, settings: ScoreSettings, *, top: int, data: Sequence[str] = ()
) -> None:
    """Train relatives of twice the largest size so far: what the law is then held against.

    Raises:
        TrainingError: If nothing was trained yet, or the text cannot be used.
        StoreError: If the database cannot be used.
    """
    view = session.view
    if not view.evidence:
        raise TrainingError(
            f"study '{session.study}' must have trainings to hold the law against a larger one; "
            f"run `phonelm-search score {session.study}` with more --minutes"
        )
    with _Trainings(session, settings, data) as trainings:
        rungs = larger_rung(
            candidates(view, top),
            [t.shape for t in view.evidence],
            tokens_per_parameter=settings.tokens_per_parameter,
            vocab_size=trainings.corpus.vocab_size,
            step_tokens=trainings.training.step_tokens,
            count=_HELD_OUT,
        )
        trainings.train(rungs, Deadline())


class _Trainings:
    """The trainings of an open study, on one text.

    Args:
        session: The study.
        settings: How to train.
        data: Text; nothing: the embedded corpus.
    """

    def __init__(self, session: Session, settings: ScoreSettings, data: Sequence[str]) -> None:
        self._session, self._data = session, list(data)
        before = session.view.record.config.get("score") or {}
        same = before.get("data", []) == self._data and "ladder" in before
        self._settings = replace(settings, settled=before["settled"]) if same else settings
        self.corpus = prepare_corpus(session.store, settings.vocab_size, data, session.report)
        self.training: TrainingSettings = settings.training(self.corpus)
        self.runner = TrainingRuns(
            session.store,
            tokens_file(session.store.results / "cache", self.corpus),
            scheme=session.view.device.scheme.name,
            report=session.report,
            pool=session.pool() if session.pool else None,
        )

    def __enter__(self) -> "_Trainings":
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.__exit__()

    def forget(self) -> None:
        """Drop what was trained for the study."""
        self.runner.forget(self._session.view.trainings)
        self._session.configure("score", {})

    def unknown(self, rungs: Sequence[Rung]) -> list[Rung]:
        """Those that the study has no training of."""
        known = {(r.shape_id, r.tokens) for r in self._session.view.trainings if r.reason is None}
        return [r for r in rungs if (r.shape.shape_id, r.tokens) not in known]

    def train(self, rungs: Sequence[Rung], deadline: Deadline) -> None:
        """Train rungs in their order, and keep which ones count in the study."""
        if not rungs:
            return
        report = self._session.report
        training, settled = settle_acceleration(
            rungs, self.training, self._settings.settled, self.runner, report
        )
        # At once: a scoring that is stopped must not choose anew and train all again.
        self._session.extend("score", {**self._record(), "settled": settled})
        records = train_rungs(
            rungs, training, self.runner, seed=self._settings.seed, deadline=deadline,
            report=report,
        )  # fmt: skip
        for record in records:
            if record.reason:
                report.note(f"{record.shape_id} has no score: {record.reason}")
        self._session.extend("score", {"ladder": [*self._ladder(), *map(_entry, records)]})

    def _ladder(self) -> list[Mapping[str, Any]]:
        return ladder_of(self._session.store.study(self._session.study))

    def _record(self) -> dict[str, Any]:
        """What a study keeps of how it was trained for."""
        return {
            "tokens_per_parameter": self._settings.tokens_per_parameter,
            "budget": self._settings.budget,
            "vocab_size": self._settings.vocab_size,
            "seed": self._settings.seed,
            "data": self._data,
            "lzma_bits_per_byte": self.corpus.lzma_bits_per_byte,
            "ladder": self._ladder(),
        }


def _entry(record: ProxyScore) -> dict[str, Any]:
    return {
        "settings_id": record.settings_id, "shape_id": record.shape_id, "seed": record.seed,
    }  # fmt: skip


def prepare_corpus(
    store: Store, vocab_size: int, data: Sequence[str], report: Reporter
) -> TokenisedCorpus:
    """Read and tokenise the text."""
    report.stage("preparing the text", 0)
    text = load_text(data)
    for note in text.notes:
        report.note(note)
    return tokenise(text, vocab_size, store.results / "cache")
