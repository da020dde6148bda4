"""Rotary positions that are scaled for long texts: what transformers computes, as tables.

Sources: transformers' ``modeling_rope_utils``; YaRN (Peng et al., arXiv 2309.00071); LongRoPE
(Ding et al., arXiv 2402.13753).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import ShapeError, shown

Floats = npt.NDArray[np.float64]
KINDS = ("linear", "dynamic", "yarn", "longrope", "llama3")
"""Those that change the tables alone."""
_MOST_TEXT = 100_000  # two numbers for each pair of a head, and room
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": (),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}
_POSITIVE = (
    "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
    "attention_factor", "beta_fast", "beta_slow",
)  # fmt: skip
_NUMBERS = ("mscale", "mscale_all_dim")


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaryScaling:
    """How rotary frequencies are scaled.

    Raises:
        ShapeError: If a parameter is missing or none that the kind takes; it is named.
    """

    parameters: Mapping[str, Any]
    """``rope_parameters`` of transformers as they came, without ``rope_theta``."""
    max_positions: int
    """``max_position_embeddings`` of the same file, which some kinds count from."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ShapeError(
                f"rope_type must be default or one of {', '.join(KINDS)}, got {shown(self.kind)}"
            )
        whole = isinstance(self.max_positions, int) and not isinstance(self.max_positions, bool)
        if not whole or not 1 <= self.max_positions < 2**53:
            raise ShapeError(
                f"max_position_embeddings must be a positive integer, got "
                f"{shown(self.max_positions)}"
            )
        for name in _NEEDED[self.kind]:
            given = name in self.parameters
            if not given or (self.parameters[name] is None and self.kind != "yarn"):
                raise ShapeError(f"{name} must be given, got {self.kind!r} without it")
        for name in (*_POSITIVE, *_NUMBERS):
            value = self.parameters.get(name)
            if value is not None and not (_finite(value) and (value > 0 or name in _NUMBERS)):
                raise ShapeError(f"{name} must be a positive number, got {shown(value)}")
        if self.kind == "llama3" and not self._of("low_freq_factor") < self._of("high_freq_factor"):
            raise ShapeError("high_freq_factor must be larger than low_freq_factor")
        if self.kind == "longrope":
            self._check_factors()

    def _check_factors(self) -> None:
        for name in ("short_factor", "long_factor"):
            values = self.parameters.get(name)
            if not isinstance(values, list) or not all(_finite(v) and v > 0 for v in values):
                raise ShapeError(f"{name} must be a list of positive numbers, got {shown(values)}")

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        kind = self.parameters.get("rope_type", self.parameters.get("type"))
        return kind if isinstance(kind, str) else shown(kind)

    @property
    def text(self) -> str:
        """As a shape keeps it; `parse_scaling` reads it."""
        content = {"parameters": dict(self.parameters), "max_positions": self.max_positions}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def _of(self, name: str, default: float = math.nan) -> float:
        value = self.parameters.get(name)
        return default if value is None else float(value)

    @property
    def _original(self) -> float:
        return self._of("original_max_position_embeddings", float(self.max_positions))

    @property
    def _stretch(self) -> float:
        return self._of("factor", self.max_positions / self._original)

    @property
    def magnitude(self) -> float:
        """What cosines and sines are multiplied by."""
        own = self._of("attention_factor", 0.0)
        if own or self.kind not in ("yarn", "longrope"):
            return own or 1.0
        stretch = self._stretch
        if stretch <= 1:
            return 1.0
        if self.kind == "longrope":
            return math.sqrt(1 + math.log(stretch) / math.log(self._original))
        scale, all_dim = self._of("mscale", 0.0), self._of("mscale_all_dim", 0.0)
        if scale and all_dim:
            return _yarn_magnitude(stretch, scale) / _yarn_magnitude(stretch, all_dim)
        return _yarn_magnitude(stretch, 1.0)

    def frequencies(self, positions: Floats, *, head_dim: int, theta: float) -> Floats:
        """Radians that each position advances, ``[positions or 1, head_dim/2]``.

        Where they depend on the length of the text, a position's are those of the text that it
        ends, as transformers takes them for a step with a cache.
        """
        half = head_dim // 2
        exponents = np.arange(half) / half
        plain = theta**-exponents
        match self.kind:
            case "linear":
                return np.asarray(plain / self._of("factor"))[None]
            case "dynamic":
                length = np.maximum(positions + 1, self.max_positions)[:, None]
                factor = self._of("factor")
                growth = factor * length / self.max_positions - (factor - 1)
                base = theta * growth ** (head_dim / max(1, head_dim - 2))
                return np.asarray(base**-exponents)
            case "longrope":
                short, long = (
                    plain / np.asarray(self.parameters[name], float)
                    for name in ("short_factor", "long_factor")
                )
                return np.asarray(np.where(positions[:, None] >= self._original, long, short))
            case "yarn":
                return self._yarn(plain, head_dim, theta)[None]
            case _:
                return self._llama3(plain)[None]

    def _yarn(self, plain: Floats, head_dim: int, theta: float) -> Floats:
        def turning(rotations: float) -> float:
            """The dimension that turns so often within the original text."""
            turns = self._original / (rotations * 2 * math.pi)
            return head_dim * math.log(turns) / (2 * math.log(theta))

        low, high = turning(self._of("beta_fast", 32.0)), turning(self._of("beta_slow", 1.0))
        if self.parameters.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        ramp = (np.arange(len(plain)) - low) / (high - low if high != low else 0.001)
        share = np.clip(ramp, 0, 1)
        return np.asarray(plain / self._stretch * share + plain * (1 - share))

    def _llama3(self, plain: Floats) -> Floats:
        factor, slow, fast = (
            self._of(n) for n in ("factor", "low_freq_factor", "high_freq_factor")
        )
        turns = self._original * plain / (2 * math.pi)
        smooth = np.clip((turns - slow) / (fast - slow), 0, 1)
        return np.asarray((1 - smooth) * plain / factor + smooth * plain)


