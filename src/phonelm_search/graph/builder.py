"""The deployable decoder graph in ONNX Runtime's contrib operators.

It holds the operators that onnxruntime-genai's model builder writes, in the same numbers and with
the same attributes, so that what is measured is what would be deployed.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from phonelm_search.core.errors import UnsupportedShapeError
from phonelm_search.core.kernels import head_unit, hidden_unit, nearest
from phonelm_search.core.precision import Precision
from phonelm_search.core.rotary import scaled_tables
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph.proto import CONTRIB, Logits, serialise
from phonelm_search.graph.weights import TensorKind, TensorSpec, TensorType

GRAPH_VERSION = 1
_INT8_ACTIVATIONS = 4  # accuracy_level of MatMulNBits
_ROTARY_UNIT = 16  # GroupQueryAttention with do_rotary refuses other head dimensions


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A serialised ONNX model whose weights lie outside it."""

    model: bytes
    """The ModelProto; under 1 MB but for scaled rotary tables, which it holds. Weights are external
    data in ``model.onnx.data``."""
    tensors: tuple[TensorSpec, ...]
    """The external initializers, in the order of the weights file."""
    separate_rotary: bool
    """Whether rotary positions run as an operator of their own, off the fused path."""


def check_kernels(shape: ModelShape, precision: Precision) -> None:
    """Refuse what ONNX Runtime's kernels refuse.

    Raises:
        UnsupportedShapeError: If a size is none that they take; the message names the nearest
            sizes that work.
    """
    checks = (
        ("hidden_size", shape.hidden_size, hidden_unit(precision), "GatherBlockQuantized"),
        ("head_dim", shape.head_dim, head_unit(precision), "GroupQueryAttention"),
    )
    for name, size, unit, kernel in checks:
        if size % unit:
            raise UnsupportedShapeError(
                f"{name} must be a multiple of {unit} for {precision.name} ({kernel}), got {size}; "
                f"nearest: {nearest(size, unit)}"
            )


def build_graph(
    shape: ModelShape,
    precision: Precision,
    *,
    logits: Logits = "last",
    max_positions: int = 4096,
) -> Graph:
    """Build the graph of a shape.

    Inputs: ``input_ids`` int64 [1, S]; ``attention_mask`` int64 [1, past + S];
    ``past_key_values.{i}.key|value`` float32 [1, kv_heads, length, head_dim]. Outputs:
    ``logits`` float32 [1, 1 or S, vocab]; ``present.{i}.key|value``. Binding one buffer as past
    and as present makes the attention write in place.

    Args:
        shape: The decoder.
        precision: Weight scheme.
        logits: Positions whose logits are computed.
        max_positions: Rows of the rotary tables: the longest past plus new tokens.

    Raises:
        UnsupportedShapeError: As `check_kernels`.
    """
    if precision.storage == "static":
        raise ValueError(f"{precision.name} is for static graphs (graph.static)")
    check_kernels(shape, precision)
    build = _Builder(shape, precision)
    build.mask_nodes()
    if max_positions < 1:
        raise ValueError(f"max_positions must be positive, got {max_positions}")
    build.rotary_tables(max_positions)
    residual, skip = build.embedding(), ""
    for layer in range(shape.num_hidden_layers):
        base = f"model.layers.{layer}"
        normed, residual = build.norm(f"{base}.input_layernorm", residual, skip)
        skip = build.attention(layer, normed)
        normed, residual = build.norm(f"{base}.post_attention_layernorm", residual, skip)
        skip = build.feed_forward(f"{base}.mlp", normed)
    normed, _ = build.norm("model.norm", residual, skip, last=True)
    build.head(normed, logits)
    specs = tuple(build.tensors.values())
    return Graph(
        model=serialise(shape, build.nodes, list(build.constants.values()), specs, logits),
        tensors=specs,
        separate_rotary=build.separate_rotary,
    )


