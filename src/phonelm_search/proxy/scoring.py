"""Scoring the shapes of a study: what is in the database is read, the rest is trained."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from phonelm_search import __version__
from phonelm_search.proxy.corpus import tokenise, tokens_file
from phonelm_search.proxy.miniature import Candidate, make_candidates, width_factor
from phonelm_search.proxy.pool import TrainingJob, TrainingPool
from phonelm_search.proxy.training import Outcome, TrainingSettings
from phonelm_search.records import ProxyScore, identity
from phonelm_search.shape import ModelShape
from phonelm_search.store import Store

DEFAULT_TOKENS_PER_PARAMETER = 0.5
DEFAULT_BUDGET = 1_000_000
_TOKEN_UNIT = 16_384
_LOCAL_SPEED = 4000.0  # tokens/s of a 1M decoder on one core, for the dry run's estimate


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
    """Seed of weights and data order, common to all candidates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePlan:
    """What scoring will train."""

    candidates: tuple[Candidate, ...]
    """A candidate for each shape."""
    tokens: int
    """Tokens for each of them."""
    width_factor: float
    """By which all of them shrank."""

    def estimated_seconds(self, workers: int) -> float:
        """A rough time on this machine's processors."""
        work = [self.tokens * c.trained.decoder_parameters / 1e6 for c in self.candidates]
        return max(sum(work) / workers, max(work)) / _LOCAL_SPEED


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
    shapes: Sequence[ModelShape],
    settings: ScoreSettings,
    *,
    retrain: bool = False,
    on_start: Callable[[int, int], None] = lambda jobs, tokens: None,
    on_progress: Callable[[int, int, float], None] = lambda index, tokens, bits: None,
    workers: int | None = None,
) -> tuple[list[ProxyScore], str]:
    """Score shapes by training each for the same tokens.

    Every finished candidate is in the database at once; a rerun trains only what is missing.

    Args:
        store: The database.
        shapes: What to compare.
        settings: Horizon and size.
        retrain: Train what is known, too.
        on_start: Called with (number of trainings, tokens of each).
        on_progress: Called with (training, tokens so far, training bits per byte).
        workers: Trainings at once; by default one per core.

    Returns:
        A score for each shape, in order, and the id of the settings they share.

    Raises:
        TrainingError: If there is no shape or the corpus cannot be prepared.
        StoreError: If the database cannot be written.
    """
    plan = plan_scoring(shapes, settings)
    cache = store.results / "cache"
    corpus = tokenise(settings.vocab_size, cache)
    training = TrainingSettings(
        corpus=corpus.digest,
        vocab_size=corpus.vocab_size,
        tokens=plan.tokens,
        budget=settings.budget,
        width_factor=plan.width_factor,
    )
    settings_id = identity(asdict(training))
    ids = [s.shape_id for s in shapes]
    known = {
        s.shape_id: s
        for s in store.scores(shape_ids=ids, settings_id=settings_id)
        if s.seed == settings.seed
    }
    todo = [
        c
        for c in plan.candidates
        if retrain
        or c.shape.shape_id not in known
        or known[c.shape.shape_id].transient
        or dict(known[c.shape.shape_id].trained) != c.trained.as_dict()
    ]
    # The deepest take longest a token; first in, so that no core is idle at the end.
    todo.sort(key=lambda c: -c.trained.num_hidden_layers)
    on_start(len(todo), training.steps * training.sequence * training.batch)

    def keep(index: int, outcome: Outcome) -> None:
        score = _score(todo[index], outcome, training, settings_id, settings.seed)
        store.add_score(todo[index].shape, score)
        known[score.shape_id] = score

    file: Path = tokens_file(cache, corpus)
    jobs = [
        TrainingJob(shape=c.trained, settings=training, tokens_file=file, seed=settings.seed)
        for c in todo
    ]
    TrainingPool(workers).run(jobs, on_progress=on_progress, on_done=keep)
    return [known[i] for i in ids], settings_id


def _score(
    candidate: Candidate, outcome: Outcome, training: TrainingSettings, settings_id: str, seed: int
) -> ProxyScore:
    return ProxyScore(
        shape_id=candidate.shape.shape_id,
        settings_id=settings_id,
        settings=asdict(training),
        trained=candidate.trained.as_dict(),
        miniature=candidate.miniature,
        notes=candidate.notes,
        seed=seed,
        tokens=outcome.tokens,
        tokens_per_parameter=outcome.tokens / candidate.trained.decoder_parameters,
        bits_per_byte=outcome.bits_per_byte,
        chunk_bits=outcome.chunk_bits,
        chunk_bytes=outcome.chunk_bytes,
        curve=outcome.curve,
        seconds=outcome.seconds,
        reason=outcome.reason,
        transient=outcome.transient,
        package_version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
