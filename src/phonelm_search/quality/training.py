"""Training a ladder: the rungs of a plan in their order, as long as the time is enough."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from phonelm_search.core.deadline import Deadline
from phonelm_search.core.defaults import (
    DEFAULT_BUDGET,
    DEFAULT_SCORE_MINUTES,
    DEFAULT_TOKENS_PER_PARAMETER,
)
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.reporting import Reporter
from phonelm_search.quality.ladder import Rung, training_seconds
from phonelm_search.train import Run, TokenisedCorpus, TrainingRuns, TrainingSettings

QUICK_LOOK = 2.0
"""Below so many tokens per decoder parameter of its longest training a ladder is a quick look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """What a person chooses about training."""

    tokens_per_parameter: float = DEFAULT_TOKENS_PER_PARAMETER
    """The least horizon, in tokens for each decoder parameter of what is trained."""
    budget: int | None = DEFAULT_BUDGET
    """Decoder parameters of the largest relatives; None: candidates may be trained themselves."""
    minutes: float = DEFAULT_SCORE_MINUTES
    """Time for all trainings together."""
    vocab_size: int = 512
    """Of the short training; small, so that embeddings don't decide."""
    seed: int = 0
    """Seed of weights and data order, common to all."""
    settled: Mapping[str, Any] = field(default_factory=dict)
    """What an earlier scoring of the study has settled: ``acceleration``."""

    def training(self, corpus: TokenisedCorpus) -> TrainingSettings:
        """How all train, but for their tokens."""
        return TrainingSettings(corpus=corpus.digest, vocab_size=corpus.vocab_size, tokens=0)


def settle_acceleration(
    rungs: Sequence[Rung],
    training: TrainingSettings,
    settled: Mapping[str, Any],
    runner: TrainingRuns,
    report: Reporter,
) -> tuple[TrainingSettings, dict[str, Any]]:
    """Number type and compilation, as settled before or measured now on the largest rung.

    Raises:
        TrainingError: If it cannot be measured.
    """
    found = dict(settled)
    if "acceleration" not in found:
        report.stage("measuring how this machine trains fastest", 0)
        largest = max(rungs, key=lambda r: training_seconds(r.shape, r.tokens))
        plan = replace(training, tokens=largest.tokens)
        measured = runner.pool.fastest(largest.shape, plan, runner.tokens_file)
        if measured.note:
            report.note(measured.note)
        found["acceleration"] = measured.as_dict()
    return replace(
        training,
        number_type=found["acceleration"]["number_type"],
        compiled=found["acceleration"]["compiled"],
    ), found


def train_rungs(
    rungs: Sequence[Rung],
    training: TrainingSettings,
    runner: TrainingRuns,
    *,
    seed: int,
    deadline: Deadline,
    report: Reporter,
) -> list[ProxyScore]:
    """Train rungs in their order; what the database has is taken from it.

    Args:
        rungs: The most telling first: where time ends early, the last ones are left.
        training: How, but for their tokens.
        runner: Trains and keeps.
        seed: Of weights and data order.
        deadline: No training begins that would not end before it, by the speed that was seen.
        report: Shows progress.

    Returns:
        What became of the trained ones; a diverged one has its reason.

    Raises:
        TrainingError: If training cannot run here, or one was cut off.
    """
    runs = [
        Run(shape=r.shape, settings=replace(training, tokens=r.tokens), seed=seed) for r in rungs
    ]
    runner.stage("training small relatives", runs)
    known = runner.known(runs)
    records = runner.scores([r for r in runs if r.key in known])
    left = [r for r in runs if r.key not in known]
    speed = _Speed()
    while left:
        wave = _wave(left, runner.pool.workers)
        if speed.seconds(wave) > deadline.left:
            report.note(
                f"time for {len(runs) - len(left)} of {len(runs)} trainings; more --minutes "
                "train the others"
            )
            for run in left:
                runner.skip(run)
            break
        begin = time.monotonic()
        records += runner.scores(wave)
        speed.learn(wave, time.monotonic() - begin)
        left = [r for r in left if r not in wave]
    return records


def _wave(runs: Sequence[Run], workers: int) -> list[Run]:
    """The next runs, no two of one trunk: a longer one goes on from a shorter one's."""
    wave: list[Run] = []
    for run in runs:
        if len(wave) < workers and run.trunk not in [r.trunk for r in wave]:
            wave.append(run)
    return wave


class _Speed:
    """How long trainings take here beside what was reckoned: a burner beside them is seen."""

    def __init__(self) -> None:
        self._reckoned = self._taken = 0.0

    def seconds(self, runs: Sequence[Run]) -> float:
        """Of runs beside each other."""
        slowness = self._taken / self._reckoned if self._reckoned else 1.0
        return slowness * _longest(runs)

    def learn(self, runs: Sequence[Run], seconds: float) -> None:
        """From what they took beside each other, starting and scoring among it."""
        self._reckoned += _longest(runs)
        self._taken += seconds


def _longest(runs: Sequence[Run]) -> float:
    return max(training_seconds(r.shape, r.tokens) for r in runs)
