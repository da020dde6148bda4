"""Does a short training order shapes by depth, or by the size of their embeddings?

python tests/benchmarks/depth_or_embedding.py -o results/depth-or-embedding.csv

At equal decoder size a deep shape is narrow, so its embedding is small. Twelve shapes of 0.3M
decoder parameters are trained with their own embedding of 512 words, with one of 4096 words, and
with one *common* embedding of 512 words and 64 dimensions that a fixed orthonormal matrix widens,
so that all shapes have the same number of trained parameters outside the decoder. All that once as
the proxy trains, and once naively: AdamW, weights of deviation 0.02, no factors. Resumes from its
output; the orders go to a second table beside it.
"""

import argparse
import csv
import functools
import itertools
import math
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import say, write_table
from scipy.stats import spearmanr
from torch import Tensor, nn

from phonelm_search.core.decoder import Decoder
from phonelm_search.core.shape import ModelShape
from phonelm_search.train import TrainingSettings, load_text, tokenise, tokens_file, training
from phonelm_search.train.corpus import load_tokens
from phonelm_search.train.optimiser import LearningRates
from phonelm_search.train.parametrisation import build_decoder

EMBEDDINGS = {"own, 512 words": 512, "own, 4096 words": 4096, "common, 512 words × 64": 512}
COMMON = 64
NAIVE_DEVIATION = 0.02
NAIVE_RATE = 3e-3
KEYS = ("training", "embedding", "tokens_per_parameter", "seed", "shape_id")
TARGET = 300_000
# hidden_size, layers, heads, KV heads, head dimension, activation
GRID = (
    (64, 4, 2, 2, 32, "silu"), (64, 6, 4, 2, 16, "silu"), (64, 8, 2, 2, 32, "relu"),
    (64, 10, 2, 1, 32, "silu"), (96, 2, 3, 3, 32, "silu"), (96, 3, 6, 3, 16, "silu"),
    (96, 4, 3, 1, 32, "relu"), (96, 5, 3, 3, 32, "silu"), (128, 1, 4, 4, 32, "silu"),
    (128, 2, 4, 2, 32, "silu"), (128, 3, 4, 4, 32, "silu"), (160, 2, 5, 5, 32, "silu"),
)  # fmt: skip


class CommonEmbedding(nn.Module):
    """A table of 64 dimensions, widened by a fixed orthonormal matrix."""

    def __init__(self, vocab_size: int, width: int, deviation: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        table = torch.randn(vocab_size, COMMON, generator=generator)
        self.weight = nn.Parameter(table * deviation)
        square = torch.randn(width, width, generator=generator)
        # Rows of unit length, and every activation as large as with a table of its own.
        widen = torch.linalg.qr(square)[0][:COMMON] * math.sqrt(width / COMMON)
        self.register_buffer("widen", widen)

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight) @ self.widen


class CommonHead(nn.Module):
    """The same table as the head; its weights belong to the embedding."""

    def __init__(self, embedding: CommonEmbedding) -> None:
        super().__init__()
        self._embedding = [embedding]  # in a list: no parameter of this module

    @property
    def weight(self) -> Tensor:
        return self._embedding[0].weight

    def forward(self, x: Tensor) -> Tensor:
        return x @ self._embedding[0].widen.T @ self.weight.T


def naive_decoder(shape: ModelShape, seed: int) -> Decoder:
    """A plain Llama: every matrix of one deviation, no factors."""
    model = Decoder(shape)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=NAIVE_DEVIATION, generator=generator)
    return model


def naive_optimisers(
    model: Decoder, rates: LearningRates, *, fused: bool, bf16: bool = False
) -> list[torch.optim.Optimizer]:
    """AdamW with one learning rate for everything; in place of the proxy's optimisers."""
    adamw = torch.optim.AdamW(
        model.parameters(), lr=NAIVE_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=fused
    )
    adamw.param_groups[0]["base_lr"] = NAIVE_RATE
    return [adamw]


def with_common_embedding(
    build: Callable[[ModelShape, int], Decoder], deviation: float, shape: ModelShape, seed: int
) -> Decoder:
    """A decoder whose embedding is as large as that of every other shape."""
    model = build(shape, seed)
    embedding = CommonEmbedding(shape.vocab_size, shape.hidden_size, deviation)
    model.model.embed_tokens = embedding  # type: ignore[assignment]
    model.lm_head = CommonHead(embedding)  # type: ignore[assignment]
    return model


