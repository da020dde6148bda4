"""Scoring the shapes of a study: halving on the trunk, then seeds for the finalists."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phonelm_search.core.deadline import NEVER, Deadline
from phonelm_search.core.defaults import (
    DEFAULT_BUDGET,
    DEFAULT_FINALISTS,
    DEFAULT_TOKENS_PER_PARAMETER,
)
from phonelm_search.core.precision import Precision
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.reporting import Reporter
from phonelm_search.core.shape import ModelShape
from phonelm_search.quality.comparison import QUICK_LOOK, Score, gather
from phonelm_search.quality.halving import Halving, Rung
from phonelm_search.quality.learning_rate import (
    LearningRateCheck,
    check_learning_rate,
    learning_rate_runs,
)
from phonelm_search.store import Store
from phonelm_search.train import (
    Candidate,
    Outcome,
    Pool,
    Run,
    TokenisedCorpus,
    TrainingRuns,
    TrainingSettings,
    check_whole,
    make_candidates,
    tokens_file,
    width_factor,
)

_COMPARED = "all candidates must come to a rung to be compared"
_TOKEN_UNIT = 16_384
_TOGETHER = 1.15  # trainings beside each other take so much longer than one alone
_LEAST_TRAINED = 2
_LOCAL_SPEED = 3000.0  # tokens/s of a 1M decoder on one core, for the dry run's estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """What a person chooses about scoring."""

    tokens_per_parameter: float = DEFAULT_TOKENS_PER_PARAMETER
    """Tokens per decoder parameter of the largest trained shape; one count for all."""
    budget: int | None = DEFAULT_BUDGET
    """Decoder parameters of miniatures; None trains the shapes themselves."""
    typical: int | None = None
    """Decoder parameters that shrink to the budget; None: the median of what is trained."""
    vocab_size: int = 512
    """The proxy's vocabulary."""
    seed: int = 0
    """First seed of weights and data order, common to all candidates."""
    seeds: int | None = None
    """Seeds of the finalists; None: one for a quick look, else two."""
    finalists: int = DEFAULT_FINALISTS
    """Candidates that train to the end; the others stop on the way."""
    settled: Mapping[str, Any] = field(default_factory=dict)
    """What an earlier scoring of the study has settled: ``acceleration``, ``learning_rate``."""

    @property
    def quick(self) -> bool:
        """Whether this is a quick look."""
        return self.tokens_per_parameter < QUICK_LOOK

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Seeds of the finalists."""
        count = self.seeds or (1 if self.quick else 2)
        return tuple(range(self.seed, self.seed + count))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePlan:
    """What scoring will train."""

    candidates: tuple[Candidate, ...]
    """A candidate for each shape."""
    tokens: int
    """Tokens for each finalist."""
    width_factor: float
    """By which all of them shrank."""

    def estimated_seconds(self, settings: ScoreSettings, workers: int) -> float:
        """A rough time on this machine's processors."""
        sizes = sorted((c.trained.decoder_parameters for c in self.candidates), reverse=True)
        ends = min(settings.finalists, len(sizes))
        # Halving costs less than half a run for each that stops on its way.
        runs = ends * len(settings.all_seeds) + 0.4 * (len(sizes) - ends)
        if not settings.quick:
            runs += 1.5
        work = self.tokens * sum(sizes) / len(sizes) / 1e6
        return max(runs / workers, 1) * work / _LOCAL_SPEED


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What a scoring gave."""

    settings: TrainingSettings
    """How all were trained."""
    seeds: tuple[int, ...]
    """Seeds of the finalists."""
    scores: Mapping[str, Score]
    """By shape id; one without bits per byte was stopped or failed, and says why."""
    settled: Mapping[str, Any]
    """What later scorings of the study keep."""


def plan_scoring(shapes: Sequence[ModelShape], settings: ScoreSettings) -> ScorePlan:
    """Decide what is trained for each shape and for how long.

    Raises:
        TrainingError: If there is no shape, or a miniature would be too narrow.
    """
    sizes = sorted(s.decoder_parameters for s in shapes) or [1]
    typical = settings.typical or sizes[len(sizes) // 2]
    candidates = make_candidates(
        shapes, vocab_size=settings.vocab_size, typical=typical, budget=settings.budget
    )
    largest = max(c.trained.decoder_parameters for c in candidates)
    # Rounded up, so that a slightly larger candidate does not make all train anew.
    units = math.ceil(settings.tokens_per_parameter * largest / _TOKEN_UNIT)
    return ScorePlan(
        candidates=tuple(candidates),
        tokens=units * _TOKEN_UNIT,
        width_factor=round(width_factor(typical, settings.budget), 6),
    )


def score_shapes(
    store: Store,
    study: str,
    shapes: Sequence[ModelShape],
    settings: ScoreSettings,
    corpus: TokenisedCorpus,
    *,
    scheme: Precision,
    report: Reporter,
    on_settled: Callable[[Mapping[str, Any]], None] = lambda settled: None,
    retrain: bool = False,
    deadline: Deadline = NEVER,
    pool: Callable[[], Pool] | None = None,
) -> Scoring:
    """Score shapes by training each for the same tokens.

    Every finished candidate is in the database at once and every rung has its checkpoint; a
    rerun trains only what is missing and comes to the same numbers.

    Args:
        store: The database.
        study: Name of the study, to which the halving belongs.
        shapes: What to compare.
        settings: Horizon, size, seeds, finalists.
        corpus: The text, from `corpus.tokenise` into the results' cache.
        scheme: Finalists are also scored with weights rounded like this.
        report: Shows progress.
        on_settled: Called with what later scorings must keep, as soon as it is decided.
        retrain: Train what is known, too.
        deadline: Where it comes too early for all, fewer are trained, spread over the list; two are
            in any case.
        pool: Makes what trains; by default child processes, one per core or GPU.

    Raises:
        TrainingError: If there is no shape, or training cannot run here.
        StoreError: If the database cannot be written.
    """
    plan = plan_scoring(shapes, settings)
    file: Path = tokens_file(store.results / "cache", corpus)
    training = _training_settings(plan, corpus, settings, report)
    with TrainingRuns(
        store, file, scheme=scheme.name, report=report, pool=pool() if pool else None
    ) as runner:
        training, settled = _settle(plan.candidates, training, settings, runner, report, on_settled)
        chosen = _affordable(plan.candidates, training, settings, settled, runner, deadline)
        if len(chosen) < len(plan.candidates):
            report.note(
                f"time for {len(chosen)} of {len(plan.candidates)} trainings; more --minutes "
                "train the others"
            )
        runs = [
            Run(candidate=c, settings=training, seed=settings.seed, keep_weights=True)
            for c in chosen
        ]
        seeded = [replace(r, seed=seed) for seed in settings.all_seeds for r in runs]
        if retrain:
            runner.forget(seeded)
        halving = Halving(
            store, study, training, chosen,
            seed=settings.seed, finalists=settings.finalists, anew=retrain,
        )  # fmt: skip
        first = _halve(halving, runs, runner)
        finalists = halving.finished()
        others = _train_again(
            [r for r in seeded if r.seed != settings.seed and r.shape_id in finalists], runner
        )
    scores = gather([*first, *others])
    return Scoring(settings=training, seeds=settings.all_seeds, scores=scores, settled=settled)


def _affordable(
    candidates: Sequence[Candidate],
    training: TrainingSettings,
    settings: ScoreSettings,
    settled: Mapping[str, Any],
    runner: TrainingRuns,
    deadline: Deadline,
) -> Sequence[Candidate]:
    """Candidates that can be trained in time, by the speed that was measured."""
    if not deadline.ends:
        return candidates
    variant = training.number_type + (", compiled" if training.compiled else "")
    speed = settled["acceleration"]["tokens_per_s"].get(variant)
    if speed is None:  # settled by an earlier release
        return candidates
    each = _TOGETHER * len(settings.all_seeds) * training.tokens / speed
    known = {run[1] for run in runner.known(
        [Run(candidate=c, settings=training, seed=settings.seed) for c in candidates]
    )}  # fmt: skip
    waves = int(deadline.left / each)
    count = max(_LEAST_TRAINED, waves * runner.pool.workers + len(known))
    if count >= len(candidates):
        return candidates
    rows = {round(i * (len(candidates) - 1) / (count - 1)) for i in range(count)}
    return [c for i, c in enumerate(candidates) if i in rows or c.shape.shape_id in known]


def _training_settings(
    plan: ScorePlan, corpus: TokenisedCorpus, settings: ScoreSettings, report: Reporter
) -> TrainingSettings:
    """How all train, before number type and learning rate are settled."""
    repeats = plan.tokens / len(corpus.train)
    if repeats > 1:
        report.note(f"the text is read {repeats:.1f} times; give more of it with --data")
    return TrainingSettings(
        corpus=corpus.digest,
        vocab_size=corpus.vocab_size,
        tokens=plan.tokens,
        budget=settings.budget,
        width_factor=plan.width_factor,
    )


def _train_again(runs: Sequence[Run], runner: TrainingRuns) -> list[ProxyScore]:
    """Finalists' scores with other seeds."""
    if runs:
        runner.stage("training finalists with other seeds", runs)
    return runner.scores(runs)


