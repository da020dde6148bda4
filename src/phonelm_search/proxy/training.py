"""Training one candidate and scoring it in bits per byte."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from phonelm_search.decoder import Decoder
from phonelm_search.proxy.corpus import TokenisedCorpus
from phonelm_search.proxy.optimiser import clip, make_optimisers, schedule, set_learning_rates
from phonelm_search.shape import ModelShape

Progress = Callable[[int, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Everything that a score depends on beside shape and seed."""

    corpus: str
    """Digest of text, split and tokenizer."""
    vocab_size: int
    """The proxy's vocabulary; small, so that embeddings don't decide."""
    tokens: int
    """Tokens to train on, the same for every candidate."""
    budget: int | None
    """Decoder parameters of a miniature; None: trained in full."""
    width_factor: float
    """By which every candidate shrank; 1 in full."""
    sequence: int = 128
    """Tokens of one sequence."""
    batch: int = 16
    """Sequences of one step."""
    matrix_lr: float = 0.02
    """Muon's learning rate."""
    vector_lr: float = 0.04
    """AdamW's learning rate."""
    validation_chunks: int = 512
    """Validation sequences, spread evenly over the held-out text."""
    version: int = 2
    """Version of the procedure."""

    @property
    def steps(self) -> int:
        """Optimiser steps: enough for the wished tokens."""
        return max(1, math.ceil(self.tokens / (self.sequence * self.batch)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training gave."""

    chunk_bits: tuple[float, ...]
    """Bits of each validation chunk; empty when training failed."""
    chunk_bytes: tuple[int, ...]
    """Text bytes of each validation chunk."""
    curve: tuple[tuple[int, float], ...]
    """(tokens, training bits per byte averaged since the last point)."""
    tokens: int
    """Tokens trained on."""
    seconds: float
    """Wall time."""
    reason: str | None
    """Why there is no score."""
    transient: bool = False
    """Whether another try may succeed: the child process was killed or could not start."""

    @property
    def bits_per_byte(self) -> float | None:
        """All bits over all bytes."""
        return sum(self.chunk_bits) / sum(self.chunk_bytes) if self.chunk_bits else None


def train(
    shape: ModelShape,
    corpus: TokenisedCorpus,
    settings: TrainingSettings,
    *,
    seed: int,
    progress: Progress = lambda tokens, loss: None,
) -> tuple[Outcome, Decoder]:
    """Train a shape from scratch and score it on the validation text.

    The seed decides initial weights and data order; the order is the same for every shape
    (common random numbers). A loss that is no number, or ends above its start, is an outcome
    with its reason.

    Args:
        shape: The decoder, with the corpus' vocabulary.
        corpus: The tokens.
        settings: Length of the run and learning rates.
        seed: Any integer.
        progress: Called with (tokens so far, training bits per byte).
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    model = Decoder(shape).to(device)
    base = (settings.matrix_lr, settings.vector_lr)
    optimisers = make_optimisers(model, matrix_lr=base[0], vector_lr=base[1], fused=True)
    per_byte = _bits_per_nat_and_byte(corpus)
    batches = _batches(corpus.train, settings, seed)
    step_tokens = settings.sequence * settings.batch
    every = max(1, settings.steps // 50)
    curve: list[tuple[int, float]] = []
    losses: list[float] = []
    began = time.perf_counter()
    reason = None
    for step in range(settings.steps):
        batch = torch.from_numpy(next(batches)).to(device)
        set_learning_rates(optimisers, base, schedule(step, settings.steps))
        logits, _ = model(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        clip(model)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        losses.append(loss.item() * per_byte)
        if not math.isfinite(losses[-1]):
            reason = f"training diverged: the loss is {losses[-1]} after step {step + 1}"
            break
        if (step + 1) % every == 0 or step + 1 == settings.steps:
            curve.append(((step + 1) * step_tokens, float(np.mean(losses[-every:]))))
            progress(*curve[-1])
    if reason is None and len(losses) > 1 and curve[-1][1] > losses[0]:
        reason = (
            f"training diverged: the loss ended at {curve[-1][1]:.2f}, above its start of "
            f"{losses[0]:.2f} bits per byte"
        )
    bits, text_bytes = ((), ()) if reason else validate(model, corpus, settings)
    if not all(map(math.isfinite, bits)):
        bits, text_bytes = (), ()
        reason = "training diverged: the validation loss is no number"
    outcome = Outcome(
        chunk_bits=bits,
        chunk_bytes=text_bytes,
        curve=tuple(curve),
        tokens=len(losses) * step_tokens,
        seconds=time.perf_counter() - began,
        reason=reason,
    )
    return outcome, model


@torch.no_grad()
def validate(
    model: Decoder, corpus: TokenisedCorpus, settings: TrainingSettings
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Bits and text bytes of each validation chunk.

    A chunk is ``sequence + 1`` tokens; its first token is context only. Separators cost bits
    and stand for no bytes.
    """
    model.eval()
    device = model.lm_head.weight.device
    bits: list[float] = []
    text_bytes: list[int] = []
    chunks = validation_chunks(corpus.validation, settings)
    for start in range(0, len(chunks), settings.batch):
        batch = torch.from_numpy(chunks[start : start + settings.batch]).to(device)
        logits, _ = model(batch[:, :-1])
        targets = batch[:, 1:]
        nats = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(1)
        bits += (nats.double() / math.log(2)).tolist()
        text_bytes += corpus.token_bytes[targets.cpu().numpy()].sum(1).tolist()
    model.train()
    return tuple(bits), tuple(text_bytes)


def validation_chunks(
    tokens: npt.NDArray[np.uint16], settings: TrainingSettings
) -> npt.NDArray[np.int64]:
    """Chunks [n, sequence + 1] spread evenly over the tokens, without overlap."""
    available = (len(tokens) - 1) // settings.sequence
    count = min(settings.validation_chunks, available)
    picked = np.unique(np.linspace(0, available - 1, count).round().astype(int))
    return np.stack(
        [tokens[i * settings.sequence : (i + 1) * settings.sequence + 1] for i in picked]
    ).astype(np.int64)


def _batches(
    tokens: npt.NDArray[np.uint16], settings: TrainingSettings, seed: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Batches [batch, sequence + 1]: every stretch of the text once per epoch, shuffled."""
    rng = np.random.default_rng(seed)
    while True:
        offset = int(rng.integers(settings.sequence))
        starts = np.arange(offset, len(tokens) - settings.sequence - 1, settings.sequence)
        rng.shuffle(starts)
        for i in range(0, len(starts) - settings.batch + 1, settings.batch):
            rows = [tokens[s : s + settings.sequence + 1] for s in starts[i : i + settings.batch]]
            yield np.stack(rows).astype(np.int64)


def _bits_per_nat_and_byte(corpus: TokenisedCorpus) -> float:
    """Mean loss in nats per token × this = bits per byte, at the training text's average."""
    bytes_per_token = float(corpus.token_bytes[corpus.train].mean())
    return 1 / (math.log(2) * bytes_per_token)
