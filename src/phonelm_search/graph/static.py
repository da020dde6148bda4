"""The decoder as accelerators take it: no dynamic dimension, plain ONNX operators, fp32.

A chunk of new tokens attends to a KV cache of fixed length and to itself. Which positions of the
cache hold something is the mask's business; the graph returns the new columns alone, and who runs
it writes them into the cache. Quantising comes after (`graph.qdq`).
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from phonelm_search.core.rotary import scaled_tables
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph.proto import external
from phonelm_search.graph.weights import TensorKind, TensorSpec, file_offsets, rotary_table

MASKED = -100.0
"""What the mask adds where nothing may be seen; a larger one would cost quantised scores their
resolution."""
EMBEDDING, EMBEDDED = "model.embed_tokens.weight", "model.embed_tokens.rows.out"
"""The table, and its rows for the new tokens."""
_OPSET, _IR_VERSION = 23, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticGraph:
    """A decoder of one chunk and one cache length, its weights outside."""

    model: bytes
    """The ModelProto; weights are external data in ``model.onnx.data``."""
    tensors: tuple[TensorSpec, ...]
    """The weights: names of Hugging Face, matrices ``[out, in]``."""
    shape: ModelShape
    """The decoder."""
    tokens: int
    """New tokens of a run."""
    cache_tokens: int
    """Length of the KV cache; 0 for a chunk that begins a prompt."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        present = (
            f"present.{layer}.{part}"
            for layer in range(self.shape.num_hidden_layers)
            for part in ("key", "value")
        )
        return ("logits", *present)

    def cache_tensors(self, layer: int, part: str) -> tuple[str, ...]:
        """Tensors that hold keys or values of a layer: what is computed, the cache, what goes out.

        Reshaping keeps a tensor's integers, so one range must serve all of them.
        """
        base = f"model.layers.{layer}.self_attn"
        made = f"{base}.k.rotary.out" if part == "key" else f"{base}.v_proj.out"
        names = (made, f"past_key_values.{layer}.{part}", f"present.{layer}.{part}")
        return names if self.cache_tokens else (made, names[2])


def build_static_graph(shape: ModelShape, *, tokens: int, cache_tokens: int) -> StaticGraph:
    """Build the graph of a shape for one chunk and cache length.

    Inputs: ``input_ids`` and ``position_ids`` int32 [1, tokens]; ``attention_mask`` float32
    [1, 1, tokens, cache_tokens + tokens], 0 where a position is seen and `MASKED` elsewhere;
    ``past_key_values.{i}.key|value`` float32 [1, kv_heads, cache_tokens, head_dim] unless there is
    no cache. Outputs: ``logits`` float32 [1, vocab_size] of the last token;
    ``present.{i}.key|value`` float32 [1, kv_heads, tokens, head_dim].

    Args:
        shape: The decoder.
        tokens: New tokens of a run.
        cache_tokens: Length of the cache; positions run to ``cache_tokens + tokens``.
    """
    if tokens < 1 or cache_tokens < 0:
        raise ValueError(
            f"tokens must be positive and cache_tokens not negative, got {tokens}, {cache_tokens}"
        )
    build = _Builder(shape, tokens, cache_tokens)
    x = build.embedding()
    build.positions()
    for layer in range(shape.num_hidden_layers):
        base = f"model.layers.{layer}"
        mixed = build.attention(layer, build.norm(f"{base}.input_layernorm", x))
        x = build.node("Add", [x, mixed], f"{base}.attention_residual")
        normed = build.norm(f"{base}.post_attention_layernorm", x)
        x = build.node("Add", [x, build.feed_forward(f"{base}.mlp", normed)], f"{base}.residual")
    build.head(build.norm("model.norm", x))
    return StaticGraph(
        model=build.finish(), tensors=tuple(build.tensors.values()), shape=shape,
        tokens=tokens, cache_tokens=cache_tokens,
    )  # fmt: skip


