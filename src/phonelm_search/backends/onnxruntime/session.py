"""One ONNX Runtime session with weights of its own, bound to buffers that it works on in place."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from phonelm_search.backends import host
from phonelm_search.backends.base import LogitsResult, ModelJob, PhaseJob
from phonelm_search.core.errors import first_line
from phonelm_search.graph import Array, TensorSpec, WeightPool, save_graph

SEVERITY_ERROR = 3


class StageError(Exception):
    """A step that failed, with the stage it belongs to."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class Copy:
    """A session and the buffers of one phase at a time.

    Args:
        model: The graph and its weights.
        index: Number of the copy; its seed is the job's plus this.
        provider: Execution provider and its options.
        folder: Where the graph's file is.
        shared_pool: Compute on the process's one thread pool, so that the workers stay awake from
            one copy to the next; else on one thread.

    Raises:
        StageError: If the session cannot be made or the provider is not there.
    """

    def __init__(
        self,
        model: ModelJob,
        index: int,
        provider: tuple[str, dict[str, str]],
        *,
        folder: Path = Path(),
        shared_pool: bool = True,
    ) -> None:
        self._model = model
        self._pool = WeightPool(model.weights.seed + index)
        specs = tuple(t.spec for t in model.weights.tensors)
        options = ort.SessionOptions()
        if shared_pool:
            options.use_per_session_threads = False
        else:
            options.intra_op_num_threads = 1
        options.log_severity_level = SEVERITY_ERROR
        self._kept: list[Array] = []  # a session does not own what it was given
        path = folder / model.graph
        if model.weights.source == "file":
            # A folder for each copy: a session maps its file, which must never change under it.
            path = save_graph(
                folder / f"{model.graph}-{index}", path.read_bytes(), specs, self._pool
            )
            gc.collect()  # what made the weights shall not count as the session's
        else:
            self._kept = [self._pool.fill(s) for s in specs]
            values = [ort.OrtValue.ortvalue_from_numpy(a) for a in self._kept]
            options.add_external_initializers([s.name for s in specs], values)
        host.reset_peak_resident()
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base
            raise StageError("load", first_line(error)) from error
        if self._session.get_providers()[0] != provider[0]:
            raise StageError(
                "load",
                f"execution provider {provider[0]} is not available; "
                f"available: {', '.join(ort.get_available_providers())}",
            )

    def bind(self, phase: PhaseJob) -> None:
        """Bind the phase's inputs and outputs; past and present are the same buffer."""
        self._binding = self._session.io_binding()
        self._buffers: list[Array] = []
        total = phase.tokens + phase.past_tokens
        ids = self._pool.integers("input_ids", phase.tokens, self._model.vocab_size)[None]
        self._input("input_ids", ids)
        self._input("attention_mask", np.ones((1, total), np.int64))
        for declared in self._session.get_inputs()[2:]:
            heads, head_dim = declared.shape[1], declared.shape[3]
            spec = TensorSpec(
                name=declared.name,
                shape=(1, heads, total, head_dim),
                type="float32",
                kind="uniform",
                scale=1.0,
            )
            value = self._input(declared.name, self._pool.fill(spec))
            present = declared.name.replace("past_key_values", "present")
            self._binding.bind_ortvalue_output(present, value)
        self._logits = np.zeros((1, 1, self._model.vocab_size), np.float32)
        self._buffers.append(self._logits)
        self._binding.bind_ortvalue_output("logits", ort.OrtValue.ortvalue_from_numpy(self._logits))

    def _input(self, name: str, array: Array) -> Any:
        self._buffers.append(array)
        value = ort.OrtValue.ortvalue_from_numpy(array)
        self._binding.bind_ortvalue_input(name, value)
        return value

    def run(self) -> None:
        """Run the bound phase once."""
        self._session.run_with_iobinding(self._binding)

    def digest(self) -> LogitsResult:
        """The last position's logits.

        Raises:
            StageError: If one is not finite.
        """
        row = self._logits[0, -1].astype(np.float64)
        if not np.isfinite(row).all():
            raise StageError("run", "the logits must be finite and are not")
        return LogitsResult(first=tuple(row[:16].tolist()), l2=float(np.linalg.norm(row)))
