"""Training a ladder: the rungs of a plan in their order, as long as the time is enough."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from phonelm_search.core.deadline import Deadline
from phonelm_search.core.defaults import (
    DEFAULT_BUDGET,
    DEFAULT_SCORE_MINUTES,
    DEFAULT_TOKENS_PER_PARAMETER,
)
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.reporting import Reporter
from phonelm_search.core.units import format_count, format_counted
from phonelm_search.quality.ladder import Rung, training_seconds
from phonelm_search.train import Run, TokenisedCorpus, TrainingRuns, TrainingSettings

_MOST_TOKENS_PER_PARAMETER = 1e6
_MOST_PARAMETERS = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """What a person chooses about training.

    Raises:
        ConfigurationError: If a number is none, or no training can have it.
    """

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

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 32:
            raise ConfigurationError(
                f"--seed must lie between 0 and 2**32 - 1, got {self.seed:.6g}"
            )
        for name, value, most in (
            ("--tokens-per-parameter", self.tokens_per_parameter, _MOST_TOKENS_PER_PARAMETER),
            ("--proxy-parameters", self.budget, _MOST_PARAMETERS),
            ("--minutes", self.minutes, math.inf),
        ):
            if value is not None and not (0 <= value <= most and math.isfinite(value)):
                limit = f", at most {format_count(most)}" if most < math.inf else ""
                raise ConfigurationError(
                    f"{name} must be a positive finite number{limit}, got {value:.6g}"
                )

    def training(self, corpus: TokenisedCorpus) -> TrainingSettings:
        """How all train, but for their tokens."""
        return TrainingSettings(corpus=corpus.digest, vocab_size=corpus.vocab_size, tokens=0)


def settle_acceleration(
    rungs: Sequence[Rung],
    training: TrainingSettings,
    minutes: float,
    runner: TrainingRuns,
    report: Reporter,
) -> dict[str, Any]:
    """Measure how the largest of some rungs trains fastest here.

    Returns:
        ``acceleration``, and ``speed``: of one training in multiples of what is reckoned.

    Raises:
        TrainingError: If it cannot be measured.
    """
    report.stage("measuring how this machine trains fastest", 0)
    largest = max(rungs, key=lambda r: training_seconds(r.shape, r.tokens))
    each = training_seconds(largest.shape, 1)
    # Compiling is tried where trainings take minutes, which what there is time for may not.
    tokens = min(largest.tokens, round(60 * minutes / each))
    found = runner.pool.fastest(largest.shape, replace(training, tokens=tokens), runner.tokens_file)
    if found.note:
        report.note(found.note)
    variant = found.number_type + (", compiled" if found.compiled else "")
    speed = found.tokens_per_s.get(variant, 1 / each) * each
    return {"acceleration": found.as_dict(), "speed": speed}


def train_rungs(
    rungs: Sequence[Rung],
    training: TrainingSettings,
    runner: TrainingRuns,
    *,
    seed: int,
    speed: float,
    deadline: Deadline,
    report: Reporter,
    on_trained: Callable[[Sequence[ProxyScore]], object],
) -> None:
    """Train rungs in their order; what the database has is taken from it.

    Args:
        rungs: The most telling first.
        training: How, but for their tokens.
        runner: Trains and keeps.
        seed: Of weights and data order.
        speed: Of one training, in multiples of what `training_seconds` reckons.
        deadline: No training begins that would not end before it, by what was seen.
        report: Shows progress.
        on_trained: Called with what became of some of them; a diverged one has its reason.

    Raises:
        TrainingError: If training cannot run here, or one was cut off.
    """
    runs = [
        Run(shape=r.shape, settings=replace(training, tokens=r.tokens), seed=seed) for r in rungs
    ]
    runner.stage("training small relatives", runs)
    known = runner.known(runs)
    on_trained(runner.scores([r for r in runs if r.key in known]))
    left = [r for r in runs if r.key not in known]
    clock = _Clock(speed)
    while fitting := [r for r in left if clock.seconds([r]) <= deadline.left]:
        wave = _wave(fitting, runner.pool.workers)
        begin = time.monotonic()
        on_trained(runner.scores(wave))
        clock.learn(wave, time.monotonic() - begin)
        left = [r for r in left if r not in wave]
    for run in left:
        runner.skip(run)
    if left:
        report.note(
            f"time for {len(runs) - len(left)} of {format_counted(len(runs), 'training')}; "
            "more --minutes train the others"
        )


def _wave(runs: Sequence[Run], workers: int) -> list[Run]:
    """The next runs, no two of one trunk: a longer one goes on from a shorter one's."""
    wave: list[Run] = []
    for run in runs:
        if len(wave) < workers and run.trunk not in [r.trunk for r in wave]:
            wave.append(run)
    return wave


class _Clock:
    """How long trainings take here: what starting and scoring cost, and a speed.

    Args:
        speed: As it was measured, in multiples of what is reckoned.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._seen: list[tuple[float, float]] = []

    def seconds(self, runs: Sequence[Run]) -> float:
        """Of runs beside each other."""
        usual = [reckoned / self._speed for reckoned, _ in self._seen]
        taken = [seconds for _, seconds in self._seen]
        overhead = max(0.0, min((t - u for t, u in zip(taken, usual, strict=True)), default=0.0))
        slowness = 1.0
        if self._seen:  # a burner beside them is seen
            slowness = max(1.0, (sum(taken) - overhead * len(taken)) / sum(usual))
        return overhead + slowness * _longest(runs) / self._speed

    def learn(self, runs: Sequence[Run], seconds: float) -> None:
        """From what they took beside each other, starting and scoring among it."""
        self._seen.append((_longest(runs), seconds))


def _longest(runs: Sequence[Run]) -> float:
    return max(training_seconds(r.shape, r.tokens) for r in runs)
