"""Smaller stand-ins for candidates that are too large to train here.

All candidates of a study shrink by one common width factor, so that the order of their decoder
sizes is kept. Depth, FFN ratio, KV grouping and activation stay.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_count

NARROWEST = 64
_LEAST_HEAD_DIM = 16
_WIDTH_UNIT = 4
_FFN_UNIT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is trained for a shape."""

    shape: ModelShape
    """The shape of the study."""
    trained: ModelShape
    """The shape that is trained, with the proxy's vocabulary and tied embeddings."""
    notes: tuple[str, ...]
    """What a miniature did not preserve."""

    @property
    def miniature(self) -> bool:
        """Whether a smaller decoder stands in."""
        return self.trained.decoder_parameters < self.shape.decoder_parameters


def width_factor(typical: int, budget: int | None) -> float:
    """The width factor of a study: matrices shrink with its square, 1 trains in full.

    Args:
        typical: Decoder parameters of the study's shapes.
        budget: Decoder parameters that they shrink to; None trains in full.
    """
    return 1.0 if budget is None else min(1.0, math.sqrt(budget / typical))


def too_narrow(shape: ModelShape, typical: int, budget: int | None) -> str | None:
    """Why a shape cannot be scored as a miniature, with the budget that would do; else None."""
    factor = width_factor(typical, budget)
    if factor == 1.0 or round(shape.hidden_size * factor) >= NARROWEST:
        return None
    needed = math.ceil(typical * (NARROWEST / shape.hidden_size) ** 2 / 1e4) * 10_000
    return (
        f"a miniature must be at least {NARROWEST} wide, {shape.shape_id} would be "
        f"{shape.hidden_size * factor:.0f}; --proxy-parameters {format_count(needed)} would do"
    )


def make_candidates(
    shapes: Sequence[ModelShape], *, vocab_size: int, typical: int, budget: int | None
) -> list[Candidate]:
    """Turn the shapes of a study into what is trained for them.

    Args:
        shapes: The shapes, compared with each other.
        vocab_size: The proxy's vocabulary.
        typical: Decoder parameters of the study's shapes, which shrink to the budget.
        budget: Decoder parameters of a miniature; None trains in full.

    Returns:
        A candidate for each shape, in order, all of one width factor.

    Raises:
        TrainingError: If there is no shape, or a miniature would be narrower than 64.
    """
    if not shapes:
        raise TrainingError(
            "there must be at least one measured shape to train; run a search first"
        )
    factor = width_factor(typical, budget)
    found = []
    for shape in shapes:
        reason = too_narrow(shape, typical, budget)
        if reason:
            raise TrainingError(reason)
        full = replace(shape, vocab_size=vocab_size, tie_word_embeddings=True)
        if factor == 1.0:
            found.append(Candidate(shape=shape, trained=full, notes=()))
        else:
            found.append(_shrink(shape, full, factor))
    return found


def _shrink(shape: ModelShape, full: ModelShape, factor: float) -> Candidate:
    notes: tuple[str, ...] = ()
    # KV groups stay, so the query heads are a multiple of them and fill the attention's width.
    groups = full.kv_groups
    hidden = max(NARROWEST, round(full.hidden_size * factor / _WIDTH_UNIT) * _WIDTH_UNIT)
    attention = full.q_size * factor
    kv_heads = min(full.num_key_value_heads, int(attention / _LEAST_HEAD_DIM / groups))
    heads = max(1, kv_heads) * groups
    head_dim = max(2, round(attention / heads / 2) * 2)
    trained = _of_size(
        replace(
            full,
            hidden_size=hidden,
            num_attention_heads=heads,
            num_key_value_heads=max(1, kv_heads),
            head_dim=head_dim,
        ),
        factor**2 * full.decoder_parameters,
    )
    if heads != full.num_attention_heads:
        notes = (
            *notes,
            f"{full.num_attention_heads} heads of {full.head_dim} became {heads} of {head_dim}",
        )
    if head_dim < min(_LEAST_HEAD_DIM, full.head_dim):
        notes = (*notes, f"a head dimension of {head_dim} is below {_LEAST_HEAD_DIM}")
    ratio = trained.ffn_ratio
    if abs(ratio / full.ffn_ratio - 1) > 0.02:
        notes = (*notes, f"FFN ratio {full.ffn_ratio:.2f} became {ratio:.2f}")
    return Candidate(shape=shape, trained=trained, notes=notes)


def _of_size(shape: ModelShape, parameters: float) -> ModelShape:
    """The feed-forward width at which a decoder has so many parameters.

    Width and head dimension are rounded, which would move sizes by several per cent and their
    order with them; the feed-forward network, the finest dimension, takes the difference.
    """
    least = replace(shape, intermediate_size=_FFN_UNIT)
    one = replace(shape, intermediate_size=2 * _FFN_UNIT).decoder_parameters
    step = one - least.decoder_parameters
    more = max(0, round((parameters - least.decoder_parameters) / step))
    return replace(shape, intermediate_size=_FFN_UNIT * (1 + more))
