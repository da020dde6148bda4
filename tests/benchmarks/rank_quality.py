"""How far a short training's order of shapes is that of a long one, at equal decoder size.

python tests/benchmarks/rank_quality.py --results /tmp/rank -o results/rank-quality.csv

Twelve shapes of 0.3M decoder parameters (± 2 %), two seeds each, trained to 8 tokens per
parameter, with a decayed score at every shorter horizon, there with two further seeds: a score is
the mean of two seeds, and those of the long run share its trunk. Resumes from its results folder.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import say, write_table

from phonelm_search.core.shape import ModelShape
from phonelm_search.quality import Comparison, Score, gather
from phonelm_search.quality.agreement import Agreement, agreement
from phonelm_search.quality.comparison import resolved_pairs
from phonelm_search.store import Store
from phonelm_search.train import (
    Candidate,
    Run,
    TrainingRuns,
    TrainingSettings,
    load_text,
    tokenise,
    tokens_file,
)

TARGET = 300_000
HORIZONS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SEEDS, FRESH = (0, 1), (2, 3)
_LEAST_FRESH = 0.5
# hidden_size, layers, heads, KV heads, head dimension, activation
GRID = (
    (64, 4, 2, 2, 32, "silu"), (64, 6, 4, 2, 16, "silu"), (64, 8, 2, 2, 32, "relu"),
    (64, 10, 2, 1, 32, "silu"), (96, 2, 3, 3, 32, "silu"), (96, 3, 6, 3, 16, "silu"),
    (96, 4, 3, 1, 32, "relu"), (96, 5, 3, 3, 32, "silu"), (128, 1, 4, 4, 32, "silu"),
    (128, 2, 4, 2, 32, "silu"), (128, 3, 4, 4, 32, "silu"), (160, 2, 5, 5, 32, "silu"),
)  # fmt: skip


class Lines:
    """Progress as lines."""

    def stage(self, title: str, total: float) -> None:
        say(f"{title}: {total / 1e6:.1f}M tokens")

    def advance(self, amount: float, detail: str = "") -> None:
        return None

    def note(self, text: str) -> None:
        say(text)


def shapes(vocab_size: int) -> list[ModelShape]:
    """The grid, the feed-forward width chosen for equal decoder size."""
    found = []
    for hidden, layers, heads, kv_heads, head_dim, act in GRID:
        least = ModelShape(
            hidden_size=hidden, intermediate_size=2, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim,
            vocab_size=vocab_size, hidden_act=act,
        )  # fmt: skip
        step = replace(least, intermediate_size=3).decoder_parameters - least.decoder_parameters
        width = 2 + round((TARGET - least.decoder_parameters) / step)
        found.append(replace(least, intermediate_size=width))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--vocab-size", type=int, default=512)
    parser.add_argument("--horizons", type=float, nargs="*", default=HORIZONS)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    store = Store(args.results)
    corpus = tokenise(load_text(), args.vocab_size, args.results / "cache")
    runner = TrainingRuns(
        store, tokens_file(args.results / "cache", corpus), scheme="int4-b32", report=Lines()
    )
    candidates = [Candidate(shape=s, trained=s, notes=()) for s in shapes(args.vocab_size)]
    base = TrainingSettings(
        corpus=corpus.digest, vocab_size=args.vocab_size, tokens=0, budget=None, width_factor=1.0
    )
    scores: dict[float, list[Score]] = {}
    for horizon in args.horizons:
        fresh = FRESH if _LEAST_FRESH <= horizon < max(args.horizons) / 2 else ()
        runs = [
            Run(candidate=c, settings=replace(base, tokens=round(horizon * TARGET)), seed=seed)
            for seed in (*SEEDS, *fresh)
            for c in candidates
        ]
        runner.stage(f"{horizon} tokens per parameter", runs)
        by_shape = gather(runner.scores(runs))
        scores[horizon] = [by_shape[c.shape.shape_id] for c in candidates]
    rows: list[dict[str, Any]] = []
    for horizon, found in scores.items():
        for candidate, score in zip(candidates, found, strict=True):
            s = candidate.shape
            for run in score.runs:
                rows.append(
                    {
                        "hidden_size": s.hidden_size, "num_hidden_layers": s.num_hidden_layers,
                        "intermediate_size": s.intermediate_size,
                        "num_attention_heads": s.num_attention_heads,
                        "num_key_value_heads": s.num_key_value_heads, "hidden_act": s.hidden_act,
                        "decoder_parameters": s.decoder_parameters,
                        "embedding_parameters": s.parameters - s.decoder_parameters,
                        "tokens_per_parameter": horizon, "seed": run.seed,
                        "bits_per_byte": round(run.bits_per_byte or np.nan, 5),
                        "int4_bits_per_byte": round(run.quantised.get("int4-b32", np.nan), 5),
                        "seconds": round(run.seconds, 1),
                    }
                )  # fmt: skip
    write_table(rows, args.output)
    summary = [s for h in scores for s in summarise(scores, h)]
    summary += depth_or_embedding(candidates, scores)
    for line in summary:
        say(str(line))
    if args.output:
        for kind in ("order", "effect"):
            kept = [{k: v for k, v in s.items() if k != "table"} for s in summary
                    if s["table"] == kind]  # fmt: skip
            if kept:
                write_table(kept, args.output.with_name(f"{args.output.stem}-{kind}.csv"))


def summarise(scores: dict[float, list[Score]], horizon: float) -> list[dict[str, Any]]:
    """One horizon's order against the longest one's.

    Runs of one seed share the beginning of their trunk, so other seeds are held against it: one
    against the other, or the mean of two against the mean of the other two.
    """
    long = scores[max(scores)]
    target = [mean(s, SEEDS) for s in long]
    resolved = [(i, j) for i, j, _ in resolved_pairs(long, Comparison(long))]
    name = "ceiling: the long run itself" if horizon == max(scores) else "score"
    rows = []
    for mine, other in (SEEDS, SEEDS[::-1]):
        values = [mean(s, (mine,)) for s in scores[horizon]]
        found = agreement(values, [mean(s, (other,)) for s in long], resolved)
        rows.append(order_row(horizon, f"{name}, seed {mine} against seed {other}", found))
    if len(scores[horizon][0].runs) > len(SEEDS):
        found = agreement([mean(s, FRESH) for s in scores[horizon]], target, resolved)
        rows.append(order_row(horizon, f"{name}, mean of seeds {FRESH} against {SEEDS}", found))
    if horizon == max(scores):
        trained = [ModelShape(**s.first.trained) for s in long]
        for what, sizes in (
            ("baseline: decoder parameters", [-t.decoder_parameters for t in trained]),
            ("baseline: the largest, embedding included", [-t.parameters for t in trained]),
            ("baseline: the shallowest", [t.num_hidden_layers for t in trained]),
        ):
            rows.append(order_row(0.0, what, agreement(sizes, target, resolved)))
    return rows


def mean(score: Score, seeds: Sequence[int]) -> float:
    """Bits per byte, mean of some seeds."""
    return float(np.mean([score.runs[s].bits_per_byte or np.nan for s in seeds]))


def order_row(horizon: float, what: str, found: Agreement) -> dict[str, Any]:
    """A row of the table of orders."""
    return {"table": "order", "tokens_per_parameter": horizon, "what": what, **flat(found)}


def flat(found: Agreement) -> dict[str, Any]:
    """For a table."""
    document = asdict(found)
    regret = document.pop("regret")
    low, high = document.pop("kendall_interval") or (None, None)
    share_low, share_high = document.pop("concordance_interval") or (None, None)
    values = {
        **document, "kendall_low": low, "kendall_high": high, "concordance_low": share_low,
        "concordance_high": share_high, **{f"regret_top{k}": v for k, v in regret.items()},
    }  # fmt: skip
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}


def depth_or_embedding(
    candidates: list[Candidate], scores: dict[float, list[Score]]
) -> list[dict[str, Any]]:
    """Regression of loss on log2 depth and log2 width, which is the embedding's size."""
    found = [c.shape for c in candidates]
    depth = np.log2([s.num_hidden_layers for s in found])
    width = np.log2([s.hidden_size for s in found])
    rows = []
    for horizon, scored in scores.items():
        bits = np.array([s.bits_per_byte for s in scored], float)
        fitted = slopes(bits, found)
        rows.append(
            {
                "table": "effect", "vocab_size": found[0].vocab_size,
                "tokens_per_parameter": horizon,
                "per_doubling_of_depth": fitted["depth_width_held"],
                "depth_error": fitted["depth_width_held_error"],
                "per_doubling_of_width": fitted["width"], "width_error": fitted["width_error"],
                "depth_width_correlation": round(float(np.corrcoef(depth, width)[0, 1]), 3),
                "spread_of_loss": round(float(bits.std(ddof=1)), 4),
            }
        )  # fmt: skip
    return rows


def slopes(bits: np.ndarray, found: list[ModelShape]) -> dict[str, float]:
    """Loss per doubling of depth: alone, and with width held."""
    depth = np.log2([s.num_hidden_layers for s in found])
    width = np.log2([s.hidden_size for s in found])
    values = {}
    for name, columns in (("alone", (depth,)), ("width_held", (depth, width))):
        design = np.stack([np.ones_like(depth), *columns], 1)
        fitted, *_ = np.linalg.lstsq(design, bits, rcond=None)
        left = bits - design @ fitted
        scale = left @ left / (len(bits) - design.shape[1])
        error = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * scale)
        values[f"depth_{name}"], values[f"depth_{name}_error"] = fitted[1], error[1]
    values["width"], values["width_error"] = fitted[2], error[2]
    return {k: round(float(v), 4) for k, v in values.items()}


if __name__ == "__main__":
    main()
