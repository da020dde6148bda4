"""Training for a study: relatives that tell its candidates apart, chosen, trained and kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from phonelm_search.core.budget import Budget, check_budgets
from phonelm_search.core.deadline import Deadline
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.reporting import Reporter
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_count
from phonelm_search.quality import (
    Rung,
    ScoreSettings,
    larger_rung,
    plan_ladder,
    possible_rungs,
    settle_acceleration,
    train_rungs,
)
from phonelm_search.reading import (
    Pick,
    Rule,
    StudyView,
    candidates,
    dataset_of,
    ladder_of,
    law_of,
)
from phonelm_search.stages.aims import read_law, set_budgets, set_law, set_train_tokens
from phonelm_search.stages.decide import decide
from phonelm_search.stages.session import Session, open_session, pool_of
from phonelm_search.store import Store
from phonelm_search.train import (
    Pool,
    TokenisedCorpus,
    TrainingRuns,
    load_text,
    tokenise,
    tokens_file,
)
from phonelm_search.work import Engine

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
    budgets: Sequence[Budget] = (),
    law: str | Path | None = None,
    rule: Rule | None = None,
    command: str | None = None,
    pool: Callable[[], Pool] | None = None,
    engine: Engine | None = None,
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
        budgets: What the pick must keep, see `with_budgets`.
        law: See `read_law`.
        rule: How to pick; by default as before.
        command: The command line that asks for it, which the study keeps.
        pool: Makes what trains; by default child processes, one per core or GPU.
        engine: What places trainings where no pool is given; None: this process does.

    Raises:
        UnknownNameError: If there is no such study.
        TrainingError: If nothing was measured yet, or the text cannot be used.
        StoreError: If the database cannot be used, or another process works on the study.
        ExportError: If a file cannot be written.
    """
    with open_session(store, study, report=report, pool=pool or pool_of(engine)) as session:
        store.study(study)  # one that is unknown needs no text
        corpus = prepare_corpus(store, settings.vocab_size, data, report) if data else None
        chosen_law = read_law(law)
        check_budgets(budgets, session.view.devices, str(session.view.scenario))
        set_law(session, chosen_law)
        set_train_tokens(session, train_tokens)
        set_budgets(session, budgets)
        score(
            session, settings, top=top, data=data, retrain=retrain, command=command, corpus=corpus
        )
        if validate:
            validate_law(session, settings, top=top, data=data, corpus=corpus)
        decision = decide(session, rule=rule)
        close_score(session)
        return decision


def close_score(session: Session) -> None:
    """Let the next scoring plan trainings of its own: this one has come to its pick."""
    if (session.store.study(session.study).config.get("score") or {}).get("open"):
        session.extend("score", {"open": False})


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
    corpus: TokenisedCorpus | None = None,
) -> None:
    """Train what tells the front of an open study apart, or given ``shapes``, and keep it.

    What is trained is chosen before the first training and kept, so that a rerun after a stop goes
    on with it. Told again after its end, it goes on for as long. ``corpus`` is the text where it is
    prepared already.

    Raises:
        TrainingError: If nothing was measured yet, or the text cannot be used.
        StoreError: If the database cannot be used.
    """
    if shapes is None and not session.view.sampled:
        raise TrainingError(
            f"study '{session.study}' must have measured shapes to train for; run "
            "`phonelm-search search` first"
        )
    with _Trainings(session, settings, data, corpus) as trainings:
        session.remember(command)
        if retrain:
            trainings.forget()
        trainings.train_ladder(
            shapes or candidates(session.view, top), deadline or Deadline(60 * settings.minutes)
        )


