"""What is timed: one phase of inference, and the scenario that phases add up to."""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from phonelm_search.core.errors import ConfigurationError, shown

Phase = Literal["prefill", "decode"]
PHASES: tuple[Phase, ...] = ("prefill", "decode")

_LONG_ANSWER = 512  # tokens; beyond, the midpoint rule is 1 % off and more, see results/LOG.md
_SCENARIO = re.compile(r"^([A-Za-z][A-Za-z0-9_-]*)=([0-9]{1,20}):([0-9]{1,20})$")
MOST_TOKENS = 2**20
"""Of a prompt or a past."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One phase at batch 1.

    Raises:
        ConfigurationError: If a count of tokens is out of range.
    """

    phase: Phase
    """``prefill`` reads a prompt into an empty cache; ``decode`` makes one token after a past."""
    tokens: int
    """New tokens: the prompt's length, 1 for decode."""
    past_tokens: int = 0
    """Tokens in the KV cache before the step: 0 for prefill."""
    logits: Literal["last"] = "last"
    """Positions whose logits the graph computes; keys of measurements hold the word."""

    def __post_init__(self) -> None:
        if max(self.tokens, self.past_tokens) > MOST_TOKENS:
            raise ConfigurationError(
                f"a prompt or past must be of at most {MOST_TOKENS:,} tokens, got "
                f"{shown(max(self.tokens, self.past_tokens))}"
            )
        if self.phase == "prefill" and (self.tokens < 1 or self.past_tokens):
            raise ConfigurationError(
                "a prefill needs at least 1 prompt token and no past, "
                f"got {self.tokens} and {self.past_tokens}"
            )
        if self.phase == "decode" and (self.tokens != 1 or self.past_tokens < 1):
            raise ConfigurationError(
                "a decode step makes 1 token after a past of at least 1, "
                f"got {self.tokens} and {self.past_tokens}"
            )

    @property
    def name(self) -> str:
        """The name that llama-bench gives it: ``pp128``, ``tg @ d512``."""
        return f"pp{self.tokens}" if self.phase == "prefill" else f"tg @ d{self.past_tokens}"


def prefill(tokens: int) -> Workload:
    """A prompt of ``tokens`` tokens."""
    return Workload(phase="prefill", tokens=tokens)


def decode(context_tokens: int) -> Workload:
    """One step after ``context_tokens`` past tokens."""
    return Workload(phase="decode", tokens=1, past_tokens=context_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A prompt and an answer; its end-to-end time is the latency of a pick."""

    name: str
    """What a person calls it."""
    prompt_tokens: int
    """Length of the prompt."""
    generated_tokens: int
    """Length of the answer; its first token comes from the prefill."""

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.generated_tokens < 2:
            raise ConfigurationError(
                "a scenario needs at least 1 prompt token and 2 generated tokens, "
                f"got {self.prompt_tokens}:{self.generated_tokens}"
            )
        if self.prompt_tokens + self.generated_tokens > MOST_TOKENS:
            raise ConfigurationError(
                f"a scenario must be of at most {MOST_TOKENS:,} tokens, got "
                f"{shown(self.prompt_tokens)}:{shown(self.generated_tokens)}"
            )

    @classmethod
    def parse(cls, text: str) -> "Scenario":
        """Parse ``NAME=P:G``, for example ``chat=256:128``.

        Raises:
            ConfigurationError: If the text has another form.
        """
        match = _SCENARIO.match(text)
        if match is None:
            raise ConfigurationError(
                "a scenario must read NAME=PROMPT:GENERATED, for example chat=256:128, "
                f"got {shown(text)}"
            )
        return cls(name=match[1], prompt_tokens=int(match[2]), generated_tokens=int(match[3]))

    @property
    def contexts(self) -> tuple[int, ...]:
        """Past lengths whose decode steps have the mean latency of the answer's steps.

        Over a short answer the latency is linear in the past, so the middle does (midpoint rule);
        over a long one the two nodes of Gauss–Legendre quadrature do, exact up to a cubic.
        """
        half = self.generated_tokens / 2
        away = half / math.sqrt(3) if self.generated_tokens > _LONG_ANSWER else 0.0
        middle = self.prompt_tokens + self.generated_tokens // 2
        return tuple(dict.fromkeys((round(middle - away), round(middle + away))))

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """The prefill, then the decode steps at `contexts`."""
        return _workloads(self)

    @property
    def weights(self) -> tuple[float, ...]:
        """How often each of `workloads` counts in the time of the whole."""
        contexts = len(self.contexts)
        return 1.0, *[(self.generated_tokens - 1) / contexts] * contexts

    def __str__(self) -> str:
        return f"{self.name}={self.prompt_tokens}:{self.generated_tokens}"


@lru_cache(maxsize=256)  # readings of a study ask once for each shape
def _workloads(scenario: Scenario) -> tuple[Workload, ...]:
    return prefill(scenario.prompt_tokens), *map(decode, scenario.contexts)
