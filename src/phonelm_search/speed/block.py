"""Blocks: a decoder without its depth, and what it costs to run and to measure.

With weights that come from memory, the latency of a decoder is a head and a number of equal
layers. So one block (width, heads, KV heads, feed-forward network) serves every depth.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from phonelm_search.core.shape import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer's dimensions with everything around the layers."""

    layer: ModelShape
    """A shape of depth 1."""
    depths: tuple[int, ...]
    """Depths that are wanted, ascending."""

    @property
    def greatest_depth(self) -> int:
        """The greatest wanted depth."""
        return self.depths[-1]

    @property
    def group(self) -> ModelShape:
        """What its head depends on: blocks of one width and vocabulary share an intercept."""
        return head_of(self.layer)

    def at(self, depth: int) -> ModelShape:
        """The decoder of so many layers."""
        return replace(self.layer, num_hidden_layers=depth)


def layer_of(shape: ModelShape) -> ModelShape:
    """A shape's block as a shape of depth 1."""
    return replace(shape, num_hidden_layers=1)


def head_of(shape: ModelShape) -> ModelShape:
    """The part outside the layers, as a shape: width, vocabulary and tying kept, the rest fixed."""
    return ModelShape(
        hidden_size=shape.hidden_size,
        intermediate_size=1,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=2,
        vocab_size=shape.vocab_size,
        tie_word_embeddings=shape.tie_word_embeddings,
        rms_norm_eps=shape.rms_norm_eps,
    )


def blocks_of(shapes: Iterable[ModelShape]) -> list[Block]:
    """The distinct blocks of shapes with the depths that occur, in order of occurrence."""
    found: dict[ModelShape, set[int]] = {}
    for shape in shapes:
        found.setdefault(layer_of(shape), set()).add(shape.num_hidden_layers)
    return [Block(layer=k, depths=tuple(sorted(v))) for k, v in found.items()]
