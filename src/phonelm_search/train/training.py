"""Training one candidate: along the trunk, and down the decay to a score in bits per byte."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from phonelm_search.core.decoder import Decoder
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.train.batches import Batches, validation_chunks
from phonelm_search.train.checkpoint import Checkpoints, Progress
from phonelm_search.train.corpus import TokenisedCorpus
from phonelm_search.train.optimiser import (
    LearningRates,
    decay_factor,
    make_optimisers,
    set_learning_rates,
    trunk_factor,
)
from phonelm_search.train.parametrisation import build_decoder
from phonelm_search.train.quantised import quantised_copy
from phonelm_search.train.settings import Outcome, TrainingSettings

Report = Callable[[int, float], None]
_LARGEST_NORM = 1.0
_SAVED_EVERY_S = 300.0
_Score = tuple[tuple[float, ...], tuple[int, ...], float | None]
_NO_SCORE: _Score = ((), (), None)
_POINT_TOKENS = 32_768  # between two points of a curve


class DivergedError(TrainingError):
    """A loss that is no number, or above its start: a result and no accident."""


def train(
    shape: ModelShape,
    corpus: TokenisedCorpus,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoints: Path | None = None,
    scheme: Precision | None = None,
    report: Report = lambda tokens, bits: None,
) -> tuple[Outcome, Decoder]:
    """Train a shape and score it on the validation text.

    The seed decides initial weights and data order; the order is the same for every shape. From
    the latest checkpoint on, the numbers are to the last bit those of a run without a stop, on
    one thread.

    Args:
        shape: The decoder, with the corpus' vocabulary.
        corpus: The tokens.
        settings: How and for how long.
        seed: Any integer from 0 on.
        checkpoints: Folder of this training's states; None keeps none.
        scheme: Also score the weights rounded like this; None does not.
        report: Called with (tokens so far, training bits per byte).

    Returns:
        The outcome and the decoder, its factors folded into plain Llama weights. A diverging
        training is an outcome with its reason.

    Raises:
        TrainingError: If a checkpoint cannot be written, or one sequence does not fit in memory.
    """
    run = _Run(shape, corpus, settings, seed=seed, report=report)
    reason = None
    bits, text_bytes, quantised = _NO_SCORE
    try:
        run.along_trunk(settings.trunk_steps, checkpoints)
        run.decay()
        run.model.fold()
        bits, text_bytes, quantised = _score(run.model, corpus, settings, scheme)
    except DivergedError as error:
        reason = str(error)
    outcome = Outcome(
        finished=True,
        chunk_bits=bits,
        chunk_bytes=text_bytes,
        quantised=quantised,
        curve=tuple(run.curve),
        tokens=run.step * settings.step_tokens,
        seconds=run.seconds,
        reason=reason,
        notes=run.notes,
    )
    return outcome, run.model


def step_seconds(
    shape: ModelShape,
    corpus: TokenisedCorpus,
    settings: TrainingSettings,
    steps: int,
    *,
    limit: float = math.inf,
) -> list[float]:
    """Wall time of each of the first steps of a training; the first one warms up.

    No more are taken after one that lasts longer than ``limit`` seconds.
    """
    run = _Run(shape, corpus, settings, seed=0, report=lambda tokens, bits: None)
    found = []
    for step in range(steps):
        before = run.seconds
        run.go_on(step + 1)
        found.append(run.seconds - before)
        if found[-1] > limit:
            break
    return found


def _score(
    model: Decoder,
    corpus: TokenisedCorpus,
    settings: TrainingSettings,
    scheme: Precision | None,
) -> _Score:
    """Bits and bytes of validation, and bits per byte of the weights as a scheme rounds them.

    Raises:
        DivergedError: If a loss is no number.
    """
    bits, text_bytes = validate(model, corpus, settings)
    if not all(map(math.isfinite, bits)):
        raise DivergedError("training diverged: the validation loss is no number")
    quantised = None
    if scheme:
        rounded = quantised_copy(model, scheme)
        quantised = sum(validate(rounded, corpus, settings)[0]) / sum(text_bytes)
    return bits, text_bytes, quantised


@torch.no_grad()
def validate(
    model: Decoder, corpus: TokenisedCorpus, settings: TrainingSettings
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Bits and text bytes of each validation chunk, in fp32.

    A chunk is ``sequence + 1`` tokens; its first token is context only. Separators cost bits
    and stand for no bytes.
    """
    device = model.lm_head.weight.device
    bits: list[float] = []
    text_bytes: list[int] = []
    chunks = validation_chunks(
        corpus.validation, sequence=settings.sequence, count=settings.validation_chunks
    )
    for start in range(0, len(chunks), settings.batch):
        batch = torch.from_numpy(chunks[start : start + settings.batch]).to(device)
        logits, _ = model(batch[:, :-1])
        targets = batch[:, 1:]
        nats = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(1)
        bits += (nats.double() / math.log(2)).tolist()
        text_bytes += corpus.token_bytes[targets.cpu().numpy()].sum(1).tolist()
    return tuple(bits), tuple(text_bytes)


@lru_cache(maxsize=1)
def _forget_compiled(shape: ModelShape, sequence: int, batch: int, number_type: str) -> None:
    """Drop what another training compiled; a later one like the last is served by that.

    A process serves many shapes: without this its later ones would be compiled for sizes in
    general, or not at all.
    """
    torch._dynamo.reset()


