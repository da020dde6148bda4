"""The child process that compiles a graph for a provider, says what ran where, and runs it.

A job on stdin, the answer as the last line of stdout; arrays lie beside the graph as safetensors.
"""

import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime as ort
from safetensors.numpy import load_file

from phonelm_search.graph import save_feeds
from phonelm_search.work import answer_once

CPU = "CPUExecutionProvider"
_ERRORS = 3


def _options(job: dict[str, Any]) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS
    provider = job["provider"]
    if provider == CPU:
        return options
    ort.register_execution_provider_library(provider, job["plug_in"])
    found = [d for d in ort.get_ep_devices() if d.ep_name == provider]
    if not found:
        raise RuntimeError(f"{provider} registered no device")
    options.add_provider_for_devices(
        found[:1], {**job["provider_options"], "backend_path": job["backend"]}
    )
    return options


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Compile, read the assignment, run the compiled context on every input."""
    options = _options(job)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    accelerated = job["provider"] != CPU
    if accelerated:
        for key, value in (("enable", "1"), ("file_path", job["context"]), ("embed_mode", "0")):
            options.add_session_config_entry(f"ep.context_{key}", value)
    began = time.perf_counter()
    session = ort.InferenceSession(job["graph"], options, providers=None if accelerated else [CPU])
    seconds = time.perf_counter() - began
    assigned = [
        (node.name, node.op_type, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    names = [o.name for o in session.get_outputs()]
    for number, file in enumerate(job["feeds"]):
        values = session.run(names, load_file(file))
        save_feeds(
            Path(f"{job['outputs']}-{number}.safetensors"), dict(zip(names, values, strict=True))
        )
    return {"assigned": assigned, "compile_seconds": seconds}


if __name__ == "__main__":
    sys.exit(answer_once(run))
