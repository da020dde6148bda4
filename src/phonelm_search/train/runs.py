"""Trainings of shapes: what is in the database is read, the rest is trained and kept."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from phonelm_search import __version__
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.reporting import Reporter
from phonelm_search.core.shape import ModelShape
from phonelm_search.store import Store
from phonelm_search.train.jobs import TrainingJob
from phonelm_search.train.pool import ChildPool, Pool
from phonelm_search.train.settings import Outcome, TrainingSettings

Key = tuple[str, str, int]
"""Settings, shape and seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One shape with one seed."""

    shape: ModelShape
    """What is trained, with the vocabulary of the text."""
    settings: TrainingSettings
    """How, and on how many tokens."""
    seed: int
    """Seed of weights and data order."""

    @property
    def key(self) -> Key:
        """What its score is found by."""
        return self.settings.settings_id, self.shape.shape_id, self.seed

    @property
    def trunk(self) -> Key:
        """Runs of one trunk share their checkpoints."""
        return self.settings.trunk_id, self.shape.shape_id, self.seed

    @property
    def tokens(self) -> int:
        """Tokens at its end."""
        return self.settings.steps * self.settings.step_tokens


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

    def skip(self, run: Run) -> None:
        """A run of the stage goes no further."""
        self._report.advance(max(0, run.tokens - self._reached.get(run.trunk, 0)))
        self._reached[run.trunk] = max(run.tokens, self._reached.get(run.trunk, 0))

    def scores(self, runs: Sequence[Run]) -> list[ProxyScore]:
        """A score for each run: from the database where it is known, else trained and kept.

        Raises:
            TrainingError: If one was cut off; what was finished is kept.
        """
        found = self.known(runs)
        for run in runs:
            if run.key in found:
                self.skip(run)
        todo = [r for r in runs if r.key not in found]

        def advance(index: int, tokens: int, bits: float) -> None:
            trunk = todo[index].trunk
            before = self._reached.get(trunk, 0)
            self._reached[trunk] = max(before, tokens)
            self._report.advance(max(0, tokens - before), f"{bits:.3f} bits per byte")

        def done(index: int, outcome: Outcome) -> None:
            run = todo[index]
            found[run.key] = self._keep(run, outcome)
            if outcome.reason is None:
                self.skip(run)

        self.pool.run([self._job(r) for r in todo], on_progress=advance, on_done=done)
        cut_off = [s.reason for s in found.values() if s.transient]
        if cut_off:
            raise TrainingError(
                f"all trainings must come to their end, {len(cut_off)} did not: {cut_off[0]}; "
                "what was finished is kept, run again to continue"
            )
        return [found[r.key] for r in runs]

    def known(self, runs: Sequence[Run]) -> dict[Key, ProxyScore]:
        """What became of runs earlier, accidents left out."""
        wanted = {r.key: r for r in runs}
        found = {}
        for settings_id in {r.settings.settings_id for r in runs}:
            ids = [r.shape.shape_id for r in runs if r.settings.settings_id == settings_id]
            for score in self._store.scores(shape_ids=ids, settings_id=settings_id):
                key = (settings_id, score.shape_id, score.seed)
                if key not in wanted or dict(score.trained) != wanted[key].shape.as_dict():
                    continue
                self._rounded[key] = dict(score.quantised)
                # A score of another study may lack this one's precision: its decay is made again.
                lacks = self._scheme not in (None, *score.quantised)
                if not score.transient and not (lacks and score.bits_per_byte is not None):
                    found[key] = score
        return found

    def forget(self, records: Sequence[ProxyScore]) -> None:
        """Drop trainings, and the states that longer ones would go on from."""
        self._store.forget_scores({(r.settings_id, r.shape_id, r.seed) for r in records})
        for record in records:
            for folder in self._checkpoints.glob(f"*/{record.shape_id}-s{record.seed}"):
                shutil.rmtree(folder, ignore_errors=True)

    def _keep(self, run: Run, outcome: Outcome) -> ProxyScore:
        """Write what became of a run."""
        rounded = self._rounded.get(run.key, {})
        if self._scheme and outcome.quantised is not None:
            rounded = {**rounded, self._scheme: outcome.quantised}
        score = ProxyScore(
            shape_id=run.shape.shape_id,
            settings_id=run.settings.settings_id,
            settings=asdict(run.settings),
            trained=run.shape.as_dict(),
            miniature=False,
            notes=outcome.notes,
            seed=run.seed,
            tokens=outcome.tokens,
            tokens_per_parameter=outcome.tokens / run.shape.decoder_parameters,
            bits_per_byte=outcome.bits_per_byte,
            chunk_bits=outcome.chunk_bits,
            chunk_bytes=outcome.chunk_bytes,
            curve=outcome.curve,
            quantised=rounded,
            seconds=outcome.seconds,
            reason=outcome.reason,
            transient=outcome.transient,
            package_version=__version__,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._store.add_score(run.shape, score)
        return score

    @property
    def _checkpoints(self) -> Path:
        return self._store.results / "cache" / "training"

    def _job(self, run: Run) -> TrainingJob:
        name = f"{run.shape.shape_id}-s{run.seed}"
        return TrainingJob(
            shape=run.shape,
            settings=run.settings,
            tokens_file=self.tokens_file,
            seed=run.seed,
            checkpoints=self._checkpoints / run.settings.trunk_id / name,
            scheme=self._scheme,
        )
