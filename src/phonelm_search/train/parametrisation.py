"""A parametrisation in which learning rates carry over width and depth.

Width by muP (Yang et al., arXiv 2203.03466) as it is for Muon: an orthogonalised update changes
activations by as much at every width, so only embedding and head need care. With a tied
embedding of deviation 1 the logits are scaled by 1/width. Depth by depth-muP (Yang et al., arXiv
2310.02244): what a branch adds is scaled by 1/√layers, which was measured better here than the
1/layers of CompleteP (Dey et al., arXiv 2505.01618). Both factors fold into plain Llama weights.
"""

import math

import torch
from torch import nn

from phonelm_search.core.decoder import Decoder, Scales
from phonelm_search.core.shape import ModelShape

_RESIDUAL = 2.3
_LOGITS = 10.0


def scales_of(shape: ModelShape) -> Scales:
    """The factors of a shape: residual c/√layers, logits d/width.

    The constants were found by searches at 0.3M decoder parameters (``results/LOG.md``).
    """
    return Scales(
        residual=_RESIDUAL / math.sqrt(shape.num_hidden_layers), logits=_LOGITS / shape.hidden_size
    )


def build_decoder(shape: ModelShape, seed: int) -> Decoder:
    """A decoder ready for training.

    Matrices have deviation 1/√inputs, embeddings (and an untied head) 1, norms are ones.
    """
    model = Decoder(shape, scales_of(shape))
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            std = 1 / math.sqrt(module.in_features)
            nn.init.normal_(module.weight, std=std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.model.embed_tokens.weight, generator=generator)
    if not shape.tie_word_embeddings:
        nn.init.normal_(model.lm_head.weight, generator=generator)
    return model