@lru_cache(maxsize=256)
def parse_scaling(text: str) -> RotaryScaling:
    """What `RotaryScaling.text` says.

    Raises:
        ShapeError: If it says nothing of the kind.
    """
    try:
        content: Any = json.loads(text) if len(text) <= _MOST_TEXT else None
        parameters, positions = content["parameters"], content["max_positions"]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ShapeError(f"rope_scaling must be as this release writes it: {text[:80]}") from error
    if not isinstance(parameters, dict):
        raise ShapeError(f"rope_scaling must hold parameters, got {shown(parameters)}")
    return RotaryScaling(parameters=parameters, max_positions=positions)


def check_scaling(text: str, *, head_dim: int, theta: float) -> None:
    """Refuse a scaling that does not fit a shape.

    Raises:
        ShapeError: If lists are of another length, or frequencies are no numbers.
    """
    if not text:
        return
    scaling = parse_scaling(text)
    if scaling.kind == "longrope":
        for name in ("short_factor", "long_factor"):
            if len(scaling.parameters[name]) != head_dim // 2:
                raise ShapeError(
                    f"{name} must hold a number for each pair of a head, {head_dim // 2}, got "
                    f"{len(scaling.parameters[name])}"
                )
    try:
        cosines, _ = scaled_tables(text, head_dim=head_dim, theta=theta, start=4095, count=1)
        finite = bool(np.isfinite(cosines).all())
    except (ArithmeticError, ValueError):
        finite = False
    if not finite:
        raise ShapeError(
            f"rope_theta and the parameters of {scaling.kind} must give finite frequencies, got "
            f"rope_theta {theta:g}"
        )


def scaled_tables(
    text: str, *, head_dim: int, theta: float, start: int, count: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosines and sines ``[count, head_dim/2]`` of positions from ``start`` on.

    Args:
        text: `RotaryScaling.text`.
        head_dim: Length of a head's query.
        theta: Base of the frequencies.
        start: First position.
        count: How many positions.
    """
    scaling = parse_scaling(text)
    positions = np.arange(start, start + count, dtype=np.float64)
    with np.errstate(all="ignore"):
        turns = scaling.frequencies(positions, head_dim=head_dim, theta=theta)
        angles = positions[:, None] * turns
        tables = np.cos(angles) * scaling.magnitude, np.sin(angles) * scaling.magnitude
    return tables[0].astype(np.float32), tables[1].astype(np.float32)


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e300


def _yarn_magnitude(stretch: float, scale: float) -> float:
    return 0.1 * scale * math.log(stretch) + 1.0