def _settle(
    candidates: Sequence[Candidate],
    training: TrainingSettings,
    settings: ScoreSettings,
    runner: TrainingRuns,
    report: Reporter,
    on_settled: Callable[[Mapping[str, Any]], None],
) -> tuple[TrainingSettings, dict[str, Any]]:
    """Number type, compilation and learning rate, as settled before or measured now."""
    settled = dict(settings.settled)
    if "acceleration" not in settled:
        report.stage("measuring how this machine trains fastest", 0)
        largest = max(candidates, key=lambda c: c.trained.decoder_parameters)
        found = runner.pool.fastest(largest.trained, training, runner.tokens_file)
        if found.note:
            report.note(found.note)
        settled["acceleration"] = found.as_dict()
        on_settled(settled)
    training = replace(
        training,
        number_type=settled["acceleration"]["number_type"],
        compiled=settled["acceleration"]["compiled"],
    )
    if "learning_rate" not in settled and not settings.quick:
        runs = learning_rate_runs(candidates, training, settings.seed)
        runner.stage("checking the learning rate", runs)
        check = check_learning_rate(runs, runner)
        settled["learning_rate"] = check.as_dict()
        on_settled(settled)
        runner.drop_checkpoints(runs)
        for shape_id, lost in check.given_up.items():
            if lost > check.tolerance:
                report.note(
                    f"learning rates don't carry over to {shape_id}: it is {lost:.3f} bits per "
                    "byte above its own best; its score is too pessimistic by about that"
                )
    if "learning_rate" in settled:
        check = LearningRateCheck.from_dict(settled["learning_rate"])
        training = replace(training, lr_factor=check.chosen)
    return training, settled


