"""Smaller stand-ins for candidates that are too large to train here.

All candidates of a study shrink by one common width factor, so that the order of their decoder
sizes is kept. Depth, FFN ratio, KV grouping and activation stay.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from phonelm_search.errors import TrainingError
from phonelm_search.shape import ModelShape
from phonelm_search.units import format_count

NARROWEST = 64
_LEAST_HEAD_DIM = 16
_UNIT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is trained for a shape."""

    shape: ModelShape
    """The shape of the study."""
    trained: ModelShape
    """The shape that is trained, with the proxy's vocabulary and tied embeddings."""
    notes: tuple[str, ...]
    """What a miniature did not preserve, and why its size is not the budget's."""

    @property
    def miniature(self) -> bool:
        """Whether a smaller decoder stands in."""
        return self.trained.decoder_parameters < self.shape.decoder_parameters


def make_candidates(
    shapes: Sequence[ModelShape], *, vocab_size: int, budget: int | None
) -> list[Candidate]:
    """Turn the shapes of a study into what is trained for them.

    Args:
        shapes: The shapes, compared with each other.
        vocab_size: The proxy's vocabulary.
        budget: Decoder parameters that the median shape shrinks to; None trains all in full.

    Returns:
        A candidate for each shape, in order. If one shape exceeds the budget, all are
        miniatures of one width factor, raised where the narrowest would fall below 64.

    Raises:
        TrainingError: If there is no shape.
    """
    if not shapes:
        raise TrainingError(
            "there must be at least one measured shape to train; run a search first"
        )
    full = [replace(s, vocab_size=vocab_size, tie_word_embeddings=True) for s in shapes]
    if budget is None or max(s.decoder_parameters for s in full) <= budget:
        return [Candidate(shape=s, trained=f, notes=()) for s, f in zip(shapes, full, strict=True)]
    sizes = sorted(s.decoder_parameters for s in full)
    factor = math.sqrt(budget / sizes[len(sizes) // 2])
    narrowest = min(s.hidden_size for s in full)
    raised: tuple[str, ...] = ()
    if narrowest * factor < NARROWEST:
        factor = NARROWEST / narrowest
        raised = (
            f"width factor raised to {factor:.3g} so that width {narrowest} becomes {NARROWEST} "
            f"(budget {format_count(budget)})",
        )
    if factor >= 1:
        return [Candidate(shape=s, trained=f, notes=()) for s, f in zip(shapes, full, strict=True)]
    return [_shrink(s, f, factor, raised) for s, f in zip(shapes, full, strict=True)]


def _shrink(
    shape: ModelShape, full: ModelShape, factor: float, notes: tuple[str, ...]
) -> Candidate:
    # KV groups stay, so the query heads are a multiple of them and fill the attention's width.
    groups = full.kv_groups
    hidden = max(NARROWEST, round(full.hidden_size * factor / _UNIT) * _UNIT)
    attention = full.q_size * factor
    kv_heads = max(
        1, min(full.num_key_value_heads, int(attention / _LEAST_HEAD_DIM / groups + 0.5))
    )
    heads = kv_heads * groups
    head_dim = max(2, round(attention / heads / 2) * 2)
    trained = replace(
        full,
        hidden_size=hidden,
        intermediate_size=max(_UNIT, round(full.ffn_ratio * hidden / _UNIT) * _UNIT),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
    )
    if heads != full.num_attention_heads:
        notes = (
            *notes,
            f"{full.num_attention_heads} heads of {full.head_dim} became {heads} of {head_dim}",
        )
    ratio = trained.ffn_ratio
    if abs(ratio / full.ffn_ratio - 1) > 0.02:
        notes = (*notes, f"FFN ratio {full.ffn_ratio:.2f} became {ratio:.2f}")
    return Candidate(shape=shape, trained=trained, notes=notes)
