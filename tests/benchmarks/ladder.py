"""Whether trainings of at most 0.15M parameters order shapes of 0.6M, and what else does.

    python tests/benchmarks/ladder.py train KIND FOLDER -o results/ladder.csv
    python tests/benchmarks/ladder.py check results/ladder.csv -o results/ladder-order.csv

Kinds: `targets` are shapes of 0.6M decoder parameters, trained on 8 tokens per parameter;
`miniatures` keep the depth of a target and shrink to 0.15M, 20 tokens per parameter; `ladder` are
relatives of at most 0.15M as a study chooses them, of about the time of the miniatures. Every
training is one row as soon as it is finished; what the table has is not trained again. FOLDER keeps
tokens and checkpoints.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import say, write_table
from law import ours

from phonelm_search.core.shape import ModelShape
from phonelm_search.quality import plan_ladder, possible_rungs, training_seconds
from phonelm_search.quality.law import (
    LawCheck,
    Observations,
    QualityLaw,
    Training,
    check_fitted,
    load_prior,
    observations_of,
)
from phonelm_search.train import TokenisedCorpus, TrainingSettings, load_text, tokenise
from phonelm_search.train.training import train

VOCABULARY, DATASET = 512, "sotu-bpe512"
STEP_TOKENS = 4096
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
    targets = [of_size(TARGET, *t) for t in TARGETS]
    if kind == "targets":
        return [(s, TARGET * TARGET_TOKENS) for s in targets]
    if kind == "miniatures":
        return [(miniature(s), SMALL * SMALL_TOKENS) for s in targets]
    possible = possible_rungs(
        targets, largest=SMALL, tokens_per_parameter=SMALL_TOKENS / 4, vocab_size=VOCABULARY,
        step_tokens=STEP_TOKENS,
    )  # fmt: skip
    seconds = sum(training_seconds(s, tokens) for s, tokens in shapes_of("miniatures"))
    law = QualityLaw(load_prior(), dataset=DATASET)
    rungs = plan_ladder(law, targets, possible, tokens=TARGET * TARGET_TOKENS, seconds=seconds)
    # The longest of a shape last: the trunk of one is the beginning of the next.
    return [(r.shape, r.tokens) for r in sorted(rungs, key=lambda r: r.tokens)]


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
                "kind": kind, "tokens": str(tokens), "seed": str(seed), "dataset": DATASET,
            }  # fmt: skip
            if identity(row) in known(output):  # another process may be at the other end
                continue
            bits, seconds = train_one(shape, tokens, seed, corpus, folder)
            if identity(row) in known(output):  # it met the other process at this one
                continue
            row |= {"bits_per_byte": f"{bits:.5f}", "seconds": f"{seconds:.0f}"}
            with output.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(row)
            say(f"{kind} {shape.label} {tokens / 1e6:.2f}M tokens: {bits:.4f}, {seconds:.0f} s")


def known(output: Path) -> set[tuple[str, ...]]:
    with output.open(newline="", encoding="utf-8") as file:
        return {identity(r) for r in csv.DictReader(file)}


def identity(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[f] for f in (*FIELDS[1:9], "tokens", "seed"))


def check(table: Path) -> list[dict[str, Any]]:
    """How the targets are ordered by the law after each kind, and by what needs no law."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["bits_per_byte"] != "nan"]
    targets = observations_of([training(r) for r in rows if r["kind"] == "targets"])
    ladder = observations_of([training(r) for r in rows if r["kind"] == "ladder"])
    twelve = ours()
    twelve = replace(twelve, datasets=np.full(len(twelve), DATASET))
    law = load_prior()

    def told(observed: Observations | None) -> LawCheck:
        return check_fitted(QualityLaw(law, observed, dataset=DATASET), targets)

    found = [
        {"told_by": name, **asdict(told(observed))}
        for name, observed in (
            ("prior alone", None),
            ("ladder of at most 0.15M", ladder),
            ("twelve shapes of 0.3M", twelve),
        )
    ]
    names = ("told_by", "pairs", "rightly_ordered", "pairs_width_depth",
             "rightly_ordered_width_depth", "median_error", "largest_error", "held")  # fmt: skip
    beside = [
        {"told_by": name, "pairs": found[0]["pairs"], "rightly_ordered": share}
        for name, share in without_law(rows)
    ]
    return [{n: rounded(row.get(n)) for n in names} for row in [*found, *beside]]


def without_law(rows: Sequence[dict[str, str]]) -> Iterator[tuple[str, float]]:
    """Names and shares of pairs that are rightly ordered; a tie is half right."""
    targets = {training(r).shape: float(r["bits_per_byte"]) for r in rows if r["kind"] == "targets"}
    small = {
        training(r).shape: float(r["bits_per_byte"]) for r in rows if r["kind"] == "miniatures"
    }
    told = {
        "miniatures of the same depth": {s: small.get(miniature(s), np.nan) for s in targets},
        "size": {s: -s.decoder_parameters for s in targets},
        "shallow first": {s: s.num_hidden_layers for s in targets},
        "deep first": {s: -s.num_hidden_layers for s in targets},
    }
    for name, of in told.items():
        right = [
            0.5 + 0.5 * np.sign((of[a] - of[b]) * (targets[a] - targets[b]))
            for i, a in enumerate(targets)
            for b in list(targets)[:i]
            if abs(np.log(targets[a] / targets[b])) > np.log1p(0.003)
        ]
        yield name, float(np.mean(right))


def training(row: dict[str, str]) -> Training:
    sizes = {n: int(row[n]) for n in FIELDS[1:7]}
    return Training(
        shape=ModelShape(
            **sizes, hidden_act=row["hidden_act"], ffn=row["ffn"], vocab_size=VOCABULARY
        ),
        tokens=float(row["tokens"]), loss=float(row["bits_per_byte"]), dataset=row["dataset"],
        seed=row["seed"],
    )  # fmt: skip


def rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    does = parser.add_subparsers(dest="do", required=True)
    train_parser = does.add_parser("train")
    train_parser.add_argument("kind", choices=("targets", "miniatures", "ladder"))
    train_parser.add_argument("folder", type=Path)
    train_parser.add_argument("-o", "--output", type=Path, required=True)
    train_parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    train_parser.add_argument("--backwards", action="store_true", help="begin with the last one")
    check_parser = does.add_parser("check")
    check_parser.add_argument("table", type=Path)
    check_parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.do == "check":
        write_table(check(given.table), given.output)
    else:
        train_kind(given.kind, given.folder, given.output, given.seeds, backwards=given.backwards)


if __name__ == "__main__":
    main()
