"""Whether learning rates carry over, seen once for a study on its two most different candidates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from phonelm_search.quality.comparison import ASSUMED_SEED_DEVIATION
from phonelm_search.train import Candidate, Run, TrainingRuns, TrainingSettings, check_whole

LR_FACTORS = (0.5, 1.0, 2.0)
_CHECK_SHARE = 0.25
"""Length of a learning-rate trial, as a share of the study's."""
_WORTH = math.sqrt(2) * ASSUMED_SEED_DEVIATION
"""Bits per byte that another factor must gain over 1 to be taken: a deviation of a difference."""
_ALIKE = 1.05
"""Largest ratio of sizes that counts as equal size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRateCheck:
    """Trials of the study's two most different candidates under several learning rates."""

    factors: tuple[float, ...]
    """What all learning rates were multiplied by."""
    bits_per_byte: Mapping[str, tuple[float | None, ...]]
    """Shape id → score under each factor; None where it diverged."""
    chosen: float
    """The factor that all candidates train with."""
    tokens: int
    """Length of each trial."""

    @property
    def tolerance(self) -> float:
        """What a candidate may give up without a word, in bits per byte."""
        return 2 * _WORTH

    @property
    def given_up(self) -> dict[str, float]:
        """Shape id → bits per byte above its own best factor's."""
        at = self.factors.index(self.chosen)
        return {shape_id: _regret(bits, at) for shape_id, bits in self.bits_per_byte.items()}

    def as_dict(self) -> dict[str, Any]:
        """For the study's configuration."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "LearningRateCheck":
        """The inverse of `as_dict`."""
        return cls(
            factors=tuple(found["factors"]),
            bits_per_byte={k: tuple(v) for k, v in found["bits_per_byte"].items()},
            chosen=found["chosen"],
            tokens=found["tokens"],
        )


def extremes(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The smallest and the largest candidate; at equal size the shallowest and the deepest."""

    def rank(candidate: Candidate) -> tuple[float, int]:
        trained = candidate.trained
        return sized * trained.decoder_parameters, trained.num_hidden_layers

    sizes = [c.trained.decoder_parameters for c in candidates]
    sized = max(sizes) / min(sizes) > _ALIKE
    ends = (min(candidates, key=rank), max(candidates, key=rank))
    return list({c.shape.shape_id: c for c in ends}.values())


def learning_rate_runs(
    candidates: Sequence[Candidate], settings: TrainingSettings, seed: int
) -> list[Run]:
    """Trainings of the extremes under half, equal and twice the learning rates."""
    tokens = max(2 * settings.step_tokens, round(_CHECK_SHARE * settings.tokens))
    return [
        Run(
            candidate=candidate,
            settings=replace(settings, tokens=tokens, lr_factor=factor),
            seed=seed,
        )
        for candidate in extremes(candidates)
        for factor in LR_FACTORS
    ]


def check_learning_rate(runs: Sequence[Run], runner: TrainingRuns) -> LearningRateCheck:
    """Train what `learning_rate_runs` lists and choose.

    The factor whose worse extreme loses least against its own best is chosen, if it gains enough
    over 1.

    Raises:
        TrainingError: If a trial was cut off, which tells nothing about its learning rate.
    """
    scores = runner.scores(runs)
    check_whole(scores, "every learning rate must be tried to its end")
    bits: dict[str, list[float | None]] = {}
    for score in scores:
        bits.setdefault(score.shape_id, []).append(score.bits_per_byte)
    return LearningRateCheck(
        factors=LR_FACTORS,
        bits_per_byte={k: tuple(v) for k, v in bits.items()},
        chosen=choose_factor(bits),
        tokens=runs[0].tokens,
    )


def choose_factor(bits: Mapping[str, Sequence[float | None]]) -> float:
    """The factor of least regret over shapes; 1 where none gains more than `_WORTH`."""
    regrets = [max(_regret(b, at) for b in bits.values()) for at in range(len(LR_FACTORS))]
    best = min(range(len(LR_FACTORS)), key=lambda i: regrets[i])
    plain = LR_FACTORS.index(1.0)
    return LR_FACTORS[best] if regrets[best] < regrets[plain] - _WORTH else 1.0


def _regret(bits: Sequence[float | None], at: int) -> float:
    """Bits per byte of one factor above the best factor's; infinite where it diverged."""
    ours = bits[at]
    return math.inf if ours is None else ours - min(b for b in bits if b is not None)