def _halve(halving: Halving, runs: Sequence[Run], runner: TrainingRuns) -> list[ProxyScore]:
    """A record for each run: a score for finalists, a reason for the others.

    Raises:
        TrainingError: If a training was cut off: a bin is judged whole, or not at all.
    """
    by_id = {r.shape_id: r for r in runs}
    known = {key[1]: s for key, s in runner.known(runs, stopped=True).items()}
    runner.stage("training", runs)
    for rung in halving.rungs:
        here = {i: replace(by_id[i], until=rung.step) for i in halving.running()}
        for shape_id in here:
            seen = dict(known[shape_id].rungs) if shape_id in known else {}
            if halving.value(shape_id, rung) is None and rung.tokens in seen:
                halving.report(shape_id, rung, seen[rung.tokens])
        missing = [r for i, r in here.items() if halving.value(i, rung) is None]

        def arrive(run: Run, outcome: Outcome, rung: Rung = rung) -> None:
            shape_id = run.shape_id
            if outcome.bits_per_byte is not None:
                halving.report(shape_id, rung, outcome.bits_per_byte)
            elif not outcome.transient:
                known[shape_id] = runner.keep(by_id[shape_id], outcome)
                halving.finish(shape_id, None)

        outcomes = runner.outcomes(missing, arrive)
        reached = dict(zip((r.shape_id for r in missing), outcomes, strict=True))
        check_whole(reached.values(), _COMPARED)
        weak = halving.weak(rung)
        # What was finished in another halving keeps its score and only leaves this one.
        unscored = {i for i in weak if i not in known or known[i].bits_per_byte is None}
        # After a kill from the checkpoint of this rung; the record is written before the trial is
        # told.
        lost = [here[i] for i in unscored - reached.keys()]
        reached |= zip((r.shape_id for r in lost), runner.outcomes(lost), strict=True)
        check_whole(reached.values(), _COMPARED)
        for shape_id in unscored:
            ended = replace(by_id[shape_id], rungs=halving.values(shape_id))
            known[shape_id] = runner.keep(ended, reached[shape_id], stopped=weak[shape_id])
        for shape_id in weak:
            halving.stop(shape_id)
            runner.skip(by_id[shape_id])
    ending = halving.running() | halving.finished()
    left = [
        replace(run, rungs=halving.values(i))
        for i, run in by_id.items()
        # A finished one whose record another halving replaced is trained again.
        if i in ending or i not in known
    ]
    for shape_id in by_id.keys() - {r.shape_id for r in left}:
        runner.skip(by_id[shape_id])
    for score in runner.scores(left):
        known[score.shape_id] = score
        if not score.transient:
            halving.finish(score.shape_id, score.bits_per_byte)
    return [known[i] for i in by_id]
