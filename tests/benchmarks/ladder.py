"""Whether trainings of at most 0.15M parameters order shapes of 0.6M, and what else does.

    python tests/benchmarks/ladder.py train targets|miniatures|ladder FOLDER -o results/ladder.csv

Targets are shapes of 0.6M decoder parameters, trained on 8 tokens per parameter. Miniatures keep
the depth of a target and shrink to 0.15M. Every training is one row as soon as it is finished; what
the table has is not trained again. FOLDER keeps tokens and checkpoints.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from common import say

from phonelm_search.core.shape import ModelShape
from phonelm_search.train import TokenisedCorpus, TrainingSettings, load_text, tokenise
from phonelm_search.train.training import train

VOCABULARY = 512
TARGET, TARGET_TOKENS = 600_000, 8
SMALL, SMALL_TOKENS = 150_000, 20
# Layers, intermediate over hidden size, heads, key-value heads, activation.
TARGETS: tuple[tuple[int, float, int, int, str], ...] = (
    (1, 2.7, 3, 3, "silu"),
    (2, 2.7, 2, 2, "silu"),
    (3, 2.7, 2, 2, "silu"),
    (4, 2.7, 2, 2, "silu"),
    (6, 2.7, 1, 1, "silu"),
    (8, 2.7, 1, 1, "silu"),
    (11, 2.7, 1, 1, "silu"),
    (2, 5.0, 2, 2, "silu"),
    (4, 5.0, 1, 1, "silu"),
    (3, 1.5, 2, 2, "silu"),
    (3, 2.7, 4, 1, "silu"),
    (4, 2.7, 2, 2, "relu"),
)
FIELDS = (
    "kind", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "ffn", "decoder_parameters", "tokens", "seed",
    "bits_per_byte", "dataset", "seconds",
)  # fmt: skip


def of_size(
    parameters: int, layers: int, ratio: float, heads: int, kv_heads: int, act: str
) -> ModelShape:
    """A shape of so many decoder parameters; its width is what is left, its feed-forward exact."""
    found = None
    for width in range(32, 1024, 4):
        shape = ModelShape(
            hidden_size=width, intermediate_size=max(2, round(ratio * width / 2) * 2),
            num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
            head_dim=64, vocab_size=VOCABULARY, hidden_act=act,
        )  # fmt: skip
        if shape.decoder_parameters > parameters:
            break
        found = shape
    assert found is not None, (parameters, layers)
    each = 3 * found.hidden_size * layers
    missing = (parameters - found.decoder_parameters) / each
    return replace(found, intermediate_size=found.intermediate_size + round(missing / 2) * 2)


def miniature(shape: ModelShape) -> ModelShape:
    """Half as wide, in heads, too, and as deep: a quarter of the parameters."""
    return replace(
        shape, hidden_size=shape.hidden_size // 2, head_dim=shape.head_dim // 2,
        intermediate_size=shape.intermediate_size // 2,
    )  # fmt: skip


def shapes_of(kind: str) -> list[tuple[ModelShape, int]]:
    """What a kind trains, with its tokens."""
    if kind == "targets":
        return [(of_size(TARGET, *t), TARGET * TARGET_TOKENS) for t in TARGETS]
    if kind == "miniatures":
        targets = [of_size(TARGET, *t) for t in TARGETS]
        return [(miniature(s), SMALL * SMALL_TOKENS) for s in targets]
    raise SystemExit(f"unknown kind {kind}")


def train_one(
    shape: ModelShape, tokens: int, seed: int, corpus: TokenisedCorpus, folder: Path
) -> tuple[float, float]:
    settings = TrainingSettings(corpus=corpus.digest, vocab_size=VOCABULARY, tokens=tokens)
    checkpoints = folder / "checkpoints" / settings.trunk_id / f"{shape.shape_id}-s{seed}"
    outcome, _ = train(shape, corpus, settings, seed=seed, checkpoints=checkpoints)
    if outcome.bits_per_byte is None:
        return float("nan"), outcome.seconds
    return outcome.bits_per_byte, outcome.seconds


def train_kind(
    kind: str, folder: Path, output: Path, seeds: Sequence[int], *, backwards: bool
) -> None:
    torch.set_num_threads(1)
    corpus = tokenise(load_text(()), VOCABULARY, folder)
    if not output.exists():
        output.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    for seed in seeds:
        for shape, tokens in shapes_of(kind)[:: -1 if backwards else 1]:
            row = {
                **{f: str(getattr(shape, f)) for f in FIELDS[1:10]},
                "kind": kind, "tokens": str(tokens), "seed": str(seed), "dataset": "sotu-bpe512",
            }  # fmt: skip
            if identity(row) in known(output):  # another process may be at the other end
                continue
            bits, seconds = train_one(shape, tokens, seed, corpus, folder)
            row |= {"bits_per_byte": f"{bits:.5f}", "seconds": f"{seconds:.0f}"}
            with output.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(row)
            say(f"{kind} {shape.label} {tokens / 1e6:.2f}M tokens: {bits:.4f}, {seconds:.0f} s")


def known(output: Path) -> set[tuple[str, ...]]:
    with output.open(newline="", encoding="utf-8") as file:
        return {identity(r) for r in csv.DictReader(file)}


def identity(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[f] for f in (*FIELDS[1:9], "tokens", "seed"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("targets", "miniatures"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--backwards", action="store_true", help="begin with the last one")
    given = parser.parse_args()
    train_kind(given.kind, given.folder, given.output, given.seeds, backwards=given.backwards)


if __name__ == "__main__":
    main()
