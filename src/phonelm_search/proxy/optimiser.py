"""Muon for the matrices of the layers, AdamW for the rest, warm-up–stable–decay."""

from collections.abc import Sequence

import torch
from torch.optim import AdamW, Muon, Optimizer

from phonelm_search.decoder import Decoder


def make_optimisers(
    model: Decoder, *, matrix_lr: float, vector_lr: float, fused: bool
) -> list[Optimizer]:
    """The optimisers of a decoder.

    Args:
        model: What is trained.
        matrix_lr: Muon's learning rate (``adjust_lr_fn="original"``, which carries over width).
        vector_lr: AdamW's learning rate for embeddings, norms, biases and head.
        fused: Whether AdamW runs fused.
    """
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inner = parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name
        (matrices if inner else rest).append(parameter)
    return [
        Muon(matrices, lr=matrix_lr, weight_decay=0.0, momentum=0.95, adjust_lr_fn="original"),
        AdamW(rest, lr=vector_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=fused),
    ]


def schedule(step: int, steps: int, *, warmup: float = 0.05, decay: float = 0.3) -> float:
    """Warm-up–stable–decay factor of a step.

    Args:
        step: From 0 to steps − 1.
        steps: Length of the run.
        warmup: Share of the run that warms up linearly.
        decay: Share of the run that decays linearly towards 0.
    """
    up = (step + 1) / max(1.0, warmup * steps)
    down = (steps - step) / max(1.0, decay * steps)
    return min(1.0, up, down)


def set_learning_rates(
    optimisers: Sequence[Optimizer], base: Sequence[float], factor: float
) -> None:
    """Set every optimiser's learning rate to its base times a factor."""
    for optimiser, lr in zip(optimisers, base, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = lr * factor


def clip(model: Decoder, largest: float = 1.0) -> float:
    """Clip the gradient's global norm; returns the norm before."""
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), largest))
