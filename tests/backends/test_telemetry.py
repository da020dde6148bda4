"""ONNX Runtime sends nothing and keeps nothing of it."""

import os
import subprocess
import sys
from pathlib import Path

SESSION = """
import phonelm_search
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper as h
x, y = (h.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
graph = h.make_graph([h.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
print(session.run(None, {"x": np.ones(1, np.float32)})[0][0])
"""


def test_a_session_writes_no_identifier_and_no_queue(tmp_path: Path) -> None:
    variables = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k and k != "CI"}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SESSION], env={**variables, **home}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("-1.0", 0), done.stderr
    assert list(tmp_path.rglob("*")) == []


def test_who_has_chosen_keeps_their_choice() -> None:
    code = "import phonelm_search, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, kept in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        clean = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**clean, **given}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert done.stdout.strip() == kept
