"""The search-space YAML as pydantic reads it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from phonelm_search.core.errors import ShapeError, shown
from phonelm_search.core.shape import MOST_LAYERS, Ffn, HiddenAct, ModelShape
from phonelm_search.core.units import (
    LARGEST,
    format_count,
    parse_bytes,
    parse_count,
    parse_fraction,
)
from phonelm_search.core.yamlfile import Named, NamedFiles, validate

SPACES = NamedFiles("search_spaces", "search space")

MOST_TOKENS = 1 << 21
"""Of a vocabulary; the largest of known models have a million."""
LARGEST_SIZE = 10**9
"""Of any dimension of a shape that a space may hold."""
_MOST_VALUES = 100_000  # of one range


def _counted(value: Any) -> Any:
    """An integer that is written as a count (``6e5``, ``32k``); all else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parse_count(value)
    except ValueError:
        return value


_PositiveInt = Annotated[int, BeforeValidator(_counted), Field(ge=1, le=LARGEST_SIZE)]
_Layers = Annotated[int, BeforeValidator(_counted), Field(ge=1, le=MOST_LAYERS)]
_Ratio = Annotated[float, Field(gt=0, le=LARGEST_SIZE)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _expand(value: Any) -> Any:
    """A ``{min, max, step}`` becomes the tuple of its values, a scalar a tuple of one."""
    if not isinstance(value, dict):
        return tuple(value) if isinstance(value, list | tuple) else (value,)
    if not {"min", "max"} <= set(value) <= {"min", "max", "step"}:
        raise ValueError(f"a range must have min, max and perhaps step, got {shown(list(value))}")
    low, high, step = (_counted(n) for n in (value["min"], value["max"], value.get("step", 1)))
    for number in (low, high, step):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"min, max and step must be numbers, got {shown(number)}")
        if not -LARGEST <= number <= LARGEST:  # nan, too
            raise ValueError(f"min, max and step must be finite numbers, got {shown(number)}")
    if step <= 0 or low > high:
        raise ValueError(f"a range must have min ≤ max and step > 0, got {shown(value)}")
    steps = (high - low) / step + 1e-9
    if steps >= _MOST_VALUES:
        raise ValueError(f"a range must have at most {_MOST_VALUES} values, got {steps + 1:.6g}")
    return tuple(low + i * step for i in range(int(steps) + 1))


def _distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value or len(set(value)) != len(value):
        raise ValueError(f"the values must be distinct and at least one, got {shown(list(value))}")
    return value


_Integers = Annotated[tuple[_PositiveInt, ...], BeforeValidator(_expand)]
_Vocabulary = Annotated[int, BeforeValidator(_counted), Field(ge=2, le=MOST_TOKENS)]
_Vocabularies = Annotated[tuple[_Vocabulary, ...], BeforeValidator(_expand)]
_Depths = Annotated[tuple[_Layers, ...], BeforeValidator(_expand)]
_Floats = Annotated[tuple[_Ratio, ...], BeforeValidator(_expand)]
_Count = Annotated[int, BeforeValidator(parse_count), Field(ge=1)]
_Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=1)]
_Share = Annotated[float, BeforeValidator(parse_fraction)]


