"""Trainings of candidates: what is in the database is read, the rest is trained and kept."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from phonelm_search import __version__
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.reporting import Reporter
from phonelm_search.store import Store
from phonelm_search.train.jobs import TrainingJob
from phonelm_search.train.miniature import Candidate
from phonelm_search.train.pool import ChildPool, Pool
from phonelm_search.train.settings import Outcome, TrainingSettings

Key = tuple[str, str, int]
"""Settings, shape and seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One candidate with one seed."""

    candidate: Candidate
    """What is trained."""
    settings: TrainingSettings
    """How."""
    seed: int
    """Seed of weights and data order."""
    until: int | None = None
    """Step of the trunk to stop at; None: to the score."""
    keep_weights: bool = False
    """Whether the weights of a finished training are kept, for the hand-off."""
    rungs: tuple[tuple[int, float], ...] = ()
    """(tokens, bits per byte) that halving compared it by on its way."""

    @property
    def shape_id(self) -> str:
        """The candidate, which is not always the shape that is trained."""
        return self.candidate.shape.shape_id

    @property
    def key(self) -> Key:
        """What its score is found by."""
        return self.settings.settings_id, self.shape_id, self.seed

    @property
    def trunk(self) -> Key:
        """Runs of one trunk share their checkpoints."""
        return self.settings.trunk_id, self.shape_id, self.seed

    @property
    def tokens(self) -> int:
        """Tokens at its end."""
        steps = self.settings.steps if self.until is None else self.until
        return steps * self.settings.step_tokens


def weights_file(results: Path, settings_id: str, trained_id: str, seed: int) -> Path:
    """Where the weights of a finished training are kept."""
    name = f"{trained_id}-s{seed}.safetensors"
    return results / "cache" / "weights" / settings_id / name


def check_whole(found: Iterable[Outcome | ProxyScore], held: str) -> None:
    """Refuse to judge trainings of which some were cut off.

    Args:
        found: What became of all of them.
        held: What must hold, in words.

    Raises:
        TrainingError: If one may succeed at another try.
    """
    cut_off = [f.reason for f in found if f.transient]
    if cut_off:
        raise TrainingError(
            f"{held}, {len(cut_off)} did not: {cut_off[0]}; what was finished is kept, run again "
            "to continue"
        )


class TrainingRuns:
    """Trains runs in parallel, until it is closed, and keeps every score as soon as it is there.

    Args:
        store: The database; checkpoints are kept in its results' cache.
        tokens_file: The tokenised text.
        scheme: Name of the precision scheme that rounded weights are scored in, too.
        report: Shows progress.
        pool: Where they are trained, closed with this; by default in child processes.
    """

    def __init__(
        self,
        store: Store,
        tokens_file: Path,
        *,
        scheme: str | None,
        report: Reporter,
        pool: Pool | None = None,
    ) -> None:
        self.pool: Pool = ChildPool() if pool is None else pool
        self.tokens_file = tokens_file
        self._store, self._scheme, self._report = store, scheme, report
        self._reached: dict[Key, int] = {}
        self._rounded: dict[Key, dict[str, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def stage(self, title: str, runs: Sequence[Run]) -> None:
        """A stage of these runs begins."""
        ends: dict[Key, int] = {}
        for run in runs:
            ends[run.trunk] = max(ends.get(run.trunk, 0), run.tokens)
        self._report.stage(title, sum(ends.values()))
        self._reached.clear()

    def outcomes(
        self, runs: Sequence[Run], on_done: Callable[[Run, Outcome], None] = lambda run, found: None
    ) -> list[Outcome]:
        """Train; an outcome for each run, in order.

        Shapes whose miniatures are the same are trained once.
        """
        alike: dict[tuple[str, str, int], list[int]] = {}
        for index, run in enumerate(runs):
            key = (run.settings.settings_id, run.candidate.trained.shape_id, run.seed)
            alike.setdefault(key, []).append(index)
        groups = list(alike.values())
        found: dict[int, Outcome] = {}

        def advance(group: int, tokens: int, bits: float) -> None:
            trunk = runs[groups[group][0]].trunk
            before = self._reached.get(trunk, 0)
            self._reached[trunk] = max(before, tokens)
            self._report.advance(max(0, tokens - before), f"{bits:.3f} bits per byte")

        def done(group: int, outcome: Outcome) -> None:
            for index in groups[group]:
                found[index] = outcome
                if outcome.reason is None:
                    self.skip(runs[index])
                on_done(runs[index], outcome)

        jobs = [self._job(runs[group[0]]) for group in groups]
        self.pool.run(jobs, on_progress=advance, on_done=done)
        return [found[i] for i in range(len(runs))]

    def skip(self, run: Run) -> None:
        """A run of the stage goes no further."""
        self._report.advance(max(0, run.tokens - self._reached.get(run.trunk, 0)))
        self._reached[run.trunk] = max(run.tokens, self._reached.get(run.trunk, 0))

    def scores(self, runs: Sequence[Run]) -> list[ProxyScore]:
        """A score for each run: from the database where it is known, else trained and kept."""
        known = self.known(runs)
        for run in runs:
            if run.key in known:
                self.skip(run)
        todo = [r for r in runs if r.key not in known]
        # The deepest take longest a token; first in, so that no core is idle at the end.
        todo.sort(key=lambda r: (-r.tokens, -r.candidate.trained.num_hidden_layers))

        def keep(run: Run, outcome: Outcome) -> None:
            known[run.key] = self.keep(run, outcome)

        self.outcomes(todo, keep)
        return [known[r.key] for r in runs]

    def known(self, runs: Sequence[Run], *, stopped: bool = False) -> dict[Key, ProxyScore]:
        """What became of runs earlier, accidents left out, and by default what halving stopped."""
        trained = {r.shape_id: r.candidate.trained.as_dict() for r in runs}
        wanted = {r.key for r in runs}
        found = {}
        for settings_id in {r.settings.settings_id for r in runs}:
            for s in self._store.scores(shape_ids=list(trained), settings_id=settings_id):
                key = (settings_id, s.shape_id, s.seed)
                if key not in wanted or dict(s.trained) != trained[s.shape_id]:
                    continue
                self._rounded[key] = dict(s.quantised)
                # A score of another study may lack this one's precision: its decay is made again.
                lacks = s.bits_per_byte is not None and self._scheme not in (None, *s.quantised)
                if not s.transient and not lacks and (stopped or not s.stopped):
                    found[key] = s
        return found

    def forget(self, runs: Sequence[Run]) -> None:
        """Drop scores, checkpoints and weights of runs."""
        self._store.forget_scores({r.key for r in runs})
        self.drop_checkpoints(runs)
        for run in runs:
            self._weights(run).unlink(missing_ok=True)

    def drop_checkpoints(self, runs: Sequence[Run]) -> None:
        """Remove states that nothing goes on from."""
        for run in runs:
            shutil.rmtree(self.checkpoints(run), ignore_errors=True)

    def keep(self, run: Run, outcome: Outcome, *, stopped: str | None = None) -> ProxyScore:
        """Write what became of a run; ``stopped`` says why halving ended it."""
        candidate = run.candidate
        whole = outcome.finished
        rounded = self._rounded.get(run.key, {})
        if self._scheme and outcome.quantised is not None:
            rounded = {**rounded, self._scheme: outcome.quantised}
        score = ProxyScore(
            shape_id=candidate.shape.shape_id,
            settings_id=run.settings.settings_id,
            settings=asdict(run.settings),
            trained=candidate.trained.as_dict(),
            miniature=candidate.miniature,
            notes=(*candidate.notes, *outcome.notes),
            seed=run.seed,
            tokens=outcome.tokens,
            tokens_per_parameter=outcome.tokens / candidate.trained.decoder_parameters,
            bits_per_byte=outcome.bits_per_byte if whole else None,
            chunk_bits=outcome.chunk_bits if whole else (),
            chunk_bytes=outcome.chunk_bytes if whole else (),
            curve=outcome.curve,
            rungs=run.rungs,
            quantised=rounded,
            seconds=outcome.seconds,
            reason=outcome.reason or stopped,
            transient=outcome.transient,
            stopped=stopped is not None,
            package_version=__version__,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._store.add_score(candidate.shape, score)
        return score

    def checkpoints(self, run: Run) -> Path:
        """Folder of a run's states; a shape that is trained at another size has another."""
        name = f"{run.candidate.trained.shape_id}-s{run.seed}"
        return self._store.results / "cache" / "training" / run.settings.trunk_id / name

    def _weights(self, run: Run) -> Path:
        trained = run.candidate.trained.shape_id
        return weights_file(self._store.results, run.settings.settings_id, trained, run.seed)

    def _job(self, run: Run) -> TrainingJob:
        return TrainingJob(
            shape=run.candidate.trained,
            settings=run.settings,
            tokens_file=self.tokens_file,
            seed=run.seed,
            checkpoints=self.checkpoints(run),
            until=run.until,
            scheme=self._scheme,
            weights=self._weights(run) if run.keep_weights else None,
        )
