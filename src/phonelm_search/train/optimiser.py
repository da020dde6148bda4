"""Muon for the matrices of the layers, AdamW for the rest, warm-up–stable–decay."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.optim import AdamW, Optimizer

from phonelm_search.core.decoder import Decoder
from phonelm_search.train.muon import StackedMuon


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRates:
    """Base learning rates; none depends on the shape."""

    matrices: float = 0.04
    """Muon, for the matrices of the layers."""
    embedding: float = 1.0
    """AdamW, for the embedding and an untied head, of deviation 1 at the start."""
    vectors: float = 0.01
    """AdamW, for norm weights and biases."""


def make_optimisers(
    model: Decoder, rates: LearningRates, *, fused: bool, bf16: bool = False
) -> list[Optimizer]:
    """The optimisers of a decoder.

    Args:
        model: What is trained; q, k, v, gate and up are matrices of their own, as Muon wants them.
        rates: Base learning rates.
        fused: Whether AdamW runs fused.
        bf16: Whether Muon iterates in bf16.
    """
    matrices: list[torch.nn.Parameter] = []
    tables: list[torch.nn.Parameter] = []
    vectors: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            vectors.append(parameter)
        elif "embed_tokens" in name or "lm_head" in name:
            tables.append(parameter)
        else:
            matrices.append(parameter)
    groups = [
        {"params": tables, "lr": rates.embedding},
        {"params": vectors, "lr": rates.vectors},
    ]
    # Gradients shrink with width by the logits' factor, so epsilon is far below them.
    adamw = AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, eps=1e-12, fused=fused)
    for parameter in (*tables, *vectors):  # here already, so that a checkpoint can be read into it
        adamw.state[parameter] = {
            "step": torch.zeros((), device=parameter.device if fused else "cpu"),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    optimisers: list[Optimizer] = [StackedMuon(matrices, lr=rates.matrices, bf16=bf16), adamw]
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["base_lr"] = group["lr"]
    return optimisers


def set_learning_rates(optimisers: Sequence[Optimizer], factor: float) -> None:
    """Set every learning rate to its base times a factor."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor


def trunk_factor(step: int, warmup_steps: int) -> float:
    """Factor of a step from 0 on: a linear warm-up, then 1 without end."""
    return min(1.0, (step + 1) / max(1, warmup_steps))


def decay_factor(step: int, decay_steps: int) -> float:
    """Factor of a step after the trunk: linear from 1 towards 0."""
    return (decay_steps - step) / max(1, decay_steps)
