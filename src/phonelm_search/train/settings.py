"""What a score depends on beside shape and seed, and what a training gave."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from phonelm_search.core.records import identity

NumberType = Literal["fp32", "bf16"]
VERSION = 5
"""Of the training procedure: scores of different ones never compare."""
SEQUENCE, BATCH = 128, 16
STEP_TOKENS = SEQUENCE * BATCH
"""Tokens of one step, unless settings say otherwise."""
DECAY_SHARE = 0.3
"""Of a training's tokens, unless settings say otherwise; what is before is its trunk."""
NUMBER_TYPES: tuple[NumberType, ...] = get_args(NumberType)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Everything that a training depends on beside shape and seed.

    A run is a trunk of constant learning rate and a decay that branches off its end, so one
    trunk serves all horizons.
    """

    corpus: str
    """Digest of text, split and tokenizer."""
    vocab_size: int
    """The proxy's vocabulary; small, so that embeddings don't decide."""
    tokens: int
    """Tokens to train on, decay included."""
    lr_factor: float = 1.0
    """Of all learning rates."""
    number_type: NumberType = "fp32"
    """Of the matrix products; weights and moments are fp32 always."""
    compiled: bool = False
    """Whether torch.compile fuses the layers."""
    sequence: int = SEQUENCE
    """Tokens of one sequence."""
    batch: int = BATCH
    """Sequences of one step."""
    warmup_steps: int = 16
    """Steps over which learning rates rise; no share of the run, so that trunks are shared."""
    decay_share: float = DECAY_SHARE
    """Share of the tokens over which learning rates fall."""
    validation_chunks: int = 512
    """Validation sequences, spread evenly over the held-out text."""
    version: int = VERSION
    """Version of the procedure."""

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return self.sequence * self.batch

    @property
    def steps(self) -> int:
        """Optimiser steps: enough for the wished tokens, at least one of trunk and of decay."""
        return max(2, math.ceil(self.tokens / self.step_tokens))

    @property
    def decay_steps(self) -> int:
        """Steps of the decay."""
        return min(self.steps - 1, max(1, round(self.decay_share * self.steps)))

    @property
    def trunk_steps(self) -> int:
        """Steps before the decay."""
        return self.steps - self.decay_steps

    @property
    def settings_id(self) -> str:
        """Only scores of equal settings compare."""
        return identity(asdict(self))

    @property
    def trunk_id(self) -> str:
        """Runs of one trunk differ in their length only and share checkpoints."""
        length = ("tokens", "decay_share", "validation_chunks")
        return identity({k: v for k, v in asdict(self).items() if k not in length})


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceleration:
    """How a study trains, and what that was chosen by."""

    number_type: NumberType
    """Of the matrix products."""
    compiled: bool
    """Whether layers are compiled."""
    tokens_per_s: Mapping[str, float]
    """One process's speed on the largest candidate, by variant."""
    note: str | None = None
    """Why a variant could not be tried."""

    def as_dict(self) -> dict[str, Any]:
        """For the study's configuration."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training gave, so far or to its end."""

    finished: bool
    """Whether it came to its end, be it by diverging; else it was cut off."""
    chunk_bits: tuple[float, ...]
    """Bits of each validation chunk; empty when training failed."""
    chunk_bytes: tuple[int, ...]
    """Text bytes of each validation chunk."""
    quantised: float | None
    """Bits per byte after the weights were rounded as the graph stores them; finished only."""
    curve: tuple[tuple[int, float], ...]
    """(tokens, training bits per byte averaged since the last point)."""
    tokens: int
    """Tokens trained on."""
    seconds: float
    """Wall time of training, over all its sittings."""
    reason: str | None
    """Why there is no score."""
    transient: bool = False
    """Whether another try may succeed: the child process was killed or could not start."""
    notes: tuple[str, ...] = ()
    """What was unusual, such as a batch that had to be split."""

    @property
    def bits_per_byte(self) -> float | None:
        """All bits over all bytes."""
        return sum(self.chunk_bits) / sum(self.chunk_bytes) if self.chunk_bits else None
