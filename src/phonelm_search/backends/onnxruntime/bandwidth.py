"""Read bandwidth of memory, by the threads that decode runs on."""

import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

_ROWS = 64
_REPETITIONS = 7


def read_bandwidth(buffer_bytes: int, threads: int) -> list[float]:
    """Bytes per second that a maximum over a large buffer reads, a sample each pass.

    The reduction runs on ONNX Runtime's shared thread pool, so on the same threads as a decode
    step; its arithmetic hides behind the reads.

    Args:
        buffer_bytes: Size of the buffer; well beyond the last-level cache.
        threads: Threads of the pool; rows are shared among them.
    """
    rows = _ROWS * threads
    columns = max(1, buffer_bytes // 4 // rows)
    # Written, not zeroed: untouched zeros are one page of the kernel's and stay in the cache.
    buffer = np.ones((rows, columns), np.float32)
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=0)],
        "bandwidth",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.use_per_session_threads = False
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(buffer))
    binding.bind_output("y")
    found = []
    for _ in range(_REPETITIONS + 1):
        begin = time.perf_counter()
        session.run_with_iobinding(binding)
        found.append(buffer.nbytes / (time.perf_counter() - begin))
    return found[1:]  # the first pass starts the workers
