"""Read bandwidth of caches and memory, by the threads that decode runs on."""

import time
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

_ROWS = 64
_PASSES = 2
_LEAST_BYTES = 16 * 2**20  # that all passes read: small buffers take more of them


def read_bandwidth(buffer_bytes: Sequence[int], threads: int) -> list[tuple[float, ...]]:
    """Bytes per second that a maximum over a buffer reads, a sample each pass.

    The reduction runs on ONNX Runtime's shared thread pool, so on the same threads as a decode
    step; its arithmetic hides behind the reads.

    Args:
        buffer_bytes: Sizes of buffers.
        threads: Threads of the pool; rows are shared among them.

    Returns:
        Samples of each buffer.
    """
    if not buffer_bytes:
        return []
    rows = _ROWS * threads
    columns = [max(1, size // 4 // rows) for size in buffer_bytes]
    # Written, not zeroed: untouched zeros are one page of the kernel's and stay in the cache.
    memory = np.ones(rows * max(columns), np.float32)
    session = _maximum(rows)
    found = []
    for count in columns:
        buffer = memory[: rows * count].reshape(rows, count)
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(buffer))
        binding.bind_output("y")
        samples = []
        for _ in range(max(_PASSES, _LEAST_BYTES // buffer.nbytes) + 1):
            begin = time.perf_counter()
            session.run_with_iobinding(binding)
            samples.append(buffer.nbytes / (time.perf_counter() - begin))
        found.append(tuple(samples[1:]))  # the first pass starts the workers
    return found


def _maximum(rows: int) -> ort.InferenceSession:
    """The largest number of each row."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=0)],
        "bandwidth",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, "columns"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.use_per_session_threads = False
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
