"""The gate before any timing: are the logits of a device right?"""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import numpy as np

from phonelm_search.backends import LogitsResult, PhaseJob
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.precision import FLOAT_LIMIT, QUANTISED_LIMIT, Precision
from phonelm_search.core.records import NumericsCheck
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph import GRAPH_VERSION, TensorSpec, WeightPool, build_graph, generated_state

_LAYERS, _WORDS = 2, 256
_TOKENS, _PAST = 8, 24

PHASES = (
    PhaseJob(kind="prefill", tokens=_TOKENS, past_tokens=0),
    PhaseJob(kind="decode", tokens=1, past_tokens=_PAST),
)


def gate_shape(shape: ModelShape) -> ModelShape:
    """A shape cut to two layers and 256 words: the same kernels at the same sizes, but cheap."""
    return replace(
        shape,
        num_hidden_layers=min(_LAYERS, shape.num_hidden_layers),
        vocab_size=min(_WORDS, shape.vocab_size),
    )


def expected_logits(shape: ModelShape, precision: Precision, seed: int) -> list[np.ndarray]:
    """Logits of the dequantised torch decoder for `PHASES`, an array ``[vocab_size]`` each."""
    import torch

    from phonelm_search.core.decoder import Decoder

    graph = build_graph(shape, precision, max_positions=_TOKENS + _PAST)
    pool = WeightPool(seed)
    state = generated_state(graph, shape, precision, pool)
    model = Decoder(replace(shape, tie_word_embeddings=False)).eval()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    found = []
    with torch.no_grad():
        for phase in PHASES:
            ids = torch.from_numpy(pool.integers("input_ids", phase.tokens, shape.vocab_size))
            past = [_past(shape, phase, layer, pool) for layer in range(shape.num_hidden_layers)]
            keys = [(torch.from_numpy(k), torch.from_numpy(v)) for k, v in past]
            logits, _ = model(ids[None], keys if phase.past_tokens else None)
            found.append(logits[0, -1].numpy().astype(np.float64))
    return found


def _past(
    shape: ModelShape, phase: PhaseJob, layer: int, pool: WeightPool
) -> tuple[np.ndarray, np.ndarray]:
    """The past that the runner made: buffers hold room for the new tokens, too."""
    total = phase.tokens + phase.past_tokens

    def fill(part: str) -> np.ndarray:
        spec = TensorSpec(
            name=f"past_key_values.{layer}.{part}",
            shape=(1, shape.num_key_value_heads, total, shape.head_dim),
            type="float32",
            kind="uniform",
            scale=1.0,
        )
        return pool.fill(spec)[:, :, : phase.past_tokens]

    return fill("key"), fill("value")


def relative_error(got: LogitsResult, expected: np.ndarray) -> float:
    """Relative root-mean-square difference over the numbers that a runner tells.

    Those are the first 16 logits; the norm of all of them must agree as well, and the larger of
    the two relative differences counts. Infinite where the runner's numbers are not finite.
    """
    first = np.asarray(got.first, float)
    wanted = expected[: len(first)]
    rms = float(np.sqrt(np.square(first - wanted).mean() / np.square(expected).mean()))
    norm = float(np.linalg.norm(expected))
    errors = (rms, abs(got.l2 - norm) / norm)
    return max(errors) if all(map(math.isfinite, errors)) else math.inf


def check_numerics(
    shape: ModelShape,
    precision: Precision,
    logits: tuple[LogitsResult, LogitsResult],
    *,
    environment_id: str,
    seed: int,
    clock: Callable[[], datetime],
) -> NumericsCheck:
    """Compare what a device computed for `PHASES` with the dequantised reference.

    Args:
        shape: A `gate_shape`.
        precision: The scheme it ran in.
        logits: Digests after the prefill and after the decode step.
        environment_id: Where it ran.
        seed: Of the generated weights.
        clock: Present time.
    """
    prefill, decode = expected_logits(shape, precision, seed)
    return NumericsCheck(
        shape_id=shape.shape_id,
        precision=precision.name,
        environment_id=environment_id,
        graph_version=GRAPH_VERSION,
        prefill_error=relative_error(logits[0], prefill),
        decode_error=relative_error(logits[1], decode),
        limit=FLOAT_LIMIT if precision.storage == "float" else QUANTISED_LIMIT,
        created_at=clock().isoformat(timespec="seconds"),
    )


def refusal(check: NumericsCheck, *, device: str, capabilities: str) -> MeasurementError | None:
    """Why a device whose logits are wrong is not timed: errors, limit and what it offers."""
    if check.passed:
        return None
    return MeasurementError(
        f"logits of {check.precision} on {device} must be within {check.limit:g} of the "
        f"dequantised reference (relative RMS), got {check.prefill_error:.3g} after prefill and "
        f"{check.decode_error:.3g} after a decode step, so nothing is timed; {capabilities}",
        stage="numerics",
    )