class ParameterTarget(_Strict):
    """The size that every shape must have: a target with a tolerance, or a range."""

    count: Literal["decoder", "total"] = "decoder"
    target: _Count | None = None
    tolerance: _Share = 0.05
    min: _Count | None = None
    max: _Count | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "ParameterTarget":
        ends = (self.min, self.max)
        if (self.target is None) == (ends == (None, None)):
            raise ValueError("exactly one of target, and min and max, must be given")
        if self.target is None and None in ends:
            raise ValueError("a range must have min and max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"a range must have min ≤ max, got {self.min} and {self.max}")
        return self

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest parameter count that is accepted, inclusive."""
        if self.target is None:
            assert self.min is not None, "checked above"
            assert self.max is not None, "checked above"
            return self.min, self.max
        return (
            round(self.target * (1 - self.tolerance)),
            round(self.target * (1 + self.tolerance)),
        )

    def __str__(self) -> str:
        if self.target is None:
            low, high = map(format_count, self.bounds)
            return f"{self.count} parameters {low} to {high}"
        return f"{self.count} parameters {format_count(self.target)} ± {self.tolerance:.0%}"


class Limits(_Strict):
    """Hard limits at the device's precision."""

    weight_bytes: _Bytes | None = None
    kv_bytes_per_token: _Bytes | None = None
    align: _PositiveInt | None = None
    """What the sizes of `ModelShape.unaligned` must be multiples of; accelerators compute tiles."""


class Reference(_Strict):
    """A known model, always profiled beside the search."""

    name: str
    hidden_size: _PositiveInt
    intermediate_size: _PositiveInt
    num_hidden_layers: _Layers
    num_attention_heads: _PositiveInt
    num_key_value_heads: _PositiveInt | None = None
    head_dim: _PositiveInt | None = None
    hidden_act: HiddenAct = "silu"
    ffn: Ffn = "gated"
    vocab_size: _PositiveInt | None = None
    tie_word_embeddings: bool | None = None

    def shape(self, space: "SearchSpace") -> ModelShape:
        """The reference as a shape; what it leaves out is the space's or follows from the rest."""
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ShapeError(
                f"reference {self.name}: hidden_size must be a multiple of num_attention_heads "
                f"where head_dim is not given, got {self.hidden_size} and "
                f"{self.num_attention_heads}"
            )
        return ModelShape(
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads or self.num_attention_heads,
            head_dim=self.head_dim or self.hidden_size // self.num_attention_heads,
            vocab_size=self.vocab_size or space.vocab_size[0],
            hidden_act=self.hidden_act,
            ffn=self.ffn,
            tie_word_embeddings=(
                space.tie_word_embeddings
                if self.tie_word_embeddings is None
                else self.tie_word_embeddings
            ),
        )


class SearchSpace(Named):
    """One file of ``search_spaces/``; ranges are expanded to the tuple of their values."""

    vocab_size: _Vocabularies = (49152,)
    tie_word_embeddings: bool = True
    hidden_size: _Integers
    num_hidden_layers: _Depths
    head_dim: _Integers | None = None
    num_attention_heads: _Integers | None = None
    kv_groups: _Integers = (1,)
    ffn_ratio: _Floats | None = None
    intermediate_size: _Integers | None = None
    multiple_of: _PositiveInt = 1
    ffn: Annotated[tuple[Ffn, ...], BeforeValidator(_expand)] = ("gated",)
    hidden_act: Annotated[tuple[HiddenAct, ...], BeforeValidator(_expand)] = ("silu",)
    parameters: ParameterTarget | None = None
    limits: Limits = Limits()
    references: tuple[Reference, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "SearchSpace":
        for pair in (("head_dim", "num_attention_heads"), ("ffn_ratio", "intermediate_size")):
            if sum(getattr(self, name) is not None for name in pair) != 1:
                raise ValueError(f"exactly one of {pair[0]} and {pair[1]} must be given")
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, tuple) and name != "references":
                try:
                    _distinct(value)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        names = [r.name for r in self.references]
        if len(set(names)) != len(names):
            raise ValueError(f"references must have distinct names, got {shown(names)}")
        for reference in self.references:
            reference.shape(self)
        return self

    def with_vocab_size(self, vocab_size: int) -> "SearchSpace":
        """The same space at another vocabulary."""
        content = {**self.model_dump(), "vocab_size": vocab_size}
        return validate(content, SearchSpace, source="--vocab-size")


def load_space(name: str) -> SearchSpace:
    """Load a search space by name or path.

    Raises:
        UnknownNameError: If there is none of that name.
        ConfigurationError: If the file is malformed; the message names the file and the key.
    """
    return SPACES.load(name, SearchSpace)
