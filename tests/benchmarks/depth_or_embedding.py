"""Does a short training order shapes by depth, or by the size of their embeddings?

python tests/benchmarks/depth_or_embedding.py -o results/depth-or-embedding.csv

At equal decoder size a deep shape is narrow, so its embedding is small. The twelve shapes of
``rank_quality.py`` are trained three times: with their own embedding of 512 words, with one of
4096 words, and with one *common* embedding of 512 words and 64 dimensions that a fixed orthonormal
matrix widens, so that all shapes have the same number of trained parameters outside the decoder.
"""

import argparse
import math
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import say, write_table
from rank_quality import TARGET, shapes, slopes
from torch import Tensor, nn

from phonelm_search.decoder import Decoder
from phonelm_search.proxy import training
from phonelm_search.proxy.corpus import load_tokens, tokenise, tokens_file
from phonelm_search.proxy.parametrisation import build_decoder
from phonelm_search.proxy.settings import TrainingSettings
from phonelm_search.proxy.text import load_text
from phonelm_search.shape import ModelShape

VARIANTS = {"own, 512 words": 512, "own, 4096 words": 4096, "common, 512 words × 64": 512}
COMMON = 64


class CommonEmbedding(nn.Module):
    """A table of 64 dimensions, widened by a fixed orthonormal matrix."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(vocab_size, COMMON, generator=generator))
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


def with_common_embedding(shape: ModelShape, seed: int) -> Decoder:
    """A decoder whose embedding is as large as that of every other shape."""
    model = build_decoder(shape, seed)
    embedding = CommonEmbedding(shape.vocab_size, shape.hidden_size)
    model.model.embed_tokens = embedding  # type: ignore[assignment]
    model.lm_head = CommonHead(embedding)  # type: ignore[assignment]
    return model


def train_one(job: tuple[str, ModelShape, TrainingSettings, str, int]) -> tuple[str, float, float]:
    """Bits per byte and seconds of one shape under one variant."""
    variant, shape, settings, file, seed = job
    torch.set_num_threads(1)
    training.build_decoder = with_common_embedding if "common" in variant else build_decoder
    outcome, _ = training.train(shape, load_tokens(Path(file)), settings, seed=seed)
    say(f"{variant} {shape.shape_id} {outcome.bits_per_byte} {outcome.reason or ''}")
    return variant, outcome.bits_per_byte or math.nan, outcome.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens-per-parameter", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    cache = Path(tempfile.mkdtemp())
    base = tokenise(load_text(), 512, cache)
    jobs, names = [], []
    tokens: dict[str, int] = {}
    for variant, vocabulary in VARIANTS.items():
        corpus = tokenise(load_text(), vocabulary, cache)
        # As much text for all: a token of the larger vocabulary stands for more of it.
        text_bytes = [float(c.token_bytes[c.train].mean()) for c in (base, corpus)]
        tokens[variant] = round(args.tokens_per_parameter * TARGET * text_bytes[0] / text_bytes[1])
        settings = TrainingSettings(
            corpus=corpus.digest, vocab_size=vocabulary, tokens=tokens[variant], budget=None,
            width_factor=1.0,
        )  # fmt: skip
        file = str(tokens_file(cache, corpus))
        for shape in shapes(vocabulary):
            jobs.append((variant, shape, settings, file, args.seed))
            names.append(shape)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        results = list(executor.map(train_one, jobs))
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        mine = [(n, r) for n, r in zip(names, results, strict=True) if r[0] == variant]
        bits = np.array([r[1] for _, r in mine])
        found = [n for n, _ in mine]
        summary = slopes(bits, found)
        say(f"{variant}: {summary}")
        for shape, (_, value, seconds) in mine:
            outside = (
                512 * COMMON if "common" in variant else shape.parameters - shape.decoder_parameters
            )
            rows.append(
                {
                    "embedding": variant, "hidden_size": shape.hidden_size,
                    "num_hidden_layers": shape.num_hidden_layers,
                    "decoder_parameters": shape.decoder_parameters,
                    "embedding_parameters": outside, "tokens": tokens[variant],
                    "bits_per_byte": round(value, 4), "seconds": round(seconds), **summary,
                }
            )  # fmt: skip
    say(str(asdict(jobs[0][2])))
    write_table(rows, args.output)


if __name__ == "__main__":
    main()
