"""Training the front of a study, from what was measured to scores that are kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from phonelm_search.core.deadline import NEVER, Deadline
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.reporting import Reporter
from phonelm_search.core.shape import ModelShape
from phonelm_search.quality import (
    LEAST_COMPARED,
    LEAST_SHAPES,
    ScoreSettings,
    Scoring,
    Validation,
    plan_validation,
    score_shapes,
    validate_scores,
)
from phonelm_search.reading import Pick, Rule, StudyView, candidates, typical_size
from phonelm_search.space import SearchSpace
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
    rule: Rule | None = None,
    command: str | None = None,
    pool: Callable[[], Pool] | None = None,
) -> tuple[Pick, StudyView]:
    """Train the front and near-front of a study, pick, and write the study's files.

    Args:
        store: The database.
        study: Name of the study.
        settings: How to train.
        top: How many shapes enter training.
        report: Shows progress.
        data: Text to train on, see `train.load_text`; nothing: the embedded corpus.
        retrain: Train what has a score already, too.
        validate: Whether a sample is trained much longer afterwards, see `validate_study`.
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
        score(session, settings, top=top, data=data, retrain=retrain, command=command)
        if validate:
            validate_study(session, count=max(top, LEAST_SHAPES))
        return decide(session, rule=rule)


def score(
    session: Session,
    settings: ScoreSettings,
    *,
    top: int,
    data: Sequence[str] = (),
    retrain: bool = False,
    shapes: Sequence[ModelShape] | None = None,
    command: str | None = None,
    deadline: Deadline = NEVER,
) -> None:
    """Train the front and near-front of an open study, or given ``shapes``, and keep the scores.

    Where ``deadline`` comes too early for all, fewer are trained.

    Raises:
        TrainingError: If nothing was measured yet, or the text cannot be used.
        StoreError: If the database cannot be used.
    """
    store, report = session.store, session.report
    settings = continued(session.view, settings, data)
    if shapes is None:
        shapes, refusals = candidates(session.view, top, settings)
        if refusals:
            report.note(
                f"{len(refusals)} measured shapes cannot be trained, the first: {refusals[0]}"
            )
    corpus = prepare_corpus(store, settings.vocab_size, data, report)
    session.remember(command)

    def on_settled(settled: Mapping[str, Any]) -> None:
        # At once: a scoring that is stopped must not choose anew and train all again.
        before = {"budget": settings.budget, "data": list(data), "typical": settings.typical}
        session.extend("score", {**before, "settled": dict(settled)})

    scoring = score_shapes(
        store,
        session.study,
        shapes,
        settings,
        corpus,
        scheme=session.view.device.scheme,
        report=report,
        on_settled=on_settled,
        retrain=retrain,
        deadline=deadline,
        pool=session.pool,
    )
    for shape_id, result in scoring.scores.items():
        if result.reason and not result.first.stopped:
            report.note(f"{shape_id} has no score: {result.reason}")
    session.extend("score", _record(settings, scoring, corpus, data))


def validate_study(session: Session, *, count: int) -> Validation:
    """Train a sample of a scored study's shapes much longer, and keep how the orders agree.

    Args:
        session: A study that was scored.
        count: Shapes of the sample: front and near-front, spread over depth.

    Raises:
        TrainingError: If it has no score, or fewer than four shapes can be compared.
        StoreError: If the database cannot be used.
    """
    view, study, store = session.view, session.study, session.store
    record = view.record.config.get("score")
    if not record or not view.scored:
        raise TrainingError(
            f"study '{study}' must have scores to validate; run `phonelm-search score {study}`"
        )
    first = view.scored[0].score
    assert first is not None
    training = TrainingSettings.from_dict(first.first.settings)
    settings = ScoreSettings(budget=record["budget"], typical=record["typical"])
    shapes, _ = candidates(view, count, settings)
    if len(shapes) < LEAST_COMPARED:
        raise TrainingError(
            f"at least {LEAST_COMPARED} shapes must be compared to validate, study '{study}' "
            f"has {len(shapes)}; search on with more --trials"
        )
    corpus = prepare_corpus(store, record["vocab_size"], record["data"], session.report)
    if corpus.digest != training.corpus:
        raise TrainingError(
            f"the text must be what the scores of '{study}' were trained on, it has changed; "
            "score the study again"
        )
    scheme = view.device.scheme
    file = tokens_file(store.results / "cache", corpus)
    plan = plan_validation(shapes, training, typical=record["typical"], seed=record["seeds"][0])
    sizes = [s.weight_bytes(scheme).total for s in shapes]
    pool = session.pool() if session.pool else None
    with TrainingRuns(
        store, file, scheme=scheme.name, report=session.report, pool=pool
    ) as trainings:
        validation = validate_scores(shapes, plan, trainings, sizes)
    session.extend("validation", validation.as_dict())
    return validation


def continued(view: StudyView, settings: ScoreSettings, data: Sequence[str]) -> ScoreSettings:
    """Settings with what the study's first scoring has settled."""
    before: Mapping[str, Any] = view.record.config.get("score") or {}
    space = SearchSpace.model_validate(view.record.config["space"])
    sizes = [r.shape.decoder_parameters for r in view.sampled]
    # Shapes measured later must not move the width factor.
    typical = before.get("typical") or typical_size(space, sizes)
    same = (before.get("budget"), before.get("data", [])) == (settings.budget, list(data))
    settled = before.get("settled", {}) if same and not settings.settled else settings.settled
    return replace(settings, typical=typical, settled=settled)


def prepare_corpus(
    store: Store, vocab_size: int, data: Sequence[str], report: Reporter
) -> TokenisedCorpus:
    """Read and tokenise the text."""
    report.stage("preparing the text", 0)
    text = load_text(data)
    for note in text.notes:
        report.note(note)
    return tokenise(text, vocab_size, store.results / "cache")


def _record(
    settings: ScoreSettings, scoring: Scoring, corpus: TokenisedCorpus, data: Sequence[str]
) -> dict[str, Any]:
    """What a study keeps of how it was scored."""
    return {
        "settings_id": scoring.settings.settings_id,
        "tokens_per_parameter": settings.tokens_per_parameter,
        "budget": settings.budget,
        "vocab_size": settings.vocab_size,
        "seed": settings.seed,
        "seeds": list(scoring.seeds),
        "finalists": settings.finalists,
        "typical": settings.typical,
        "data": list(data),
        "lzma_bits_per_byte": corpus.lzma_bits_per_byte,
        "settled": dict(scoring.settled),
    }
