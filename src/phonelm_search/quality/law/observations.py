"""Trainings from a CSV file: shapes by their Hugging Face names, tokens, and what came out."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phonelm_search.core.errors import ConfigurationError, ShapeError, shown
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.textfile import read_text
from phonelm_search.quality.law.discrepancy import Points
from phonelm_search.quality.law.form import Dimensions
from phonelm_search.quality.law.posterior import Observations
from phonelm_search.space import Columns

_MOST_BYTES = 100_000_000  # a million rows
_LOSS, _COUNT = (1e-6, 1e6), (1, 1e18)
"""Beyond, the law's exponentials are no numbers."""
_NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "tokens")
_LOSSES = ("loss", "bits_per_byte")
_GROUPING = ("dataset", "tokenizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One row: a shape after some tokens."""

    shape: ModelShape
    """What was trained; its vocabulary is not looked at."""
    tokens: float
    """On how many tokens."""
    loss: float
    """Nats per token, or bits per byte."""
    dataset: str
    """Losses of one name compare: the text, tokenizer and unit."""
    seed: str = ""
    """Whatever tells trainings of one shape apart."""


def read_trainings(path: Path) -> list[Training]:
    """Read a CSV file of trainings.

    Args:
        path: With columns ``hidden_size``, ``intermediate_size``, ``num_hidden_layers``,
            ``num_attention_heads``, ``tokens`` and ``loss`` or ``bits_per_byte``; optional
            ``num_key_value_heads``, ``head_dim``, ``hidden_act``, ``ffn``, ``seed``, ``dataset``,
            ``tokenizer``.

    Raises:
        ConfigurationError: If it cannot be read; names row and column.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, most_bytes=_MOST_BYTES), newline=""))
        names = [n.strip() for n in reader.fieldnames or ()]
        _check_header(path, names)
        reader.fieldnames = names
        rows = [_Row(path, reader.line_num, row) for row in reader]
        found = [row.training() for row in rows if not row.empty]
    except csv.Error as error:
        raise ConfigurationError(f"{path} must be a CSV file in UTF-8: {error}") from error
    if not found:
        raise ConfigurationError(f"{path} must hold at least one training, got none")
    return found


def _check_header(path: Path, names: list[str]) -> None:
    missing = [n for n in _NEEDED if n not in names]
    if missing or not set(_LOSSES) & set(names):
        wanted = missing or ["loss or bits_per_byte"]
        raise ConfigurationError(
            f"{path}, row 1: columns {', '.join(wanted)} are missing; got "
            f"{', '.join(n[:40] for n in names[:20] if n) or 'none'}"
        )


class _Row:
    """One row, with where it stands."""

    def __init__(self, path: Path, number: int, values: Mapping[str, str | None]) -> None:
        self._path, self._number = path, number
        self._values = {k: (v or "").strip() for k, v in values.items() if isinstance(k, str)}

    @property
    def empty(self) -> bool:
        return not any(self._values.values())

    def training(self) -> Training:
        """What it says."""
        hidden, heads = self._integer("hidden_size"), self._integer("num_attention_heads")
        if not self._values.get("head_dim") and hidden % heads:
            raise self._wrong(
                "num_attention_heads", f"must divide hidden_size {hidden} without a head_dim"
            )
        unit = next(n for n in _LOSSES if self._values.get(n) or n == _LOSSES[-1])
        dataset = [self._values.get(n, "") for n in _GROUPING]
        try:
            shape = ModelShape(
                hidden_size=hidden,
                intermediate_size=self._integer("intermediate_size"),
                num_hidden_layers=self._integer("num_hidden_layers"),
                num_attention_heads=heads,
                num_key_value_heads=self._integer("num_key_value_heads", heads),
                head_dim=self._integer("head_dim", hidden // heads),
                vocab_size=1,
                hidden_act=self._values.get("hidden_act") or "silu",  # type: ignore[arg-type]
                ffn=self._values.get("ffn") or "gated",  # type: ignore[arg-type]
            )
        except ShapeError as error:
            raise self._wrong("the shape", str(error)) from error
        return Training(
            shape=shape,
            tokens=self._number_of("tokens"),
            loss=self._number_of(unit),
            dataset=" ".join(filter(None, dataset)) or self._path.stem,
            seed=self._values.get("seed", ""),
        )

    def _integer(self, name: str, default: int | None = None) -> int:
        text = self._values.get(name, "")
        if not text and default is not None:
            return default
        value = self._number_of(name)
        if value != int(value):
            raise self._wrong(name, f"must be a whole number, got {shown(text)}")
        return int(value)

    def _number_of(self, name: str) -> float:
        text = self._values.get(name, "")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise self._wrong(name, f"must be a positive number, got {shown(text)}")
        low, high = _LOSS if name in _LOSSES else _COUNT
        if not low <= value <= high:
            raise self._wrong(name, f"must lie between {low:g} and {high:g}, got {shown(text)}")
        return value

    def _wrong(self, column: str, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}, row {self._number}, {column}: {what}")


def observations_of(trainings: list[Training]) -> Observations:
    """Trainings as the law takes them; values of one shape, text and seed are one run."""
    runs: dict[tuple[str, ModelShape, str], int] = {}
    numbers = [runs.setdefault((t.dataset, t.shape, t.seed), len(runs)) for t in trainings]
    return Observations(
        points=Points(
            shapes=Dimensions.of(Columns.of([t.shape for t in trainings])),
            tokens=np.array([t.tokens for t in trainings]),
        ),
        log_loss=np.log([t.loss for t in trainings]),
        datasets=np.array([t.dataset for t in trainings]),
        runs=np.array(numbers, float),
    )