@dataclass
class _Builder:
    """Collects nodes; every method returns the name of its output. Rows are [tokens, features]."""

    shape: ModelShape
    tokens: int
    cache: int
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, TensorSpec] = field(default_factory=dict)

    def node(
        self, op: str, inputs: list[str], name: str, *, outputs: Any = None, **attrs: Any
    ) -> str:
        names = outputs or [f"{name}.out"]
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attrs))
        return str(names[0])

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def weight(self, name: str, *dims: int) -> str:
        vector = len(dims) == 1
        self.tensors[name] = TensorSpec(
            name=name, shape=dims, type="float32",
            kind="positive" if vector and not name.endswith("bias") else "uniform",
            scale=(0.02 if name.endswith("bias") else 1.0) if vector else 1 / math.sqrt(dims[-1]),
        )  # fmt: skip
        return name

    def reshape(self, x: str, name: str, *dims: int) -> str:
        return self.node("Reshape", [x, self.constant(f"{name}.shape", dims)], name)

    def embedding(self) -> str:
        s = self.shape
        table = self.weight(EMBEDDING, s.vocab_size, s.hidden_size)
        rows = self.node("Gather", [table, "input_ids"], "model.embed_tokens", axis=0)
        return self.reshape(rows, "model.embed_tokens.rows", self.tokens, s.hidden_size)

    def positions(self) -> None:
        half = self.shape.head_dim // 2
        dims = (self.cache + self.tokens, half)
        kinds: tuple[tuple[str, TensorKind], ...] = (("cos", "rotary_cos"), ("sin", "rotary_sin"))
        for kind, name in kinds:
            values = self.rotary_values(name, dims)
            table = self.constant(f"rotary.{kind}_cache", values, np.float32)
            rows = self.node("Gather", [table, "position_ids"], f"rotary.{kind}", axis=0)
            self.reshape(rows, f"rotary.{kind}_rows", 1, self.tokens, half)

    def rotary_values(self, kind: TensorKind, dims: tuple[int, int]) -> Any:
        s = self.shape
        if not s.rope_scaling:
            return rotary_table(kind, dims, s.rope_theta)
        cosines, sines = scaled_tables(
            s.rope_scaling, head_dim=s.head_dim, theta=s.rope_theta, start=0, count=dims[0]
        )
        return cosines if kind == "rotary_cos" else sines

    def norm(self, name: str, x: str, size: int = 0) -> str:
        weight = self.weight(f"{name}.weight", size or self.shape.hidden_size)
        return self.node(
            "RMSNormalization", [x, weight], name, axis=-1, epsilon=self.shape.rms_norm_eps
        )

    def linear(self, base: str, x: str, k: int, n: int, *, bias: bool = False) -> str:
        inputs = [x, self.weight(f"{base}.weight", n, k)]
        if bias:
            inputs.append(self.weight(f"{base}.bias", n))
        return self.node("Gemm", inputs, base, transB=1)

    def heads(self, base: str, part: str, x: str, count: int) -> str:
        """Queries, keys or values [heads, tokens, head_dim] of rows."""
        s = self.shape
        name = f"{base}.{part}"
        rows = self.linear(f"{name}_proj", x, s.hidden_size, count * s.head_dim, bias=s.qkv_bias)
        split = self.reshape(rows, f"{name}.split", self.tokens, count, s.head_dim)
        if s.qk_norm and part != "v":
            split = self.norm(f"{name}_norm", split, s.head_dim)
        return self.node("Transpose", [split], f"{name}.heads", perm=[1, 0, 2])

    def rotate(self, x: str, name: str) -> str:
        """(a, b) → (a cos − b sin, b cos + a sin) of the halves of each head."""
        half = self.shape.head_dim // 2
        sizes = self.constant("rotary.halves", [half, half])
        a, b = f"{name}.first", f"{name}.second"
        self.node("Split", [x, sizes], f"{name}.halves", outputs=[a, b], axis=-1)
        cos, sin = "rotary.cos_rows.out", "rotary.sin_rows.out"
        products = {
            key: self.node("Mul", [part, factor], f"{name}.{key}")
            for key, part, factor in (
                ("first_cos", a, cos), ("second_sin", b, sin), ("second_cos", b, cos),
                ("first_sin", a, sin),
            )
        }  # fmt: skip
        low = self.node("Sub", [products["first_cos"], products["second_sin"]], f"{name}.low")
        high = self.node("Add", [products["second_cos"], products["first_sin"]], f"{name}.high")
        return self.node("Concat", [low, high], f"{name}.rotary", axis=-1)

    def cached(self, layer: int, part: str, new: str) -> str:
        """Cache and new columns [1, kv_heads, cache + tokens, head_dim]; the new ones go out."""
        s = self.shape
        base = f"model.layers.{layer}.self_attn.{part}"
        present = f"present.{layer}.{part}"
        dims = self.constant(f"{base}.shape", [1, s.num_key_value_heads, self.tokens, s.head_dim])
        self.node("Reshape", [new, dims], f"{base}.new", outputs=[present])
        if not self.cache:
            return present
        past = f"past_key_values.{layer}.{part}"
        return self.node("Concat", [past, present], f"{base}.all", axis=2)

    def attention(self, layer: int, x: str) -> str:
        s, base = self.shape, f"model.layers.{layer}.self_attn"
        heads, kv, total = s.num_attention_heads, s.num_key_value_heads, self.cache + self.tokens
        rows = s.kv_groups * self.tokens
        q = self.rotate(self.heads(base, "q", x, heads), f"{base}.q")
        k = self.rotate(self.heads(base, "k", x, kv), f"{base}.k")
        keys = self.cached(layer, "key", k)
        values = self.cached(layer, "value", self.heads(base, "v", x, kv))
        scale = self.constant(f"{base}.scale", 1 / math.sqrt(s.head_dim), np.float32)
        q = self.node("Mul", [q, scale], f"{base}.scaled")
        # Queries of one group multiply the same keys: they are rows of one product.
        q = self.reshape(q, f"{base}.grouped", 1, kv, rows, s.head_dim)
        keys = self.node("Transpose", [keys], f"{base}.turned", perm=[0, 1, 3, 2])
        scores = self.node("MatMul", [q, keys], f"{base}.scores")
        scores = self.reshape(scores, f"{base}.by_group", kv, s.kv_groups, self.tokens, total)
        scores = self.node("Add", [scores, "attention_mask"], f"{base}.masked")
        weights = self.node("Softmax", [scores], f"{base}.softmax", axis=-1)
        weights = self.reshape(weights, f"{base}.by_head", 1, kv, rows, total)
        mixed = self.node("MatMul", [weights, values], f"{base}.mixed")
        mixed = self.reshape(mixed, f"{base}.heads", heads, self.tokens, s.head_dim)
        mixed = self.node("Transpose", [mixed], f"{base}.back", perm=[1, 0, 2])
        mixed = self.reshape(mixed, f"{base}.joined", self.tokens, s.q_size)
        return self.linear(f"{base}.o_proj", mixed, s.q_size, s.hidden_size)

    def feed_forward(self, base: str, x: str) -> str:
        s = self.shape
        h, f = s.hidden_size, s.intermediate_size
        up = self.linear(f"{base}.up_proj", x, h, f)
        if s.ffn == "gated":
            gate = self.activation(base, self.linear(f"{base}.gate_proj", x, h, f))
            inner = self.node("Mul", [gate, up], f"{base}.mul")
        else:
            inner = self.activation(base, up)
        return self.linear(f"{base}.down_proj", inner, f, h)

    def activation(self, base: str, x: str) -> str:
        name = f"{base}.act_fn"
        match self.shape.hidden_act:
            case "silu":
                return self.node("Mul", [x, self.node("Sigmoid", [x], f"{name}.sigmoid")], name)
            case "gelu":
                return self.node("Gelu", [x], name)
            case "relu":
                return self.node("Relu", [x], name)
            case "relu2":
                positive = self.node("Relu", [x], f"{name}.relu")
                return self.node("Mul", [positive, positive], name)

    def head(self, x: str) -> None:
        s = self.shape
        if self.tokens > 1:
            ends = [
                self.constant(f"lm_head.{name}", [value])
                for name, value in (("start", self.tokens - 1), ("end", self.tokens), ("axis", 0))
            ]
            x = self.node("Slice", [x, *ends], "lm_head.last")
        table = EMBEDDING
        if not s.tie_word_embeddings:
            table = self.weight("lm_head.weight", s.vocab_size, s.hidden_size)
        self.node("Gemm", [x, table], "lm_head", outputs=["logits"], transB=1)

    def finish(self) -> bytes:
        s = self.shape
        new = [1, self.tokens]
        inputs = [
            helper.make_tensor_value_info("input_ids", TensorProto.INT32, new),
            helper.make_tensor_value_info("position_ids", TensorProto.INT32, new),
            _floats("attention_mask", 1, 1, self.tokens, self.cache + self.tokens),
        ]
        outputs = [_floats("logits", 1, s.vocab_size)]
        for layer in range(s.num_hidden_layers):
            for part in ("key", "value"):
                heads = (1, s.num_key_value_heads)
                if self.cache:
                    name = f"past_key_values.{layer}.{part}"
                    inputs.append(_floats(name, *heads, self.cache, s.head_dim))
                outputs.append(_floats(f"present.{layer}.{part}", *heads, self.tokens, s.head_dim))
        specs = tuple(self.tensors.values())
        weights = [external(t, o) for t, o in zip(specs, file_offsets(specs), strict=True)]
        graph = helper.make_graph(
            self.nodes, "decoder", inputs, outputs, [*self.constants.values(), *weights]
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION,
            producer_name="phonelm-search",
        )  # fmt: skip
        return bytes(model.SerializeToString())


def _floats(name: str, *dims: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))
