"""What the benchmark scripts share."""

import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phonelm_search.core.shape import ModelShape


def shape(
    hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, vocab: int = 49152
) -> ModelShape:
    """A gated ReLU decoder with tied embeddings."""
    return ModelShape(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=hidden // heads,
        vocab_size=vocab,
        hidden_act="relu",
    )


def write_table(rows: Sequence[dict[str, Any]], path: Path | None) -> None:
    """Rows as CSV, to a file or to stdout."""
    file = path.open("w", newline="", encoding="utf-8") if path else sys.stdout
    writer = csv.DictWriter(file, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    if path:
        file.close()


def say(text: str) -> None:
    """A line with the time, on stderr."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)