@dataclass
class _Builder:
    """Collects nodes and tensors; every method returns the name of its output."""

    shape: ModelShape
    precision: Precision
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, TensorSpec] = field(default_factory=dict)

    @property
    def separate_rotary(self) -> bool:
        return self.shape.head_dim % _ROTARY_UNIT != 0

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        type: TensorType = "float32",
        kind: TensorKind,
        scale: float,
    ) -> str:
        self.tensors[name] = TensorSpec(name=name, shape=shape, type=type, kind=kind, scale=scale)
        return name

    def constant(self, value: int | list[int]) -> str:
        name = f"const.{value}".replace(" ", "")
        array = np.asarray(value, np.int64)
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def rotary_tables(self, positions: int) -> None:
        """Tables of cosines and sines; runners make them, but for scaled ones."""
        s = self.shape
        if s.rope_scaling:
            tables = scaled_tables(
                s.rope_scaling, head_dim=s.head_dim, theta=s.rope_theta, start=0, count=positions
            )
            for name, table in zip(("cos_cache", "sin_cache"), tables, strict=True):
                self.constants[name] = numpy_helper.from_array(table, name)
            return
        dims = (positions, s.head_dim // 2)
        self.tensor("cos_cache", dims, kind="rotary_cos", scale=s.rope_theta)
        self.tensor("sin_cache", dims, kind="rotary_sin", scale=s.rope_theta)

    def node(
        self,
        op: str,
        inputs: list[str],
        name: str,
        *,
        domain: str = "",
        outputs: Any = 1,
        **attrs: Any,
    ) -> str:
        """Add a node; ``outputs`` is a count or a list of names, '' for those not wanted."""
        if isinstance(outputs, int):
            outputs = [f"{name}.out{i}" if i else f"{name}.out" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, domain=domain, **attrs))
        return str(outputs[0])

    def mask_nodes(self) -> None:
        """Lengths that the attention wants, from the mask."""
        summed = self.node(
            "ReduceSum", ["attention_mask", self.constant([1])], "mask.sum", keepdims=0
        )
        less = self.node("Sub", [summed, self.constant([1])], "mask.sub")
        self.node("Cast", [less], "mask.seqlens_k", to=TensorProto.INT32)
        shape = self.node("Shape", ["attention_mask"], "mask.shape")
        total = self.node("Gather", [shape, self.constant(1)], "mask.total", axis=0)
        self.node("Cast", [total], "mask.total_seq", to=TensorProto.INT32)
        if self.separate_rotary:
            ids = self.node("Shape", ["input_ids"], "ids.shape")
            new = self.node("Gather", [ids, self.constant(1)], "ids.new", axis=0)
            past = self.node("Sub", [total, new], "positions.start")
            row = self.node("Range", [past, total, self.constant(1)], "positions.range")
            self.node("Unsqueeze", [row, self.constant([0])], "positions")

    def embedding(self) -> str:
        s, p = self.shape, self.precision
        scale = 1 / math.sqrt(s.hidden_size)
        if p.storage == "block":
            base = "lm_head" if s.tie_word_embeddings else "model.embed_tokens"
            data, scales = self._block_weights(base, s.hidden_size, s.vocab_size)
            flat = [s.vocab_size, s.hidden_size * p.bits // 8]
            data = self.node("Reshape", [data, self.constant(flat)], "embed.reshape")
            return self.node(
                "GatherBlockQuantized",
                [data, "input_ids", scales],
                "embed.gather",
                domain=CONTRIB,
                bits=p.bits,
                block_size=p.block_size,
                gather_axis=0,
                quantize_axis=1,
            )
        table = (s.vocab_size, s.hidden_size)
        if p.storage == "float":
            weight = self.tensor("model.embed_tokens.weight", table, kind="uniform", scale=scale)
            return self.node("Gather", [weight, "input_ids"], "embed.gather", axis=0)
        weight = self.tensor(
            "model.embed_tokens.weight_i8", table, type="int8", kind="int8", scale=0.0
        )
        scales = self.tensor(
            "model.embed_tokens.weight_scale",
            (s.vocab_size, 1),
            kind="positive",
            scale=scale / 73.6,
        )
        rows = self.node("Gather", [weight, "input_ids"], "embed.gather", axis=0)
        rows = self.node("Cast", [rows], "embed.cast", to=TensorProto.FLOAT)
        factors = self.node("Gather", [scales, "input_ids"], "embed.scale", axis=0)
        return self.node("Mul", [rows, factors], "embed.mul")

    def norm(self, name: str, residual: str, skip: str, *, last: bool = False) -> tuple[str, str]:
        """RMSNorm of residual (+ skip); returns the normed output and the new residual."""
        weight = self.tensor(
            f"{name}.weight", (self.shape.hidden_size,), kind="positive", scale=1.0
        )
        epsilon = self.shape.rms_norm_eps
        if not skip:
            normed = self._plain_norm(name, residual, weight)
            return normed, residual
        outputs = [f"{name}.out"] if last else [f"{name}.out", "", "", f"{name}.residual"]
        normed = self.node(
            "SkipSimplifiedLayerNormalization",
            [residual, skip, weight],
            name,
            domain=CONTRIB,
            outputs=outputs,
            epsilon=epsilon,
        )
        return normed, outputs[-1]

    def _plain_norm(self, name: str, x: str, weight: str) -> str:
        return self.node(
            "SimplifiedLayerNormalization",
            [x, weight],
            name,
            axis=-1,
            epsilon=self.shape.rms_norm_eps,
            stash_type=1,
        )

    def linear(self, base: str, x: str, k: int, n: int, *, output: str = "") -> str:
        """X [.., k] · W [k, n]; the output is named after the matrix unless it has a name."""
        p, outputs = self.precision, [output or f"{base}.out"]
        if p.storage == "block":
            weight, scales = self._block_weights(base, k, n)
            return self.node(
                "MatMulNBits",
                [x, weight, scales],
                base,
                domain=CONTRIB,
                outputs=outputs,
                K=k,
                N=n,
                accuracy_level=_INT8_ACTIVATIONS,
                bits=p.bits,
                block_size=p.block_size,
            )
        deviation = 1 / math.sqrt(k)
        if p.storage == "float":
            weight = self.tensor(f"{base}.weight", (k, n), kind="uniform", scale=deviation)
            return self.node("MatMul", [x, weight], base, outputs=outputs)
        weight = self.tensor(f"{base}.weight_i8", (k, n), type="int8", kind="int8", scale=0.0)
        scales = self.tensor(f"{base}.weight_scale", (n,), kind="positive", scale=deviation / 73.6)
        return self.node(
            "DynamicQuantizeMatMul", [x, weight, scales], base, domain=CONTRIB, outputs=outputs
        )

    def _block_weights(self, base: str, k: int, n: int) -> tuple[str, str]:
        # 4.6 and 73.6 are the deviations of zero-mean random nibbles and bytes, rounded up.
        p = self.precision
        blocks, unit = p.blocks(k), 4.6 if p.bits == 4 else 73.6
        weight = self.tensor(
            f"{base}.weight_q{p.bits}",
            (n, blocks, p.block_size * p.bits // 8),
            type="uint8",
            kind="int4" if p.bits == 4 else "int8",
            scale=0.0,
        )
        scales = self.tensor(
            f"{base}.weight_scales", (n, blocks), kind="positive", scale=1 / (unit * math.sqrt(k))
        )
        return weight, scales

    def attention(self, layer: int, x: str) -> str:
        s, base = self.shape, f"model.layers.{layer}.attn"
        width = s.q_size + 2 * s.kv_size
        packed = self.linear(f"{base}.qkv_proj", x, s.hidden_size, width)
        if s.qkv_bias:
            bias = self.tensor(f"{base}.qkv_proj.bias", (width,), kind="uniform", scale=0.02)
            packed = self.node("Add", [packed, bias], f"{base}.qkv_add")
        inputs = [packed, "", ""]
        if s.qk_norm or self.separate_rotary:
            inputs = [f"{base}.{part}" for part in ("q", "k", "v")]
            sizes = self.constant([s.q_size, s.kv_size, s.kv_size])
            self.node("Split", [packed, sizes], f"{base}.split", outputs=list(inputs), axis=-1)
            for i, heads in ((0, s.num_attention_heads), (1, s.num_key_value_heads)):
                if s.qk_norm:
                    inputs[i] = self._head_norm(inputs[i], heads)
                if self.separate_rotary:
                    inputs[i] = self._rotary(inputs[i], heads)
        rotary = ["cos_cache", "sin_cache"] if not self.separate_rotary else ["", ""]
        context = self.node(
            "GroupQueryAttention",
            [
                *inputs,
                f"past_key_values.{layer}.key",
                f"past_key_values.{layer}.value",
                "mask.seqlens_k.out",
                "mask.total_seq.out",
                *rotary,
            ],
            base,
            domain=CONTRIB,
            outputs=[f"{base}.out", f"present.{layer}.key", f"present.{layer}.value"],
            num_heads=s.num_attention_heads,
            kv_num_heads=s.num_key_value_heads,
            scale=1 / math.sqrt(s.head_dim),
            do_rotary=0 if self.separate_rotary else 1,
            rotary_interleaved=0,
            local_window_size=-1,
            softcap=0.0,
        )
        return self.linear(f"{base}.o_proj", context, s.q_size, s.hidden_size)

    def _head_norm(self, x: str, heads: int) -> str:
        s = self.shape
        weight = self.tensor(f"{x}_norm.weight", (s.head_dim,), kind="positive", scale=1.0)
        split = self.constant([0, 0, heads, s.head_dim])
        x4 = self.node("Reshape", [x, split], f"{x}_norm.split")
        normed = self._plain_norm(f"{x}_norm", x4, weight)
        joined = self.constant([0, 0, heads * s.head_dim])
        return self.node("Reshape", [normed, joined], f"{x}_norm.join")

    def _rotary(self, x: str, heads: int) -> str:
        return self.node(
            "RotaryEmbedding",
            [x, "positions.out", "cos_cache", "sin_cache"],
            f"{x}.rotary",
            domain=CONTRIB,
            interleaved=0,
            num_heads=heads,
            rotary_embedding_dim=self.shape.head_dim,
        )

    def feed_forward(self, base: str, x: str) -> str:
        s = self.shape
        h, f = s.hidden_size, s.intermediate_size
        if s.ffn == "gated":
            gate = self.linear(f"{base}.gate_proj", x, h, f)
            up = self.linear(f"{base}.up_proj", x, h, f)
            inner = self.node("Mul", [self._activation(base, gate), up], f"{base}.mul")
        else:
            inner = self._activation(base, self.linear(f"{base}.up_proj", x, h, f))
        return self.linear(f"{base}.down_proj", inner, f, h)

    def _activation(self, base: str, x: str) -> str:
        name = f"{base}.act_fn"
        match self.shape.hidden_act:
            case "silu":  # ONNX Runtime fuses the pair into QuickGelu
                sigmoid = self.node("Sigmoid", [x], f"{name}.sigmoid")
                return self.node("Mul", [x, sigmoid], name)
            case "gelu":
                return self.node("Gelu", [x], name, domain=CONTRIB)
            case "relu":
                return self.node("Relu", [x], name)
            case "relu2":
                positive = self.node("Relu", [x], f"{name}.relu")
                return self.node("Mul", [positive, positive], name)

    def head(self, x: str, logits: Logits) -> None:
        s = self.shape
        if logits == "last":
            row = self.node("Gather", [x, self.constant(-1)], "lm_head.last", axis=1)
            x = self.node("Unsqueeze", [row, self.constant([1])], "lm_head.unsqueeze")
        if self.precision.storage == "float" and s.tie_word_embeddings:
            self.node(
                "FusedMatMul",
                [x, "model.embed_tokens.weight"],
                "lm_head",
                domain=CONTRIB,
                outputs=["logits"],
                transB=1,
            )
        else:
            self.linear("lm_head", x, s.hidden_size, s.vocab_size, output="logits")