def validate_law(
    session: Session,
    settings: ScoreSettings,
    *,
    top: int,
    data: Sequence[str] = (),
    corpus: TokenisedCorpus | None = None,
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
    with _Trainings(session, settings, data, corpus) as trainings:
        trainings.train_larger(candidates(view, top))


class _Trainings:
    """The trainings of an open study, on one text.

    Args:
        session: The study.
        settings: How to train.
        data: Text; nothing: the embedded corpus.
        corpus: The same where it is prepared already.
    """

    def __init__(
        self,
        session: Session,
        settings: ScoreSettings,
        data: Sequence[str],
        corpus: TokenisedCorpus | None,
    ) -> None:
        self._session, self._data, self._settings = session, list(data), settings
        self._corpus = corpus or prepare_corpus(
            session.store, settings.vocab_size, data, session.report
        )
        self._training = settings.training(self._corpus)
        self._runner = TrainingRuns(
            session.store,
            tokens_file(session.store.results / "cache", self._corpus),
            scheme=session.view.device.scheme.name,
            report=session.report,
            pool=session.pool() if session.pool else None,
        )

    def __enter__(self) -> "_Trainings":
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.pool.close()

    def forget(self) -> None:
        """Drop what was trained for the study, but for what another study counts, too."""
        store, study = self._session.store, self._session.study
        others = [_key(e) for r in store.studies() if r.name != study for e in ladder_of(r)]
        trainings = self._session.view.trainings
        self._runner.forget([t for t in trainings if _key(_entry(t)) not in others])
        self._session.configure("score", {})

    def train_ladder(self, shapes: Sequence[ModelShape], deadline: Deadline) -> None:
        """Train what tells shapes apart, or what an earlier scoring did not come to."""
        if deadline.left <= 0:
            self._session.report.note("no time is left for trainings; more --minutes train")
            return
        rungs = self._left_over()
        if not rungs and self._is_done():
            return
        possible = self._unknown(
            possible_rungs(
                shapes,
                largest=self._settings.budget,
                tokens_per_parameter=self._settings.tokens_per_parameter,
                vocab_size=self._corpus.vocab_size,
                step_tokens=self._training.step_tokens,
            )
        )
        if not rungs and possible:
            speed = self._settle(possible)
            view = self._session.view
            seconds = 60 * self._settings.minutes * self._runner.pool.workers
            rungs = plan_ladder(
                law_of(view.prior, view.evidence, dataset=dataset_of(asdict(self._training))),
                shapes,
                possible,
                tokens=view.train_tokens,
                seconds=speed * seconds,
            )
        if not rungs:
            self._session.report.note("everything that --proxy-parameters allows is trained")
        self._train(rungs, deadline)

    def train_larger(self, shapes: Sequence[ModelShape]) -> None:
        """Train the rung that the law is held against, of one size however often it is told.

        Raises:
            TrainingError: If the shapes are no larger than what is trained.
        """
        record = self._record
        size = record.get("held_out_parameters") or 2 * max(
            t.shape.decoder_parameters for t in self._session.view.evidence
        )
        rungs = larger_rung(
            shapes,
            size,
            tokens_per_parameter=self._settings.tokens_per_parameter,
            vocab_size=self._corpus.vocab_size,
            step_tokens=self._training.step_tokens,
            count=_HELD_OUT,
        )
        if not rungs:
            raise TrainingError(
                f"shapes must be larger than {format_count(size)} decoder parameters to train "
                "larger relatives of them, these are not"
            )
        self._session.extend("score", {"held_out_parameters": size})
        self._train(self._unknown(rungs), Deadline())

    @property
    def _record(self) -> Mapping[str, Any]:
        """What the study keeps of its trainings."""
        found: Mapping[str, Any] = (
            self._session.store.study(self._session.study).config.get("score") or {}
        )
        return found

    def _left_over(self) -> list[Rung]:
        """What an earlier scoring on this text planned and did not come to."""
        record = self._record
        if record.get("data", []) != self._data:
            return []
        return self._unknown(
            [
                Rung(shape=ModelShape(**r["shape"]), tokens=r["tokens"])
                for r in record.get("plan", ())
            ]
        )

    def _is_done(self) -> bool:
        """Whether a stopped run has trained all that it planned, and not come to its pick."""
        record = self._record
        return bool(record.get("open")) and record.get("data", []) == self._data

    def _unknown(self, rungs: Sequence[Rung]) -> list[Rung]:
        """Those that the study has no training of on this text."""
        ours = dataset_of(asdict(self._training))
        known = {
            (t.shape_id, t.tokens)
            for t in self._session.view.trainings
            if dataset_of(t.settings) == ours and t.seed == self._settings.seed
        }
        return [r for r in rungs if (r.shape.shape_id, r.tokens) not in known]

    def _settle(self, rungs: Sequence[Rung]) -> float:
        """How this machine trains, as it was settled before or is measured now.

        Returns:
            Its speed in multiples of what `training_seconds` reckons.
        """
        record = self._record
        settled = record.get("settled", {}) if record.get("data", []) == self._data else {}
        if "speed" not in settled:
            settled = settle_acceleration(
                rungs, self._training, self._settings.minutes, self._runner, self._session.report
            )
            self._session.extend(
                "score",
                {
                    "data": self._data,
                    "seed": self._settings.seed,
                    "lzma_bits_per_byte": self._corpus.lzma_bits_per_byte,
                    "settled": settled,
                },
            )
        found = settled["acceleration"]
        self._training = replace(
            self._training, number_type=found["number_type"], compiled=found["compiled"]
        )
        return float(settled["speed"])

    def _train(self, rungs: Sequence[Rung], deadline: Deadline) -> None:
        """Train rungs in their order; each counts in the study as soon as it is finished."""
        if not rungs:
            return
        speed = self._settle(rungs)
        plan = [{"shape": r.shape.as_dict(), "tokens": r.tokens} for r in rungs]
        self._session.extend("score", {"plan": plan, "open": True})

        def keep(records: Sequence[ProxyScore]) -> None:
            for record in records:
                if record.reason:
                    self._session.report.note(f"{record.shape_id} has no score: {record.reason}")
            ladder = [*ladder_of(self._session.store.study(self._session.study))]
            known = [_key(e) for e in ladder]
            ladder += [e for r in records if _key(e := _entry(r)) not in known]
            self._session.extend("score", {"ladder": ladder})

        train_rungs(
            rungs, self._training, self._runner, seed=self._settings.seed, speed=speed,
            deadline=deadline, report=self._session.report, on_trained=keep,
        )  # fmt: skip


def _key(entry: Mapping[str, Any]) -> tuple[str, str, int]:
    """What an entry of a ladder is found by."""
    return entry["settings_id"], entry["shape_id"], entry["seed"]


def _entry(record: ProxyScore) -> dict[str, Any]:
    return {
        "settings_id": record.settings_id, "shape_id": record.shape_id, "seed": record.seed,
    }  # fmt: skip


def prepare_corpus(
    store: Store, vocab_size: int, data: Sequence[str], report: Reporter
) -> TokenisedCorpus:
    """Read and tokenise the text.

    Raises:
        TrainingError: If it cannot be used.
    """
    report.stage("preparing the text", 0)
    text = load_text(data)
    for note in text.notes:
        report.note(note)
    return tokenise(text, vocab_size, store.results / "cache")