def train_one(job: tuple[dict[str, Any], ModelShape, TrainingSettings, str]) -> dict[str, Any]:
    """A row: one shape trained in one way."""
    row, shape, settings, file = job
    torch.set_num_threads(1)
    naive = row["training"] == "naive"
    build = naive_decoder if naive else build_decoder
    if "common" in row["embedding"]:
        deviation = NAIVE_DEVIATION if naive else 1.0
        build = functools.partial(with_common_embedding, build, deviation)
    training.build_decoder = build
    if naive:
        training.make_optimisers = naive_optimisers
    outcome, _ = training.train(shape, load_tokens(Path(file)), settings, seed=row["seed"])
    if outcome.reason:
        say(f"{row}: {outcome.reason}")
    bits = math.nan if outcome.bits_per_byte is None else outcome.bits_per_byte
    return {**row, "bits_per_byte": round(bits, 5)}


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
    parser.add_argument("--horizons", type=float, nargs="*", default=(0.25, 1.0))
    parser.add_argument("--seeds", type=int, nargs="*", default=(0, 1))
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    if args.output.exists():
        with args.output.open(encoding="utf-8") as file:
            rows = {key_of(r): r for r in csv.DictReader(file)}
    jobs = [j for j in planned(args.horizons, args.seeds) if key_of(j[0]) not in rows]
    say(f"{len(jobs)} trainings to do, {len(rows)} done")
    # One training per process: naive ones put other optimisers into the module.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:
        for row in executor.map(train_one, jobs):
            rows[key_of(row)] = row
            say(str(row))
            write_table(list(rows.values()), args.output)
    order = summarise(list(rows.values()))
    for line in order:
        say(str(line))
    write_table(order, args.output.with_name(f"{args.output.stem}-order.csv"))


def key_of(row: dict[str, Any]) -> tuple[str, ...]:
    """What was trained, as text, as a table keeps it."""
    return tuple(str(row[k]) for k in KEYS)


def planned(
    horizons: list[float], seeds: list[int]
) -> list[tuple[dict[str, Any], ModelShape, TrainingSettings, str]]:
    """All trainings, cheap ones first."""
    cache, text = Path(tempfile.mkdtemp()), load_text()
    corpora = {n: tokenise(text, n, cache) for n in set(EMBEDDINGS.values())}
    files = {n: str(tokens_file(cache, c)) for n, c in corpora.items()}
    token_bytes = {n: float(c.token_bytes[c.train].mean()) for n, c in corpora.items()}
    jobs = []
    ways = itertools.product(horizons, seeds, ("naive", "fair"), EMBEDDINGS.items())
    for horizon, seed, way, (embedding, vocabulary) in ways:
        # As much text for all: a token of the larger vocabulary stands for more.
        tokens = round(horizon * TARGET * token_bytes[512] / token_bytes[vocabulary])
        settings = TrainingSettings(
            corpus=corpora[vocabulary].digest, vocab_size=vocabulary, tokens=tokens
        )
        for shape in shapes(vocabulary):
            outside = shape.parameters - shape.decoder_parameters
            row = {
                "training": way, "embedding": embedding, "tokens_per_parameter": horizon,
                "seed": seed, "shape_id": shape.shape_id, "hidden_size": shape.hidden_size,
                "num_hidden_layers": shape.num_hidden_layers,
                "decoder_parameters": shape.decoder_parameters,
                "embedding_parameters": 512 * COMMON if "common" in embedding else outside,
                "tokens": tokens,
            }  # fmt: skip
            jobs.append((row, shape, settings, files[vocabulary]))
    return jobs


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Loss against depth: of each way to train, with 95 % intervals over shapes drawn anew."""
    found = []
    groups = dict.fromkeys(tuple(str(r[k]) for k in KEYS[:3]) for r in rows)
    for group in groups:
        mine = [r for r in rows if tuple(str(r[k]) for k in KEYS[:3]) == group]
        vocabulary = EMBEDDINGS[group[1]]
        grid = shapes(vocabulary)
        seeds = sorted({int(r["seed"]) for r in mine})
        bits = np.array(
            [[float(r["bits_per_byte"]) for r in mine if r["shape_id"] == s.shape_id] for s in grid]
        )  # shapes × seeds
        depth = np.array([s.num_hidden_layers for s in grid])
        mean = bits.mean(1)
        draws = np.random.default_rng(0).integers(len(grid), size=(2000, len(grid)))
        spread = [spearmanr(mean[d], depth[d]).statistic for d in draws if len(set(depth[d])) > 1]
        low, high = np.nanpercentile(spread, [2.5, 97.5])
        found.append(
            {
                **dict(zip(KEYS[:3], group, strict=True)), "seeds": len(seeds),
                "spearman_depth": round(float(spearmanr(mean, depth).statistic), 3),
                "spearman_low": round(float(low), 3), "spearman_high": round(float(high), 3),
                "spearman_of_each_seed":
                    " ".join(f"{spearmanr(b, depth).statistic:.2f}" for b in bits.T),
                "spread_of_loss": round(float(mean.std(ddof=1)), 4), **slopes(mean, grid),
            }
        )  # fmt: skip
    return found


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
