"""Weights rounded as the graph stores them, back in the torch decoder."""

import copy

import torch

from phonelm_search.core.decoder import Decoder
from phonelm_search.core.precision import Precision
from phonelm_search.graph import rounded


@torch.no_grad()
def quantised_copy(model: Decoder, scheme: Precision) -> Decoder:
    """A copy whose matrices, embedding and head went through the graph's rounding and back.

    Args:
        model: With its factors folded in.
        scheme: How they are stored.
    """
    found = copy.deepcopy(model)
    for parameter in found.parameters():
        if parameter.ndim == 2:
            stored = rounded(parameter.float().cpu().numpy(), scheme)
            parameter.copy_(torch.from_numpy(stored))
    return found
