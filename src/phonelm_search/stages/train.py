"""Training the front of a study, from what was measured to scores that are kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.reporting import Reporter
from phonelm_search.core.shape import ModelShape
from phonelm_search.quality import (
    LEAST_COMPARED,
    ScoreSettings,
    Scoring,
    Validation,
    plan_validation,
    score_shapes,
    validate_scores,
)
from phonelm_search.reading import StudyView, candidates, load_view, typical_size
from phonelm_search.space import SearchSpace
from phonelm_search.stages.setup import remember_command
from phonelm_search.store import Store, study_lock
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
    shapes: Sequence[ModelShape] | None = None,
    command: str | None = None,
    pool: Callable[[], Pool] | None = None,
) -> StudyView:
    """Train the front and near-front of a study.

    Args:
        store: The database.
        study: Name of the study.
        settings: How to train.
        top: How many shapes enter training.
        report: Shows progress.
        data: Text to train on, see `proxy.text.load_text`; nothing: the embedded corpus.
        retrain: Train what has a score already, too.
        shapes: Train these in place of the front.
        command: The command line that asks for it, which the study keeps.
        pool: Makes what trains; by default child processes, one per core or GPU.

    Raises:
        UnknownNameError: If there is no such study.
        TrainingError: If nothing was measured yet, or the text cannot be used.
        StoreError: If the database cannot be used.
    """
    with study_lock(store.results, study):
        view = load_view(store, study)
        settings = continued(view, settings, data)
        if shapes is None:
            shapes, left_out = candidates(view, top, settings)
            if left_out:
                report.note(
                    f"{len(left_out)} measured shapes cannot be trained, the first: {left_out[0]}"
                )
        corpus = prepare_corpus(store, settings.vocab_size, data, report)
        remember_command(store, store.study(study), command)

        def on_settled(settled: Mapping[str, Any]) -> None:
            # At once: a scoring that is stopped must not choose anew and train all again.
            kept = {"budget": settings.budget, "data": list(data), "typical": settings.typical}
            _update(store, study, "score", {**kept, "settled": dict(settled)})

        found = score_shapes(
            store,
            study,
            shapes,
            settings,
            corpus,
            scheme=view.device.scheme,
            report=report,
            on_settled=on_settled,
            retrain=retrain,
            pool=pool,
        )
        for shape_id, score in found.scores.items():
            if score.reason and not score.first.stopped:
                report.note(f"{shape_id} has no score: {score.reason}")
        _update(store, study, "score", _kept(settings, found, corpus, data))
    return load_view(store, study)


def _update(store: Store, study: str, key: str, values: Mapping[str, Any]) -> None:
    """Add to a part of a study's configuration as it is now, perhaps hours after it was read."""
    record = store.study(study)
    part = {**(record.config.get(key) or {}), **values}
    store.save_study(replace(record, config={**record.config, key: part}))


def run_validation(
    store: Store,
    study: str,
    *,
    count: int,
    report: Reporter,
    pool: Callable[[], Pool] | None = None,
) -> tuple[Validation, StudyView]:
    """Train a sample of a scored study's shapes much longer, and keep how the orders agree.

    Args:
        store: The database.
        study: Name of a study that was scored.
        count: Shapes of the sample: front and near-front, spread over depth.
        report: Shows progress.
        pool: As in `run_score`.

    Raises:
        UnknownNameError: If there is no such study.
        TrainingError: If it has no score, or fewer than four shapes can be compared.
        StoreError: If the database cannot be used.
    """
    with study_lock(store.results, study):
        view = load_view(store, study)
        chosen = view.record.config.get("score")
        if not chosen or not view.scored:
            raise TrainingError(
                f"study '{study}' must have scores to validate; run `phonelm-search score {study}`"
            )
        score = view.scored[0].score
        assert score is not None
        training = TrainingSettings.from_dict(score.first.settings)
        settings = ScoreSettings(budget=chosen["budget"], typical=chosen["typical"])
        shapes, _ = candidates(view, count, settings)
        if len(shapes) < LEAST_COMPARED:
            raise TrainingError(
                f"at least {LEAST_COMPARED} shapes must be compared to validate, study '{study}' "
                f"has {len(shapes)}; search on with more --trials"
            )
        corpus = prepare_corpus(store, chosen["vocab_size"], chosen["data"], report)
        if corpus.digest != training.corpus:
            raise TrainingError(
                f"the text must be what the scores of '{study}' were trained on, it has changed; "
                "score the study again"
            )
        scheme = view.device.scheme
        file = tokens_file(store.results / "cache", corpus)
        plan = plan_validation(shapes, training, typical=chosen["typical"], seed=chosen["seeds"][0])
        sizes = [s.weight_bytes(scheme).total for s in shapes]
        with TrainingRuns(
            store, file, scheme=scheme.name, report=report, pool=pool() if pool else None
        ) as runner:
            found = validate_scores(shapes, plan, runner, sizes)
        _update(store, study, "validation", found.as_dict())
    return found, load_view(store, study)


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


def _kept(
    settings: ScoreSettings, found: Scoring, corpus: TokenisedCorpus, data: Sequence[str]
) -> dict[str, Any]:
    return {
        "settings_id": found.settings.settings_id,
        "tokens_per_parameter": settings.tokens_per_parameter,
        "budget": settings.budget,
        "vocab_size": settings.vocab_size,
        "seed": settings.seed,
        "seeds": list(found.seeds),
        "finalists": settings.finalists,
        "typical": settings.typical,
        "data": list(data),
        "lzma_bits_per_byte": corpus.lzma_bits_per_byte,
        "settled": dict(found.settled),
    }
