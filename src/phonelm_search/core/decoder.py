"""The one torch model: a Llama-family decoder with Hugging Face's parameter names.

The proxy trains it, and the parity tests hold it against the ONNX graph and transformers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonelm_search.core.rotary import scaled_tables
from phonelm_search.core.shape import HiddenAct, ModelShape

KeyValues = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Constant factors that training puts beside the weights; `Decoder.fold` moves them inside."""

    residual: float = 1.0
    """Of what each branch adds to the residual stream."""
    logits: float = 1.0
    """Of the logits."""


def activate(name: HiddenAct, x: Tensor) -> Tensor:
    """Apply an activation by its name."""
    match name:
        case "silu":
            return F.silu(x)
        case "gelu":
            return F.gelu(x)
        case "relu":
            return F.relu(x)
        case "relu2":
            return F.relu(x).square()


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    """Causal grouped-query attention with rotary positions."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        h, q, kv = shape.hidden_size, shape.q_size, shape.kv_size
        self.q_proj = nn.Linear(h, q, bias=shape.qkv_bias)
        self.k_proj = nn.Linear(h, kv, bias=shape.qkv_bias)
        self.v_proj = nn.Linear(h, kv, bias=shape.qkv_bias)
        self.o_proj = nn.Linear(q, h, bias=False)
        if shape.qk_norm:
            self.q_norm = RMSNorm(shape.head_dim, shape.rms_norm_eps)
            self.k_norm = RMSNorm(shape.head_dim, shape.rms_norm_eps)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, -1, self.shape.head_dim)
        k = self.k_proj(x).view(b, t, -1, self.shape.head_dim)
        v = self.v_proj(x).view(b, t, -1, self.shape.head_dim).transpose(1, 2)
        if self.shape.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = (
            _rotate(q.transpose(1, 2), rotary),
            _rotate(k.transpose(1, 2), rotary),
        )  # [b, n, t, d]
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        mask = None
        if past is not None and t > 1:
            total = k.shape[2]
            mask = torch.ones(t, total, dtype=torch.bool, device=x.device).tril(total - t)
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=past is None,
            enable_gqa=self.shape.kv_groups > 1,
        )
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1)), (k, v)


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotary  # [t, d/2]
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class FeedForward(nn.Module):
    """Gated or plain feed-forward network."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        h, f = shape.hidden_size, shape.intermediate_size
        if shape.ffn == "gated":
            self.gate_proj = nn.Linear(h, f, bias=False)
        self.up_proj = nn.Linear(h, f, bias=False)
        self.down_proj = nn.Linear(f, h, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up_proj(x)
        if self.shape.ffn == "gated":
            inner = activate(self.shape.hidden_act, self.gate_proj(x)) * up
        else:
            inner = activate(self.shape.hidden_act, up)
        out: Tensor = self.down_proj(inner)
        return out


class Layer(nn.Module):
    """Pre-norm attention and feed-forward network, each on a residual branch."""

    def __init__(self, shape: ModelShape, residual: float) -> None:
        super().__init__()
        self.residual = residual
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.mlp = FeedForward(shape)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        mixed, present = self.self_attn(self.input_layernorm(x), rotary, past)
        x = x.add(mixed, alpha=self.residual)
        return x.add(self.mlp(self.post_attention_layernorm(x)), alpha=self.residual), present


class _Stack(nn.Module):
    """Embedding, layers and final norm, under the prefix ``model.`` as in transformers."""

    def __init__(self, shape: ModelShape, residual: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape, residual) for _ in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)


class Decoder(nn.Module):
    """A decoder of a shape, with torch's default weights.

    Args:
        shape: The dimensions.
        scales: Factors for training; by default there are none and it is a plain Llama.
    """

    def __init__(self, shape: ModelShape, scales: Scales | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.scales = scales or Scales()
        self.model = _Stack(shape, self.scales.residual)
        self.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        if shape.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @torch.no_grad()
    def fold(self) -> None:
        """Multiply the factors into the weights: o and down projections, and the final norm.

        Afterwards this is a plain Llama that gives the same logits, up to rounding.
        """
        for layer in self.model.layers:
            assert isinstance(layer, Layer)
            layer.self_attn.o_proj.weight.mul_(self.scales.residual)
            layer.mlp.down_proj.weight.mul_(self.scales.residual)
            layer.residual = 1.0
        self.model.norm.weight.mul_(self.scales.logits)
        self.scales = Scales()

    def rotary(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [count, head_dim/2] of positions from ``start`` on."""
        shape, device = self.shape, self.lm_head.weight.device
        if shape.rope_scaling:
            cos, sin = scaled_tables(
                shape.rope_scaling, head_dim=shape.head_dim, theta=shape.rope_theta, start=start,
                count=count,
            )  # fmt: skip
            return torch.from_numpy(cos).to(device), torch.from_numpy(sin).to(device)
        half = shape.head_dim // 2
        exponents = torch.arange(half, dtype=torch.float64, device=device) / half
        positions = torch.arange(start, start + count, dtype=torch.float64, device=device)
        angles = torch.outer(positions, shape.rope_theta**-exponents)
        return angles.cos().float(), angles.sin().float()

    def forward(self, ids: Tensor, past: KeyValues | None = None) -> tuple[Tensor, KeyValues]:
        """Logits of every position.

        Args:
            ids: Token ids [batch, tokens].
            past: Keys and values [batch, kv_heads, past, head_dim] of each layer, from an
                earlier call.

        Returns:
            Logits [batch, tokens, vocab_size], and the keys and values for the next call.
        """
        start = past[0][0].shape[2] if past else 0
        rotary = self.rotary(start, ids.shape[1])
        x = self.model.embed_tokens(ids)
        present: KeyValues = []
        for i, layer in enumerate(self.model.layers):
            x, kv = layer(x, rotary, past[i] if past else None)
            present.append(kv)
        x = self.model.norm(x)
        if self.scales.logits != 1.0:
            x = x * self.scales.logits
        return self.lm_head(x), present