class _Run:
    """A training in memory."""

    def __init__(
        self,
        shape: ModelShape,
        corpus: TokenisedCorpus,
        settings: TrainingSettings,
        *,
        seed: int,
        report: Report,
    ) -> None:
        self._settings, self._report = settings, report
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = build_decoder(shape, seed).to(self._device)
        rates = LearningRates()
        factor = settings.lr_factor
        rates = replace(
            rates,
            matrices=rates.matrices * factor,
            embedding=rates.embedding * factor,
            vectors=rates.vectors * factor,
        )
        self.optimisers = make_optimisers(
            self.model, rates, fused=True, bf16=settings.number_type == "bf16"
        )
        self._batches = Batches(
            corpus.train, sequence=settings.sequence, batch=settings.batch, seed=seed
        )
        if settings.compiled:
            _forget_compiled(shape, settings.sequence, settings.batch, settings.number_type)
            for layer in self.model.model.layers:  # all of one size: compiled once
                layer.compile()
        self._bits_per_nat = 1 / (math.log(2) * float(corpus.token_bytes[corpus.train].mean()))
        self._rows = settings.batch
        self.step = 0
        self.curve: list[tuple[int, float]] = []
        self._recent: list[float] = []
        self._first_loss = math.nan
        self.seconds = 0.0
        self.notes: tuple[str, ...] = ()

    def along_trunk(self, until: int, folder: Path | None) -> None:
        """Train to a step of the trunk, from the latest checkpoint of a folder, and leave one."""
        checkpoints = Checkpoints(folder) if folder else None
        if checkpoints:
            self.resume(checkpoints, until)
        self.go_on(until, checkpoints)
        if checkpoints:
            checkpoints.save(self.progress(), self.model, self.optimisers)

    def progress(self) -> Progress:
        """What a checkpoint keeps."""
        return Progress(
            step=self.step,
            first_loss=self._first_loss,
            curve=tuple(self.curve),
            seconds=self.seconds,
        )

    def resume(self, checkpoints: Checkpoints, until: int) -> None:
        """Go back to the latest state of at most ``until`` steps, where there is one."""
        found = checkpoints.load(until, self.model, self.optimisers)
        if found:
            self.step, self._first_loss = found.step, found.first_loss
            self.curve, self.seconds = list(found.curve), found.seconds

    def go_on(self, until: int, checkpoints: Checkpoints | None = None) -> None:
        """Train along the trunk, saving every few minutes."""
        saved = self.seconds
        while self.step < until:
            self._advance(trunk_factor(self.step, self._settings.warmup_steps))
            if checkpoints and self.seconds - saved > _SAVED_EVERY_S:
                checkpoints.save(self.progress(), self.model, self.optimisers)
                saved = self.seconds
        self._close_point()
        self._check_level()

    def decay(self) -> None:
        """Train down to a learning rate of nearly 0."""
        for step in range(self._settings.decay_steps):
            self._advance(decay_factor(step, self._settings.decay_steps))
        self._close_point()
        self._check_level()

    def _advance(self, lr_factor: float) -> None:
        began = time.perf_counter()
        set_learning_rates(self.optimisers, lr_factor)
        loss = self._gradients(torch.from_numpy(self._batches[self.step]).to(self._device))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _LARGEST_NORM)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.seconds += time.perf_counter() - began
        self.step += 1
        bits = loss * self._bits_per_nat
        if not math.isfinite(bits):
            raise DivergedError(f"training diverged: the loss is {bits} after step {self.step}")
        if self.step == 1:
            self._first_loss = bits
        self._recent.append(bits)
        if len(self._recent) * self._settings.step_tokens >= _POINT_TOKENS:
            self._close_point()

    def _gradients(self, batch: torch.Tensor) -> float:
        """Loss of a batch in nats per token, its gradients added up; split when memory is short."""
        while True:
            try:
                total = 0.0
                for rows in torch.split(batch, self._rows):
                    with torch.autocast(
                        self._device.type,
                        torch.bfloat16,
                        enabled=self._settings.number_type == "bf16",
                    ):
                        logits, _ = self.model(rows[:, :-1])
                    loss = F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
                    (loss * (len(rows) / len(batch))).backward()  # type: ignore[no-untyped-call]
                    total += loss.item() * len(rows) / len(batch)
                return total
            except (RuntimeError, MemoryError) as error:
                if not _is_memory(error):
                    raise
                if self._rows == 1:
                    raise TrainingError(
                        "one sequence must fit in memory, out of memory even so; take a smaller "
                        "--proxy-parameters"
                    ) from error
            self._rows //= 2
            self.notes = (f"memory was short: the batch was split into {self._rows} sequences",)
            for optimiser in self.optimisers:
                optimiser.zero_grad()

    def _close_point(self) -> None:
        if self._recent:
            self.curve.append(
                (self.step * self._settings.step_tokens, float(np.mean(self._recent)))
            )
            self._report(*self.curve[-1])
            self._recent = []

    def _check_level(self) -> None:
        # Learning rates still rise before, and the loss may with them.
        settled = self.step >= 2 * self._settings.warmup_steps
        if settled and self.curve[-1][1] > self._first_loss:
            raise DivergedError(
                f"training diverged: the loss ended at {self.curve[-1][1]:.2f}, above its start of "
                f"{self._first_loss:.2f} bits per byte"
            )


def _is_memory(error: Exception) -> bool:
    """Whether memory ran out; on the CPU torch says so in words only."""
    words = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        w in str(error) for w in words
    )
